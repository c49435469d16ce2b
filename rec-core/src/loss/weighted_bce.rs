//! Weighted binary cross-entropy.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse, sum_of_entries};
use crate::sparse::pick;

/// mean of −w·(w⁺·y·ln σ(r) + (1 − y)·ln(1 − σ(r))). Range: at least 0. A positive against negatives is one 1 and N zeros.
/// Of whole rows: the mean over rows of the row's sum, entries' values being the labels and all others 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightedBce {
    /// w⁺, the weight of positives.
    pub positive_weight: f64,
}

impl Loss for WeightedBce {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        match input {
            LossInput::Labelled { logits, labels, weights } => {
                // −ln σ(r) = softplus(−r), −ln(1 − σ(r)) = softplus(r).
                let positive = *labels * logits.f_neg()?.f_softplus()? * self.positive_weight;
                let negative = (1.0 - *labels) * logits.f_softplus()?;
                let each: Tensor = positive + negative;
                Ok(match weights {
                    Some(w) => each.f_mul(w)?.f_mean(None::<Kind>)?,
                    None => each.f_mean(None::<Kind>)?,
                })
            }
            LossInput::Ranked { positive, negatives, .. } => {
                let sum = positive.f_neg()?.f_softplus()?.f_sum(None::<Kind>)? * self.positive_weight
                    + negatives.f_softplus()?.f_sum(None::<Kind>)?;
                Ok(sum / (positive.numel() + negatives.numel()) as f64)
            }
            LossInput::Rows { scores, entries, values } => {
                // y·w⁺·softplus(−r) + (1 − y)·softplus(r) = softplus(r) + y·((w⁺ − 1)·softplus(−r) − r) for y in {0, 1}, and for all y.
                let all = scores.f_softplus()?.f_sum(None::<Kind>)?;
                let mut sum = all - sum_of_entries(scores, entries, *values)?;
                if self.positive_weight != 1.0 {
                    let extra = pick(entries, scores)?.f_neg()?.f_softplus()? * (self.positive_weight - 1.0);
                    sum += values.map_or_else(|| Ok(extra.shallow_clone()), |v| extra.f_mul(v))?.f_sum(None::<Kind>)?;
                }
                Ok(sum / entries.num_rows() as f64)
            }
            _ => refuse("weighted-bce", "labels", input),
        }
    }
}
