//! Softmax over the positive and drawn negatives, corrected for how they were drawn. Bengio and Senécal 2008; Yi et al., RecSys 2019.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{CrossEntropy, Loss, LossInput, refuse};

/// mean over positives of −ln softmax(r − ln q)⁺ among the positive and its negatives. Range: at least 0.
///
/// Without `log_q`, scores stand as they are, which is right for uniform draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledSoftmax {
    /// Whether ln q is subtracted.
    pub log_q: bool,
}

impl Loss for SampledSoftmax {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let LossInput::Ranked { positive, negatives, log_q } = input else {
            return refuse("sampled-softmax", "a positive against negatives", input);
        };
        if !self.log_q {
            return CrossEntropy.loss(input);
        }
        let Some((log_q_positive, log_q_negatives)) = log_q else {
            rec_data::fail!(Usage, "`log_q` needs the drawing probabilities, and this model's sampler brings none")
        };
        let positive = *positive - *log_q_positive;
        let negatives = *negatives - *log_q_negatives;
        let all = Tensor::f_cat(&[positive.f_unsqueeze(1)?, negatives], 1)?;
        Ok((all.f_logsumexp(1, false)? - positive).f_mean(None::<Kind>)?)
    }
}
