//! The loop: epochs, measurements, early stopping, checkpoints, exact resume.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use rec_data::view::{HeldOut, TrainView};
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use super::{EpochEnd, Interrupt, Pause, Trainer};
use crate::eval::{Metric, evaluate};
use crate::events::{Clock, Event, Events};
use crate::state::{StateReader, StateWriter};

/// `[loop]` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoopConfig {
    /// The most epochs.
    pub epochs: u64,
    /// Epochs between two measurements on the judging part.
    pub eval_every: u64,
    /// Measurements without a better value before the training stops; one more than this many ends it.
    pub patience: u64,
    /// What picks the epoch.
    pub metric: Metric,
    /// What the step size is multiplied by after each measurement without a better value; 1 leaves it, and is left out of a run's config.
    #[serde(skip_serializing_if = "is_one")]
    pub plateau_factor: f64,
    /// Seconds between two checkpoints; 0 writes one after every epoch.
    pub checkpoint_seconds: f64,
}

impl Default for LoopConfig {
    fn default() -> Self {
        let metric = "ndcg@10".parse().expect("a metric's name");
        Self { epochs: 100, eval_every: 1, patience: 10, metric, plateau_factor: 1.0, checkpoint_seconds: 20.0 }
    }
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

impl LoopConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// a usage problem that names the key and what it may be.
    pub fn check(&self) -> Result<()> {
        require!(self.epochs > 0, Usage, "`epochs` is 0: it must be at least 1");
        require!(self.eval_every > 0, Usage, "`eval_every` is 0: it must be at least 1");
        let factor = self.plateau_factor;
        require!(factor > 0.0 && factor <= 1.0, Usage, "`plateau_factor` is {factor}: it must be above 0 and at most 1");
        require!(self.checkpoint_seconds >= 0.0, Usage, "`checkpoint_seconds` is {}: it must be at least 0", self.checkpoint_seconds);
        Ok(())
    }

    /// Makes the steps as small as they are after `plateaus` measurements without a better value.
    fn scale_steps(&self, trainer: &mut dyn Trainer, plateaus: u64) -> Result<()> {
        if self.plateau_factor == 1.0 { Ok(()) } else { trainer.scale_steps(self.plateau_factor.powf(plateaus as f64)) }
    }

    /// The time between two checkpoints; what no clock reaches, and 0, which means every epoch, is the longest there is.
    fn checkpoint_every(&self) -> Duration {
        if self.checkpoint_seconds == 0.0 {
            return Duration::MAX;
        }
        Duration::try_from_secs_f64(self.checkpoint_seconds).unwrap_or(Duration::MAX)
    }
}

/// What picks the epoch.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// The rows that judge.
    pub held: &'a HeldOut,
    /// What they are called in the log: `valid`, or `test` where a protocol peeks.
    pub part: &'a str,
}

/// How a training ended. The trainer holds the picked epoch's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Epochs trained.
    pub epochs: u64,
    /// The picked epoch, from 1; the last one where nothing judged.
    pub best_epoch: u64,
    /// The judging metric's value there.
    pub best_value: Option<f64>,
    /// Seconds of training, without measurements.
    pub train_seconds: f64,
    /// Seconds of measurements on the judging part.
    pub eval_seconds: f64,
}

/// Where the loop stands; written into every checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Progress {
    epoch: u64,
    step: u64,
    best_epoch: u64,
    /// Bits of the best value, so that it comes back exactly.
    best: Option<u64>,
    bad: u64,
    /// Measurements without a better value so far, all together.
    #[serde(default)]
    plateaus: u64,
    done: bool,
    /// Of this epoch so far; it may be cut by checkpoints.
    #[serde(default)]
    epoch_seconds: f64,
    train_seconds: f64,
    eval_seconds: f64,
}

