//! Measured cells beside published ones.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rec_core::Registry;
use rec_core::eval::Metric;
use rec_core::protocol::JudgedBy;
use rec_core::statistics::{Interval, by_user, over_seeds, over_users, standard_deviation};
use rec_data::fail;
use serde::{Deserialize, Serialize};

use super::queue::finished;
use super::spec::Table;
use crate::run_folder::read_per_user;

/// Draws of a bootstrap interval over users.
const DRAWS: usize = 1000;

/// Whether a published value was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Within the tolerance.
    Reproduced,
    /// Better by more than the tolerance.
    Above,
    /// Worse by more than the tolerance.
    Below,
    /// Measured; there is no published value.
    Measured,
    /// Not all runs are finished.
    NotRun,
    /// Measured; the published value is not to be believed.
    Disputed,
}

impl Status {
    /// As it is written in tables.
    pub fn word(self) -> &'static str {
        match self {
            Status::Reproduced => "reproduced",
            Status::Above => "above",
            Status::Below => "below",
            Status::Measured => "measured",
            Status::NotRun => "not run",
            Status::Disputed => "disputed",
        }
    }
}

/// One cell, as `table show --json` and `results/ID/cells.json` hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The table's id.
    pub table: String,
    /// The row's name.
    pub model: String,
    /// The data set's id.
    pub dataset: String,
    /// What was measured; behind a metric over a few candidates stands which: `hit@10[uni99]`.
    pub metric: String,
    /// The published value.
    pub published: Option<f64>,
    /// Where the published value stands.
    pub source: String,
    /// What a reader should know.
    pub note: Option<String>,
    /// How far the mean may lie from the published value.
    pub tolerance: Option<f64>,
    /// Mean over the runs.
    pub measured: Option<f64>,
    /// 95 % interval of the mean: Student's over runs, or the bootstrap's over users where there is one run.
    pub interval: Option<Interval>,
    /// Deviation over the runs.
    pub deviation: Option<f64>,
    /// What the interval is over: `runs` or `users`.
    pub interval_over: Option<String>,
    /// Of several runs on one split: the bootstrap's 95 % interval over users, each user being the mean over runs.
    #[serde(default)]
    pub users_interval: Option<Interval>,
    /// The runs' values.
    pub values: Vec<f64>,
    /// Names of the runs that answer it. A hash of each one's config is part of its name: under another config they are other runs.
    #[serde(default)]
    pub runs: Vec<String>,
    /// The model's seeds, run by run.
    pub seeds: Vec<u64>,
    /// The split seeds, run by run.
    pub split_seeds: Vec<u64>,
    /// Whether the published value was reached.
    pub status: Status,
    /// What picked the epoch: `valid`, `test` or `last`, and whether the model was trained again on all of train.
    pub selection: String,
    /// How the hyper-parameters were found.
    pub tuned: String,
    /// sha256 of the protocol.
    pub protocol_hash: Option<String>,
    /// sha256 of the data's rows.
    pub content_hash: Option<String>,
    /// Commit of the source.
    pub commit: Option<String>,
    /// What it ran on.
    pub hardware: Option<String>,
    /// Mean seconds of a run.
    pub seconds: Option<f64>,
}

