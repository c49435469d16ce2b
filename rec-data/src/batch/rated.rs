//! (user, item, rating).

use std::sync::Arc;

use anyhow::Result;

use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::require;
use crate::view::TrainView;

/// Each training row once an epoch, with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct RatedBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B]` items.
    pub items: Vec<u32>,
    /// `[B]` ratings.
    pub values: Vec<f32>,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
}

struct Epoch {
    data: Arc<TrainView>,
    shuffled: Shuffled,
}

impl Batch for RatedBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        require!(data.values().is_some(), Usage, "this model learns from ratings, and this data has none");
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone() }))
    }
}

impl BatchSource<RatedBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<RatedBatch>> {
        let shuffled = Shuffled::new(self.data.len(), self.options.batch_size, self.options.seed, epoch);
        Box::new(Epoch { data: Arc::clone(&self.data), shuffled })
    }
}

impl EpochBatches<RatedBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> RatedBatch {
        let rows = self.shuffled.rows(index);
        let values = self.data.values().unwrap_or(&[]);
        RatedBatch {
            users: rows.iter().map(|&r| self.data.users()[r as usize]).collect(),
            items: rows.iter().map(|&r| self.data.items()[r as usize]).collect(),
            values: rows.iter().map(|&r| values[r as usize]).collect(),
        }
    }
}
