//! Scores of all items from a state, and the softmax over them.

use anyhow::Result;
use rec_core::full_softmax::{full_softmax_loss, weighted_full_softmax_loss};
use rec_core::params::slice;
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use tch::{Device, Kind, Tensor};

/// score(s, i) = e_i·s + b_i
pub(crate) struct ItemHead {
    items: Table,
    bias: Tensor,
}

impl ItemHead {
    /// A head with vectors of its own, `[num_items, size]`.
    pub(crate) fn new(prefix: &str, num_items: usize, size: usize, params: &mut Params) -> Result<Self> {
        let items = params.table(&format!("{prefix}_embedding"), num_items, size, Init::XavierUniform)?;
        Self::over(prefix, items, params)
    }

    /// A head over given vectors.
    pub(crate) fn over(prefix: &str, items: Table, params: &mut Params) -> Result<Self> {
        let bias = params.dense(&format!("{prefix}_bias"), &[items.num_rows()], Init::Zeros)?;
        Ok(Self { items, bias })
    }

    pub(crate) fn items(&self) -> &Table {
        &self.items
    }

    /// The mean of −ln softmax(scores)_target.
    ///
    /// # Shapes
    /// `states` `[P, size]`, `targets` `[P]`; returns a scalar
    pub(crate) fn loss(&self, states: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let (states, items) = self.with_bias(states)?;
        full_softmax_loss(&states, &items, targets)
    }

    /// The same with a weight for each row, as [`weighted_full_softmax_loss`]; and ln softmax(scores)_target, `[P]`.
    pub(crate) fn weighted_loss(
        &self,
        states: &Tensor,
        targets: &[u32],
        weight: impl Fn(usize, f32) -> f32 + Sync,
    ) -> Result<(Tensor, Vec<f32>)> {
        let (states, items) = self.with_bias(states)?;
        weighted_full_softmax_loss(&states, &items, targets, weight)
    }

    /// The bias is one more column, which every state has a 1 for.
    fn with_bias(&self, states: &Tensor) -> Result<(Tensor, Tensor)> {
        let ones = Tensor::f_ones([states.size()[0], 1], (Kind::Float, states.device()))?;
        let all: Vec<u32> = (0..self.items.num_rows() as u32).collect();
        let items = Tensor::f_cat(&[self.items.rows(&all)?, self.bias.f_unsqueeze(1)?], 1)?;
        Ok((Tensor::f_cat(&[states, &ones], 1)?, items))
    }

    /// The scores of users, of whom `states` has one row each.
    pub(crate) fn scores(&self, states: Vec<f32>) -> Result<Scores<'_>> {
        let bias = slice(&self.bias.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?).to_vec();
        let (dim, items) = (self.items.num_columns(), self.items.to_slice());
        Ok(Scores::Factors(Factors { dim, users: states.into(), items, item_bias: Some(bias.into()) }))
    }
}
