//! TOP1-max. Hidasi and Karatzoglou, CIKM 2018, arXiv:1706.03847.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, ranked};

/// mean over positives of Σⱼ sⱼ (σ(rⱼ − r⁺) + σ(rⱼ²)), s = softmax of the negatives' scores. Range: 0.5 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top1Max;

impl Loss for Top1Max {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (positive, negatives) = ranked("top1-max", input)?;
        let s = negatives.f_softmax(1, None::<Kind>)?;
        let each = (negatives - positive.f_unsqueeze(1)?).f_sigmoid()? + negatives.f_square()?.f_sigmoid()?;
        Ok((s * each).f_sum_dim_intlist(1, false, None::<Kind>)?.f_mean(None::<Kind>)?)
    }
}
