//! `metrics.jsonl`: one JSON object a line for each number.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rec_core::events::{Event, Sink};
use serde_json::{Value, json};

/// Appends to a file.
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens the file; lines of epochs from `epoch` (from 0) on are dropped: they will come again.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn open(path: &Path, epoch: u64) -> Result<Self> {
        let kept: String = std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|v| v["epoch"].as_u64().is_some_and(|e| e <= epoch)))
            .map(|line| format!("{line}\n"))
            .collect();
        crate::run_folder::write_whole(path, kept.as_bytes())?;
        let file = File::options().append(true).open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl Sink for Lines {
    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        let line = match event {
            Event::Scalar { tag, epoch, value } => json!({ "epoch": epoch, tag.to_owned(): value }),
            Event::EpochEnd { epoch, rows, seconds, .. } => json!({ "epoch": epoch + 1, "train/seconds": seconds, "train/rows": rows }),
            Event::Evaluated { epoch, part, values, seconds } => {
                let mut line = json!({ "epoch": epoch, format!("{part}/seconds"): seconds });
                values.iter().for_each(|(metric, value)| line[format!("{part}/{metric}")] = json!(value));
                line
            }
            _ => return Ok(()),
        };
        writeln!(self.file, "{line}").with_context(|| format!("writing {}", self.path.display()))
    }
}
