//! SAC, self-supervised actor-critic: next-item prediction in which each step weighs as much as its Q-value. Xin, Karatzoglou, Arapakis,
//! Jose, SIGIR 2020, arXiv:2006.05779.
//!
//! Network and Q-learning are those of [`sqn`](crate::sqn). The authors' code also lowers the learning rate after the warm-up:
//! `optimizer.schedule` is where to say so.

use anyhow::Result;
use rec_core::Params;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::params::slice;
use rec_core::scores::Scores;
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::check_rate;
use crate::encoder::Backbone;
use crate::policy::Policy;
use crate::q_heads::QHeads;
use crate::transitions::{Reward, Transitions};

/// Hyper-parameters. Defaults are the paper's, but for its rewards of 0.2 for a click and 1 for a purchase; the warm-up is that of the
/// authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// The last so many items are seen.
    pub max_len: usize,
    /// Whether items are predicted by the vectors that the encoder is shown.
    pub tie_embeddings: bool,
    /// What taking an item is worth.
    pub reward: Reward,
    /// γ; 0 learns the next reward alone.
    pub discount: f64,
    /// So many steps are SQN's, until Q-values mean something.
    pub warm_up_steps: u64,
    /// The network that looks at the history.
    pub backbone: Backbone,
}

impl Default for SacConfig {
    fn default() -> Self {
        Self {
            max_len: 10,
            tie_embeddings: false,
            reward: Reward::One,
            discount: 0.5,
            warm_up_steps: 15_000,
            backbone: Backbone::default(),
        }
    }
}

impl ModelConfig for SacConfig {
    fn check(&self) -> Result<()> {
        self.backbone.check(self.max_len, self.tie_embeddings)?;
        check_rate("discount", self.discount)
    }
}

/// Minimises L_a + L_q: the mean of Q(s_t, a_t) times step t's cross-entropy, Q being a constant, and the error of Q. The first recommends.
pub struct Sac {
    config: SacConfig,
    policy: Policy,
    q: QHeads,
    step: u64,
}

impl Model for Sac {
    type Config = SacConfig;
    type Batch = SequencesBatch;

    fn new(config: &SacConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        config.reward.check(data)?;
        let policy = Policy::new(&config.backbone, config.max_len, config.tie_embeddings, data, params)?;
        let q = QHeads::new(data.num_items(), policy.state_size(), params)?;
        Ok(Self { config: config.clone(), policy, q, step: 0 })
    }

    fn shape_batches(config: &SacConfig, options: &mut BatchOptions) {
        (options.max_len, options.num_negatives) = (config.max_len, 0);
    }

    fn begin_step(&mut self, step: u64) {
        self.step = step;
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let steps = Transitions::of(batch, self.config.reward);
        let states = self.policy.states(&steps)?;
        let (values, of_q) = self.q.loss(&states, &steps, self.config.discount)?;
        let of_actor = if self.step < self.config.warm_up_steps {
            self.policy.head().loss(&states, &steps.actions)?
        } else {
            let values = values.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
            let values = slice(&values);
            self.policy.head().weighted_loss(&states, &steps.actions, |step, _| values[step])?.0
        };
        Ok(of_actor.f_add(&of_q)?)
    }
}

impl Score for Sac {
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
