//! Masked squared error.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse, sum_of_entries};

/// Σ mask·(predicted − observed)² / Σ mask. Range: at least 0; 0 where nothing is observed. Of whole rows: the mean over rows of
/// Σ_c (r_c − x_c)², all other entries being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredError;

impl Loss for SquaredError {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        if let LossInput::Rows { scores, entries, values } = input {
            // (r − x)² = r² − 2xr + x².
            let squares = values.map_or_else(|| Ok((entries.len() as f64).into()), |v| v.f_square()?.f_sum(None::<Kind>))?;
            let sum = scores.f_square()?.f_sum(None::<Kind>)? - sum_of_entries(scores, entries, *values)? * 2.0 + squares;
            return Ok(sum / entries.num_rows() as f64);
        }
        let LossInput::Rated { predicted, observed, mask } = input else { return refuse("squared-error", "ratings", input) };
        let error = (*predicted - *observed).f_square()?;
        Ok(match mask {
            None => error.f_mean(None::<Kind>)?,
            Some(mask) => (error * *mask).f_sum(None::<Kind>)? / mask.f_sum(None::<Kind>)?.f_clamp_min(1.0)?,
        })
    }
}
