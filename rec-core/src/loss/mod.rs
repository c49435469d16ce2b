//! Losses: values that a config names and all families share. Each file states its formula, its range and what it accepts; gradients
//! are libtorch's, checked in f64 against differences. [`shared_negatives()`] has some of them once more, in one pass of our own.

mod bpr;
mod bpr_max;
mod contrastive;
mod cross_entropy;
mod info_nce;
mod sampled_softmax;
mod shared_negatives;
mod squared_error;
mod top1;
mod top1_max;
mod weighted_bce;

pub use bpr::Bpr;
pub use bpr_max::BprMax;
pub use contrastive::Contrastive;
pub use cross_entropy::CrossEntropy;
pub use info_nce::{InfoNce, Similarity, Strangers};
pub use sampled_softmax::SampledSoftmax;
pub use shared_negatives::{OutputActivation, shared_negatives};
pub use squared_error::SquaredError;
pub use top1::Top1;
pub use top1_max::Top1Max;
pub use weighted_bce::WeightedBce;

use std::sync::Arc;

use anyhow::Result;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::sparse::{Pattern, pick};

/// What a loss judges.
pub enum LossInput<'a> {
    /// A positive against negatives of its own.
    Ranked {
        /// `[B]` scores of the positives.
        positive: &'a Tensor,
        /// `[B, N]` scores of the negatives.
        negatives: &'a Tensor,
        /// Natural logarithms of the probabilities by which positives `[B]` and negatives `[B, N]` (or `[N]`) are drawn, for logQ.
        log_q: Option<(&'a Tensor, &'a Tensor)>,
    },
    /// One class of many.
    Classes {
        /// `[B, C]` scores.
        logits: &'a Tensor,
        /// `[B]` i64, the right class.
        target: &'a Tensor,
    },
    /// Yes or no.
    Labelled {
        /// Any shape, scores before the sigmoid.
        logits: &'a Tensor,
        /// The same shape, 0 to 1.
        labels: &'a Tensor,
        /// The same shape, at least 0; absent is 1.
        weights: Option<&'a Tensor>,
    },
    /// Whole rows, of which a few entries count: a user's items among all items.
    Rows {
        /// `[B, C]` scores.
        scores: &'a Tensor,
        /// Which entries are not 0.
        entries: &'a Arc<Pattern>,
        /// Their values, one an entry; absent is 1.
        values: Option<&'a Tensor>,
    },
    /// Two views of the same things: row `i` of one belongs to row `i` of the other, all other rows do not.
    Views {
        /// `[B, d]`.
        left: &'a Tensor,
        /// `[B, d]`.
        right: &'a Tensor,
    },
    /// Numbers, some of them observed.
    Rated {
        /// Any shape.
        predicted: &'a Tensor,
        /// The same shape.
        observed: &'a Tensor,
        /// The same shape, 1 where observed, else 0; absent is 1.
        mask: Option<&'a Tensor>,
    },
}

impl LossInput<'_> {
    fn kind(&self) -> &'static str {
        match self {
            LossInput::Ranked { .. } => "a positive against negatives",
            LossInput::Classes { .. } => "one class of many",
            LossInput::Labelled { .. } => "labels",
            LossInput::Rows { .. } => "whole rows",
            LossInput::Views { .. } => "two views",
            LossInput::Rated { .. } => "ratings",
        }
    }
}

/// A training objective.
pub trait Loss {
    /// The loss: a scalar, the mean over what it judges (of whole rows, the mean over rows of a row's sum), differentiable.
    ///
    /// # Errors
    /// a usage problem where the loss does not judge this kind of input; libtorch's own.
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor>;
}

