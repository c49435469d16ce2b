//! A batch of positives with N negatives each as N + 1 blocks of B items, so that what depends on the user alone is computed once for a
//! positive and meets all its items without a copy.

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_data::batch::PairwiseBatch;
use tch::{Kind, Tensor};

/// The positives of the batch, then the first negative of each, then the second, …: `[1 + N, B]`, row after row.
pub(crate) fn item_blocks(batch: &PairwiseBatch) -> Vec<u32> {
    let each = batch.negatives.len() / batch.users.len().max(1);
    let mut items = batch.positives.clone();
    items.extend((0..each).flat_map(|n| batch.negatives.iter().skip(n).step_by(each)));
    items
}

/// The loss of `scores` (`[1 + N, B]` in any shape) and λ/2 of the squared norms: of the batch's table rows, mean over the B positives,
/// and of the weights.
pub(crate) fn ranked_loss(
    loss: &LossConfig,
    scores: &Tensor,
    batch: &PairwiseBatch,
    l2: f64,
    rows: &[&Tensor],
    weights: &[&Tensor],
) -> Result<Tensor> {
    let size = batch.users.len() as i64;
    let scores = scores.f_view([-1, size])?;
    let (positive, negatives) = (scores.f_get(0)?, scores.f_narrow(0, 1, scores.size()[0] - 1)?.f_tr()?);
    let mut loss = loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })?;
    if l2 > 0.0 {
        for (tensors, share) in [(rows, 1.0 / size as f64), (weights, 1.0)] {
            for tensor in tensors {
                loss += tensor.f_square()?.f_sum(None::<Kind>)? * (0.5 * l2 * share);
            }
        }
    }
    Ok(loss)
}
