//! TensorBoard.

use std::path::Path;

use anyhow::Result;
use rec_core::events::{Event, Sink};
use rec_core::tensorboard::EventWriter;

/// Epochs between two histograms.
const HISTOGRAM_EVERY: u64 = 10;

/// Writes what TensorBoard draws; the x-axis is epochs done.
pub struct Board {
    writer: EventWriter,
}

impl Board {
    /// Opens an event file in `folder`; points after epoch `epoch` of an earlier one are void.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn open(folder: &Path, epoch: u64) -> Result<Self> {
        // A run that was killed before its first checkpoint has left a folder too.
        let writer = if folder.exists() { EventWriter::resume(folder, epoch + 1)? } else { EventWriter::create(folder)? };
        Ok(Self { writer })
    }
}

impl Sink for Board {
    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Scalar { tag, epoch, value } => self.writer.scalar(tag, *epoch, *value),
            Event::Histogram { tag, epoch, values } => self.writer.histogram(tag, *epoch, values).map(drop),
            Event::EpochEnd { epoch, rows, seconds, .. } => {
                self.writer.scalar("train/rows_per_second", epoch + 1, *rows as f64 / seconds.max(1e-9))
            }
            Event::Evaluated { epoch, part, values, .. } => {
                values.iter().try_for_each(|(metric, value)| self.writer.scalar(&format!("{part}/{metric}"), *epoch, *value))
            }
            Event::End { .. } => self.writer.flush(),
            _ => Ok(()),
        }
    }

    fn wants_histograms(&self, epoch: u64) -> bool {
        epoch == 1 || epoch.is_multiple_of(HISTOGRAM_EVERY)
    }
}
