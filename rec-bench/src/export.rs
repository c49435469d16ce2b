//! A split written out, so that a peer runs on exactly our rows.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use rec_core::protocol::Prepared;
use rec_data::{Interactions, Rows};

use crate::run_folder::write_whole;

/// Writes RecBole's atomic benchmark files: `FOLDER/NAME/NAME.{train,valid,test}.inter`, raw ids.
///
/// # Errors
/// an I/O problem that names the file.
pub fn recbole_benchmark(prepared: &Prepared, folder: &Path, name: &str) -> Result<()> {
    let split = &prepared.split;
    for (part, rows) in [("train", &split.train), ("valid", &split.valid), ("test", &split.test)] {
        let text = atomic(&prepared.interactions, rows)?;
        write_whole(&folder.join(name).join(format!("{name}.{part}.inter")), text.as_bytes())?;
    }
    Ok(())
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
