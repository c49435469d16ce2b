//! InfoNCE. van den Oord et al. 2018, arXiv:1807.03748; among all views of a batch as in SimCLR (Chen et al., ICML 2020, arXiv:2002.05709)
//! and CL4SRec (Xie et al., ICDE 2022, arXiv:2010.14395).

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Loss, LossInput, refuse};
use crate::full_softmax::full_softmax_loss;

/// mean over rows i of −ln softmax(s(aᵢ, ·)/τ)ᵢ, where the others in the softmax are the `negatives`. Range: at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// τ.
    pub temperature: f64,
    /// s.
    pub similarity: Similarity,
    /// Whom a row is told from.
    pub negatives: Strangers,
}

/// How alike two vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// a·b / (‖a‖ ‖b‖).
    #[default]
    Cosine,
    /// a·b.
    DotProduct,
}

/// The negatives of a row of one view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strangers {
    /// The other rows of the other view: B − 1 of them. Rows of the left view alone are judged.
    #[default]
    OtherView,
    /// The other rows of both views: 2(B − 1) of them. Rows of both views are judged.
    AllViews,
}

impl Loss for InfoNce {
    fn loss(&self, input: &LossInput<'_>) -> Result<Tensor> {
        let LossInput::Views { left, right } = input else { return refuse("info-nce", "two views", input) };
        let scaled = |rows: &Tensor| match self.similarity {
            Similarity::Cosine => unit(rows),
            Similarity::DotProduct => Ok(rows.shallow_clone()),
        };
        let (left, right) = (scaled(left)?, scaled(right)?);
        if self.negatives == Strangers::OtherView {
            // The other view's rows are the classes: no matrix of all similarities is made.
            let own: Vec<u32> = (0..left.size()[0] as u32).collect();
            return full_softmax_loss(&(left / self.temperature), &right, &own);
        }
        let similar = |a: &Tensor, b: &Tensor| -> Result<Tensor> { Ok(a.f_matmul(&b.f_transpose(0, 1)?)? / self.temperature) };
        let across = similar(&left, &right)?;
        let friends = across.f_diagonal(0, 0, 1)?;
        // A row is no stranger to itself.
        let itself = Tensor::f_eye(across.size()[0], (Kind::Bool, across.device()))?;
        let within = |x: &Tensor| -> Result<Tensor> { Ok(similar(x, x)?.f_masked_fill(&itself, f64::NEG_INFINITY)?) };
        let of_left = Tensor::f_cat(&[&across, &within(&left)?], 1)?.f_logsumexp(1, false)?;
        let of_right = Tensor::f_cat(&[&across.f_transpose(0, 1)?, &within(&right)?], 1)?.f_logsumexp(1, false)?;
        let judged = (of_left + of_right) / 2.0 - friends;
        Ok(judged.f_mean(None::<Kind>)?)
    }
}

/// Rows of length 1; a row of zeros stays one.
fn unit(rows: &Tensor) -> Result<Tensor> {
    let length = rows.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?.f_clamp_min(1e-24)?.f_sqrt()?;
    Ok(rows / length)
}
