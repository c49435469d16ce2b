//! Whole users, with items that they have not.

use std::sync::Arc;

use anyhow::Result;

use super::pairwise::{check_negatives, draw_negative};
use super::rows::{ByUser, RowsBatch};
use super::{Batch, BatchOptions, BatchSource, EpochBatches};
use crate::csr::Csr;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// Users with all of their training items and, for each of these, `num_negatives` items that the user has no training row with,
/// drawn anew in each epoch; none where `num_negatives` is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledRowsBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B, num_items]` their items, rising.
    pub rows: Csr,
    /// `[rows.len(), num_negatives]`, entry after entry of `rows`.
    pub negatives: Vec<u32>,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    rows: Arc<dyn BatchSource<RowsBatch<ByUser>>>,
}

struct Epoch {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    rows: Box<dyn EpochBatches<RowsBatch<ByUser>>>,
    epoch: u64,
}

impl Batch for SampledRowsBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        if options.num_negatives > 0 {
            check_negatives(options.num_negatives, options.negative_alpha, "num_negatives")?;
        }
        let rows = RowsBatch::source(data, options)?;
        let sampler = Arc::new(Sampler::new(options.negative_alpha, &data.popularity()));
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), sampler, rows }))
    }
}

impl BatchSource<SampledRowsBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<SampledRowsBatch>> {
        Box::new(Epoch {
            data: Arc::clone(&self.data),
            options: self.options.clone(),
            sampler: Arc::clone(&self.sampler),
            rows: self.rows.epoch(epoch),
            epoch,
        })
    }
}

impl EpochBatches<SampledRowsBatch> for Epoch {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn batch(&self, index: usize) -> SampledRowsBatch {
        let RowsBatch { ids: users, rows, .. } = self.rows.batch(index);
        let mut negatives = Vec::with_capacity(rows.len() * self.options.num_negatives);
        for (row, &user) in users.iter().enumerate() {
            let mut rng = Rng::keyed(self.options.seed, Stream::Negatives, self.epoch, u64::from(user));
            let count = rows.row(row).len() * self.options.num_negatives;
            negatives.extend((0..count).map(|_| draw_negative(&self.data, &self.sampler, user, &mut rng)));
        }
        SampledRowsBatch { users, rows, negatives }
    }
}
