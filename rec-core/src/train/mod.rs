//! Training: how parameters move ([`Trainer`]), and the loop that runs epochs, measures, stops early, saves and resumes.

mod fit;
mod gradient;
mod interrupt;
mod run;

pub use fit::FitTrainer;
pub use gradient::{GradientConfig, GradientTrainer};
pub use interrupt::Interrupt;
pub use run::{Judge, LoopConfig, Outcome, train};

use std::time::Duration;

use anyhow::Result;

use crate::events::Events;
use crate::model::Score;
use crate::state::{StateReader, StateWriter};

/// Moves the parameters of the model that it holds.
pub trait Trainer {
    /// The model as it is now.
    fn model(&self) -> &dyn Score;

    /// The most epochs that make sense: 1 for a closed form, `None` where the loop decides.
    fn epochs(&self) -> Option<u64>;

    /// Takes the model's initial parameters from checkpoints of other trainings, see [`Model::start_from`](crate::Model::start_from).
    ///
    /// # Errors
    /// a usage problem where the model does not start from others, or not from these; a data problem where a size differs.
    fn start_from(&self, _sources: &[StateReader]) -> Result<()> {
        rec_data::fail!(Usage, "this model does not start from other runs: leave `start` out")
    }

    /// Multiplies the step sizes of the schedule by `factor` from now on, in place of an earlier one. No part of the saved state.
    ///
    /// # Errors
    /// a usage problem where the model does not learn by gradients.
    fn scale_steps(&mut self, _factor: f64) -> Result<()> {
        rec_data::fail!(Usage, "`plateau_factor` scales the steps of models that learn by gradients, and this one does not: leave it out")
    }

    /// Trains epoch `epoch` (from 0) from step `step` on, until it ends or `pause` says so.
    ///
    /// # Errors
    /// a numeric problem where the training diverges.
    fn epoch(&mut self, epoch: u64, step: u64, pause: &Pause, events: &mut Events) -> Result<EpochEnd>;

    /// Writes all that [`load`](Self::load) needs to go on to the bit.
    ///
    /// # Errors
    /// where something cannot be copied or serialised.
    fn save(&self, out: &mut StateWriter) -> Result<()>;

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// a data problem where the state is another model's.
    fn load(&mut self, from: &StateReader) -> Result<()>;
}

/// When to stop within an epoch.
pub struct Pause {
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
    /// A checkpoint is due after this long.
    pub after: Duration,
}

/// How a call of [`Trainer::epoch`] ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpochEnd {
    /// The epoch is done.
    Done {
        /// Mean loss, where there is one.
        loss: Option<f64>,
        /// Rows learned from.
        rows: u64,
    },
    /// It goes on at step `next`.
    Paused {
        /// The step that comes next.
        next: u64,
    },
}
