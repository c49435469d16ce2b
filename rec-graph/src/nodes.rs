//! The vectors that users and items begin with, and the final ones while they stay as they are.

use std::cell::OnceCell;

use anyhow::Result;
use rec_core::model::{Users, Vectors};
use rec_core::params::slice;
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params};
use rec_data::batch::PairwiseBatch;
use rec_data::view::TrainView;
use tch::{Device, Tensor};

/// Vectors of layer 0, users first, and what scores are made of.
pub(crate) struct Nodes {
    users: Tensor,
    items: Tensor,
    num_users: usize,
    num_items: usize,
    /// The final vectors, made once between two steps: `[num_nodes, d]`.
    last: OnceCell<(usize, Vec<f32>)>,
}

impl Nodes {
    pub(crate) fn new(data: &TrainView, size: usize, init: Init, params: &mut Params) -> Result<Self> {
        let (num_users, num_items) = (data.num_users(), data.num_items());
        let users = params.dense("user_embedding", &[num_users, size], init)?;
        let items = params.dense("item_embedding", &[num_items, size], init)?;
        Ok(Self { users, items, num_users, num_items, last: OnceCell::new() })
    }

    /// # Shapes
    /// `[num_users + num_items, d]`
    pub(crate) fn all(&self) -> Result<Tensor> {
        Ok(Tensor::f_cat(&[&self.users, &self.items], 0)?)
    }

    pub(crate) fn num_items(&self) -> usize {
        self.num_items
    }

    /// The nodes of a batch: `[B]` users, `[B]` positives, `[B·N]` negatives, one after the other.
    pub(crate) fn of(&self, batch: &PairwiseBatch) -> Vec<u32> {
        let items = batch.positives.iter().chain(&batch.negatives).map(|&item| self.num_users as u32 + item);
        batch.users.iter().copied().chain(items).collect()
    }

    /// Forgets the final vectors: parameters move.
    pub(crate) fn moved(&mut self) {
        self.last.take();
    }

    fn last(&self, make: impl FnOnce() -> Result<Tensor>) -> Result<&(usize, Vec<f32>)> {
        if self.last.get().is_none() {
            let vectors = tch::no_grad(|| -> Result<Tensor> { Ok(make()?.f_to_device(Device::Cpu)?.f_contiguous()?) })?;
            let _ = self.last.set((vectors.size()[1] as usize, slice(&vectors).to_vec()));
        }
        Ok(self.last.get().expect("was set"))
    }

    /// Inner products of the final vectors, which `make` makes where they are not there.
    pub(crate) fn score<'a>(&'a self, users: &Users<'a>, make: impl FnOnce() -> Result<Tensor>) -> Result<Scores<'a>> {
        let (dim, vectors) = self.last(make)?;
        let (of_users, of_items) = vectors.split_at(self.num_users * dim);
        Ok(Scores::Factors(Factors::gather(*dim, of_users, users.known()?, of_items.into())))
    }

    /// The items' final vectors; `None` where they cannot be made.
    pub(crate) fn item_vectors(&self, make: impl FnOnce() -> Result<Tensor>) -> Option<Vectors<'_>> {
        let (dim, vectors) = self.last(make).ok()?;
        Some(Vectors { dim: *dim, values: vectors[self.num_users * dim..].into() })
    }
}
