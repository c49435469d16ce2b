//! Whole users as sparse rows.

use std::sync::Arc;

use anyhow::Result;

use super::{Batch, BatchOptions, BatchSource, EpochBatches, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::view::TrainView;

/// Users, each with all of their training items: what autoencoders learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRowsBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B, num_items]` their items, rising, with the rows' values where the data has values.
    pub rows: Csr,
}

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    users: Arc<Vec<u32>>,
}

struct Epoch {
    data: Arc<TrainView>,
    users: Arc<Vec<u32>>,
    shuffled: Shuffled,
}

impl Batch for UserRowsBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        let by_user = data.by_user();
        let users = (0..data.num_users() as u32).filter(|&u| !by_user.row(u as usize).is_empty()).collect();
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), users: Arc::new(users) }))
    }
}

impl BatchSource<UserRowsBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<UserRowsBatch>> {
        let shuffled = Shuffled::new(self.users.len(), self.options.batch_size, self.options.seed, epoch);
        Box::new(Epoch { data: Arc::clone(&self.data), users: Arc::clone(&self.users), shuffled })
    }
}

impl EpochBatches<UserRowsBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> UserRowsBatch {
        let users: Vec<u32> = self.shuffled.rows(index).iter().map(|&at| self.users[at as usize]).collect();
        let by_user = self.data.by_user();
        let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &user) in users.iter().enumerate() {
            columns.extend_from_slice(by_user.row(user as usize));
            values.extend_from_slice(by_user.row_values(user as usize));
            rows.resize(columns.len(), row as u32);
        }
        let rows = Csr::from_coordinates(users.len(), self.data.num_items(), &rows, &columns, &values);
        UserRowsBatch { users, rows }
    }
}
