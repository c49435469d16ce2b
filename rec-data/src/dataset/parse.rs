//! From a form of the catalogue to its reader.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::catalogue::{Form, Format, Role};
use crate::readers::{Parsed, Text, adjacency, delimited, movielens, ncf, recbole, rows, sequence, sessions};
use crate::{Part, fail, problem};

/// A file's path as text, and its bytes.
pub(super) struct Source<'a> {
    pub path: String,
    pub bytes: &'a [u8],
}

impl Source<'_> {
    fn text(&self) -> Result<Text<'_>> {
        Text::new(&self.path, self.bytes)
    }
}

/// Hands the files of labelled rows to their reader.
pub(super) fn parse_rows(form: &Form, paths: &[PathBuf], config: &rows::Config, folder: &Path) -> Result<Parsed> {
    let part = |role: Role| match role {
        Role::Train => Some(Part::Train),
        Role::Valid => Some(Part::Valid),
        Role::Test => Some(Part::Test),
        _ => None,
    };
    let files: Vec<_> = form.files.iter().zip(paths).map(|(file, path)| (path.clone(), part(file.role))).collect();
    rows::read(&files, config, folder)
}

/// Hands a form's files to its reader.
pub(super) fn parse(form: &Form, sources: &[Source<'_>]) -> Result<Parsed> {
    let get = |role: Role| -> Result<Text<'_>> {
        let at = form.files.iter().position(|f| f.role == role);
        sources
            .get(at.unwrap_or(usize::MAX))
            .ok_or_else(|| problem!(Usage, "the catalogue names no {role:?} file for {:?}", form.format))?
            .text()
    };
    let has = |role: Role| form.files.iter().any(|f| f.role == role);
    match &form.format {
        Format::MovieLens100K => movielens::read_100k(get(Role::Interactions)?, get(Role::Users)?, get(Role::Items)?),
        Format::MovieLens1M => movielens::read_1m(get(Role::Interactions)?, get(Role::Users)?, get(Role::Items)?),
        Format::MovieLens10M => movielens::read_10m(get(Role::Interactions)?, get(Role::Items)?),
        Format::MovieLensCsv => movielens::read_csv(get(Role::Interactions)?, get(Role::Items)?),
        Format::Adjacency => adjacency::read(get(Role::Train)?, get(Role::Test)?),
        Format::Sequence => sequence::read(get(Role::Interactions)?),
        Format::SessionLists => sessions::read_lists(get(Role::Train)?, get(Role::Test)?),
        Format::SessionClicks => sessions::read_clicks(get(Role::Train)?, get(Role::Test)?),
        Format::Ncf => ncf::read(get(Role::Train)?, get(Role::Test)?, get(Role::Negatives)?),
        Format::Recbole(config) => {
            let users = has(Role::Users).then(|| get(Role::Users)).transpose()?;
            let items = has(Role::Items).then(|| get(Role::Items)).transpose()?;
            recbole::read(get(Role::Interactions)?, users, items, config)
        }
        Format::Delimited(config) => {
            delimited::read(&[(get(Role::Train)?, Some(Part::Train)), (get(Role::Test)?, Some(Part::Test))], config)
        }
        Format::Rows(_) | Format::Generated(_) => fail!(Usage, "rows of any number are read from where they lie, not from memory"),
    }
}
