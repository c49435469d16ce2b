//! Rows of features with labels.

use std::sync::Arc;

use anyhow::Result;

use super::windows_of_blocks::{MOST_SHUFFLED_WHOLE, WindowsOfBlocks};
use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::view::TrainView;

/// Each labelled training row once an epoch, in random order. Of more than two million rows blocks come in random order, and rows are
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
    /// `[B]`, 0 or 1.
    pub labels: Vec<f32>,
    /// `[B]`, the values that the labels were made of: ratings, seconds watched.
    pub values: Vec<f32>,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
}

struct Epoch {
    data: Arc<TrainView>,
    lists: bool,
    order: Order,
}

enum Order {
    Whole(Shuffled),
    Windows(WindowsOfBlocks),
}

impl Batch for FieldsBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        data.labelled()?;
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone() }))
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
        Box::new(Epoch { data: Arc::clone(&self.data), lists: self.options.history_lists, order })
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
        let rows = self.data.labelled().expect("checked when the source was made");
        match &self.order {
            Order::Whole(shuffled) => rows.batch(shuffled.rows(index), self.lists),
            Order::Windows(windows) => rows.batch(&windows.rows(index), self.lists),
        }
    }
}