/// A loss as a config names it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossConfig {
    /// [`Bpr`].
    Bpr {},
    /// [`BprMax`].
    BprMax {
        /// λ of the score regularisation.
        #[serde(default)]
        score_l2: f64,
    },
    /// [`Top1`].
    Top1 {},
    /// [`Top1Max`].
    Top1Max {},
    /// [`CrossEntropy`].
    CrossEntropy {},
    /// [`SampledSoftmax`].
    SampledSoftmax {
        /// Whether scores are corrected by the logarithm of the drawing probability.
        #[serde(default)]
        log_q: bool,
    },
    /// [`WeightedBce`].
    WeightedBce {
        /// Weight of positives.
        #[serde(default = "one")]
        positive_weight: f64,
    },
    /// [`InfoNce`].
    InfoNce {
        /// τ.
        temperature: f64,
        /// How alike two vectors are.
        #[serde(default)]
        similarity: Similarity,
        /// Whom a row is told from.
        #[serde(default)]
        negatives: Strangers,
    },
    /// [`Contrastive`].
    Contrastive {
        /// m.
        margin: f64,
    },
    /// [`SquaredError`].
    SquaredError {},
}

fn one() -> f64 {
    1.0
}

impl LossConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// a usage problem that names the key and what it may be.
    pub fn check(&self) -> Result<()> {
        match *self {
            LossConfig::BprMax { score_l2 } => require!(score_l2 >= 0.0, Usage, "`score_l2` is {score_l2}: it must be at least 0"),
            LossConfig::WeightedBce { positive_weight } => {
                require!(positive_weight > 0.0, Usage, "`positive_weight` is {positive_weight}: it must be above 0");
            }
            LossConfig::InfoNce { temperature, .. } => {
                require!(temperature > 0.0, Usage, "`temperature` is {temperature}: it must be above 0")
            }
            LossConfig::Contrastive { margin } => require!(margin > 0.0, Usage, "`margin` is {margin}: it must be above 0"),
            _ => {}
        }
        Ok(())
    }
}

impl Loss for LossConfig {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        match *self {
            LossConfig::Bpr {} => Bpr.loss(input),
            LossConfig::BprMax { score_l2 } => BprMax { score_l2 }.loss(input),
            LossConfig::Top1 {} => Top1.loss(input),
            LossConfig::Top1Max {} => Top1Max.loss(input),
            LossConfig::CrossEntropy {} => CrossEntropy.loss(input),
            LossConfig::SampledSoftmax { log_q } => SampledSoftmax { log_q }.loss(input),
            LossConfig::WeightedBce { positive_weight } => WeightedBce { positive_weight }.loss(input),
            LossConfig::InfoNce { temperature, similarity, negatives } => InfoNce { temperature, similarity, negatives }.loss(input),
            LossConfig::Contrastive { margin } => Contrastive { margin }.loss(input),
            LossConfig::SquaredError {} => SquaredError.loss(input),
        }
    }
}

fn refuse(loss: &str, needs: &str, input: &LossInput<'_>) -> Result<Tensor> {
    fail!(Usage, "the loss `{loss}` judges {needs}, this model brings {}", input.kind())
}

/// Σ value · score over the entries.
fn sum_of_entries(scores: &Tensor, entries: &Arc<Pattern>, values: Option<&Tensor>) -> Result<Tensor> {
    let picked = pick(entries, scores)?;
    Ok(values.map_or_else(|| Ok(picked.shallow_clone()), |v| picked.f_mul(v))?.f_sum(None::<Kind>)?)
}

/// `[B]` positives and `[B, N]` negatives.
fn ranked<'a>(loss: &str, input: &LossInput<'a>) -> Result<(&'a Tensor, &'a Tensor)> {
    match input {
        LossInput::Ranked { positive, negatives, .. } => {
            require!(negatives.numel() > 0, Usage, "the loss `{loss}` needs negatives: `num_negatives` must be at least 1");
            Ok((positive, negatives))
        }
        _ => refuse(loss, "a positive against negatives", input).map(|_| unreachable!("refuse always fails")),
    }
}

#[cfg(test)]
mod tests;
