//! A table's data file.

use std::path::Path;

use anyhow::{Context, Result};
use rec_core::Registry;
use rec_core::eval::Metric;
use rec_core::protocol::{Protocol, Selection};
use rec_data::problem::did_you_mean;
use rec_data::view::Candidates;
use rec_data::{fail, problem, require};
use serde::{Deserialize, Serialize};

use crate::config::{Layers, Origins, RunConfig};

/// Published cells and the runs that answer them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name on the command line.
    pub id: String,
    /// What it reproduces.
    pub title: String,
    /// Where the published values stand.
    pub source: String,
    /// What a reader should know: traps, what differs from the source.
    #[serde(default)]
    pub note: String,
    /// Shared by all rows: what makes their numbers comparable.
    pub protocol: Protocol,
    /// What the published candidate lists are, in a word that stands behind each metric's name: `uni99`.
    #[serde(default)]
    pub candidates: Option<String>,
    /// What picks the epoch, unless a row says otherwise.
    #[serde(default)]
    pub selection: Selection,
    /// One model each.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
}

/// One model of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is called in the table.
    pub name: String,
    /// `[model]` of its runs. A row has one, or ranks another table's runs.
    #[serde(default)]
    pub model: toml::Table,
    /// The row of another table whose trained models this one ranks under its own protocol; nothing is trained. Its model, its sections
    /// and its seeds are that row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Ranked>,
    /// `[loop]` of its runs.
    #[serde(rename = "loop", default)]
    pub looping: toml::Table,
    /// `[optimizer]` of its runs.
    #[serde(default)]
    pub optimizer: toml::Table,
    /// `[batch]` of its runs.
    #[serde(default)]
    pub batch: toml::Table,
    /// What picks the epoch, where it is not the table's.
    #[serde(default)]
    pub selection: Option<Selection>,
    /// Rows above this one, whose runs its own start from: run i from the i-th of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<String>,
    /// How its hyper-parameters were found.
    pub tuned: String,
    /// Seeds of a model that draws; where the protocol has several split seeds, run i uses the i-th of both. More than one seed, but fewer
    /// than splits, are runs on the first of these.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Whether it is run before the others.
    #[serde(default)]
    pub priority: Priority,
    /// Seconds that a run takes, roughly: cheaper ones first.
    #[serde(default)]
    pub cost: f64,
    /// Published values, and metrics shown without one.
    #[serde(rename = "cell")]
    pub cells: Vec<CellSpec>,
}

/// A row of another table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// The table's id.
    pub table: String,
    /// The row's name.
    pub row: String,
}

/// When a row is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Confirms data, split and metrics before any learned row.
    Anchor,
    /// Must be shown.
    #[default]
    Gate,
    /// Run as time allows.
    Ledger,
}

/// One published value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSpec {
    /// What was measured.
    pub metric: Metric,
    /// The published value; absent where the row stands beside published ones.
    #[serde(default)]
    pub published: Option<f64>,
    /// Where it is from, where that is not the table's source.
    #[serde(default)]
    pub source: Option<String>,
    /// What a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// How far the measured mean may lie from the published value and still reproduce it.
    #[serde(default)]
    pub tolerance: Option<f64>,
    /// Why the published value is not to be believed.
    #[serde(default)]
    pub disputed: Option<String>,
}

