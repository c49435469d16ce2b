//! `rec-bench table`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use rec_data::require;

use super::{say, say_json};
use crate::run_folder::write_whole;
use crate::runner::Bench;
use crate::table::{self, Cell, Priority, Status, Table};
use rec_data::notes::note;

#[derive(Args)]
pub(super) struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Subcommand)]
enum TableCommand {
    /// The tables there are
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Runs what is missing of a table: cheap rows first, each run going on where it was cut off
    Run {
        /// A table's id, or a .toml file of your own
        table: String,
        /// Only this row, after those that it starts from; may be given several times
        #[arg(long = "row", value_name = "NAME")]
        rows: Vec<String>,
        /// How far down the queue: anchors, what must be shown, or everything
        #[arg(long, value_enum, default_value_t = Level::Gate)]
        up_to: Level,
    },
    /// Prints a table: measured by your runs, else as published with this version
    Show {
        /// A table's id, or a .toml file of your own
        table: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// As Markdown
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
    },
    /// Writes your runs' cells to results/ID, and the tables of a page from there; rows that you did not run keep what results/ID
    /// holds of the same configs
    Publish {
        /// A table's id, or a .toml file of your own
        table: String,
        /// Where results lie
        #[arg(long, default_value = "results")]
        results: PathBuf,
        /// The page whose marked tables are renewed
        #[arg(long, default_value = "README.md")]
        page: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Anchor,
    Gate,
    Ledger,
}

pub(super) fn run(args: TableArgs, bench: &Bench, runs: &Path) -> Result<()> {
    match args.command {
        TableCommand::List { json } => list(json),
        TableCommand::Run { table, rows, up_to } => {
            let table = table::find(&table)?;
            let most = match up_to {
                Level::Anchor => Priority::Anchor,
                Level::Gate => Priority::Gate,
                Level::Ledger => Priority::Ledger,
            };
            table::run(bench, runs, &table, &rows, most)?;
            say(&table::text(&table, &table::cells(runs, &table, bench.registry)?))
        }
        TableCommand::Show { table, json, markdown } => {
            let table = table::find(&table)?;
            let cells = shown(&table, bench, runs)?;
            if json {
                say_json(&cells)
            } else if markdown {
                say(&table::markdown(&table, &cells))
            } else {
                say(&table::text(&table, &cells))
            }
        }
        TableCommand::Publish { table, results, page } => publish(&table::find(&table)?, bench, runs, &results, &page),
    }
}

/// The quickstart table: run what is missing, print it.
pub(super) fn quickstart(bench: &Bench, runs: &Path) -> Result<()> {
    let table = table::find("quickstart")?;
    table::run(bench, runs, &table, &[], Priority::Gate)?;
    say(&table::text(&table, &table::cells(runs, &table, bench.registry)?))?;
    say(&format!("\ncurves: tensorboard --logdir {0}/quickstart      more: rec-bench table list, rec-bench --help\n", runs.display()))
}

/// Cells of one's own runs; where there is none, those that this version was published with.
fn shown(table: &Table, bench: &Bench, runs: &Path) -> Result<Vec<Cell>> {
    let mine = table::cells(runs, table, bench.registry)?;
    if mine.iter().any(|c| c.status != Status::NotRun) {
        return Ok(mine);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results").join(&table.id).join("cells.json");
    Ok(read_cells(&file)?.unwrap_or(mine))
}

/// Published cells, where there are any.
fn read_cells(file: &Path) -> Result<Option<Vec<Cell>>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    Ok(Some(serde_json::from_str(&text).map_err(|e| rec_data::problem!(Data, "{}: {e}", file.display()))?))
}

fn list(json: bool) -> Result<()> {
    let tables = table::shipped()?;
    if json {
        let all: Vec<_> = tables.iter().map(|t| serde_json::json!({ "id": t.id, "title": t.title, "dataset": t.protocol.dataset, "rows": t.rows.iter().map(|r| &r.name).collect::<Vec<_>>() })).collect();
        return say_json(&all);
    }
    let width = tables.iter().map(|t| t.id.len()).max().unwrap_or(0);
    tables.iter().try_for_each(|t| say(&format!("{:width$}  {}\n", t.id, t.title)))
}

fn publish(table: &Table, bench: &Bench, runs: &Path, results: &Path, page: &Path) -> Result<()> {
    let cells = table::cells(runs, table, bench.registry)?;
    require!(
        cells.iter().any(|c| c.status != Status::NotRun),
        Usage,
        "no row of {} is finished under {}: run it first",
        table.id,
        runs.display()
    );
    let folder = results.join(&table.id);
    let cells = match read_cells(&folder.join("cells.json"))? {
        Some(before) => table::keep(cells, &before, table)?,
        None => cells,
    };
    write_whole(&folder.join("cells.json"), format!("{}\n", serde_json::to_string_pretty(&cells)?).as_bytes())?;
    write_whole(&folder.join("table.md"), table::markdown(table, &cells).as_bytes())?;
    if page.exists() && table::update_readme(page, results)? {
        note(&format!("{} renewed", page.display()));
    }
    say(&table::text(table, &cells))
}
