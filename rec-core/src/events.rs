//! One stream of training events: progress bar, TensorBoard, run folder and report all read it, and nothing else knows about output.

use std::time::Instant;

use anyhow::Result;

use crate::eval::Metric;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A training begins or goes on.
    Start {
        /// Epochs there are to train.
        epochs: u64,
        /// The epoch that comes next, from 0.
        epoch: u64,
    },
    /// Progress within an epoch.
    Step {
        /// From 0.
        epoch: u64,
        /// From 0, within the epoch.
        step: u64,
        /// Steps of the epoch.
        steps: u64,
    },
    /// A number by name: a loss, a norm, a rate.
    Scalar {
        /// Its tag, such as `train/loss`.
        tag: &'a str,
        /// Where on the x-axis: epochs done.
        epoch: u64,
        /// The number.
        value: f64,
    },
    /// Values whose distribution is of interest.
    Histogram {
        /// Its tag, such as `parameters/user_embedding`.
        tag: &'a str,
        /// Epochs done.
        epoch: u64,
        /// The values.
        values: &'a [f32],
    },
    /// An epoch ended.
    EpochEnd {
        /// From 0.
        epoch: u64,
        /// Mean loss, where the trainer has one.
        loss: Option<f64>,
        /// Rows learned from.
        rows: u64,
        /// How long it took.
        seconds: f64,
    },
    /// Metrics were measured.
    Evaluated {
        /// Epochs done.
        epoch: u64,
        /// `valid` or `test`.
        part: &'a str,
        /// Metrics and their values.
        values: &'a [(Metric, f64)],
        /// How long it took.
        seconds: f64,
    },
    /// A training ended.
    End {
        /// Epochs trained.
        epochs: u64,
        /// The picked epoch, from 1.
        best_epoch: u64,
        /// Why it ended.
        why: &'a str,
    },
    /// A sentence for the reader.
    Note(&'a str),
}

/// Reads events.
pub trait Sink {
    /// Takes one event.
    ///
    /// # Errors
    /// an I/O problem that names the file; the training stops on it.
    fn take(&mut self, event: &Event<'_>) -> Result<()>;

    /// Whether histograms are wanted after epoch number `epoch` (from 1).
    fn wants_histograms(&self, _epoch: u64) -> bool {
        false
    }
}

/// The stream: whoever trains writes to it, every sink reads it.
#[derive(Default)]
pub struct Events {
    sinks: Vec<Box<dyn Sink>>,
}

impl Events {
    /// A stream that nobody reads.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Adds a reader.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    /// Writes an event.
    ///
    /// # Errors
    /// the first reader's that failed.
    pub fn send(&mut self, event: &Event<'_>) -> Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.take(event))
    }

    /// Whether a reader wants histograms after epoch number `epoch` (from 1).
    pub fn want_histograms(&self, epoch: u64) -> bool {
        self.sinks.iter().any(|s| s.wants_histograms(epoch))
    }
}

/// Measures seconds.
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    #[expect(clippy::new_without_default, reason = "starting a clock is an act, not a default")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
