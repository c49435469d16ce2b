//! Layers that several models share.

use anyhow::Result;
use rec_core::dropout::relu_dropout;
use rec_core::shim::is_recording;
use rec_core::{Init, Params};
use tch::Tensor;

use crate::check_size;

/// A perceptron: z_l = dropout(ReLU(W_l z_{l−1} + b_l)).
pub(crate) struct Perceptron {
    layers: Vec<Dense>,
    dropout: f64,
}

/// W x + b.
pub(crate) struct Dense {
    /// `[outputs, inputs]`
    weights: Tensor,
    /// `[outputs]`
    bias: Tensor,
}

impl Dense {
    /// Weights by Glorot and Bengio, uniform, a bias of zeros.
    pub fn new(name: &str, inputs: usize, outputs: usize, params: &mut Params) -> Result<Self> {
        Ok(Self {
            weights: params.dense(&format!("{name}_weights"), &[outputs, inputs], Init::XavierUniform)?,
            bias: params.dense(&format!("{name}_bias"), &[outputs], Init::Zeros)?,
        })
    }

    /// # Shapes
    /// `[…, inputs]` to `[…, outputs]`
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weights, Some(&self.bias))?)
    }
}

impl Perceptron {
    pub fn new(name: &str, inputs: usize, sizes: &[usize], dropout: f64, params: &mut Params) -> Result<Self> {
        let mut layers = Vec::new();
        let mut size = inputs;
        for (at, &next) in sizes.iter().enumerate() {
            layers.push(Dense::new(&format!("{name}_{}", at + 1), size, next, params)?);
            size = next;
        }
        Ok(Self { layers, dropout })
    }

    /// # Shapes
    /// `[B, inputs]` to `[B, last size]`
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        let rate = if is_recording() { self.dropout } else { 0.0 };
        let mut z = x.shallow_clone();
        for layer in &self.layers {
            z = relu_dropout(&layer.of(&z)?, rate)?;
        }
        Ok(z)
    }
}

/// A perceptron with one output.
pub(crate) struct Tower {
    hidden: Perceptron,
    output: Dense,
}

impl Tower {
    pub fn new(name: &str, inputs: usize, sizes: &[usize], dropout: f64, params: &mut Params) -> Result<Self> {
        let last = sizes.last().copied().unwrap_or(inputs);
        Ok(Self {
            hidden: Perceptron::new(name, inputs, sizes, dropout, params)?,
            output: Dense::new(&format!("{name}_output"), last, 1, params)?,
        })
    }

    /// # Shapes
    /// `[B, …]`, all but the first flattened, to `[B]`
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.output.of(&self.hidden.of(&x.f_flatten(1, -1)?)?)?.f_squeeze_dim(1)?)
    }
}

pub(crate) fn check_hidden_sizes(sizes: &[usize]) -> Result<()> {
    sizes.iter().try_for_each(|&size| check_size("hidden_sizes", size))
}
