//! LightGCN: vectors move along edges as they are, without weights, activations or own edges. He et al., SIGIR 2020, arXiv:2002.02126.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::sparse::Storage;
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
use crate::{check_above_0, check_layers, check_not_negative, check_size};

/// Hyper-parameters. Defaults are the paper's for Gowalla, initial values those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LightGcnConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// K.
    pub num_layers: usize,
    /// α_0 … α_K, what each layer counts; empty is 1/(K + 1) each.
    pub layer_weights: Vec<f64>,
    /// λ of λ(‖e_u‖² + ‖e_i‖² + ‖e_j‖²)/2 of layer 0, mean over the batch.
    pub l2: f64,
    /// Standard deviation of the initial values.
    pub init_std: f64,
    /// How vectors lie in memory while they are gathered in training: `f32`, or `bf16`, half as many bytes, which rounds them.
    #[serde(skip_serializing_if = "Storage::is_default")]
    pub storage: Storage,
    /// What is minimised: a loss of a positive against negatives, or `info-nce` of users and their positives, by which the batch's other
    /// positives are the negatives.
    pub loss: LossConfig,
}

impl Default for LightGcnConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            num_layers: 3,
            layer_weights: Vec::new(),
            l2: 1e-4,
            init_std: 0.1,
            storage: Storage::F32,
            loss: LossConfig::Bpr {},
        }
    }
}

impl ModelConfig for LightGcnConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_layers(self.num_layers, 0)?;
        let weights = &self.layer_weights;
        require!(
            weights.is_empty() || weights.len() == self.num_layers + 1,
            Usage,
            "`layer_weights` has {} numbers: it must have one for each of the layers 0 to `num_layers`, or none",
            weights.len()
        );
        require!(weights.iter().all(|w| w.is_finite()), Usage, "`layer_weights` holds a number that is not finite");
        check_not_negative("l2", self.l2)?;
        check_above_0("init_std", self.init_std)?;
        self.loss.check()
    }
}

/// E = Σ_k α_k Aᵏ E⁰ with A = D^−½ (edges) D^−½; score(u, i) = e_u · e_i. 0 layers are matrix factorisation.
pub struct LightGcn {
    config: LightGcnConfig,
    nodes: Nodes,
    layers: Linear,
}

impl LightGcn {
    fn last(&self) -> Result<Tensor> {
        self.layers.all(&self.nodes.all()?)
    }
}

impl Model for LightGcn {
    type Config = LightGcnConfig;
    type Batch = PairwiseBatch;

    fn new(config: &LightGcnConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let nodes = Nodes::new(data, config.embedding_size, Init::Normal { std: config.init_std }, params)?;
        let weights = match &config.layer_weights[..] {
            [] => vec![1.0 / (config.num_layers + 1) as f32; config.num_layers + 1],
            given => given.iter().map(|&w| w as f32).collect(),
        };
        Ok(Self { config: config.clone(), nodes, layers: Linear::new(data, weights, config.storage) })
    }

    fn shape_batches(config: &LightGcnConfig, options: &mut BatchOptions) {
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
        let (ids, first) = (self.nodes.of(batch), self.nodes.all()?);
        let loss = Rows::of(&self.layers.rows(&first, &ids)?, batch)?.loss(&self.config.loss)?;
        if self.config.l2 == 0.0 {
            return Ok(loss);
        }
        Ok(loss + penalty(&rows(&first, &ids)?, self.config.l2, batch)?)
    }
}

impl Score for LightGcn {
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
