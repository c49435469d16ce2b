//! Softmax cross-entropy over all classes.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse, sum_of_entries};

/// mean over rows of −r_target + ln Σ_c exp(r_c). Range: at least 0. A positive against negatives is the class 0 of 1 + N. Of whole
/// rows it is the multinomial log-likelihood, mean over rows of −Σ_c x_c ln softmax(r)_c (Liang et al., WWW 2018, eq. 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy;

impl Loss for CrossEntropy {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        match input {
            LossInput::Classes { logits, target } => {
                Ok(logits.f_cross_entropy_loss(target, None::<&Tensor>, tch::Reduction::Mean, -100, 0.0)?)
            }
            LossInput::Ranked { positive, negatives, .. } => {
                let all = Tensor::f_cat(&[positive.f_unsqueeze(1)?, (*negatives).shallow_clone()], 1)?;
                Ok((all.f_logsumexp(1, false)? - *positive).f_mean(None::<Kind>)?)
            }
            LossInput::Rows { scores, entries, values } => {
                let log_softmax = scores.f_log_softmax(-1, None::<Kind>)?;
                Ok(sum_of_entries(&log_softmax, entries, *values)? / -(entries.num_rows() as f64))
            }
            _ => refuse("cross-entropy", "one class of many", input),
        }
    }
}
