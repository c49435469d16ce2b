//! SimGCL: LightGCN that also learns to know its nodes again under noise. Yu et al., Are Graph Augmentations Necessary?, SIGIR 2022,
//! arXiv:2112.08679.

use anyhow::Result;
use rec_core::distinct::Distinct;
use rec_core::loss::{Loss, LossConfig, LossInput, Similarity, Strangers};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::state::StateReader;
use rec_core::{Init, Params};
use rec_data::batch::{BatchOptions, PairwiseBatch};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::linear::Linear;
use crate::nodes::Nodes;
use crate::objective::{Rows, penalty, rows, shape_batches};
use crate::{check_above_0, check_layers, check_not_negative, check_size};

/// Hyper-parameters. Defaults are the paper's for Yelp2018.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimGclConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// K; the mean is over the layers 1 to K.
    pub num_layers: usize,
    /// ε, the length of the noise that each layer of a view adds to each vector.
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

impl Default for SimGclConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            num_layers: 3,
            noise: 0.1,
            contrastive_weight: 0.5,
            temperature: 0.2,
            l2: 1e-4,
            loss: LossConfig::Bpr {},
        }
    }
}

impl ModelConfig for SimGclConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_layers(self.num_layers, 1)?;
        check_not_negative("noise", self.noise)?;
        check_not_negative("contrastive_weight", self.contrastive_weight)?;
        check_above_0("temperature", self.temperature)?;
        check_not_negative("l2", self.l2)?;
        self.loss.check()
    }
}

/// E = mean of Aᵏ E⁰, k = 1 … K. Two noisy views E′ and E″ of the batch's distinct users, and of its distinct positives, are told apart
/// by InfoNCE.
pub struct SimGcl {
    config: SimGclConfig,
    nodes: Nodes,
    layers: Linear,
}

impl SimGcl {
    fn last(&self) -> Result<Tensor> {
        self.layers.all(&self.nodes.all()?)
    }

    /// The mean of layers with noise.
    fn view(&self, first: &Tensor) -> Result<Tensor> {
        let mut vectors = first.shallow_clone();
        let mut sum: Option<Tensor> = None;
        for _ in 0..self.config.num_layers {
            vectors = noisy(&self.layers.step(&vectors)?, self.config.noise)?;
            sum = Some(sum.map_or_else(|| Ok(vectors.shallow_clone()), |sum| sum.f_add(&vectors))?);
        }
        Ok(sum.map_or_else(|| first.shallow_clone(), |sum| sum / self.config.num_layers as f64))
    }
}

/// x + ε · sign(x) ⊙ u/‖u‖ with u uniform on [0, 1), row by row: a turn by a small angle that stays in its orthant. No gradient to u.
pub(crate) fn noisy(x: &Tensor, noise: f64) -> Result<Tensor> {
    if noise == 0.0 {
        return Ok(x.shallow_clone());
    }
    let added = tch::no_grad(|| -> Result<Tensor> {
        let drawn = x.f_rand_like()?;
        let length = drawn.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?.f_sqrt()?;
        Ok(x.f_sign()? * drawn * (length.f_reciprocal()? * noise))
    })?;
    Ok(x.f_add(&added)?)
}

/// InfoNCE of two views of the batch's distinct users plus that of its distinct positives, by cosines.
///
/// # Shapes
/// `one` and `other` `[num_nodes, d]`, the batch's nodes being `ids`
pub(crate) fn known_again(one: &Tensor, other: &Tensor, ids: &[u32], batch: &PairwiseBatch, temperature: f64) -> Result<Tensor> {
    let loss = LossConfig::InfoNce { temperature, similarity: Similarity::Cosine, negatives: Strangers::OtherView };
    let b = batch.users.len();
    let part = |ids: &[u32]| -> Result<Tensor> {
        let distinct = Distinct::of(ids, one.size()[0] as usize).ids;
        loss.loss(&LossInput::Views { left: &rows(one, &distinct)?, right: &rows(other, &distinct)? })
    };
    Ok(part(&ids[..b])?.f_add(&part(&ids[b..2 * b])?)?)
}

impl Model for SimGcl {
    type Config = SimGclConfig;
    type Batch = PairwiseBatch;

    fn new(config: &SimGclConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let nodes = Nodes::new(data, config.embedding_size, Init::XavierUniform, params)?;
        Ok(Self { config: config.clone(), nodes, layers: Linear::mean_of_moved(data, config.num_layers) })
    }

    fn shape_batches(config: &SimGclConfig, options: &mut BatchOptions) {
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
        let loss = loss + penalty(&rows(&first, &ids)?, self.config.l2, batch)?;
        if self.config.contrastive_weight == 0.0 {
            return Ok(loss);
        }
        let (one, other) = (self.view(&first)?, self.view(&first)?);
        Ok(loss + known_again(&one, &other, &ids, batch, self.config.temperature)? * self.config.contrastive_weight)
    }
}

impl Score for SimGcl {
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
