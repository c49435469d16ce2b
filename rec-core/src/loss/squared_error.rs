//! Masked squared error.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse};

/// Σ mask·(predicted − observed)² / Σ mask. Range: at least 0; 0 where nothing is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredError;

impl Loss for SquaredError {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let LossInput::Rated { predicted, observed, mask } = input else { return refuse("squared-error", "ratings", input) };
        let error = (*predicted - *observed).f_square()?;
        Ok(match mask {
            None => error.f_mean(None::<Kind>)?,
            Some(mask) => (error * *mask).f_sum(None::<Kind>)? / mask.f_sum(None::<Kind>)?.f_clamp_min(1.0)?,
        })
    }
}
