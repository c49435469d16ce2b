//! Rows of features with labels.

use std::sync::Arc;

use anyhow::Result;

use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::view::TrainView;

/// Each labelled training row once an epoch.
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
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
}

struct Epoch {
    data: Arc<TrainView>,
    lists: bool,
    shuffled: Shuffled,
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
        let shuffled = Shuffled::new(self.data.len(), self.options.batch_size, self.options.seed, epoch);
        Box::new(Epoch { data: Arc::clone(&self.data), lists: self.options.history_lists, shuffled })
    }
}

impl EpochBatches<FieldsBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> FieldsBatch {
        self.data.labelled().expect("checked when the source was made").batch(self.shuffled.rows(index), self.lists)
    }
}
