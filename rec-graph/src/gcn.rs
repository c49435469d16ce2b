//! A graph convolutional network as a recommender: own edges, a transform and an activation in each layer. Kipf and Welling, ICLR 2017,
//! arXiv:1609.02907; as the baseline GCN of Wang et al., NGCF, SIGIR 2019.

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
use rec_data::graph::{Graph, Normalisation};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::nodes::Nodes;
use crate::objective::{Rows, penalty, rows, shape_batches};
use crate::{check_hidden_sizes, check_not_negative, check_rate, check_size};

/// Hyper-parameters. Defaults are those of NGCF's comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcnConfig {
    /// Length of a vector of layer 0.
    pub embedding_size: usize,
    /// Length of a vector of each further layer.
    pub hidden_sizes: Vec<usize>,
    /// Share of the messages that a layer drops.
    pub dropout: f64,
    /// λ of λ(‖e_u‖² + ‖e_i‖² + ‖e_j‖²)/2 of the final vectors, mean over the batch.
    pub l2: f64,
    /// What is minimised, as of LightGCN.
    pub loss: LossConfig,
}

impl Default for GcnConfig {
    fn default() -> Self {
        Self { embedding_size: 64, hidden_sizes: vec![64, 64, 64], dropout: 0.1, l2: 1e-5, loss: LossConfig::Bpr {} }
    }
}

impl ModelConfig for GcnConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_not_negative("l2", self.l2)?;
        self.loss.check()
    }
}

/// Eᵏ⁺¹ = relu(Â Eᵏ W + b) with Â = D^−½ (edges and own edges) D^−½; the layers beside each other are the final vectors.
pub struct Gcn {
    config: GcnConfig,
    nodes: Nodes,
    adjacency: Rc<Matrix>,
    layers: Vec<(Tensor, Tensor)>,
}

impl Gcn {
    fn last(&self, rate: f64) -> Result<Tensor> {
        let mut layers = vec![self.nodes.all()?];
        for (weight, bias) in &self.layers {
            let moved = times(&self.adjacency, &layers[layers.len() - 1])?;
            let out = moved.f_matmul(weight)?.f_add(bias)?.f_relu()?;
            layers.push(if rate > 0.0 { dropout(&out, rate)? } else { out });
        }
        Ok(Tensor::f_cat(&layers, 1)?)
    }
}

impl Model for Gcn {
    type Config = GcnConfig;
    type Batch = PairwiseBatch;

    fn new(config: &GcnConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let nodes = Nodes::new(data, config.embedding_size, Init::XavierUniform, params)?;
        let adjacency = Rc::new(Matrix::of(Graph::of(data).adjacency(Normalisation::Symmetric, true)));
        let mut layers = Vec::new();
        let mut size = config.embedding_size;
        for (at, &next) in config.hidden_sizes.iter().enumerate() {
            let weight = params.dense(&format!("layer_{}", at + 1), &[size, next], Init::XavierUniform)?;
            layers.push((weight, params.dense(&format!("layer_{}_bias", at + 1), &[next], Init::Zeros)?));
            size = next;
        }
        Ok(Self { config: config.clone(), nodes, adjacency, layers })
    }

    fn shape_batches(config: &GcnConfig, options: &mut BatchOptions) {
        shape_batches(&config.loss, options);
    }

    fn begin_step(&mut self, _step: u64) {
        self.nodes.moved();
    }

    fn load_state(&mut self, _from: &StateReader) -> Result<()> {
        self.nodes.moved();
        Ok(())
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let taken = rows(&self.last(self.config.dropout)?, &self.nodes.of(batch))?;
        Ok(Rows::of(&taken, batch)?.loss(&self.config.loss)? + penalty(&taken, self.config.l2, batch)?)
    }
}

impl Score for Gcn {
    fn num_items(&self) -> usize {
        self.nodes.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.nodes.score(users, || self.last(0.0))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.nodes.item_vectors(|| self.last(0.0))
    }
}
