//! What models that learn by one update a row share: vectors in plain memory, and the order of an epoch.

use rec_core::Init;
use rec_core::model::Vectors;
use rec_core::state::StateWriter;
use rec_data::rng::{Rng, Stream};

/// Numbers of a line of a vector.
pub(crate) const LINE: usize = 16;

/// Vectors of one side, one after the other, each padded with zeros to whole lines: the padding has no part in any product, and
/// an update that is linear in the vectors leaves it at zero.
pub(crate) struct Factor {
    /// Length of a vector.
    pub size: usize,
    /// Length with padding.
    pub dim: usize,
    pub values: Vec<f32>,
}

impl Factor {
    pub fn new(rows: usize, size: usize, init: Init, seed: u64, index: u64) -> Self {
        let dim = size.next_multiple_of(LINE);
        let mut values = vec![0.0; rows * dim];
        for (to, from) in values.chunks_exact_mut(dim).zip(init.values(seed, index, rows, size).chunks_exact(size)) {
            to[..size].copy_from_slice(from);
        }
        Self { size, dim, values }
    }

    /// The vectors without padding.
    pub fn vectors(&self) -> Vectors<'static> {
        Vectors {
            dim: self.size,
            values: self.values.chunks_exact(self.dim).flat_map(|row| &row[..self.size]).copied().collect::<Vec<_>>().into(),
        }
    }

    #[inline(always)]
    pub fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.dim..][..self.dim]
    }

    #[inline(always)]
    pub fn row_mut(&mut self, row: u32) -> &mut [f32] {
        &mut self.values[row as usize * self.dim..][..self.dim]
    }

    pub fn save(&self, name: &str, out: &mut StateWriter) {
        out.floats(name, &[self.values.len() / self.dim, self.dim], &self.values);
    }

    /// Two different rows at once.
    #[inline(always)]
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
