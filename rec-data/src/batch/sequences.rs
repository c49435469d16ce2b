//! Whole users as sequences: what models of order learn from.

use std::sync::Arc;

use anyhow::Result;

use super::pairwise::draw_negative;
use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// The last items of some users in order of time, one user after the other, without padding; each user once an epoch.
///
/// A user with n training rows has the positions of its last min(n, `max_len` + 1) items; those with fewer than two rows are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct SequencesBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B + 1]` user b's items are `starts[b]..starts[b + 1]` of `items`.
    pub starts: Vec<usize>,
    /// Items, oldest first.
    pub items: Vec<u32>,
    /// `[items.len()]` the values of the rows that the items are from, ratings say; empty where the data has none.
    pub values: Vec<f32>,
    /// `[items.len(), num_negatives]` for each item, others that the user has no training row with, drawn anew in each epoch.
    pub negatives: Vec<u32>,
    /// A key for all that is drawn for user b in this epoch besides: masks, crops.
    pub keys: Vec<u64>,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    users: Arc<Vec<u32>>,
}

struct Epoch {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    users: Arc<Vec<u32>>,
    shuffled: Shuffled,
    epoch: u64,
}

impl Batch for SequencesBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        require!(options.max_len > 0, Usage, "`max_len` is 0: it must be at least 1");
        let sampler = Arc::new(Sampler::new(options.negative_alpha, &data.popularity()));
        let sequences = data.sequences();
        let users = (0..sequences.num_rows() as u32).filter(|&user| sequences.row(user as usize).len() > 1).collect();
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), sampler, users: Arc::new(users) }))
    }
}

impl BatchSource<SequencesBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<SequencesBatch>> {
        Box::new(Epoch {
            data: Arc::clone(&self.data),
            options: self.options.clone(),
            sampler: Arc::clone(&self.sampler),
            users: Arc::clone(&self.users),
            shuffled: Shuffled::new(self.users.len(), self.options.batch_size, self.options.seed, epoch),
            epoch,
        })
    }
}

impl EpochBatches<SequencesBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> SequencesBatch {
        let users: Vec<u32> = self.shuffled.rows(index).iter().map(|&at| self.users[at as usize]).collect();
        let (mut starts, mut items, mut values) = (vec![0], Vec::new(), Vec::new());
        let (mut negatives, mut keys) = (Vec::new(), Vec::new());
        let sequences = self.data.sequences();
        for &user in &users {
            let seen = last(sequences.row(user as usize), self.options.max_len + 1);
            items.extend_from_slice(seen);
            values.extend_from_slice(last(sequences.row_values(user as usize), self.options.max_len + 1));
            starts.push(items.len());
            let mut rng = Rng::keyed(self.options.seed, Stream::Negatives, self.epoch, u64::from(user));
            keys.push(rng.bits());
            let count = seen.len() * self.options.num_negatives;
            negatives.extend((0..count).map(|_| draw_negative(&self.data, &self.sampler, user, &mut rng)));
        }
        SequencesBatch { users, starts, items, values, negatives, keys }
    }
}

/// The last `count` of `all`, or all of them where there are fewer.
fn last<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len() - all.len().min(count)..]
}
