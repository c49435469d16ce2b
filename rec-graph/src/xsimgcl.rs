//! XSimGCL: SimGCL whose two views are the last and an earlier sum of one noisy pass. Yu et al., XSimGCL, TKDE 2023, arXiv:2209.02544.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::state::StateReader;
use rec_core::{Init, Params};
use rec_data::batch::{BatchOptions, PairwiseBatch};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::linear::Linear;
use crate::nodes::Nodes;
use crate::objective::{Rows, penalty, rows, shape_batches};
use crate::simgcl::{known_again, noisy};
use crate::{check_above_0, check_layers, check_not_negative, check_size};

/// Hyper-parameters. Defaults are the paper's for Yelp2018.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XSimGclConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// K; the mean is over the layers 1 to K.
    pub num_layers: usize,
    /// l*, the layer that is held against the mean.
    pub contrasted_layer: usize,
    /// ε, the length of the noise that each layer adds to each vector.
    pub noise: f64,
    /// λ, the weight of the contrastive loss.
    pub contrastive_weight: f64,
    /// τ of the contrastive loss.
    pub temperature: f64,
    /// λ of λ(‖e_u‖² + ‖e_i‖² + ‖e_j‖²)/2 of layer 0, mean over the batch.
    pub l2: f64,
    /// What is minimised beside it, as of LightGCN.
    pub loss: LossConfig,
}

impl Default for XSimGclConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            num_layers: 3,
            contrasted_layer: 1,
            noise: 0.2,
            contrastive_weight: 0.2,
            temperature: 0.15,
            l2: 1e-4,
            loss: LossConfig::Bpr {},
        }
    }
}

impl ModelConfig for XSimGclConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_layers(self.num_layers, 1)?;
        let (layer, layers) = (self.contrasted_layer, self.num_layers);
        require!(
            (1..=layers).contains(&layer),
            Usage,
            "`contrasted_layer` is {layer}: it must be at least 1 and at most `num_layers`, {layers}"
        );
        check_not_negative("noise", self.noise)?;
        check_not_negative("contrastive_weight", self.contrastive_weight)?;
        check_above_0("temperature", self.temperature)?;
        check_not_negative("l2", self.l2)?;
        self.loss.check()
    }
}

/// E = mean of the layers 1 … K, each with noise while it learns; layer l* and E are told apart by InfoNCE.
pub struct XSimGcl {
    config: XSimGclConfig,
    nodes: Nodes,
    layers: Linear,
}

impl XSimGcl {
    fn last(&self) -> Result<Tensor> {
        self.layers.all(&self.nodes.all()?)
    }
}

impl Model for XSimGcl {
    type Config = XSimGclConfig;
    type Batch = PairwiseBatch;

    fn new(config: &XSimGclConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let nodes = Nodes::new(data, config.embedding_size, Init::XavierUniform, params)?;
        Ok(Self { config: config.clone(), nodes, layers: Linear::mean_of_moved(data, config.num_layers) })
    }

    fn shape_batches(config: &XSimGclConfig, options: &mut BatchOptions) {
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
        let c = &self.config;
        let (ids, first) = (self.nodes.of(batch), self.nodes.all()?);
        let mut layers = vec![first.shallow_clone()];
        for layer in 0..c.num_layers {
            layers.push(noisy(&self.layers.step(&layers[layer])?, c.noise)?);
        }
        let mut last = layers[1].shallow_clone();
        for layer in &layers[2..] {
            last = last.f_add(layer)?;
        }
        let last = last / c.num_layers as f64;
        let loss = Rows::of(&rows(&last, &ids)?, batch)?.loss(&c.loss)? + penalty(&rows(&first, &ids)?, c.l2, batch)?;
        if c.contrastive_weight == 0.0 {
            return Ok(loss);
        }
        Ok(loss + known_again(&last, &layers[c.contrasted_layer], &ids, batch, c.temperature)? * c.contrastive_weight)
    }
}

impl Score for XSimGcl {
    fn num_items(&self) -> usize {
        self.nodes.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.nodes.score(users, || self.last())
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.nodes.item_vectors(|| self.last())
    }
}
