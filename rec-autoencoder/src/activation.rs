//! What a layer's sums go through.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// An activation, number by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// x.
    Identity,
    /// 1 / (1 + e⁻ˣ).
    #[default]
    Sigmoid,
    /// tanh x.
    Tanh,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// Applies it.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Activation::Identity => x.shallow_clone(),
            Activation::Sigmoid => x.f_sigmoid()?,
            Activation::Tanh => x.f_tanh()?,
            Activation::Relu => x.f_relu()?,
        })
    }
}
