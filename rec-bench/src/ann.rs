//! Recall against speed of nearest-neighbour indexes over one set of vectors: measurements, table, picture, page.

use std::time::Instant;

use anyhow::Result;
use comfy_table::{CellAlignment, LineStyle, TableStyle};
use rec_ann::speed::{Attempt, Measured, Truth, best, grid};
use rec_ann::{IndexConfig, IndexKind, Metric};
use rec_core::train::Interrupt;
use rec_data::notes::note;
use rec_data::require;
use serde::Serialize;
use serde_json::Value;

use crate::page::{escape, page};
use crate::plot::{Line, legend, speeds};

/// Vectors to be searched, and what is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// Where the vectors are from.
    pub source: String,
    /// How distances are measured.
    pub metric: Metric,
    /// How many nearest vectors are asked for.
    pub k: usize,
    /// The number of vectors.
    pub vectors: usize,
    /// The number of values in a vector.
    pub dim: usize,
    /// The number of queries.
    pub queries: usize,
    /// Threads that build and search.
    pub threads: usize,
    /// The processor.
    pub hardware: String,
}

/// One index with one setting of its search.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was built.
    pub index: IndexConfig,
    /// Its settings that are not defaults, and the effort of the search.
    pub settings: String,
    /// The effort of the search; none where the kind has no such setting.
    pub effort: Option<usize>,
    /// Recall, speed, latencies in seconds.
    #[serde(flatten)]
    pub measured: Measured,
    /// Seconds of the build.
    pub build_seconds: f64,
    /// Bytes of the index.
    pub bytes: usize,
    /// Whether no other row is better in recall or speed without being worse in the other.
    pub best: bool,
}

/// Builds each of `kinds` in a few ways and measures each search a few times.
///
/// # Errors
/// those of the indexes; where it was interrupted.
pub fn measure(task: &Task, kinds: &[IndexKind], vectors: &[f32], truth: &Truth, interrupt: &Interrupt) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let attempts = kinds.iter().flat_map(|&kind| grid(kind, task.vectors, task.k));
    for Attempt { config, efforts } in attempts {
        require!(!interrupt.is_set(), Interrupted, "stopped before all indexes were measured");
        let build = Instant::now();
        let mut index = config.build(vectors, task.dim, task.metric)?;
        let build_seconds = build.elapsed().as_secs_f64();
        let name = format!("{} {}", config.kind(), settings(&config, None)?);
        note(&format!("{}: built in {build_seconds:.1} s", name.trim_end()));
        for effort in efforts {
            if let Some(effort) = effort {
                index.set_effort(effort)?;
            }
            rows.push(Row {
                settings: settings(&config, effort)?,
                index: config.clone(),
                effort,
                measured: truth.measure(index.as_ref())?,
                build_seconds,
                bytes: index.size(),
                best: false,
            });
        }
    }
    let measured: Vec<Measured> = rows.iter().map(|row| row.measured).collect();
    rows.iter_mut().zip(best(&measured)).for_each(|(row, best)| row.best = best);
    Ok(rows)
}

/// The settings of `config` that are not its kind's defaults, and the effort of the search: `m 32, ef 80`.
fn settings(config: &IndexConfig, effort: Option<usize>) -> Result<String> {
    let default: IndexConfig = serde_json::from_value(serde_json::json!({ "kind": config.kind() }))?;
    let (set, default) = (leaves("", &serde_json::to_value(config)?), leaves("", &serde_json::to_value(default)?));
    let mut parts: Vec<String> = set.into_iter().filter(|leaf| !default.contains(leaf)).collect();
    if let (Some(name), Some(effort)) = (config.kind().effort(), effort) {
        parts.retain(|part| !part.starts_with(&format!("{name} ")));
        parts.push(format!("{name} {effort}"));
    }
    Ok(parts.join(", "))
}

/// Keys with their values; of nested ones the last key.
fn leaves(key: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(key, value)| leaves(key, value)).collect(),
        Value::String(text) => vec![format!("{key} {text}")],
        other => vec![format!("{key} {other}")],
    }
}

const HEADER: [&str; 9] = ["", "index", "settings", "recall", "queries/s", "p50 ms", "p99 ms", "build s", "MB"];