/// Trains until the epochs are done, the judge sees no progress, or an interrupt; resumes from `folder` where a checkpoint lies.
///
/// # Errors
/// an `Interrupted` problem after a clean stop; numeric, I/O and usage problems of trainer and evaluator.
pub fn train(
    trainer: &mut dyn Trainer,
    data: &TrainView,
    judge: Option<Judge>,
    config: &LoopConfig,
    folder: &Path,
    interrupt: &Interrupt,
    events: &mut Events,
) -> Result<Outcome> {
    config.check()?;
    let files = Files { last: folder.join("last.safetensors"), best: folder.join("best.safetensors") };
    let mut progress = Progress::default();
    if files.last.exists() {
        let from = StateReader::open(&files.last)?;
        trainer.load(&from)?;
        progress = from.value("progress")?;
        if !progress.done {
            events.send(&Event::Note(&format!("going on from epoch {}, step {}", progress.epoch + 1, progress.step)))?;
        }
    }
    config.scale_steps(trainer, progress.plateaus)?;
    let epochs = trainer.epochs().unwrap_or(config.epochs);
    events.send(&Event::Start { epochs, epoch: progress.epoch })?;
    let mut saved = Instant::now();
    let mut best: Option<StateWriter> = None;
    let mut why = "all epochs are done";
    while progress.epoch < epochs && !progress.done {
        let every = config.checkpoint_every();
        let pause = Pause { interrupt: interrupt.clone(), after: every.saturating_sub(saved.elapsed()).max(Duration::from_millis(1)) };
        let clock = Clock::new();
        let end = trainer.epoch(progress.epoch, progress.step, &pause, events)?;
        let seconds = clock.seconds();
        progress.train_seconds += seconds;
        progress.epoch_seconds += seconds;
        match end {
            EpochEnd::Paused { next } => progress.step = next,
            EpochEnd::Done { loss, rows } => {
                events.send(&Event::EpochEnd { epoch: progress.epoch, loss, rows, seconds: progress.epoch_seconds })?;
                (progress.epoch, progress.step, progress.epoch_seconds) = (progress.epoch + 1, 0, 0.0);
                if let Some(judge) = judge
                    && (progress.epoch.is_multiple_of(config.eval_every) || progress.epoch == epochs)
                {
                    let better = measure(trainer, data, judge, config, &mut progress, events)?;
                    config.scale_steps(trainer, progress.plateaus)?;
                    if better {
                        let mut state = StateWriter::default();
                        trainer.save(&mut state)?;
                        best = Some(state);
                    } else if progress.bad > config.patience {
                        why = "no better value for as many measurements as `patience` allows";
                        progress.done = true;
                    }
                }
                progress.done |= progress.epoch == epochs;
            }
        }
        let stopping = interrupt.is_set() && !progress.done;
        if stopping || progress.done || saved.elapsed() >= every || config.checkpoint_seconds == 0.0 {
            files.write(trainer, &progress, best.take())?;
            saved = Instant::now();
        }
        if stopping {
            fail!(Interrupted, "stopped at epoch {}, step {}: the same command goes on from there", progress.epoch + 1, progress.step);
        }
    }
    if judge.is_some() && progress.best.is_some() {
        require!(
            files.best.exists(),
            Data,
            "{} is missing, which {} speaks of: delete the folder {} to start afresh",
            files.best.display(),
            files.last.display(),
            folder.display()
        );
        trainer.load(&StateReader::open(&files.best)?)?;
    } else {
        progress.best_epoch = progress.epoch;
    }
    events.send(&Event::End { epochs: progress.epoch, best_epoch: progress.best_epoch, why })?;
    Ok(Outcome {
        epochs: progress.epoch,
        best_epoch: progress.best_epoch,
        best_value: progress.best.map(f64::from_bits),
        train_seconds: progress.train_seconds,
        eval_seconds: progress.eval_seconds,
    })
}

/// Measures on the judging part; says whether the value is the best so far (an equal one is not).
fn measure(
    trainer: &dyn Trainer,
    data: &TrainView,
    judge: Judge,
    config: &LoopConfig,
    progress: &mut Progress,
    events: &mut Events,
) -> Result<bool> {
    let clock = Clock::new();
    let evaluation = evaluate(trainer.model(), judge.held, data, &[config.metric])?;
    let value = evaluation.values[0].1;
    progress.eval_seconds += clock.seconds();
    events.send(&Event::Evaluated { epoch: progress.epoch, part: judge.part, values: &evaluation.values, seconds: clock.seconds() })?;
    require!(value.is_finite(), Numeric, "{} on the {} rows is {value} after epoch {}", config.metric, judge.part, progress.epoch);
    let better =
        progress.best.map(f64::from_bits).is_none_or(|best| if config.metric.higher_is_better() { value > best } else { value < best });
    if better {
        (progress.best, progress.best_epoch, progress.bad) = (Some(value.to_bits()), progress.epoch, 0);
    } else {
        progress.bad += 1;
        progress.plateaus += 1;
    }
    Ok(better)
}

/// The two files of a training: where it stands, and its best epoch.
struct Files {
    last: PathBuf,
    best: PathBuf,
}

impl Files {
    /// The best epoch is written first. A kill in between leaves a best file that is ahead of the progress: going on from there
    /// reaches the same epoch again and writes the same bytes.
    fn write(&self, trainer: &dyn Trainer, progress: &Progress, best: Option<StateWriter>) -> Result<()> {
        if let Some(best) = best {
            best.write(&self.best)?;
        }
        let mut out = StateWriter::default();
        trainer.save(&mut out)?;
        out.value("progress", progress)?;
        out.write(&self.last)
    }
}
