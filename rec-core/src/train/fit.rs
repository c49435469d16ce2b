//! The trainer of models that know themselves how their parameters move.

use std::sync::Arc;

use anyhow::Result;
use rec_data::view::TrainView;

use super::{EpochEnd, Pause, Trainer};
use crate::events::Events;
use crate::model::{Fit, ModelConfig, Score};
use crate::state::{StateReader, StateWriter};

/// Runs a [`Fit`] model's epochs.
pub struct FitTrainer<M: Fit> {
    model: M,
    data: Arc<TrainView>,
}

impl<M: Fit> FitTrainer<M> {
    /// The model before its first epoch.
    ///
    /// # Errors
    /// a usage problem of the config, or where the data has not what the model needs.
    pub fn new(config: &M::Config, data: &Arc<TrainView>, seed: u64) -> Result<Self> {
        config.check()?;
        Ok(Self { model: M::new(config, data, seed)?, data: Arc::clone(data) })
    }

    /// The model.
    pub fn into_model(self) -> M {
        self.model
    }
}

impl<M: Fit> Trainer for FitTrainer<M> {
    fn model(&self) -> &dyn Score {
        &self.model
    }

    fn epochs(&self) -> Option<u64> {
        M::ONE_PASS.then_some(1)
    }

    fn epoch(&mut self, epoch: u64, _step: u64, _pause: &Pause, events: &mut Events) -> Result<EpochEnd> {
        self.model.epoch(&self.data, epoch, events)?;
        Ok(EpochEnd::Done { loss: None, rows: self.data.len() as u64 })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.model.save(out)
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.model.load(from)
    }
}
