//! TOP1. Hidasi et al., ICLR 2016, arXiv:1511.06939.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, ranked};

/// mean over positives and their negatives of σ(r⁻ − r⁺) + σ((r⁻)²). Range: 0.5 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top1;

impl Loss for Top1 {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (positive, negatives) = ranked("top1", input)?;
        let ranking = (negatives - positive.f_unsqueeze(1)?).f_sigmoid()?;
        Ok((ranking + negatives.f_square()?.f_sigmoid()?).f_mean(None::<Kind>)?)
    }
}
