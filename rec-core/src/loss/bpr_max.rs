//! BPR-max. Hidasi and Karatzoglou, CIKM 2018, arXiv:1706.03847.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, ranked};

/// mean over positives of −ln Σⱼ sⱼ σ(r⁺ − rⱼ) + λ Σⱼ sⱼ rⱼ², s = softmax of the negatives' scores. Range: above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BprMax {
    /// λ of the score regularisation.
    pub score_l2: f64,
}

impl Loss for BprMax {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (positive, negatives) = ranked("bpr-max", input)?;
        // ln Σ exp(ln s + ln σ): the sum stays exact where every sigmoid is tiny.
        let log_s = negatives.f_log_softmax(1, None::<Kind>)?;
        let log_sigmoid = (positive.f_unsqueeze(1)? - negatives).f_log_sigmoid()?;
        let ranking = -(&log_s + log_sigmoid).f_logsumexp(1, false)?;
        if self.score_l2 == 0.0 {
            return Ok(ranking.f_mean(None::<Kind>)?);
        }
        let scores = (log_s.f_exp()? * negatives.f_square()?).f_sum_dim_intlist(1, false, None::<Kind>)?;
        Ok((ranking + scores * self.score_l2).f_mean(None::<Kind>)?)
    }
}
