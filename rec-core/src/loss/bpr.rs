//! Bayesian personalised ranking. Rendle et al., UAI 2009, arXiv:1205.2618.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, ranked};

/// mean over positives and their negatives of −ln σ(r⁺ − r⁻). Range: above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bpr;

impl Loss for Bpr {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let (positive, negatives) = ranked("bpr", input)?;
        // −ln σ(x) = softplus(−x), without the overflow of a logarithm of a small sigmoid.
        Ok((negatives - positive.f_unsqueeze(1)?).f_softplus()?.f_mean(None::<Kind>)?)
    }
}