/// The cells of a table, measured where all runs of a row are finished under `root`.
///
/// # Errors
/// a usage problem where finished runs have different protocol hashes: such rows do not stand in one table.
pub fn cells(root: &Path, table: &Table, registry: &Registry) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let mut first: Option<(String, String)> = None;
    for row in &table.rows {
        let done = finished(root, table, row, registry)?;
        let complete = done.results.len() == done.of;
        for result in &done.results {
            match &first {
                None => first = Some((row.name.clone(), result.protocol_hash.clone())),
                Some((_, hash)) if *hash == result.protocol_hash => {}
                Some((other, _)) => fail!(
                    Usage,
                    "{}: `{}` and `{other}` were run under different protocols (or data): their numbers do not compare, run both again",
                    table.id,
                    row.name
                ),
            }
        }
        let selection = row.selection(table);
        let by = match selection.by {
            JudgedBy::Valid => "valid",
            JudgedBy::Test => "test",
            JudgedBy::Last => "last",
        };
        for spec in &row.cells {
            let value = |r: &crate::run_folder::RunResult| r.metrics.iter().find(|m| m.0 == spec.metric).map(|m| m.1);
            let values: Vec<f64> = done.results.iter().filter_map(value).collect();
            let there = complete && values.len() == done.of && !values.is_empty();
            let mut interval = None;
            let mut over = None;
            if there && values.len() > 1 {
                interval = Some(over_seeds(&values));
                over = Some("runs".to_owned());
            } else if there && spec.metric.is_per_user() {
                interval = interval_over_users(&done.folders, spec.metric)?;
                over = interval.is_some().then(|| "users".to_owned());
            }
            let users_interval = if there && values.len() > 1 && table.protocol.split_seeds.len() == 1 && spec.metric.is_per_user() {
                interval_over_users(&done.folders, spec.metric)?
            } else {
                None
            };
            let measured = there.then(|| values.iter().sum::<f64>() / values.len() as f64);
            let last = done.results.last().filter(|_| there);
            cells.push(Cell {
                table: table.id.clone(),
                model: row.name.clone(),
                dataset: table.protocol.dataset.clone(),
                metric: table.label(spec.metric),
                published: spec.published,
                source: spec.source.clone().unwrap_or_else(|| table.source.clone()),
                note: spec.disputed.clone().or_else(|| spec.note.clone()),
                tolerance: spec.tolerance,
                measured,
                interval,
                deviation: (there && values.len() > 1).then(|| standard_deviation(&values)),
                interval_over: over,
                users_interval,
                runs: done.names.clone(),
                seeds: done.results.iter().map(|r| r.seed).collect(),
                split_seeds: done.results.iter().map(|r| table.protocol.split_seeds.get(r.split).copied().unwrap_or(0)).collect(),
                status: status(measured, spec.published, spec.tolerance, spec.metric, spec.disputed.is_some()),
                selection: if selection.retrain { format!("{by}, then all of train") } else { by.into() },
                tuned: row.tuned.clone(),
                protocol_hash: last.map(|r| r.protocol_hash.clone()),
                content_hash: last.map(|r| r.content_hash.clone()),
                commit: last.map(|r| r.environment.commit.clone()),
                hardware: last.map(|r| r.environment.hardware()),
                seconds: there.then(|| done.results.iter().map(|r| r.seconds).sum::<f64>() / values.len() as f64),
                values,
            });
        }
    }
    Ok(cells)
}

/// `cells`, and where one was not run, what `before` holds of the same runs: long tables are measured piece by piece. What is
/// published and tolerated is what the table says now.
///
/// # Errors
/// a usage problem where `before` was measured under another protocol or on other data.
pub fn keep(cells: Vec<Cell>, before: &[Cell], table: &Table) -> Result<Vec<Cell>> {
    let mut kept: Vec<Cell> = cells;
    for cell in kept.iter_mut().filter(|c| c.measured.is_none()) {
        let same = |b: &&Cell| b.measured.is_some() && (&b.model, &b.metric, &b.runs) == (&cell.model, &cell.metric, &cell.runs);
        let Some(old) = before.iter().find(same) else { continue };
        let spec = table.rows.iter().filter(|r| r.name == cell.model).flat_map(|r| &r.cells).find(|c| table.label(c.metric) == cell.metric);
        let Some(spec) = spec else { continue };
        *cell = Cell {
            published: cell.published,
            source: cell.source.clone(),
            note: cell.note.clone(),
            tolerance: cell.tolerance,
            status: status(old.measured, spec.published, spec.tolerance, spec.metric, spec.disputed.is_some()),
            tuned: cell.tuned.clone(),
            ..old.clone()
        };
    }
    let mut hashes = kept.iter().filter_map(|c| Some((c.protocol_hash.as_ref()?, &c.model)));
    if let Some((first, row)) = hashes.next()
        && let Some((_, other)) = hashes.find(|(hash, _)| *hash != first)
    {
        fail!(
            Usage,
            "{}: `{row}` and `{other}` were run under different protocols (or data): their numbers do not compare, run both again",
            table.id
        );
    }
    Ok(kept)
}

