//! REINFORCE with top-K off-policy correction: a policy that learns from what another one recommended. Chen, Beutel, Covington, Jain,
//! Belletti, Chi, WSDM 2019, arXiv:1812.02353.

use anyhow::Result;
use rec_core::Params;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_share;
use crate::encoder::Backbone;
use crate::item_head::ItemHead;
use crate::policy::Policy;
use crate::transitions::{Reward, Transitions};

/// Hyper-parameters. K and the cap, about e³, are the paper's; its discount is not published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceConfig {
    /// The last so many items are seen.
    pub max_len: usize,
    /// Whether items are recommended by the vectors that the encoder is shown.
    pub tie_embeddings: bool,
    /// What taking an item is worth.
    pub reward: Reward,
    /// γ; 0 counts the next reward alone, 1 all of the sequence alike.
    pub discount: f64,
    /// Whether steps are weighted by π/β. Without it the policy learns what was logged, times its return.
    pub off_policy: bool,
    /// The largest π/β.
    pub weight_cap: f64,
    /// K, the number of items recommended at once; 1 is no correction for it.
    pub top_k: u32,
    /// The network that looks at the history.
    pub backbone: Backbone,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        Self {
            max_len: 10,
            tie_embeddings: false,
            reward: Reward::One,
            discount: 0.9,
            off_policy: true,
            weight_cap: 20.0,
            top_k: 16,
            backbone: Backbone::default(),
        }
    }
}

impl ModelConfig for ReinforceConfig {
    fn check(&self) -> Result<()> {
        self.backbone.check(self.max_len, self.tie_embeddings)?;
        check_share("discount", self.discount)?;
        let (cap, k) = (self.weight_cap, self.top_k);
        require!(cap > 0.0, Usage, "`weight_cap` is {cap}: it must be above 0");
        require!((1..=1_000).contains(&k), Usage, "`top_k` is {k}: it must be at least 1 and at most 1000");
        Ok(())
    }
}

/// Minimises −mean λ ρ R ln π(a | s), with constants λ = K(1 − π)^(K − 1), ρ = min(π/β, cap) and the return R, and beside it the
/// cross-entropy of β(a | s), a softmax head on the same states whose gradient does not reach them. π recommends.
pub struct Reinforce {
    config: ReinforceConfig,
    policy: Policy,
    /// β; absent where nothing is corrected by it.
    behaviour: Option<ItemHead>,
}

impl Model for Reinforce {
    type Config = ReinforceConfig;
    type Batch = SequencesBatch;

    fn new(config: &ReinforceConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        config.reward.check(data)?;
        let policy = Policy::new(&config.backbone, config.max_len, config.tie_embeddings, data, params)?;
        let mut behaviour = || ItemHead::new("behaviour", data.num_items(), policy.state_size(), params);
        let behaviour = config.off_policy.then(&mut behaviour).transpose()?;
        Ok(Self { config: config.clone(), policy, behaviour })
    }

    fn shape_batches(config: &ReinforceConfig, options: &mut BatchOptions) {
        (options.max_len, options.num_negatives) = (config.max_len, 0);
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let steps = Transitions::of(batch, self.config.reward);
        let states = self.policy.states(&steps)?;
        let returns = steps.returns(self.config.discount);
        let k = self.config.top_k as i32;
        let top_k = |log_pi: f32| k as f32 * (1.0 - log_pi.exp()).max(0.0).powi(k - 1);
        let Some(behaviour) = &self.behaviour else {
            return Ok(self.policy.head().weighted_loss(&states, &steps.actions, |step, log_pi| top_k(log_pi) * returns[step])?.0);
        };
        let (of_behaviour, log_beta) = behaviour.weighted_loss(&states.f_detach()?, &steps.actions, |_, _| 1.0)?;
        let cap = self.config.weight_cap as f32;
        let weight = |step: usize, log_pi: f32| top_k(log_pi) * (log_pi - log_beta[step]).exp().min(cap) * returns[step];
        let (of_policy, _) = self.policy.head().weighted_loss(&states, &steps.actions, weight)?;
        Ok(of_policy.f_add(&of_behaviour)?)
    }
}

impl Score for Reinforce {
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
