//! InfoNCE with cosine similarity. van den Oord et al. 2018, arXiv:1807.03748.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse};

/// mean over rows i of −ln softmax(cos(aᵢ, b·)/τ)ᵢ: the other rows of the batch are the negatives. Range: at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// τ.
    pub temperature: f64,
}

impl Loss for InfoNce {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let LossInput::Views { left, right } = input else { return refuse("info-nce", "two views", input) };
        let similarity = unit(left)?.f_matmul(&unit(right)?.f_transpose(0, 1)?)? / self.temperature;
        Ok((similarity.f_logsumexp(1, false)? - similarity.f_diagonal(0, 0, 1)?).f_mean(None::<Kind>)?)
    }
}

/// Rows of length 1; a row of zeros stays one.
fn unit(rows: &Tensor) -> Result<Tensor> {
    let length = rows.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?.f_clamp_min(1e-24)?.f_sqrt()?;
    Ok(rows / length)
}