const SHIPPED: [(&str, &str); 26] = [
    ("quickstart", include_str!("../../tables/quickstart.toml")),
    ("ml-100k-cornac", include_str!("../../tables/ml-100k-cornac.toml")),
    ("ml-100k-msrec", include_str!("../../tables/ml-100k-msrec.toml")),
    ("ml-1m-recbole-gnn", include_str!("../../tables/ml-1m-recbole-gnn.toml")),
    ("ml-1m-ncf", include_str!("../../tables/ml-1m-ncf.toml")),
    ("ml-1m-sasrec", include_str!("../../tables/ml-1m-sasrec.toml")),
    ("ml-1m-sasrec-sampled", include_str!("../../tables/ml-1m-sasrec-sampled.toml")),
    ("ml-1m-bert4rec-sampled", include_str!("../../tables/ml-1m-bert4rec-sampled.toml")),
    ("beauty-bert4rec", include_str!("../../tables/beauty-bert4rec.toml")),
    ("ml-1m-autorec", include_str!("../../tables/ml-1m-autorec.toml")),
    ("ml-1m-nce-plrec", include_str!("../../tables/ml-1m-nce-plrec.toml")),
    ("ml-1m-folded-in", include_str!("../../tables/ml-1m-folded-in.toml")),
    ("ml-1m-autoint", include_str!("../../tables/ml-1m-autoint.toml")),
    ("ml-1m-histories", include_str!("../../tables/ml-1m-histories.toml")),
    ("ml-1m-recbole-clicks", include_str!("../../tables/ml-1m-recbole-clicks.toml")),
    ("criteo-x4", include_str!("../../tables/criteo-x4.toml")),
    ("criteo-x1", include_str!("../../tables/criteo-x1.toml")),
    ("avazu-x4", include_str!("../../tables/avazu-x4.toml")),
    ("ml-10m-autorec", include_str!("../../tables/ml-10m-autorec.toml")),
    ("ml-20m-vae", include_str!("../../tables/ml-20m-vae.toml")),
    ("rsc15-100k", include_str!("../../tables/rsc15-100k.toml")),
    ("gowalla-lightgcn", include_str!("../../tables/gowalla-lightgcn.toml")),
    ("yelp2018-lightgcn", include_str!("../../tables/yelp2018-lightgcn.toml")),
    ("gowalla-bars", include_str!("../../tables/gowalla-bars.toml")),
    ("diginetica", include_str!("../../tables/diginetica.toml")),
    ("yoochoose-1-64", include_str!("../../tables/yoochoose-1-64.toml")),
];

/// The tables of this workspace.
///
/// # Errors
/// where one of them is not a table: a defect of this program.
pub fn shipped() -> Result<Vec<Table>> {
    SHIPPED.iter().map(|(id, text)| parse(text, &format!("{id}.toml"))).collect()
}

