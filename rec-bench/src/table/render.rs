//! Tables for people: in the terminal and in Markdown.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle};
use rec_data::fail;

use super::cell::Cell;
use super::spec::Table;
use crate::run_folder::write_whole;

const HEADER: [&str; 7] = ["model", "metric", "published", "measured", "95 % interval", "status", "seconds"];

fn rows(cells: &[Cell]) -> Vec<[String; 7]> {
    let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.4}"));
    let mut last = "";
    cells
        .iter()
        .map(|c| {
            let model = if c.model == last { String::new() } else { c.model.clone() };
            last = &c.model;
            let interval = match (&c.interval, c.interval_over.as_deref()) {
                (Some(i), Some("users")) => format!("{:.4} – {:.4} (users)", i.low, i.high),
                (Some(i), _) => match &c.users_interval {
                    Some(users) => format!("{:.4} – {:.4}; users {:.4} – {:.4}", i.low, i.high, users.low, users.high),
                    None => format!("{:.4} – {:.4}", i.low, i.high),
                },
                (None, _) => "–".into(),
            };
            let peek = if c.selection == "test" { " (epoch picked on test)" } else { "" };
            [
                model,
                c.metric.clone(),
                number(c.published),
                number(c.measured),
                interval,
                format!("{}{peek}", c.status.word()),
                c.seconds.map_or("–".into(), |s| format!("{s:.1}")),
            ]
        })
        .collect()
}

fn heading(table: &Table, cells: &[Cell]) -> String {
    let splits = table.protocol.split_seeds.len();
    let several = || cells.iter().map(|c| c.values.len()).filter(|&n| n > 1);
    let (fewest, runs) = (several().min().unwrap_or(splits), several().max().unwrap_or(splits));
    let number = if fewest < runs { format!("{fewest} to {runs}") } else { runs.to_string() };
    let over = if splits > 1 {
        format!("mean of {number} splits")
    } else if runs > 1 {
        format!("mean of {number} seeds where a model draws")
    } else {
        "one run a row".into()
    };
    format!("{} · {over}", table.title)
}

/// For a terminal.
pub fn text(table: &Table, cells: &[Cell]) -> String {
    let mut grid = comfy_table::Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    grid.load_style(TableStyle::new().header_separator(line).bottom_border(line))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(HEADER);
    rows(cells).into_iter().for_each(|row| {
        grid.add_row(row);
    });
    for column in [2, 3, 6] {
        if let Some(column) = grid.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = format!("{}\n{grid}\n", heading(table, cells));
    out.push_str(&format!("published: {}\n", table.source));
    if !table.note.is_empty() {
        out.push_str(&format!("{}\n", table.note.trim()));
    }
    if let Some(hash) = cells.iter().find_map(|c| c.protocol_hash.as_deref()) {
        out.push_str(&format!(
            "protocol {}, data {}\n",
            &hash[..12],
            cells.iter().find_map(|c| c.content_hash.as_deref()).map_or("–", |h| &h[..12])
        ));
    }
    out
}

/// For a page.
pub fn markdown(table: &Table, cells: &[Cell]) -> String {
    let mut out =
        format!("**{}** (`{}`)\n\n| {} |\n|---|---|---:|---:|---|---|---:|\n", heading(table, cells), table.id, HEADER.join(" | "));
    for row in rows(cells) {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out.push_str(&format!("\nPublished values: {}.", table.source.trim_end_matches('.')));
    if !table.note.is_empty() {
        out.push_str(&format!(" {}", table.note.trim()));
    }
    if let Some(cell) = cells.iter().find(|c| c.commit.is_some()) {
        let of = |v: &Option<String>| v.as_deref().unwrap_or("–").chars().take(12).collect::<String>();
        out.push_str(&format!("\nMeasured {}; protocol {}, data {}.", origins(cells), of(&cell.protocol_hash), of(&cell.content_hash)));
    }
    out.push('\n');
    out
}

/// Commits and machines of what was measured, the one with the most rows first, the rows of the others named.
fn origins(cells: &[Cell]) -> String {
    let mut groups: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for cell in cells {
        let (Some(commit), Some(hardware)) = (&cell.commit, &cell.hardware) else { continue };
        let key = (commit.get(..12).unwrap_or(commit), hardware.as_str());
        let at = groups.iter().position(|g| g.0 == key).unwrap_or_else(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        if !groups[at].1.contains(&cell.model.as_str()) {
            groups[at].1.push(&cell.model);
        }
    }
    groups.sort_by_key(|g| std::cmp::Reverse(g.1.len()));
    let each = groups.iter().enumerate().map(|(at, ((commit, hardware), rows))| {
        let rows = if at == 0 { String::new() } else { format!(" ({})", rows.join("; ")) };
        format!("at commit {commit} on {hardware}{rows}")
    });
    each.collect::<Vec<_>>().join("; ")
}

/// Puts `results/ID/table.md` between the marks `<!-- table:ID -->` and `<!-- /table:ID -->` of a page.
///
/// # Errors
/// a usage problem where a mark is not closed; I/O problems.
pub fn update_readme(page: &Path, results: &Path) -> Result<bool> {
    let old = std::fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let mut new = String::new();
    let mut rest = old.as_str();
    while let Some(at) = rest.find("<!-- table:") {
        let (before, from) = rest.split_at(at);
        let Some((mark, _)) = from.split_once("-->") else { fail!(Usage, "{}: a mark `<!-- table:` is not closed", page.display()) };
        let id = mark["<!-- table:".len()..].trim();
        let close = format!("<!-- /table:{id} -->");
        let Some(end) = from.find(&close) else { fail!(Usage, "{}: `{close}` is missing", page.display()) };
        let file = results.join(id).join("table.md");
        // A table that was not published yet leaves its place as it is.
        if file.exists() {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            new.push_str(&format!("{before}{mark}-->\n{text}"));
        } else {
            new.push_str(&format!("{before}{}", &from[..end]));
        }
        rest = &from[end..];
        new.push_str(&close);
        rest = &rest[close.len()..];
    }
    new.push_str(rest);
    if new != old {
        write_whole(page, new.as_bytes())?;
    }
    Ok(new != old)
}
