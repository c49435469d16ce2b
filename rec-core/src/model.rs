//! What a researcher writes: a config, the parameters, a loss, scores. All else is given.

use anyhow::Result;
use rec_data::batch::{Batch, BatchOptions, FieldsBatch};
use rec_data::csr::Csr;
use rec_data::view::{HeldOut, TrainView};
use rec_data::windows::Windows;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use crate::events::Events;
use crate::params::Params;
use crate::scores::Scores;
use crate::state::{StateReader, StateWriter};

/// Hyper-parameters of a model: a struct with `#[serde(deny_unknown_fields, default)]`, so that a misspelt key is an error.
pub trait ModelConfig: Serialize + DeserializeOwned + Default + Clone + 'static {
    /// Checks ranges.
    ///
    /// # Errors
    /// a usage problem that names the key and the allowed range.
    fn check(&self) -> Result<()>;
}

/// Users to be scored: known ones by number, new ones by their history alone.
#[derive(Clone, Copy)]
pub struct Users<'a> {
    ids: &'a [u32],
    histories: &'a Windows,
    first: usize,
}

impl<'a> Users<'a> {
    /// Stands for a user who was not there in training.
    pub const NEW: u32 = HeldOut::NEW;

    /// `ids[i]` has the history `histories.row(i)`, oldest first.
    ///
    /// # Panics
    /// where there are fewer histories than users.
    pub fn new(ids: &'a [u32], histories: &'a Windows) -> Self {
        assert!(histories.num_rows() >= ids.len(), "a history for each user");
        Self { ids, histories, first: 0 }
    }

    /// The users at `from..to`.
    pub fn range(&self, from: usize, to: usize) -> Self {
        Self { ids: &self.ids[from..to], histories: self.histories, first: self.first + from }
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Their numbers, [`Users::NEW`] for new ones.
    pub fn ids(&self) -> &'a [u32] {
        self.ids
    }

    /// What user `i` of these did, oldest first.
    pub fn history(&self, i: usize) -> &'a [u32] {
        self.histories.row(self.first + i)
    }

    /// The values of [`history`](Self::history), ratings say; empty where the data has none.
    pub fn history_values(&self, i: usize) -> &'a [f32] {
        self.histories.row_values(self.first + i)
    }

    /// Their numbers, all known.
    ///
    /// # Errors
    /// a usage problem where one is new: for models that cannot score from a history.
    pub fn known(&self) -> Result<&'a [u32]> {
        rec_data::require!(
            !self.ids.contains(&Self::NEW),
            Usage,
            "this model scores users that it was trained with only, not a history: `item-knn`, `ease` and others can"
        );
        Ok(self.ids)
    }
}

/// Scores of every item for users, and what else the model can do.
pub trait Score {
    /// The number of items that are scored; 0 where the model ranks no items.
    fn num_items(&self) -> usize;

    /// Scores of all items for each of `users`; higher is better, −∞ is never recommended.
    ///
    /// # Errors
    /// a usage problem for new users where the model needs known ones.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>>;

    /// Scores of the items of row `i` of `candidates` for user `i`, row after row: the numbers that [`score`](Self::score) gives, for
    /// models to whom a few items are cheaper than all. `None` where they are not.
    ///
    /// # Errors
    /// as [`score`](Self::score).
    fn score_candidates(&self, users: &Users, candidates: &Csr) -> Result<Option<Vec<f32>>> {
        let _ = (users, candidates);
        Ok(None)
    }

    /// Predicted values of (user, item) pairs, where the model makes such predictions.
    fn pair_score(&self) -> Option<&dyn PairScore> {
        None
    }

    /// Predicted labels of rows, where the model makes such predictions.
    fn label_score(&self) -> Option<&dyn LabelScore> {
        None
    }

    /// A vector for each item, where the model has such vectors: for nearest neighbours, export, the projector, maps.
    fn item_vectors(&self) -> Option<Vectors<'_>> {
        None
    }

    /// Whether users are scored from their history alone, so that new users need no training.
    fn scores_histories(&self) -> bool {
        false
    }
}

/// Predicts the value of a (user, item) pair.
pub trait PairScore {
    /// One value a pair.
    ///
    /// # Errors
    /// where a pair is out of range.
    fn predict(&self, users: &[u32], items: &[u32]) -> Result<Vec<f32>>;
}

