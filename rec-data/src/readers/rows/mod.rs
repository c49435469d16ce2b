//! Labelled rows of any number: delimited text or Parquet, read in blocks, so that memory does not grow with the rows.
//!
//! Unlike other readers this one is given paths, for a file may be larger than memory. Blocks are parsed side by side, and categories are
//! numbered by first appearance, whatever the number of threads. Finished columns larger than a megabyte lie in files without names.
//! Memory grows with the number of distinct categories: about 12 bytes each while they are numbered (24 after their table grew), more where
//! their texts are longer than eight bytes.

mod block;
mod categories;
mod columns;
mod config;
mod hour;
mod lines;
mod parquet;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use config::{BadLines, Config};

pub(crate) use block::Block;
pub(crate) use columns::Columns;

use super::text::Parsed;
use crate::{Part, require};

/// Reads files (or, for Parquet, folders of files) of one layout, with the part that each one's rows belong to. What is larger than memory
/// goes to files without names in `folder`.
///
/// # Errors
/// a data problem that names file, line and text; a usage problem where the configuration does not fit the files; an I/O error.
pub fn read(files: &[(PathBuf, Option<Part>)], config: &Config, folder: &Path) -> Result<Parsed> {
    config.check()?;
    let mut columns = Columns::new(config, folder);
    for (path, part) in files {
        let before = columns.rows();
        for file in parquet::files(path)? {
            match file.is_parquet {
                true => parquet::read(&file, config, &mut columns)?,
                false => lines::read(&file.path, config, &mut columns)?,
            }
        }
        require!(columns.rows() > before, Data, "{}: there is no row", path.display());
        if let Some(part) = part {
            columns.end_of_part(*part)?;
        }
    }
    Ok(Parsed { interactions: columns.finish()?, candidates: None })
}

/// The files that are read of the file or folder at `path`, in their order.
///
/// # Errors
/// as [`read`].
pub fn files_at(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(parquet::files(path)?.into_iter().map(|file| file.path).collect())
}

#[cfg(test)]
mod tests;
