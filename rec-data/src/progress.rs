//! Bytes done of a long reading or fetching.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal; a line now and then without one.
pub(crate) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    last_line: std::cell::Cell<Instant>,
}

impl Progress {
    /// Progress over the bytes of the file `target`.
    pub(crate) fn new(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().display().to_string();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}").expect("a constant template");
            ProgressBar::no_length().with_style(style).with_message(name.clone())
        });
        Self { name, bar, last_line: Instant::now().into() }
    }

    /// `bytes` are done, where known of so many.
    pub(crate) fn at(&self, bytes: u64, of: Option<u64>) {
        match &self.bar {
            Some(bar) => {
                if let Some(of) = of {
                    bar.set_length(of);
                }
                bar.set_position(bytes);
            }
            None if self.last_line.get().elapsed() >= Duration::from_secs(10) => {
                self.last_line.set(Instant::now());
                let of = of.map(|of| format!(" of {}", of >> 20)).unwrap_or_default();
                crate::notes::note(&format!("{}: {}{of} MiB", self.name, bytes >> 20));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
