//! Contrastive loss with a margin. Hadsell, Chopra, LeCun, CVPR 2006.

use anyhow::Result;
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse};

/// mean over rows of d(aᵢ, bᵢ)² + mean over pairs i ≠ j of max(0, m − d(aᵢ, bⱼ))², d the Euclidean distance. Range: at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrastive {
    /// m, the distance beyond which strangers are far enough.
    pub margin: f64,
}

impl Loss for Contrastive {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let LossInput::Views { left, right } = input else { return refuse("contrastive", "two views", input) };
        let squares = |x: &Tensor| -> Result<Tensor> { Ok(x.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?) };
        let friends = squares(&(*left - *right))?.f_mean(None::<Kind>)?;
        let rows = left.size()[0];
        if rows < 2 {
            return Ok(friends);
        }
        let square = squares(left)? + squares(right)?.f_transpose(0, 1)? - left.f_matmul(&right.f_transpose(0, 1)?)? * 2.0;
        // The root has no gradient at 0: distances below 1e-6 count as 1e-6.
        let distance = square.f_clamp_min(1e-12)?.f_sqrt()?;
        let near = (-distance + self.margin).f_relu()?.f_square()?;
        let strangers = (near.f_sum(None::<Kind>)? - near.f_diagonal(0, 0, 1)?.f_sum(None::<Kind>)?) / (rows * (rows - 1)) as f64;
        Ok(friends + strangers)
    }
}