/// The shipped table called `name`, or the one in the file `name`.
///
/// # Errors
/// a usage problem that names the nearest table, or the file's key.
pub fn find(name: &str) -> Result<Table> {
    if name.ends_with(".toml") {
        let text = std::fs::read_to_string(Path::new(name)).with_context(|| format!("reading {name}"))?;
        return parse(&text, name);
    }
    match SHIPPED.iter().find(|(id, _)| *id == name) {
        Some((id, text)) => parse(text, &format!("{id}.toml")),
        None => {
            let ids = || SHIPPED.iter().map(|(id, _)| *id);
            fail!(
                Usage,
                "no table is called `{name}`{}; there are {} (a file of your own ends in .toml)",
                did_you_mean(name, ids()),
                ids().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn parse(text: &str, name: &str) -> Result<Table> {
    let mut table: Table = toml::from_str(text).map_err(|e| problem!(Usage, "{name}: {e}"))?;
    require!(
        table.candidates.is_some() == (table.protocol.candidates == Candidates::Published),
        Usage,
        "{name}: `candidates` names published candidate lists (`uni99`), where the protocol ranks such lists and only there"
    );
    for row in &mut table.rows {
        row.take_ranked(name)?;
    }
    for row in &table.rows {
        for cell in &row.cells {
            let place = format!("{name}: {} {}", row.name, cell.metric);
            require!(table.protocol.metrics.contains(&cell.metric), Usage, "{place}: the protocol does not measure it");
            require!(
                cell.published.is_none() || cell.tolerance.is_some_and(|t| t > 0.0),
                Usage,
                "{place}: a published value needs a `tolerance` above 0"
            );
        }
        row.sources(&table)?;
        let again = table.rows.iter().filter(|r| r.name == row.name).count();
        require!(again == 1, Usage, "{name}: {again} rows are called `{}`", row.name);
    }
    Ok(table)
}

impl Table {
    /// A metric's name in this table: where a few candidates are ranked instead of all items, the name says which.
    pub fn label(&self, metric: Metric) -> String {
        match (&self.protocol.candidates, &self.candidates) {
            _ if !metric.is_ranking() => metric.to_string(),
            (Candidates::Sampled(drawn), _) => {
                format!("{metric}[{}{}]", if drawn.popularity_percent == 0 { "uni" } else { "pop" }, drawn.n)
            }
            (Candidates::Published, Some(name)) => format!("{metric}[{name}]"),
            _ => metric.to_string(),
        }
    }
}

impl Row {
    /// Fills in what a row that ranks another table's runs has from there.
    fn take_ranked(&mut self, file: &str) -> Result<()> {
        let bare = self.model.is_empty();
        let Some((_, row)) = self.ranked()? else {
            require!(!bare, Usage, "{file}: `{}` has neither a `model` nor the row of another table that it `ranks`", self.name);
            return Ok(());
        };
        let own = [("model", bare), ("loop", self.looping.is_empty()), ("optimizer", self.optimizer.is_empty())];
        let own = own.into_iter().chain([("batch", self.batch.is_empty()), ("seeds", self.seeds.is_empty())]);
        let own = own.chain([("start", self.start.is_empty()), ("selection", self.selection.is_none())]);
        for (key, empty) in own {
            require!(empty, Usage, "{file}: `{}` ranks the runs of another table, so it has no `{key}` of its own", self.name);
        }
        *self = Row {
            name: self.name.clone(),
            ranks: self.ranks.clone(),
            tuned: self.tuned.clone(),
            priority: self.priority,
            cost: self.cost,
            cells: self.cells.clone(),
            ..row
        };
        Ok(())
    }

    /// The table and the row whose runs this one ranks. The row's selection is written out.
    ///
    /// # Errors
    /// a usage problem where there is no such row, or it ranks others itself.
    pub fn ranked(&self) -> Result<Option<(Table, Row)>> {
        let Some(ranked) = &self.ranks else { return Ok(None) };
        let table = find(&ranked.table).with_context(|| format!("`{}` ranks runs of `{}`", self.name, ranked.table))?;
        let Some(row) = table.rows.iter().find(|r| r.name == ranked.row).cloned() else {
            let near = did_you_mean(&ranked.row, table.rows.iter().map(|r| r.name.as_str()));
            fail!(Usage, "`{}` ranks `{}` of {}, which has no such row{near}", self.name, ranked.row, table.id)
        };
        require!(row.ranks.is_none(), Usage, "`{}` ranks `{}`, which is not trained but ranks others: name those", self.name, row.name);
        require!(
            row.start.is_empty(),
            Usage,
            "`{}` ranks `{}`, which starts from other rows: only a row by itself is ranked",
            self.name,
            row.name
        );
        let selection = Some(row.selection(&table).clone());
        Ok(Some((table, Row { selection, ..row })))
    }

    /// The rows whose runs this one's start from. They stand above it, so no row starts from itself.
    ///
    /// # Errors
    /// a usage problem where there is no such row above it.
    pub fn sources<'t>(&self, table: &'t Table) -> Result<Vec<&'t Row>> {
        let above = || table.rows.iter().take_while(|r| r.name != self.name);
        let one = |name: &String| {
            above().find(|r| &r.name == name).ok_or_else(|| {
                let near = did_you_mean(name, above().map(|r| r.name.as_str()));
                problem!(Usage, "{}: `{}` starts from `{name}`, and no row above it is called so{near}", table.id, self.name)
            })
        };
        self.start.iter().map(one).collect()
    }

    /// The name of the folder of run number `run`: the hash of its config is part of it, so a changed config is another run.
    pub(super) fn folder_name(&self, config: &RunConfig, run: usize) -> Result<String> {
        let slug: String = self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        // The data's hash is filled in when the data is opened: the name must not depend on whether it was.
        let mut bare = config.clone();
        bare.protocol.content_hash = String::new();
        Ok(format!("{}-{}-{}", slug.trim_matches('-'), run + 1, &bare.hash()?[..8]))
    }

    /// The configs of its runs, in order.
    ///
    /// # Errors
    /// a usage problem that names the key.
    pub fn configs(&self, table: &Table, registry: &Registry) -> Result<Vec<(RunConfig, Origins)>> {
        let splits = table.protocol.split_seeds.len();
        let runs = if self.seeds.len() > 1 { self.seeds.len() } else { splits.max(1) };
        require!(
            splits == 1 || runs <= splits,
            Usage,
            "{}: `{}` has {} seeds, the protocol {splits} splits: give one seed, or at most one a split",
            table.id,
            self.name,
            self.seeds.len()
        );
        let mut starts = vec![Vec::new(); runs];
        for source in self.sources(table)? {
            let configs = source.configs(table, registry)?;
            require!(
                configs.len() >= runs,
                Usage,
                "{}: `{}` has {runs} runs and starts from `{}`, which has {}: give that at least as many seeds",
                table.id,
                self.name,
                source.name,
                configs.len()
            );
            for (run, (config, _)) in configs.iter().enumerate().take(runs) {
                starts[run].push(toml::Value::String(source.folder_name(config, run)?));
            }
        }
        let mut ranked = Vec::new();
        if let Some((theirs, row)) = self.ranked()? {
            for (run, (config, _)) in row.configs(&theirs, registry)?.iter().enumerate() {
                ranked.push(format!("../{}/{}", theirs.id, row.folder_name(config, run)?));
            }
            require!(
                ranked.len() == runs,
                Usage,
                "{}: `{}` has {runs} runs and ranks {} of {}: give both protocols the same `split_seeds`",
                table.id,
                self.name,
                ranked.len(),
                theirs.id
            );
        }
        starts
            .into_iter()
            .enumerate()
            .map(|(run, start)| {
                let seed = self.seeds.get(run).or(self.seeds.first()).copied().unwrap_or(1);
                let mut layer = toml::Table::new();
                layer.insert("seed".into(), toml::Value::Integer(seed as i64));
                layer.insert("split".into(), toml::Value::Integer((run % splits) as i64));
                if !start.is_empty() {
                    layer.insert("start".into(), toml::Value::Array(start));
                }
                if let Some(source) = ranked.get(run) {
                    layer.insert("ranks".into(), toml::Value::String(source.clone()));
                }
                for (key, section) in
                    [("model", &self.model), ("loop", &self.looping), ("optimizer", &self.optimizer), ("batch", &self.batch)]
                {
                    if !section.is_empty() {
                        layer.insert(key.into(), toml::Value::Table(section.clone()));
                    }
                }
                layer.insert("selection".into(), toml::Value::try_from(self.selection.as_ref().unwrap_or(&table.selection))?);
                layer.insert("protocol".into(), toml::Value::try_from(&table.protocol)?);
                let mut layers = Layers::default();
                layers.add(&layer, &format!("table {}", table.id));
                layers.resolve(registry).with_context(|| format!("table {}, row {}", table.id, self.name))
            })
            .collect()
    }

    /// The selection that its runs use.
    pub fn selection<'a>(&'a self, table: &'a Table) -> &'a Selection {
        self.selection.as_ref().unwrap_or(&table.selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_shipped_table_is_a_run_that_can_start() {
        let registry = crate::models();
        for table in shipped().expect("tables") {
            for row in &table.rows {
                let configs = row.configs(&table, &registry).unwrap_or_else(|e| panic!("{}, {}: {e:#}", table.id, row.name));
                assert!(!configs.is_empty(), "{}, {}", table.id, row.name);
            }
        }
    }
}
