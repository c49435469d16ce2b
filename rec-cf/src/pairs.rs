//! The pairs of a batch: each positive and its negatives with their user. What depends on the user alone is computed once for each
//! positive, what depends on the item alone once for each distinct item.

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::sparse::Pattern;
use rec_data::batch::PairwiseBatch;
use rec_data::csr::Csr;
use tch::{Kind, Tensor};

/// Which rows of users and of items make a pair.
pub(crate) struct Pairs {
    /// Row b, a positive of the batch: its pairs, the positive first; columns are distinct items.
    pub(crate) pattern: Arc<Pattern>,
    /// The items behind the columns.
    pub(crate) items: Vec<u32>,
}

impl Pairs {
    pub(crate) fn of(batch: &PairwiseBatch, num_items: usize) -> Self {
        let each = batch.negatives.len() / batch.users.len().max(1);
        let row = |(at, &positive): (usize, &u32)| [&[positive], &batch.negatives[at * each..(at + 1) * each]].concat();
        let (pattern, items) = Pattern::compact(&Csr::from_rows(num_items, batch.positives.iter().enumerate().map(row)));
        Self { pattern: Arc::new(pattern), items }
    }

    /// The loss of `scores`, one a pair, and λ/2 of the squared norms: of the table rows `users` (`[B, d]`) and `items` (of the distinct
    /// ones) of all pairs, mean over the B positives, a user counting once for each, and of the weights.
    pub(crate) fn loss(&self, loss: &LossConfig, scores: &Tensor, l2: f64, rows: Rows<'_>, weights: &[&Tensor]) -> Result<Tensor> {
        let size = self.pattern.num_rows() as i64;
        let scores = scores.f_view([size, -1])?;
        let (positive, negatives) = (scores.f_select(1, 0)?, scores.f_narrow(1, 1, scores.size()[1] - 1)?);
        let mut loss = loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })?;
        if l2 > 0.0 {
            let mut counts = vec![0f32; self.items.len()];
            self.pattern.columns().iter().for_each(|&column| counts[column as usize] += 1.0);
            let counts = Tensor::from_slice(&counts).f_to_device(scores.device())?.f_unsqueeze(1)?;
            let share = 0.5 * l2 / size as f64;
            for users in rows.users {
                loss += users.f_square()?.f_sum(None::<Kind>)? * share;
            }
            for items in rows.items {
                loss += items.f_square()?.f_mul(&counts)?.f_sum(None::<Kind>)? * share;
            }
            for weight in weights {
                loss += weight.f_square()?.f_sum(None::<Kind>)? * (0.5 * l2);
            }
        }
        Ok(loss)
    }
}

/// Table rows that a batch took.
pub(crate) struct Rows<'a> {
    pub(crate) users: &'a [&'a Tensor],
    pub(crate) items: &'a [&'a Tensor],
}
