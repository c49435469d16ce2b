//! The course of a training by epoch and by second, from the lines that it writes while it goes on, and curves of several beside each other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::page::{escape, page};
use crate::plot::{Line, legend, lines};
use crate::run_folder::RunFolder;

/// The tag of the training loss.
pub const LOSS: &str = "train/loss";
/// Files of lines; the second is that of a training on all of train, which alone is there where nothing picked an epoch before it.
const FILES: [&str; 2] = ["metrics.jsonl", "all-of-train-metrics.jsonl"];
/// Parts that judge an epoch.
const PARTS: [&str; 2] = ["valid", "test"];

/// The numbers of a training so far.
pub struct Course {
    values: Vec<Value>,
    seconds: BTreeMap<u64, f64>,
}

/// A number after an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Epochs done.
    pub epoch: u64,
    /// Seconds of training up to there, without measurements.
    pub seconds: f64,
    /// The number.
    pub value: f64,
}

impl Course {
    /// Reads the lines of a run, which may be in training: a last line that is not whole yet is left out. Without any file it is empty.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn read(folder: &RunFolder) -> Result<Self> {
        let file = FILES.map(|name| folder.file(name)).into_iter().find(|file| file.exists());
        let text = match &file {
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
            None => String::new(),
        };
        let values: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut seconds = BTreeMap::new();
        let mut sum = 0.0;
        for value in &values {
            if let (Some(epoch), Some(taken)) = (value["epoch"].as_u64(), value["train/seconds"].as_f64()) {
                sum += taken;
                seconds.insert(epoch, sum);
            }
        }
        Ok(Self { values, seconds })
    }

    /// The number called `tag` after each epoch that has one.
    pub fn of(&self, tag: &str) -> Vec<Point> {
        let point = |value: &Value| {
            let (epoch, number) = (value["epoch"].as_u64()?, value[tag].as_f64()?);
            Some(Point { epoch, seconds: *self.seconds.get(&epoch)?, value: number })
        };
        self.values.iter().filter_map(point).collect()
    }

    /// `metric` on the part that judged, and which part that was; empty where none did.
    pub fn judged(&self, metric: &str) -> (&'static str, Vec<Point>) {
        let on = |part: &'static str| (part, self.of(&format!("{part}/{metric}")));
        PARTS.map(on).into_iter().find(|(_, points)| !points.is_empty()).unwrap_or((PARTS[0], Vec::new()))
    }

    /// The metrics that judged.
    pub fn metrics(&self) -> Vec<String> {
        let keys = self.values.iter().filter_map(Value::as_object).flat_map(|line| line.keys());
        let metrics = keys.filter_map(|key| PARTS.iter().find_map(|part| key.strip_prefix(part)?.strip_prefix('/')));
        let mut metrics: Vec<String> = metrics.filter(|name| *name != "seconds").map(str::to_owned).collect();
        metrics.sort();
        metrics.dedup();
        metrics
    }
}

/// What is drawn of a run.
pub struct Curves {
    /// What it is called.
    pub label: String,
    /// The training loss; empty where the model has none.
    pub loss: Vec<Point>,
    /// The metric that judged; empty where nothing did.
    pub judged: Vec<Point>,
}

/// A page with the curves of `runs`, a colour each: loss and `metric`, by epoch and by second. What no run has is left out.
///
/// # Errors
/// as [`lines`].
pub fn curves_page(runs: &[Curves], metric: Option<&str>) -> Result<String> {
    let entries: Vec<(Option<usize>, String)> = runs.iter().enumerate().map(|(at, run)| (Some(at), run.label.clone())).collect();
    let mut body = legend(&entries) + "<p>Seconds are those of training alone, without measurements.</p>";
    body += &quantity(LOSS, runs, |run| &run.loss)?;
    if let Some(metric) = metric {
        body += &quantity(metric, runs, |run| &run.judged)?;
    }
    Ok(page("Curves", &body))
}

/// Two pictures of one quantity, and who lacks it.
fn quantity(name: &str, runs: &[Curves], of: impl Fn(&Curves) -> &[Point]) -> Result<String> {
    let name = escape(name);
    let picture = |axis: &str, x: fn(&Point) -> f64| -> Result<String> {
        let line = |(colour, run)| Line { colour, points: of(run).iter().map(|point| (x(point), point.value)).collect() };
        Ok(format!("<h2>{name} by {axis}</h2>{}", lines(axis, &runs.iter().enumerate().map(line).collect::<Vec<_>>())?))
    };
    let without: Vec<String> = runs.iter().filter(|run| of(run).is_empty()).map(|run| escape(&run.label)).collect();
    let mut part = String::new();
    if without.len() < runs.len() {
        part += &picture("epoch", |point| point.epoch as f64)?;
        part += &picture("second", |point| point.seconds)?;
    }
    if !without.is_empty() {
        part += &format!("<p>Without {name}: {}.</p>", without.join(", "));
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_add_up_over_epochs_and_a_line_that_is_not_whole_is_left_out() {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("config.toml"), "").expect("written");
        let written = "{\"epoch\":1,\"train/loss\":0.5}\n{\"epoch\":1,\"train/seconds\":2.0,\"train/rows\":7}\n\
                       {\"epoch\":2,\"train/loss\":0.25}\n{\"epoch\":2,\"train/seconds\":1.5,\"train/rows\":7}\n\
                       {\"epoch\":2,\"valid/ndcg@10\":0.125,\"valid/seconds\":9.0}\n{\"epoch\":3,\"train/lo";
        std::fs::write(place.path().join("metrics.jsonl"), written).expect("written");
        let course = Course::read(&RunFolder::existing(place.path()).expect("a run")).expect("read");
        let point = |epoch, seconds, value| Point { epoch, seconds, value };
        assert_eq!(course.of(LOSS), [point(1, 2.0, 0.5), point(2, 3.5, 0.25)]);
        assert_eq!(course.judged("ndcg@10"), ("valid", vec![point(2, 3.5, 0.125)]));
        assert_eq!(course.metrics(), ["ndcg@10"]);
        assert!(course.judged("ndcg@20").1.is_empty());
    }
}