/// Predicts the label of a row from its fields.
pub trait LabelScore {
    /// Whether it wants histories as lists.
    fn wants_lists(&self) -> bool {
        false
    }

    /// Whether logits are what [`logits`](Self::logits) says; else rows are only ordered by them.
    fn gives_odds(&self) -> bool {
        true
    }

    /// One logit a row: the natural logarithm of the odds that its label is 1.
    ///
    /// # Errors
    /// libtorch's own.
    fn logits(&self, rows: &FieldsBatch) -> Result<Vec<f32>>;
}

/// Vectors, one a row.
pub struct Vectors<'a> {
    /// The length of a vector.
    pub dim: usize,
    /// `[n, dim]`, row after row.
    pub values: std::borrow::Cow<'a, [f32]>,
}

impl Vectors<'_> {
    /// The vectors numbered `rows`, in that order, one after the other.
    ///
    /// # Panics
    /// where there is no such vector.
    pub fn select(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().flat_map(|&row| &self.values[row as usize * self.dim..][..self.dim]).copied().collect()
    }
}

/// A model whose parameters move by gradients.
pub trait Model: Score + Sized + 'static {
    /// Hyper-parameters.
    type Config: ModelConfig;
    /// What it learns from.
    type Batch: Batch;

    /// Makes the parameters.
    ///
    /// # Errors
    /// a usage problem where the data has not what the model needs.
    fn new(config: &Self::Config, data: &TrainView, params: &mut Params) -> Result<Self>;

    /// What the model's own hyper-parameters decide about its batches: the length of its sequences, that it needs no negatives.
    fn shape_batches(_config: &Self::Config, _options: &mut BatchOptions) {}

    /// Called before each step with the number of steps made so far: for what changes as training goes on, such as annealed weights.
    fn begin_step(&mut self, _step: u64) {}

    /// Writes what the model carries from one step to the next beside its parameters: hidden states of sessions that go on. Without it
    /// a training that is resumed in the middle of an epoch would end elsewhere.
    ///
    /// # Errors
    /// libtorch's own, when copying from a device.
    fn save_state(&self, _out: &mut StateWriter) -> Result<()> {
        Ok(())
    }

    /// Reads what [`save_state`](Self::save_state) wrote.
    ///
    /// # Errors
    /// a data problem where the state is another model's.
    fn load_state(&mut self, _from: &StateReader) -> Result<()> {
        Ok(())
    }

    /// Takes its initial parameters from `sources`, checkpoints of finished trainings of other models.
    ///
    /// # Errors
    /// a usage problem where the model does not start from others, or not from these; a data problem where a size differs.
    fn start_from(&self, _sources: &[StateReader]) -> Result<()> {
        rec_data::fail!(Usage, "this model does not start from other runs: leave `start` out")
    }

    /// The loss of a batch: a scalar, differentiable.
    ///
    /// # Errors
    /// libtorch's own.
    fn loss(&self, batch: &Self::Batch) -> Result<Tensor>;
}

/// A model that knows itself how its parameters move: counting, a closed form, alternating least squares, online updates.
pub trait Fit: Score + Sized + 'static {
    /// Hyper-parameters.
    type Config: ModelConfig;

    /// The model before its first epoch. `seed` decides initial values and all draws.
    ///
    /// # Errors
    /// a usage problem where the data has not what the model needs.
    fn new(config: &Self::Config, data: &TrainView, seed: u64) -> Result<Self>;

    /// Whether one epoch is all there is: counting, a closed form.
    const ONE_PASS: bool;

    /// One epoch, the `epoch`-th from 0. Draws depend on the seed and the epoch only, so that a resumed training is the same.
    ///
    /// # Errors
    /// a numeric problem where the training diverges.
    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()>;

    /// Writes all that [`load`](Self::load) needs to go on.
    ///
    /// # Errors
    /// where something cannot be serialised.
    fn save(&self, out: &mut StateWriter) -> Result<()>;

    /// Reads what [`save`](Self::save) wrote into a model made by [`new`](Self::new) with the same config and data.
    ///
    /// # Errors
    /// a data problem where the state is another model's.
    fn load(&mut self, from: &StateReader) -> Result<()>;
}
