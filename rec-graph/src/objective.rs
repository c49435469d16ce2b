//! The loss of (user, positive, negatives) from vectors of nodes.

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_data::batch::{BatchOptions, PairwiseBatch};
use tch::{Kind, Tensor};

/// `B` users, `B` positives, `B·N` negatives, as [`Nodes::of`](crate::nodes::Nodes::of) orders them.
pub(crate) struct Rows {
    pub(crate) users: Tensor,
    pub(crate) positives: Tensor,
    negatives: Tensor,
}

impl Rows {
    /// # Shapes
    /// `vectors` `[B (2 + N), d]`
    pub(crate) fn of(vectors: &Tensor, batch: &PairwiseBatch) -> Result<Self> {
        let b = batch.users.len() as i64;
        let (all, d) = (vectors.size()[0], vectors.size()[1]);
        let negatives = vectors.f_narrow(0, 2 * b, all - 2 * b)?.f_view([b, (all - 2 * b) / b.max(1), d])?;
        Ok(Self { users: vectors.f_narrow(0, 0, b)?, positives: vectors.f_narrow(0, b, b)?, negatives })
    }

    /// The loss: of inner products against the negatives, or of users and positives as two views, the batch's other positives being the
    /// negatives.
    pub(crate) fn loss(&self, loss: &LossConfig) -> Result<Tensor> {
        if judges_views(loss) {
            return loss.loss(&LossInput::Views { left: &self.users, right: &self.positives });
        }
        let positive = (&self.users * &self.positives).f_sum_dim_intlist(1, false, None::<Kind>)?;
        let negatives = (self.users.f_unsqueeze(1)? * &self.negatives).f_sum_dim_intlist(2, false, None::<Kind>)?;
        loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })
    }
}

/// Whether the loss needs no drawn negatives.
pub(crate) fn judges_views(loss: &LossConfig) -> bool {
    matches!(loss, LossConfig::InfoNce { .. } | LossConfig::Contrastive { .. })
}

/// The batches that the loss needs.
pub(crate) fn shape_batches(loss: &LossConfig, options: &mut BatchOptions) {
    if judges_views(loss) {
        options.num_negatives = 0;
    }
}

/// λ/2 · Σ ‖row‖² / B.
pub(crate) fn penalty(rows: &Tensor, l2: f64, batch: &PairwiseBatch) -> Result<Tensor> {
    Ok(rows.f_square()?.f_sum(None::<Kind>)? * (0.5 * l2 / batch.users.len() as f64))
}

/// Rows `ids` of `vectors`, differentiable.
pub(crate) fn rows(vectors: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let index = Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()).f_to_device(vectors.device())?;
    Ok(vectors.f_index_select(0, &index)?)
}
