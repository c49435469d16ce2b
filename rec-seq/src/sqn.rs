//! SQN: next-item prediction with a Q-learning head that shapes the states beside it. Xin, Karatzoglou, Arapakis, Jose, SIGIR 2020,
//! arXiv:2006.05779.
//!
//! The paper learns two copies of the whole network in turn and recommends by one of them; here there is one network with two Q heads,
//! of which each step moves one, so that the prediction learns from every step. The authors' code halves the squared error. An optimizer
//! with momentum that moves all rows (`optimizer.rows`) also moves the other head by what it remembers.

use anyhow::Result;
use rec_core::Params;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_rate;
use crate::encoder::Backbone;
use crate::policy::Policy;
use crate::q_heads::QHeads;
use crate::transitions::{Reward, Transitions};

/// Hyper-parameters. Defaults are the paper's, but for its rewards of 0.2 for a click and 1 for a purchase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqnConfig {
    /// The last so many items are seen.
    pub max_len: usize,
    /// Whether items are predicted by the vectors that the encoder is shown.
    pub tie_embeddings: bool,
    /// What taking an item is worth.
    pub reward: Reward,
    /// γ; 0 learns the next reward alone.
    pub discount: f64,
    /// What L_q counts beside L_s, 1 in the paper. At 0 there are no Q-values: the encoder with L_s alone.
    pub q_weight: f64,
    /// The network that looks at the history.
    pub backbone: Backbone,
}

impl Default for SqnConfig {
    fn default() -> Self {
        Self { max_len: 10, tie_embeddings: false, reward: Reward::One, discount: 0.5, q_weight: 1.0, backbone: Backbone::default() }
    }
}

impl ModelConfig for SqnConfig {
    fn check(&self) -> Result<()> {
        self.backbone.check(self.max_len, self.tie_embeddings)?;
        let weight = self.q_weight;
        require!(weight >= 0.0 && weight.is_finite(), Usage, "`q_weight` is {weight}: it must be at least 0");
        check_rate("discount", self.discount)
    }
}

/// Minimises L_s + w · L_q: cross-entropy of the next item over all items, and the error of Q(s, a). The first recommends.
pub struct Sqn {
    config: SqnConfig,
    policy: Policy,
    q: Option<QHeads>,
}

impl Model for Sqn {
    type Config = SqnConfig;
    type Batch = SequencesBatch;

    fn new(config: &SqnConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        config.reward.check(data)?;
        let policy = Policy::new(&config.backbone, config.max_len, config.tie_embeddings, data, params)?;
        let q = (config.q_weight > 0.0).then(|| QHeads::new(data.num_items(), policy.state_size(), params)).transpose()?;
        Ok(Self { config: config.clone(), policy, q })
    }

    fn shape_batches(config: &SqnConfig, options: &mut BatchOptions) {
        (options.max_len, options.num_negatives) = (config.max_len, 0);
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let steps = Transitions::of(batch, self.config.reward);
        let states = self.policy.states(&steps)?;
        let of_policy = self.policy.head().loss(&states, &steps.actions)?;
        let Some(q) = &self.q else { return Ok(of_policy) };
        let (_, of_q) = q.loss(&states, &steps, self.config.discount)?;
        Ok(of_policy.f_add(&(of_q * self.config.q_weight))?)
    }
}

impl Score for Sqn {
    fn num_items(&self) -> usize {
        self.policy.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.policy.score(users)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.policy.item_vectors())
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
