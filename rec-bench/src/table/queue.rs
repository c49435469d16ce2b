//! A table's runs as a queue on disk: anchors first, then gate rows, then ledger rows; cheap before dear; each goes on where it was
//! cut off. A row that starts from others comes after them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rec_core::Registry;
use rec_data::{Kind, fail};

use super::spec::{Priority, Row, Table};
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
    /// Names of all the row's runs, finished or not.
    pub names: Vec<String>,
    /// Runs in all.
    pub of: usize,
}

/// Where run number `run` of a row lies.
fn place(root: &Path, table: &Table, row: &Row, config: &RunConfig, run: usize) -> Result<PathBuf> {
    Ok(root.join(&table.id).join(row.folder_name(config, run)?))
}

/// The rows asked for and those that they start from, in the order in which they run.
fn in_order(table: &Table, asked: impl Fn(&Row) -> bool) -> Vec<&Row> {
    let mut rows: Vec<&Row> = Vec::new();
    // From below: the rows that a row starts from stand above it.
    for row in table.rows.iter().rev() {
        if asked(row) || rows.iter().any(|other| other.start.contains(&row.name)) {
            rows.push(row);
        }
    }
    // A row is as urgent and as cheap as the last of those that it starts from, at most: so it comes after them.
    let mut keys: Vec<(&Row, Priority, f64)> = Vec::new();
    for &row in rows.iter().rev() {
        let before = || keys.iter().filter(|(source, ..)| row.start.contains(&source.name));
        let priority = before().map(|key| key.1).fold(row.priority, Ord::max);
        let cost = before().filter(|key| key.1 == priority).map(|key| key.2).fold(row.cost, f64::max);
        keys.push((row, priority, cost));
    }
    keys.sort_by(|a, b| a.1.cmp(&b.1).then(a.2.total_cmp(&b.2)));
    keys.into_iter().map(|key| key.0).collect()
}

/// The finished runs of a row.
///
/// # Errors
/// a usage problem of the row, or a data problem where a result is damaged.
pub fn finished(root: &Path, table: &Table, row: &Row, registry: &Registry) -> Result<Finished> {
    let configs = row.configs(table, registry)?;
    let mut done = Finished { results: Vec::new(), folders: Vec::new(), names: Vec::new(), of: configs.len() };
    for (run, (config, _)) in configs.iter().enumerate() {
        let path = place(root, table, row, config, run)?;
        done.names.push(row.folder_name(config, run)?);
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

/// Runs what is not finished yet. `rows` names the rows to run, all where it is empty; `most` is the least urgent priority that is run. Rows
/// that these start from are run before them.
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
    for row in in_order(table, |r| rows.contains(&r.name) || (rows.is_empty() && r.priority <= most)) {
        for (run, (config, origins)) in row.configs(table, bench.registry)?.into_iter().enumerate() {
            jobs.push(Job { row, run, config, origins });
        }
    }
    let dataset = open_data(&table.protocol, &bench.folders, None)?;
    let mut failed = Vec::new();
    for job in &jobs {
        let path = place(root, table, job.row, &job.config, job.run)?;
        let of = jobs.iter().filter(|j| j.row.name == job.row.name).count();
        let label = if of == 1 { job.row.name.clone() } else { format!("{} {}/{of}", job.row.name, job.run + 1) };
        let ended = run_ranked(bench, root, job.row, most)
            .and_then(|()| bench.run(&label, &job.config, &job.origins, &dataset, &path))
            .with_context(|| format!("table {}, {label}", table.id));
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

/// Runs what is missing of the row of another table that `row` ranks, where it ranks one.
fn run_ranked(bench: &Bench, root: &Path, row: &Row, most: Priority) -> Result<()> {
    let Some((theirs, row)) = row.ranked()? else { return Ok(()) };
    run(bench, root, &theirs, &[row.name], most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_runs_after_those_that_it_starts_from_and_brings_them_along() {
        let row = |name: &str, priority: &str, cost: f64, start: &str| {
            format!(
                "[[row]]\nname = \"{name}\"\npriority = \"{priority}\"\ncost = {cost}\nstart = {start}\nseeds = [4, 5]\ntuned = \"\"\nmodel = {{ name = \"gmf\" }}\ncell = []\n"
            )
        };
        let text = [
            "id = \"t\"\ntitle = \"\"\nsource = \"\"\n[protocol]\ndataset = \"d\"\nmetrics = [\"hit@10\"]\nsplit = { kind = \"published\" }\n",
            &row("slow", "ledger", 9.0, "[]"),
            &row("dear", "gate", 8.0, "[]"),
            &row("from both", "gate", 1.0, "[\"dear\", \"slow\"]"),
            &row("from dear", "gate", 1.0, "[\"dear\"]"),
            &row("cheap", "gate", 2.0, "[]"),
            &row("first", "anchor", 7.0, "[]"),
        ];
        let table: Table = toml::from_str(&text.concat()).expect("a table");
        let names = |rows: Vec<&Row>| rows.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(in_order(&table, |_| true)), ["first", "cheap", "dear", "from dear", "slow", "from both"]);
        assert_eq!(names(in_order(&table, |r| r.name == "from dear")), ["dear", "from dear"]);
        assert_eq!(names(in_order(&table, |r| r.priority <= Priority::Gate)), ["first", "cheap", "dear", "from dear", "slow", "from both"]);

        let registry = crate::models();
        let configs = |row: usize| table.rows[row].configs(&table, &registry).expect("fine configs");
        let root = Path::new("runs");
        for run in 0..2 {
            let sources = [1, 0].map(|row| place(root, &table, &table.rows[row], &configs(row)[run].0, run).expect("hashes"));
            let ours = &configs(2)[run].0;
            let beside = place(root, &table, &table.rows[2], ours, run).expect("hashes");
            let named: Vec<_> = ours.start.iter().map(|name| beside.with_file_name(name)).collect();
            assert_eq!(named, sources);
        }
    }
}
