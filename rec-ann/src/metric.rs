//! What "near" means.

use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::kernels;

/// How the distance of two vectors is measured. Smaller is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The squared Euclidean distance, Σ (aᵢ − bᵢ)².
    L2,
    /// The negated inner product, −Σ aᵢbᵢ: the nearest vector has the largest product. No vector is normalised.
    InnerProduct,
    /// 1 − Σ aᵢbᵢ / (‖a‖ ‖b‖), from 0 to 2 but for rounding. A vector of zeros is at 1 from every vector.
    Cosine,
}

impl FromStr for Metric {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "l2" => Self::L2,
            "inner-product" => Self::InnerProduct,
            "cosine" => Self::Cosine,
            _ => bail!("there is no metric `{name}`: there are l2, inner-product, cosine"),
        })
    }
}

impl Metric {
    /// The distance of two vectors as the indexes keep them: under [`Cosine`](Self::Cosine) each has length 1, or is zero.
    #[inline(always)]
    pub(crate) fn between(self, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Self::L2 => kernels::squared_l2(a, b),
            Self::InnerProduct | Self::Cosine => self.of_product(kernels::dot(a, b)),
        }
    }

    /// The distances of `a` from four vectors: the bits that [`between`](Self::between) gives.
    #[inline(always)]
    pub(crate) fn between_four(self, a: &[f32], b: [&[f32]; 4]) -> [f32; 4] {
        match self {
            Self::L2 => kernels::squared_l2_four(a, b),
            Self::InnerProduct | Self::Cosine => kernels::dot_four(a, b).map(|product| self.of_product(product)),
        }
    }

    /// The distance of two vectors with this inner product; not for L2.
    #[inline(always)]
    pub(crate) fn of_product(self, product: f32) -> f32 {
        // 0 − x and not −x: the negation of 0 would come before 0 in a total order.
        if self == Self::Cosine { 1.0 - product } else { 0.0 - product }
    }
}