fn cells(row: &Row) -> [String; 9] {
    let m = &row.measured;
    [
        if row.best { "*" } else { "" }.into(),
        row.index.kind().to_string(),
        row.settings.clone(),
        format!("{:.4}", m.recall),
        format!("{:.0}", m.queries_per_second),
        format!("{:.3}", m.p50 * 1e3),
        format!("{:.3}", m.p99 * 1e3),
        format!("{:.2}", row.build_seconds),
        format!("{:.1}", row.bytes as f64 / 1e6),
    ]
}

/// What was asked, in one line.
pub fn heading(task: &Task) -> String {
    let metric = serde_json::to_value(task.metric).unwrap_or_default();
    format!(
        "{}: {} vectors of {} values, {}, {} queries for the {} nearest, {} threads",
        task.source,
        task.vectors,
        task.dim,
        metric.as_str().unwrap_or_default(),
        task.queries,
        task.k,
        task.threads
    )
}

/// The rows for a terminal.
pub fn text(task: &Task, rows: &[Row]) -> String {
    let mut grid = comfy_table::Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    grid.load_style(TableStyle::new().header_separator(line).bottom_border(line)).set_header(HEADER);
    rows.iter().for_each(|row| {
        grid.add_row(cells(row));
    });
    for column in 3..HEADER.len() {
        if let Some(column) = grid.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n{grid}\n* no other row is better in recall or speed without being worse in the other\n", heading(task))
}

/// Speed over recall: for each kind a line through those of its rows that no other of its rows beats.
///
/// # Errors
/// as [`speeds`].
pub fn picture(task: &Task, rows: &[Row]) -> Result<String> {
    let (mut lines, mut others) = (Vec::new(), Vec::new());
    for (colour, kind) in IndexKind::ALL.into_iter().enumerate() {
        let measured: Vec<Measured> = rows.iter().filter(|row| row.index.kind() == kind).map(|row| row.measured).collect();
        let points = |wanted: bool| {
            let chosen = measured.iter().zip(best(&measured)).filter(|(_, best)| *best == wanted);
            let mut points: Vec<(f64, f64)> = chosen.map(|(m, _)| (m.recall, m.queries_per_second)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { colour, points }
        };
        lines.push(points(true));
        others.push(points(false));
    }
    speeds(&format!("recall@{}", task.k), &lines, &others)
}

/// A page with the picture and the rows.
///
/// # Errors
/// as [`picture`].
pub fn speed_page(task: &Task, rows: &[Row], picture: &str) -> String {
    let tried = |kind: &IndexKind| rows.iter().any(|row| row.index.kind() == *kind);
    let entries = IndexKind::ALL.iter().enumerate().filter(|(_, kind)| tried(kind)).map(|(at, kind)| (Some(at), kind.to_string()));
    let head: String = HEADER.iter().map(|name| format!("<th>{name}</th>")).collect();
    let cell = |(at, text): (usize, &String)| format!("<td{}>{}</td>", if at > 2 { " class=n" } else { "" }, escape(text));
    let line = |row: &Row| format!("<tr>{}</tr>", cells(row).iter().enumerate().map(cell).collect::<String>());
    let body = format!(
        "<p>{}</p>{picture}{}<table><tr>{head}</tr>{}</table><p>* No other row is better in recall or speed without being worse in the other. \
         The lines join what no other row of the same kind beats. Recall: the share of the nearest vectors that was found. Latencies are those of \
         single queries while all threads search.</p><p>Ran on {}</p>",
        escape(&heading(task)),
        legend(&entries.collect::<Vec<_>>()),
        rows.iter().map(line).collect::<String>(),
        escape(&task.hardware)
    );
    page("Nearest neighbours: recall against speed", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_that_are_not_defaults_and_the_effort() {
        let of = |value, effort| settings(&serde_json::from_value(value).expect("a config"), effort).expect("JSON");
        assert_eq!(of(serde_json::json!({ "kind": "hnsw", "m": 32, "ef": 7 }), Some(80)), "m 32, ef 80");
        assert_eq!(of(serde_json::json!({ "kind": "ivf-pq", "quantiser": { "bits": "4" } }), None), "bits 4");
        assert_eq!(of(serde_json::json!({ "kind": "flat" }), None), "");
    }
}
