//! NGCF: messages along edges that also hold the element-wise product of both ends. Wang et al., Neural Graph Collaborative Filtering,
//! SIGIR 2019, arXiv:1905.08108.
//!
//! Three things of the authors' code are not in the paper and are done here: the graph has own edges and rows are means (D⁻¹(A + I)), so
//! that the first weights see a node's own vector by its edge alone; each layer's vectors are scaled to length 1 before they are put
//! beside each other, not before the next layer; both weights have a bias.

use std::rc::Rc;

use anyhow::Result;
use rec_core::dropout::dropout;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::sparse::{Matrix, times};
use rec_core::state::StateReader;
use rec_core::{Init, Params};
use rec_data::batch::{BatchOptions, PairwiseBatch};
use rec_data::csr::Csr;
use rec_data::graph::{Graph, Normalisation, with_entries_dropped};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::nodes::Nodes;
use crate::objective::{Rows, penalty, rows, shape_batches};
use crate::{check_hidden_sizes, check_not_negative, check_rate, check_size};

/// Hyper-parameters. Defaults are those of the authors' code for Gowalla.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NgcfConfig {
    /// Length of a vector of layer 0.
    pub embedding_size: usize,
    /// Length of a vector of each further layer.
    pub hidden_sizes: Vec<usize>,
    /// Share of the adjacency's entries that a step leaves out, the others being scaled up; none in scoring. As the authors' code has it,
    /// under this name.
    pub node_dropout: f64,
    /// Share of the messages that a layer drops; none in scoring.
    pub dropout: f64,
    /// How edges are weighed.
    pub normalisation: Normalisation,
    /// Whether a node is its own neighbour.
    pub self_loops: bool,
    /// λ of λ(‖e_u‖² + ‖e_i‖² + ‖e_j‖²)/2 of the final vectors, mean over the batch.
    pub l2: f64,
    /// What is minimised, as of LightGCN.
    pub loss: LossConfig,
}

impl Default for NgcfConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            hidden_sizes: vec![64, 64, 64],
            node_dropout: 0.1,
            dropout: 0.1,
            normalisation: Normalisation::Left,
            self_loops: true,
            l2: 1e-5,
            loss: LossConfig::Bpr {},
        }
    }
}

impl ModelConfig for NgcfConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("node_dropout", self.node_dropout)?;
        check_rate("dropout", self.dropout)?;
        check_not_negative("l2", self.l2)?;
        self.loss.check()
    }
}

/// Eᵏ⁺¹ = leaky(L Eᵏ W₁ + b₁ + (L Eᵏ ⊙ Eᵏ) W₂ + b₂); the final vectors are E⁰ and the layers, scaled to length 1, beside each other.
pub struct Ngcf {
    config: NgcfConfig,
    nodes: Nodes,
    adjacency: Csr,
    whole: Rc<Matrix>,
    /// Of the step at hand.
    thinned: Option<Rc<Matrix>>,
    seed: u64,
    layers: Vec<Layer>,
}

struct Layer {
    sum: Tensor,
    sum_bias: Tensor,
    product: Tensor,
    product_bias: Tensor,
}

/// Slope of the activation below 0, libtorch's and TensorFlow's differ (.01 and .2): the authors' TensorFlow has this one.
const SLOPE: f64 = 0.2;

impl Ngcf {
    fn last(&self, adjacency: &Rc<Matrix>, rate: f64) -> Result<Tensor> {
        let mut vectors = self.nodes.all()?;
        let mut layers = vec![vectors.shallow_clone()];
        for layer in &self.layers {
            let near = times(adjacency, &vectors)?;
            let sum = near.f_matmul(&layer.sum)?.f_add(&layer.sum_bias)?;
            let product = (&near * &vectors).f_matmul(&layer.product)?.f_add(&layer.product_bias)?;
            // max(x, slope · x)
            let out = leaky(&sum)?.f_add(&leaky(&product)?)?;
            vectors = if rate > 0.0 { dropout(&out, rate)? } else { out };
            let length = vectors.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?.f_clamp_min(1e-12)?.f_sqrt()?;
            layers.push(&vectors / length);
        }
        Ok(Tensor::f_cat(&layers, 1)?)
    }
}

fn leaky(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_maximum(&(x * SLOPE))?)
}

impl Model for Ngcf {
    type Config = NgcfConfig;
    type Batch = PairwiseBatch;

    fn new(config: &NgcfConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let nodes = Nodes::new(data, config.embedding_size, Init::XavierUniform, params)?;
        let adjacency = Graph::of(data).adjacency(config.normalisation, config.self_loops);
        let whole = Rc::new(Matrix::of(adjacency.clone()));
        let mut layers = Vec::new();
        let mut size = config.embedding_size;
        for (at, &next) in config.hidden_sizes.iter().enumerate() {
            let mut pair = |kind: &str| -> Result<(Tensor, Tensor)> {
                let name = format!("layer_{}_{kind}", at + 1);
                Ok((
                    params.dense(&name, &[size, next], Init::XavierUniform)?,
                    params.dense(&format!("{name}_bias"), &[1, next], Init::XavierUniform)?,
                ))
            };
            let ((sum, sum_bias), (product, product_bias)) = (pair("sum")?, pair("product")?);
            layers.push(Layer { sum, sum_bias, product, product_bias });
            size = next;
        }
        Ok(Self { config: config.clone(), nodes, adjacency, whole, thinned: None, seed: params.seed(), layers })
    }

    fn shape_batches(config: &NgcfConfig, options: &mut BatchOptions) {
        shape_batches(&config.loss, options);
    }

    fn begin_step(&mut self, step: u64) {
        self.nodes.moved();
        let rate = self.config.node_dropout;
        let thinned = || with_entries_dropped(&self.adjacency, 1.0 - rate, self.seed, step);
        self.thinned = (rate > 0.0).then(|| Rc::new(Matrix::of(thinned())));
    }

    fn load_state(&mut self, _from: &StateReader) -> Result<()> {
        self.nodes.moved();
        Ok(())
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let last = self.last(self.thinned.as_ref().unwrap_or(&self.whole), self.config.dropout)?;
        let taken = rows(&last, &self.nodes.of(batch))?;
        Ok(Rows::of(&taken, batch)?.loss(&self.config.loss)? + penalty(&taken, self.config.l2, batch)?)
    }
}

impl Score for Ngcf {
    fn num_items(&self) -> usize {
        self.nodes.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.nodes.score(users, || self.last(&self.whole, 0.0))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.nodes.item_vectors(|| self.last(&self.whole, 0.0))
    }
}
