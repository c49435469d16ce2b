//! Rows of features with labels.

use std::sync::Arc;

use anyhow::Result;

use super::pairwise::{check_negatives, draw_negative};
use super::windows_of_blocks::{MOST_SHUFFLED_WHOLE, WindowsOfBlocks};
use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// Each labelled training row once an epoch, in random order; beside each positive one as many as `negative_rows` says that differ in the
/// item, one that the user has no training row with, and have the label 0. Of more than two million rows blocks come in random order, and rows are
/// shuffled among 256 blocks: what is in memory does not grow with the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldsBatch {
    /// B.
    pub rows: usize,
    /// `[B·F, features]`: row b·F + f has the features of field f of row b, with their values; these are absent where all are 1. A history
    /// has those of its items in equal parts, or is no field here but one of `histories`.
    pub entries: Csr,
    /// Where the model asks for lists, for each history field `[B, features]`: the features of the past items, oldest first, and how many
    /// days ago each was. Else empty.
    pub histories: Vec<Csr>,
    /// `[B]`, 0 or 1; empty of rows that are asked about.
    pub labels: Vec<f32>,
    /// `[B]`, the values that the labels were made of: ratings, seconds watched; of drawn rows 0, and as absent as labels.
    pub values: Vec<f32>,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
}

struct Epoch {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    order: Order,
    epoch: u64,
}

enum Order {
    Whole(Shuffled),
    Windows(WindowsOfBlocks),
}

impl Batch for FieldsBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        data.labelled()?;
        let popularity = if options.negative_rows > 0 {
            check_negatives(options.negative_rows, options.negative_alpha, "negative_rows")?;
            data.popularity()
        } else {
            vec![1]
        };
        let sampler = Arc::new(Sampler::new(options.negative_alpha, &popularity));
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), sampler }))
    }
}

impl BatchSource<FieldsBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<FieldsBatch>> {
        let (rows, &BatchOptions { batch_size, seed, .. }) = (self.data.len(), &self.options);
        let order = if rows <= MOST_SHUFFLED_WHOLE {
            Order::Whole(Shuffled::new(rows, batch_size, seed, epoch))
        } else {
            Order::Windows(WindowsOfBlocks::new(rows, batch_size, seed, epoch))
        };
        Box::new(Epoch { data: Arc::clone(&self.data), options: self.options.clone(), sampler: Arc::clone(&self.sampler), order, epoch })
    }
}

impl EpochBatches<FieldsBatch> for Epoch {
    fn len(&self) -> usize {
        match &self.order {
            Order::Whole(shuffled) => shuffled.len(),
            Order::Windows(windows) => windows.len(),
        }
    }

    fn batch(&self, index: usize) -> FieldsBatch {
        match &self.order {
            Order::Whole(shuffled) => self.of_rows(shuffled.rows(index)),
            Order::Windows(windows) => self.of_rows(&windows.rows(index)),
        }
    }
}

impl Epoch {
    fn of_rows(&self, at: &[u32]) -> FieldsBatch {
        let (rows, options) = (self.data.labelled().expect("checked when the source was made"), &self.options);
        let draw = |&row: &u32| {
            let mut rng = Rng::keyed(options.seed, Stream::Negatives, self.epoch, u64::from(row));
            let drawn = if rows.labels()[row as usize] > 0.5 { options.negative_rows } else { 0 };
            let user = self.data.users()[row as usize];
            (0..drawn).map(|_| (row, draw_negative(&self.data, &self.sampler, user, &mut rng))).collect::<Vec<_>>()
        };
        let drawn: Vec<(u32, u32)> = if options.negative_rows > 0 { at.iter().flat_map(draw).collect() } else { Vec::new() };
        rows.batch_with(at, &drawn, options.history_lists)
    }
}
