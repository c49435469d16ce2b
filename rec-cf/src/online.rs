//! What models that learn by one update a row share: vectors in plain memory, and the order of an epoch.

use rec_core::Init;
use rec_data::rng::{Rng, Stream};

/// Vectors of one side, one after the other.
pub(crate) struct Factor {
    pub dim: usize,
    pub values: Vec<f32>,
}

impl Factor {
    pub fn new(rows: usize, dim: usize, init: Init, seed: u64, index: u64) -> Self {
        Self { dim, values: init.values(seed, index, rows, dim) }
    }

    pub fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.dim..][..self.dim]
    }

    pub fn row_mut(&mut self, row: u32) -> &mut [f32] {
        &mut self.values[row as usize * self.dim..][..self.dim]
    }

    /// Two different rows at once.
    pub fn two_rows_mut(&mut self, a: u32, b: u32) -> (&mut [f32], &mut [f32]) {
        let (low, high) = (a.min(b) as usize, a.max(b) as usize);
        let (left, right) = self.values.split_at_mut(high * self.dim);
        let (low, high) = (&mut left[low * self.dim..][..self.dim], &mut right[..self.dim]);
        if a < b { (low, high) } else { (high, low) }
    }
}

/// The numbers 0..n in the order of epoch `epoch`.
pub(crate) fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    Rng::keyed(seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
    order
}