/// The bootstrap's interval over users of what they have in the mean over runs with the same users; `None` where no user counts.
fn interval_over_users(runs: &[PathBuf], metric: Metric) -> Result<Option<Interval>> {
    let (mut users, mut sums): (Vec<String>, Vec<f64>) = Default::default();
    for run in runs {
        let values;
        (users, values) = read_per_user(&run.join("per_user.parquet"), metric)?;
        sums.resize(values.len(), 0.0);
        sums.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value / runs.len() as f64);
    }
    Ok(sums.iter().any(|v| !v.is_nan()).then(|| over_users(&by_user(&users, &sums), DRAWS, 1)))
}

fn status(measured: Option<f64>, published: Option<f64>, tolerance: Option<f64>, metric: Metric, disputed: bool) -> Status {
    let (Some(measured), published) = (measured, published) else { return Status::NotRun };
    let (Some(published), Some(tolerance)) = (published, tolerance) else { return Status::Measured };
    if disputed {
        return Status::Disputed;
    }
    let better = if metric.higher_is_better() { measured - published } else { published - measured };
    if better.abs() <= tolerance {
        Status::Reproduced
    } else if better > 0.0 {
        Status::Above
    } else {
        Status::Below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_before_is_kept_for_the_same_runs_under_the_same_protocol_only() {
        let row = |name: &str, size: usize| {
            format!(
                "[[row]]\nname = \"{name}\"\ntuned = \"\"\nmodel = {{ name = \"gmf\", embedding_size = {size} }}\ncell = [{{ metric = \"hit@10\", published = 0.5, tolerance = 0.1 }}]\n"
            )
        };
        let table = |size: usize| -> Table {
            let head = "id = \"t\"\ntitle = \"\"\nsource = \"\"\n[protocol]\ndataset = \"d\"\nmetrics = [\"hit@10\"]\nsplit = { kind = \"published\" }\n";
            toml::from_str(&[head, &row("one", 8), &row("two", size)].concat()).expect("a table")
        };
        let nowhere = Path::new("no such folder");
        let registry = crate::models();
        let not_run = |size: usize| cells(nowhere, &table(size), &registry).expect("nothing to read");
        let mut before = not_run(16);
        for (cell, value) in before.iter_mut().zip([0.55, 0.7]) {
            (cell.measured, cell.protocol_hash, cell.status) = (Some(value), Some("a".into()), Status::Measured);
        }
        let values = |size: usize, before: &[Cell]| -> Vec<_> {
            keep(not_run(size), before, &table(size)).expect("one protocol").iter().map(|c| (c.measured, c.status)).collect()
        };
        assert_eq!(values(16, &before), [(Some(0.55), Status::Reproduced), (Some(0.7), Status::Above)]);
        assert_eq!(values(32, &before), [(Some(0.55), Status::Reproduced), (None, Status::NotRun)]);
        before[1].protocol_hash = Some("b".into());
        assert!(keep(not_run(16), &before, &table(16)).is_err());
    }

    #[test]
    fn a_tolerance_is_one_that_a_wrong_model_fails() {
        let ndcg: Metric = "ndcg@10".parse().expect("a metric");
        let rmse: Metric = "rmse".parse().expect("a metric");
        assert_eq!(status(Some(0.0), Some(0.29), Some(0.01), ndcg, false), Status::Below);
        assert_eq!(status(Some(0.285), Some(0.29), Some(0.01), ndcg, false), Status::Reproduced);
        assert_eq!(status(Some(0.31), Some(0.29), Some(0.01), ndcg, false), Status::Above);
        assert_eq!(status(Some(0.95), Some(0.90), Some(0.01), rmse, false), Status::Below);
        assert_eq!(status(None, Some(0.90), Some(0.01), rmse, false), Status::NotRun);
        assert_eq!(status(Some(0.9), None, None, rmse, false), Status::Measured);
    }
}
