//! A table's runs as a queue on disk: anchors first, then gate rows, then ledger rows; cheap before dear; each goes on where it was
//! cut off.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rec_data::{Kind, fail};

use super::spec::{Priority, Row, Table};
use crate::Registry;
use crate::config::{Origins, RunConfig};
use crate::run_folder::{RunFolder, RunResult};
use crate::runner::{Bench, open_data};
use rec_data::notes::note;

/// The finished runs of a row, and how many it has in all.
pub struct Finished {
    /// Their results, in the order of the row's seeds.
    pub results: Vec<RunResult>,
    /// Their folders.
    pub folders: Vec<PathBuf>,
    /// Runs in all.
    pub of: usize,
}

/// Where run number `run` of a row lies: the hash of its config is part of the name, so a changed config is another run.
fn place(root: &Path, table: &Table, row: &Row, config: &RunConfig, run: usize) -> Result<PathBuf> {
    let slug: String = row.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    // The data's hash is filled in when the data is opened: the name must not depend on whether it was.
    let mut bare = config.clone();
    bare.protocol.content_hash = String::new();
    Ok(root.join(&table.id).join(format!("{}-{}-{}", slug.trim_matches('-'), run + 1, &bare.hash()?[..8])))
}

/// The finished runs of a row.
///
/// # Errors
/// a usage problem of the row, or a data problem where a result is damaged.
pub fn finished(root: &Path, table: &Table, row: &Row, registry: &Registry) -> Result<Finished> {
    let configs = row.configs(table, registry)?;
    let mut done = Finished { results: Vec::new(), folders: Vec::new(), of: configs.len() };
    for (run, (config, _)) in configs.iter().enumerate() {
        let path = place(root, table, row, config, run)?;
        if !path.join("result.json").exists() {
            continue;
        }
        if let Some(result) = RunFolder::existing(&path)?.result()? {
            done.results.push(result);
            done.folders.push(path);
        }
    }
    Ok(done)
}

/// One entry of the queue.
struct Job<'t> {
    row: &'t Row,
    run: usize,
    config: RunConfig,
    origins: Origins,
}

/// Runs what is not finished yet. `rows` names the rows to run, all where it is empty; `most` is the least urgent priority that is run.
///
/// # Errors
/// the first failure that concerns more than one run (interrupt, I/O, data); a run that fails by itself is reported and passed over,
/// and ends the queue with an error.
pub fn run(bench: &Bench, root: &Path, table: &Table, rows: &[String], most: Priority) -> Result<()> {
    for name in rows {
        if !table.rows.iter().any(|r| &r.name == name) {
            let names = || table.rows.iter().map(|r| r.name.as_str());
            fail!(
                Usage,
                "{} has no row `{name}`{}; there are {}",
                table.id,
                rec_data::problem::did_you_mean(name, names()),
                names().collect::<Vec<_>>().join(", ")
            );
        }
    }
    let mut jobs = Vec::new();
    for row in table.rows.iter().filter(|r| rows.contains(&r.name) || (rows.is_empty() && r.priority <= most)) {
        for (run, (config, origins)) in row.configs(table, bench.registry)?.into_iter().enumerate() {
            jobs.push(Job { row, run, config, origins });
        }
    }
    jobs.sort_by(|a, b| a.row.priority.cmp(&b.row.priority).then(a.row.cost.total_cmp(&b.row.cost)));
    let dataset = open_data(&table.protocol, &bench.folders, None)?;
    let mut failed = Vec::new();
    for job in &jobs {
        let path = place(root, table, job.row, &job.config, job.run)?;
        let of = jobs.iter().filter(|j| j.row.name == job.row.name).count();
        let label = if of == 1 { job.row.name.clone() } else { format!("{} {}/{of}", job.row.name, job.run + 1) };
        let ended = bench.run(&label, &job.config, &job.origins, &dataset, &path).with_context(|| format!("table {}, {label}", table.id));
        match ended {
            Ok(_) => {}
            Err(error)
                if [Kind::Interrupted, Kind::Io, Kind::Data, Kind::Unavailable]
                    .iter()
                    .any(|k| k.exit_code() == Kind::exit_code_of(&error)) =>
            {
                return Err(error);
            }
            Err(error) => {
                note(&format!("{error:#}"));
                failed.push((label, error));
            }
        }
    }
    match failed.into_iter().next() {
        None => Ok(()),
        Some((label, error)) => Err(error.context(format!("{label} failed, the other runs of the table went on"))),
    }
}
