//! Layers that several models share.

use std::sync::Arc;

use anyhow::Result;
use rec_core::full_bce::full_bce_loss;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::scores::Factors;
use rec_core::sparse::{Pattern, sum_rows};
use rec_core::{Init, Params, Table};
use rec_data::csr::Csr;
use tch::{Device, Kind, Tensor};

/// A first layer: sparse rows times weights, plus a bias. Costs what the entries cost, and a step moves the rows that they touch.
pub(crate) struct SparseLayer {
    weights: Table,
    bias: Tensor,
}

/// A sparse layer's answer, and what it touched.
pub(crate) struct Encoded {
    /// `[B, size]` sums.
    pub sums: Tensor,
    /// The columns that occur, in order of first appearance.
    pub ids: Vec<u32>,
    /// `[ids, size]` their weights.
    pub taken: Tensor,
    /// The rows' entries, columns renumbered as in `ids`.
    pub pattern: Arc<Pattern>,
}

impl SparseLayer {
    pub fn new(params: &mut Params, name: &str, columns: usize, size: usize, init: Init, bias: Init) -> Result<Self> {
        Ok(Self {
            weights: params.table(&format!("{name}_weights"), columns, size, init)?,
            bias: params.dense(&format!("{name}_bias"), &[size], bias)?,
        })
    }

    pub fn device(&self) -> Device {
        self.bias.device()
    }

    /// # Shapes
    /// `rows` `[B, columns]`, `values` one an entry (absent is 1)
    pub fn forward(&self, rows: &Csr, values: Option<&Tensor>) -> Result<Encoded> {
        let (pattern, ids) = Pattern::compact(rows);
        let (pattern, taken) = (Arc::new(pattern), self.weights.rows(&ids)?);
        let sums = sum_rows(&pattern, values, &taken)?.f_add(&self.bias)?;
        Ok(Encoded { sums, ids, taken, pattern })
    }
}

/// A dense layer.
pub(crate) struct Linear {
    /// `[outputs, inputs]`.
    pub weights: Tensor,
    /// `[outputs]`.
    pub bias: Tensor,
}

impl Linear {
    pub fn new(params: &mut Params, name: &str, inputs: usize, outputs: usize, init: Init, bias: Init) -> Result<Self> {
        Ok(Self {
            weights: params.dense(&format!("{name}_weights"), &[outputs, inputs], init)?,
            bias: params.dense(&format!("{name}_bias"), &[outputs], bias)?,
        })
    }

    /// # Shapes
    /// `[B, inputs]` to `[B, outputs]`
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weights, Some(&self.bias))?)
    }

    /// The scores of all outputs for `hidden` `[B, inputs]`, as factors.
    pub fn factors(&self, hidden: &Tensor) -> Result<Factors<'static>> {
        Ok(Factors {
            dim: hidden.size()[1] as usize,
            users: numbers(hidden)?.into(),
            items: numbers(&self.weights)?.into(),
            item_bias: Some(numbers(&self.bias)?.into()),
        })
    }
}

/// The loss of all items as outputs, `weights`·`hidden` + `bias`, against `rows` of ones.
pub(crate) fn loss_of_rows(loss: &LossConfig, hidden: &Tensor, weights: &Tensor, bias: &Tensor, rows: &Csr) -> Result<Tensor> {
    if let LossConfig::WeightedBce { positive_weight } = *loss {
        return full_bce_loss(hidden, weights, bias, rows, positive_weight);
    }
    let (scores, entries) = (hidden.f_linear(weights, Some(bias))?, Arc::new(Pattern::of(rows)));
    loss.loss(&LossInput::Rows { scores: &scores, entries: &entries, values: None })
}

/// Σ of all squares.
pub(crate) fn square_sum(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_square()?.f_sum(None::<Kind>)?)
}

/// A tensor's numbers, row after row.
pub(crate) fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    let here = x.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    Ok(rec_core::params::slice(&here).to_vec())
}

/// `1/√n` for each entry of a row of `n` entries: what makes the row's L2 norm 1.
pub(crate) fn unit_values(rows: &Csr, device: Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(rows.len());
    for row in 0..rows.num_rows() {
        let n = rows.range(row).len();
        values.extend(std::iter::repeat_n(1.0 / (n as f32).sqrt(), n));
    }
    Ok(Tensor::from_slice(&values).f_to_device(device)?)
}
