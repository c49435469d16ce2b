//! Whole users, or whole items, as sparse rows: what autoencoders learn from.

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::Result;

use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::view::TrainView;

/// What a row is.
pub trait Side: Send + Sync + 'static {
    /// All training rows of `data`, whole.
    fn rows(data: &TrainView) -> &Csr;
}

/// A row is a user, its columns are items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByUser {}

/// A row is an item, its columns are users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByItem {}

impl Side for ByUser {
    fn rows(data: &TrainView) -> &Csr {
        data.by_user()
    }
}

impl Side for ByItem {
    fn rows(data: &TrainView) -> &Csr {
        data.by_item()
    }
}

/// Users with all of their training items, or items with all of their training users; each once an epoch. Those without a training
/// row are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsBatch<S> {
    /// `[B]` users, or items.
    pub ids: Vec<u32>,
    /// `[B, num_items]` their items, or `[B, num_users]` their users, rising, with the rows' values where the data has values.
    pub rows: Csr,
    side: PhantomData<S>,
}

/// Users with their items.
pub type UserRowsBatch = RowsBatch<ByUser>;
/// Items with their users.
pub type ItemRowsBatch = RowsBatch<ByItem>;

impl<S> RowsBatch<S> {
    /// Row `i` of `rows` belongs to `ids[i]`.
    ///
    /// # Panics
    /// where there is not a row for each id.
    pub fn new(ids: Vec<u32>, rows: Csr) -> Self {
        assert_eq!(ids.len(), rows.num_rows(), "a row for each id");
        Self { ids, rows, side: PhantomData }
    }
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    ids: Arc<Vec<u32>>,
}

struct Epoch {
    data: Arc<TrainView>,
    ids: Arc<Vec<u32>>,
    shuffled: Shuffled,
}

impl<S: Side> Batch for RowsBatch<S> {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        let rows = S::rows(data);
        let ids = (0..rows.num_rows() as u32).filter(|&id| !rows.row(id as usize).is_empty()).collect();
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), ids: Arc::new(ids) }))
    }
}

impl<S: Side> BatchSource<RowsBatch<S>> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<RowsBatch<S>>> {
        let shuffled = Shuffled::new(self.ids.len(), self.options.batch_size, self.options.seed, epoch);
        Box::new(Epoch { data: Arc::clone(&self.data), ids: Arc::clone(&self.ids), shuffled })
    }
}

impl<S: Side> EpochBatches<RowsBatch<S>> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> RowsBatch<S> {
        let ids: Vec<u32> = self.shuffled.rows(index).iter().map(|&at| self.ids[at as usize]).collect();
        let rows = S::rows(&self.data).select(&ids);
        RowsBatch::new(ids, rows)
    }
}
