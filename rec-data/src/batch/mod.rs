//! Batches: what a model learns from in one step. Few kinds serve every family; each brings its own way of being made.

mod fields;
mod next_items;
mod pairwise;
mod prefetch;
mod rated;
mod rows;
mod sampled_rows;
mod sequences;
mod session_steps;
mod windows_of_blocks;

use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use fields::FieldsBatch;
pub use next_items::{History, NextItemBatch};
pub use pairwise::PairwiseBatch;
pub use prefetch::Prefetch;
pub use rated::RatedBatch;
pub use rows::{ByItem, ByUser, ItemRowsBatch, RowsBatch, Side, UserRowsBatch};
pub use sampled_rows::SampledRowsBatch;
pub use sequences::SequencesBatch;
pub use session_steps::SessionStepBatch;

use crate::view::TrainView;

/// One kind of batch.
pub trait Batch: Send + Sized + 'static {
    /// Gets ready to make batches of `data`.
    ///
    /// # Errors
    /// a usage problem where the data has not what this kind needs (ratings, say).
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>>;
}

/// Makes the batches of any epoch.
pub trait BatchSource<B>: Send + Sync {
    /// The batches of `epoch`, in an order that depends on the seed and the epoch only.
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<B>>;
}

/// The batches of one epoch.
pub trait EpochBatches<B>: Send {
    /// The number of batches.
    fn len(&self) -> usize;

    /// Whether there is no batch.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Batch `index`: always the same one, whoever asks and in whatever order.
    fn batch(&self, index: usize) -> B;
}

/// How batches are made. Part of a model's config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchOptions {
    /// Training rows (or users) in a batch; sessions that are walked through side by side.
    pub batch_size: usize,
    /// Negatives drawn for each positive; where sessions are walked through, for all positives of a step together.
    pub num_negatives: usize,
    /// Of labelled rows, how many others beside each positive one: of the same user at the same time, but of an item that is drawn, and with the
    /// label 0.
    #[serde(skip_serializing_if = "is_0")]
    pub negative_rows: usize,
    /// Which training rows an epoch has, of models that learn from (user, positive, negatives).
    #[serde(skip_serializing_if = "Positives::is_default")]
    pub positives: Positives,
    /// Where negatives come from.
    pub negatives: Negatives,
    /// Exponent of the popularity in the distribution of drawn negatives; 0 is uniform.
    pub negative_alpha: f64,
    /// The order in which sessions are learned from, of models that walk through sessions.
    #[serde(skip_serializing_if = "SessionOrder::is_default")]
    pub session_order: SessionOrder,
    /// Seed of order and negatives.
    pub seed: u64,
    /// The most positions of a sequence. A model's own key, not one of `[batch]`: the model sets it.
    #[serde(skip)]
    pub max_len: usize,
    /// What the history of a next item is. A model's own key too.
    #[serde(skip)]
    pub history: History,
    /// Whether next items come with their ages. A model's own key too.
    #[serde(skip)]
    pub example_age: bool,
    /// Whether a labelled row's histories come as lists. A model's own key too.
    #[serde(skip)]
    pub history_lists: bool,
}

/// The training rows of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positives {
    /// Each once, in random order.
    #[default]
    EachOnce,
    /// As many as there are, each drawn by itself: a user, all equally likely, then one of the user's items. Users with few rows are seen
    /// as often as others. The draw of LightGCN's authors.
    ByUser,
}

impl Positives {
    /// Whether it is what a config that says nothing means.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the negatives of a training row come from. A user's own training items are never among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negatives {
    /// From all items.
    #[default]
    Drawn,
    /// From the positives of the other rows of the batch: popular items come in proportion to their popularity. Where every one of
    /// them is the user's, from all items.
    InBatch,
}

/// The order of sessions in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOrder {
    /// By the time of their first rows, the same in every epoch.
    #[default]
    Time,
    /// At random, another one in each epoch.
    Shuffled,
}

impl SessionOrder {
    /// Whether it is what a config that says nothing means.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_0(n: &usize) -> bool {
    *n == 0
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            batch_size: 2048,
            num_negatives: 1,
            negative_rows: 0,
            positives: Positives::default(),
            negatives: Negatives::default(),
            negative_alpha: 0.0,
            session_order: SessionOrder::default(),
            seed: 1,
            max_len: 0,
            history: History::default(),
            example_age: false,
            history_lists: false,
        }
    }
}

/// The rows of one epoch in random order, cut into batches.
struct Shuffled {
    order: Vec<u32>,
    batch_size: usize,
}

impl Shuffled {
    fn new(rows: usize, batch_size: usize, seed: u64, epoch: u64) -> Self {
        let mut order: Vec<u32> = (0..rows as u32).collect();
        crate::rng::Rng::keyed(seed, crate::rng::Stream::Shuffle, epoch, 0).shuffle(&mut order);
        Self { order, batch_size }
    }

    fn len(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    fn rows(&self, index: usize) -> &[u32] {
        let start = index * self.batch_size;
        &self.order[start..(start + self.batch_size).min(self.order.len())]
    }
}
