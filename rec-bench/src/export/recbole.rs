//! A split written out, so that a peer runs on exactly our rows.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use rec_core::protocol::Prepared;
use rec_data::features::{Feature, Features};
use rec_data::{Interactions, Rows, Vocabulary};

use crate::run_folder::write_whole;

/// Writes RecBole's atomic benchmark files: `FOLDER/NAME/NAME.{train,valid,test}.inter`, raw ids; and `NAME.user`, `NAME.item` with side
/// features but free texts, where there are any.
///
/// # Errors
/// an I/O problem that names the file.
pub fn recbole_benchmark(prepared: &Prepared, folder: &Path, name: &str) -> Result<()> {
    let split = &prepared.split;
    for (part, rows) in [("train", &split.train), ("valid", &split.valid), ("test", &split.test)] {
        let text = atomic(&prepared.interactions, rows)?;
        write_whole(&folder.join(name).join(format!("{name}.{part}.inter")), text.as_bytes())?;
    }
    let data = &prepared.interactions;
    for (side, ids, features) in [("user", &data.user_ids, &data.user_features), ("item", &data.item_ids, &data.item_features)] {
        if let Some(text) = side_file(side, ids, features)? {
            write_whole(&folder.join(name).join(format!("{name}.{side}")), text.as_bytes())?;
        }
    }
    Ok(())
}

/// The features of one side; `None` where there are none. Categories are joined by spaces, spaces in them become underscores.
fn side_file(side: &str, ids: &Vocabulary, features: &Features) -> Result<Option<String>> {
    let typed = |feature: &Feature| match feature {
        Feature::Token { .. } => Some("token"),
        Feature::Tokens { .. } => Some("token_seq"),
        Feature::Number(_) => Some("float"),
        Feature::Text(_) => None,
    };
    let columns: Vec<_> = features.columns.iter().filter_map(|(name, feature)| Some((name, feature, typed(feature)?))).collect();
    if columns.is_empty() {
        return Ok(None);
    }
    let mut out = format!("{side}_id:token");
    columns.iter().try_for_each(|(name, _, kind)| write!(out, "\t{name}:{kind}"))?;
    out.push('\n');
    for (row, id) in ids.iter().enumerate() {
        out.push_str(id);
        for (_, feature, _) in &columns {
            write!(out, "\t{}", feature.text(row).replace(' ', "_").replace('|', " "))?;
        }
        out.push('\n');
    }
    Ok(Some(out))
}

fn atomic(data: &Interactions, rows: &Rows) -> Result<String> {
    let mut out = String::from("user_id:token\titem_id:token");
    if data.values.is_some() {
        out.push_str("\trating:float");
    }
    if data.times.is_some() {
        out.push_str("\ttimestamp:float");
    }
    out.push('\n');
    for row in rows.iter() {
        let row = row as usize;
        write!(out, "{}\t{}", data.user_ids.raw(data.users[row]), data.item_ids.raw(data.items[row]))?;
        if let Some(values) = &data.values {
            write!(out, "\t{}", values[row])?;
        }
        if let Some(times) = &data.times {
            write!(out, "\t{}", times[row])?;
        }
        out.push('\n');
    }
    Ok(out)
}
