//! The loss of models that are asked for the next item at each position of a sequence.

use std::sync::Arc;

use anyhow::Result;
use rec_core::Table;
use rec_core::full_softmax::full_softmax_loss;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::sparse::{Pattern, products};
use rec_data::batch::SequencesBatch;
use rec_data::csr::Csr;
use rec_data::require;
use tch::Tensor;

/// Where a next item is asked for: at each position of `items` but a sequence's last.
pub(crate) fn asked(batch: &SequencesBatch) -> impl Iterator<Item = usize> {
    batch.starts.windows(2).flat_map(|pair| pair[0]..pair[1] - 1)
}

/// The loss of `hidden` · `items`: `cross-entropy` is over all items, the others judge a next item against the negatives drawn for it.
///
/// # Shapes
/// `hidden` `[P, d]`, one row for each position that is [`asked`], `items` `[I, d]`; returns a scalar
///
/// # Errors
/// a usage problem where the loss needs negatives and the batch has none; libtorch's own.
pub(crate) fn next_item_loss(loss: &LossConfig, hidden: &Tensor, items: &Table, batch: &SequencesBatch) -> Result<Tensor> {
    if matches!(loss, LossConfig::CrossEntropy {}) {
        let targets: Vec<u32> = asked(batch).map(|at| batch.items[at + 1]).collect();
        let all: Vec<u32> = (0..items.num_rows() as u32).collect();
        return full_softmax_loss(hidden, &items.rows(&all)?, &targets);
    }
    let each = batch.negatives.len() / batch.items.len();
    require!(each > 0, Usage, "`num_negatives` is 0: this loss needs at least 1");
    // A position's next item, then the negatives drawn for that item.
    let row = |at: usize| [&batch.items[at + 1..at + 2], &batch.negatives[(at + 1) * each..(at + 2) * each]].concat();
    let (pattern, ids) = Pattern::compact(&Csr::from_rows(items.num_rows(), asked(batch).map(row)));
    let scores = products(&Arc::new(pattern), hidden, &items.rows(&ids)?)?.f_view([hidden.size()[0], -1])?;
    let (positive, negatives) = (scores.f_select(1, 0)?, scores.f_narrow(1, 1, each as i64)?);
    loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })
}
