//! `rec-bench data`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use rec_core::events::Clock;
use rec_data::dataset::{self, Description, Status};
use rec_data::fail;
use rec_data::questions::Questions;
use rec_data::split::SplitSpec;

use super::{say, say_json};
use crate::export::recbole_benchmark;
use crate::runner::Bench;
use crate::table;

#[derive(Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Subcommand)]
enum DataCommand {
    /// The data sets there are, and where each lies
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Brings a data set's files
    Fetch {
        /// Its id
        id: String,
    },
    /// Checks a data set's files against their sha256
    Verify {
        /// Its id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Counts, values, times
    Describe {
        /// Its id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Writes the splits of a table as RecBole's benchmark files, so that a peer runs on exactly these rows
    Split {
        /// A table's id, or a .toml file of your own
        table: String,
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
}

pub(super) fn run(args: DataArgs, bench: &Bench) -> Result<()> {
    let folders = &bench.folders;
    match args.command {
        DataCommand::List { json } => {
            let all = dataset::list(folders);
            if json {
                let all: Vec<_> = all
                    .iter()
                    .map(|l| serde_json::json!({ "id": l.entry.id, "name": l.entry.name, "licence": l.entry.licence, "folder": l.folder }))
                    .collect();
                return say_json(&all);
            }
            for listed in all {
                let place = listed.folder.as_ref().map_or("not here yet".into(), |f| f.display().to_string());
                say(&format!("{:18} {:44} {place}\n", listed.entry.id, listed.entry.name))?;
            }
            Ok(())
        }
        DataCommand::Fetch { id } => dataset::fetch(&id, folders)?.iter().try_for_each(|file| say(&format!("{}\n", file.display()))),
        DataCommand::Verify { id, json } => {
            let checks = dataset::verify(&id, folders)?;
            if json {
                say_json(&checks)?;
            } else {
                checks.iter().try_for_each(|c| {
                    let word = match &c.status {
                        Status::Good { .. } => "good",
                        Status::Unhashed { .. } => "here, no sha256 is known",
                        Status::Wrong { .. } => "WRONG",
                        Status::Missing => "missing",
                    };
                    say(&format!("{word:10} {}\n", c.path.display()))
                })?;
            }
            if checks.iter().any(|c| matches!(c.status, Status::Wrong { .. } | Status::Missing)) {
                fail!(Data, "files of `{id}` are not the published ones: delete them and run `rec-bench data fetch {id}`");
            }
            Ok(())
        }
        DataCommand::Describe { id, json } => {
            let clock = Clock::new();
            let data = dataset::open(&id, folders)?;
            let seconds = clock.seconds();
            let description = dataset::describe(&data);
            if json {
                return say_json(&serde_json::json!({ "open_seconds": seconds, "description": description }));
            }
            say(&format!("{}opened in {:.1} ms\n", described(&description), 1000.0 * seconds))
        }
        DataCommand::Split { table, out } => {
            let table = table::find(&table)?;
            if matches!(table.protocol.split, SplitSpec::HeldOutUsers { .. }) || table.protocol.questions == Questions::EachNext {
                fail!(
                    Usage,
                    "RecBole's benchmark files have no place for what a held-out user is known by: this split cannot be written out"
                );
            }
            let data = dataset::open(&table.protocol.dataset, folders)?;
            for (at, seed) in table.protocol.split_seeds.iter().enumerate() {
                let prepared = table.protocol.prepare(&data, at, &table.selection)?;
                let name = format!("{}-{seed}", table.id);
                recbole_benchmark(&prepared, &out, &name)?;
                say(&format!("{}\n{}", out.join(name).display(), prepared.funnel))?;
            }
            Ok(())
        }
    }
}

/// A description as lines of text.
fn described(d: &Description) -> String {
    let mut lines = vec![
        format!("{} {}, content {}", d.id, d.version, &d.content_hash[..12]),
        format!(
            "{} users, {} items, {} rows; density {:.4} %, {} repeated pairs",
            d.users,
            d.items,
            d.interactions,
            100.0 * d.density,
            d.duplicates
        ),
    ];
    for (name, spread) in [("a user", &d.per_user), ("an item", &d.per_item)] {
        lines.push(format!("rows of {name}: {} to {}, median {}", spread.min, spread.max, spread.median));
    }
    for bin in d.values.iter().flatten() {
        let range = if bin.from == bin.to { bin.from.to_string() } else { format!("{} to {}", bin.from, bin.to) };
        lines.push(format!("value {range}: {} rows", bin.rows));
    }
    if let Some((first, last)) = d.times {
        lines.push(format!("times: {first} to {last} (seconds since 1970), {:.0} days", (last - first) as f64 / 86_400.0));
    }
    if let Some([train, valid, test, context]) = d.parts {
        lines.push(format!("published parts: {train} train, {valid} valid, {test} test, {context} context rows"));
    }
    for (side, names) in [("user", &d.user_features), ("item", &d.item_features), ("row", &d.row_features)] {
        if !names.is_empty() {
            lines.push(format!("{side} features: {}", names.join(", ")));
        }
    }
    if d.skipped_lines > 0 {
        lines.push(format!("{} lines that could not be read are left out", d.skipped_lines));
    }
    if let Some((users, candidates)) = d.candidates {
        lines.push(format!("published candidates: {candidates} of {users} users"));
    }
    lines.join("\n") + "\n"
}
