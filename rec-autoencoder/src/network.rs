//! The network that autoencoders over users' rows share.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Users, Vectors};
use rec_core::scores::Scores;
use rec_core::{Init, Params};
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use tch::{Device, Tensor};

use crate::layers::{Linear, SparseLayer, loss_of_rows, numbers, square_sum};
use crate::{Activation, history};

/// What its sums go through, and what is minimised.
pub(crate) struct Objective {
    pub activation: Activation,
    pub loss: LossConfig,
    /// λ of λ(Σ‖W‖²)/2, weights that the batch touches, beside the loss of a mean row.
    pub l2: f64,
}

/// h₁ = g(W₁x + b₁), hₗ = g(Wₗhₗ₋₁ + bₗ), r = Vh + c, where x is the user's row, all ones unless values are given, and the loss compares r
/// with the row of ones.
pub(crate) struct Network {
    first: SparseLayer,
    hidden: Vec<Linear>,
    output: Linear,
    objective: Objective,
}

/// What the entries of rows are worth: `None` is 1 each.
pub(crate) type Values = fn(&Csr, Device) -> Result<Tensor>;

impl Network {
    pub fn new(sizes: &[usize], objective: Objective, bias: Init, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (items, weights) = (data.num_items(), Init::XavierUniform);
        let first = SparseLayer::new(params, "input", items, sizes[0], weights, bias)?;
        let layer = |(at, pair): (usize, &[usize])| Linear::new(params, &format!("hidden{}", at + 1), pair[0], pair[1], weights, bias);
        let hidden = sizes.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
        let output = Linear::new(params, "output", sizes[sizes.len() - 1], items, weights, bias)?;
        Ok(Self { first, hidden, output, objective })
    }

    pub fn device(&self) -> Device {
        self.first.device()
    }

    /// The hidden layers after the first one's sums.
    fn rest(&self, sums: &Tensor) -> Result<Tensor> {
        let mut hidden = self.objective.activation.apply(sums)?;
        for layer in &self.hidden {
            hidden = self.objective.activation.apply(&layer.forward(&hidden)?)?;
        }
        Ok(hidden)
    }

    /// The loss of `rows`, of which the network is shown `values`.
    pub fn loss(&self, rows: &Csr, values: Option<&Tensor>) -> Result<Tensor> {
        let encoded = self.first.forward(rows, values)?;
        let loss = loss_of_rows(&self.objective.loss, &self.rest(&encoded.sums)?, &self.output.weights, &self.output.bias, rows)?;
        if self.objective.l2 == 0.0 {
            return Ok(loss);
        }
        let mut squares = square_sum(&encoded.taken)? + square_sum(&self.output.weights)?;
        for layer in &self.hidden {
            squares += square_sum(&layer.weights)?;
        }
        Ok(loss + squares * (0.5 * self.objective.l2))
    }

    pub fn num_items(&self) -> usize {
        self.output.bias.numel()
    }

    /// Scores of users by their histories.
    pub fn score(&self, users: &Users, values: Option<Values>) -> Result<Scores<'static>> {
        let rows = history::rows(users, self.num_items());
        let values = values.map(|of| of(&rows, self.device())).transpose()?;
        let hidden = self.rest(&self.first.forward(&rows, values.as_ref())?.sums)?;
        Ok(Scores::Factors(self.output.factors(&hidden)?))
    }

    pub fn item_vectors(&self) -> Option<Vectors<'_>> {
        let dim = self.output.weights.size()[1] as usize;
        Some(Vectors { dim, values: numbers(&self.output.weights).ok()?.into() })
    }
}
