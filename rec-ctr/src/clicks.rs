//! What all models of labels share: batches, the log loss, predictions.

use anyhow::Result;
use rec_core::Params;
use rec_core::loss::{Loss, LossInput, WeightedBce};
use rec_core::model::{LabelScore, Model, ModelConfig, Score, Users};
use rec_core::params::slice;
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_data::batch::{BatchOptions, FieldsBatch};
use rec_data::fields::LabelledRows;
use rec_data::view::TrainView;
use tch::Tensor;

use crate::embedding::Taken;

/// A model of labels: parameters, and the logits of a batch.
pub trait Network: Sized + 'static {
    /// Hyper-parameters.
    type Config: ModelConfig;

    /// Whether it wants histories as lists beside the other fields; else a history is a field of several features.
    const LISTS: bool = false;

    /// Whether its logits are log-odds of the label; else rows are only ordered by them.
    const ODDS: bool = true;

    /// Makes the parameters for such rows.
    ///
    /// # Errors
    /// a usage problem where the fields are not what the model needs.
    fn new(config: &Self::Config, rows: &LabelledRows, params: &mut Params) -> Result<Self>;

    /// The natural logarithm of the odds that a row's label is 1.
    ///
    /// # Shapes
    /// returns `[B]`
    ///
    /// # Errors
    /// libtorch's own.
    fn logits(&self, rows: &Taken) -> Result<Tensor>;

    /// What is added to the mean log loss of a batch, whose rows were just seen by [`logits`](Self::logits).
    ///
    /// # Errors
    /// libtorch's own.
    fn penalty(&self, _rows: &Taken) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// What each row's log loss is multiplied by; `None` where every row counts the same.
    fn weights(_batch: &FieldsBatch) -> Option<Vec<f32>> {
        None
    }

    /// What it carries from step to step beside its parameters, with names: running means of activations.
    fn carried(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }
}

/// A [`Network`] as a model: minimises mean −w (y ln σ(x) + (1 − y) ln(1 − σ(x))).
pub struct Clicks<N> {
    network: N,
    device: Device,
}

impl<N: Network> Model for Clicks<N> {
    type Config = N::Config;
    type Batch = FieldsBatch;

    fn new(config: &N::Config, data: &TrainView, params: &mut Params) -> Result<Self> {
        Ok(Self { network: N::new(config, data.labelled()?, params)?, device: params.device() })
    }

    fn shape_batches(_config: &N::Config, options: &mut BatchOptions) {
        options.history_lists = N::LISTS;
    }

    fn save_state(&self, out: &mut StateWriter) -> Result<()> {
        self.network.carried().iter().try_for_each(|(name, tensor)| out.tensor(&format!("carried/{name}"), tensor))
    }

    fn load_state(&mut self, from: &StateReader) -> Result<()> {
        self.network.carried().iter_mut().try_for_each(|(name, tensor)| from.tensor_into(&format!("carried/{name}"), tensor))
    }

    fn loss(&self, batch: &FieldsBatch) -> Result<Tensor> {
        let rows = Taken::new(batch, self.device)?;
        let logits = self.network.logits(&rows)?;
        let labels = Tensor::from_slice(&batch.labels).f_to_device(self.device)?;
        let weights = N::weights(batch).map(|w| Tensor::from_slice(&w).f_to_device(self.device)).transpose()?;
        let judged = LossInput::Labelled { logits: &logits, labels: &labels, weights: weights.as_ref() };
        let loss = WeightedBce { positive_weight: 1.0 }.loss(&judged)?;
        Ok(match self.network.penalty(&rows)? {
            Some(penalty) => loss + penalty,
            None => loss,
        })
    }
}

impl<N: Network> Score for Clicks<N> {
    fn num_items(&self) -> usize {
        0
    }

    fn score<'a>(&'a self, _users: &Users<'a>) -> Result<Scores<'a>> {
        crate::ranks_nothing()
    }

    fn label_score(&self) -> Option<&dyn LabelScore> {
        Some(self)
    }
}

impl<N: Network> LabelScore for Clicks<N> {
    fn wants_lists(&self) -> bool {
        N::LISTS
    }

    fn gives_odds(&self) -> bool {
        N::ODDS
    }

    fn logits(&self, rows: &FieldsBatch) -> Result<Vec<f32>> {
        let logits = self.network.logits(&Taken::new(rows, self.device)?)?;
        Ok(slice(&logits.f_to_device(Device::Cpu)?.f_contiguous()?).to_vec())
    }
}
