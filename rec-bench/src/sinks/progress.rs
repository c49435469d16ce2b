//! A progress bar on a terminal; elsewhere a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use rec_core::events::{Event, Sink};

use rec_data::notes::note;

/// Seconds between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Shows how far a training is.
pub struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    last: Instant,
    epochs: u64,
    note: String,
}

impl Progress {
    /// For a training called `label`.
    pub fn new(label: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix:28!} {wide_bar} {percent:>3} % {elapsed}+{eta} {msg}").expect("a fine template");
            ProgressBar::new(0).with_style(style).with_prefix(label.to_owned())
        });
        Self { label: label.into(), bar, last: Instant::now(), epochs: 0, note: String::new() }
    }

    fn say(&mut self, epoch: u64, share: f64) {
        match &self.bar {
            Some(bar) => {
                // In thousandths of an epoch, so that long epochs move too.
                bar.set_position(epoch * 1000 + (share * 1000.0) as u64);
                bar.set_message(self.note.clone());
            }
            None if self.last.elapsed() >= LINE_EVERY => {
                self.last = Instant::now();
                note(&format!("{}: epoch {} of {} {}", self.label, (epoch + 1).min(self.epochs), self.epochs, self.note));
            }
            None => {}
        }
    }
}

impl Sink for Progress {
    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { epochs, epoch } => {
                self.epochs = *epochs;
                if let Some(bar) = &self.bar {
                    bar.set_length(epochs * 1000);
                    bar.set_position(epoch * 1000);
                    bar.reset_eta();
                }
            }
            Event::Step { epoch, step, steps } => self.say(*epoch, *step as f64 / (*steps).max(1) as f64),
            Event::EpochEnd { epoch, loss, .. } => {
                if let Some(loss) = loss {
                    self.note = format!("loss {loss:.4}");
                }
                self.say(epoch + 1, 0.0);
            }
            Event::Evaluated { epoch, values, .. } => {
                if let Some((metric, value)) = values.first() {
                    self.note = format!("{metric} {value:.4}");
                }
                self.say(*epoch, 0.0);
            }
            Event::Note(text) => match &self.bar {
                Some(bar) => bar.println(format!("{}: {text}", self.label)),
                None => note(&format!("{}: {text}", self.label)),
            },
            Event::End { .. } => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
