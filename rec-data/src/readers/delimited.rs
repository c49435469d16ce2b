//! A user's own CSV or TSV file, by the names of its columns.

use std::path::{Path, PathBuf};

use anyhow::Result;
use csv::ByteRecord;
use serde::{Deserialize, Serialize};

use super::text::{Line, Parsed, Text, excerpt, find_column};
use crate::vocabulary::Numbering;
use crate::{Column, Interactions, Part, fail, problem, require};

/// Which file, and which of its columns mean what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file; empty in a catalogue entry, which names its files itself.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// The character between fields; where absent, a tab for `.tsv`, `.tab` and `.inter`, else a comma.
    pub delimiter: Option<char>,
    /// Whether the first line names the columns; without it they are called `1`, `2`, `3` …
    pub header: bool,
    /// The column of users.
    pub user: String,
    /// The column of items.
    pub item: String,
    /// The column of ratings or weights, if any.
    pub rating: Option<String>,
    /// The column of times in seconds since 1970, if any.
    pub time: Option<String>,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl Default for Config {
    fn default() -> Self {
        Self { path: PathBuf::new(), delimiter: None, header: true, user: "user".into(), item: "item".into(), rating: None, time: None }
    }
}

/// The byte between fields of a file: the one asked for, else what the end of the file's name says.
pub(super) fn delimiter(asked: Option<char>, path: &str) -> Result<u8> {
    match asked {
        Some(c) => u8::try_from(c)
            .ok()
            .filter(|b| b.is_ascii() && !matches!(b, b'"' | b'\n' | b'\r'))
            .ok_or_else(|| problem!(Usage, "`delimiter = {c:?}` is not one ASCII character other than a quote or a line end")),
        None if [".tsv", ".tab", ".inter"].iter().any(|end| path.ends_with(end)) => Ok(b'\t'),
        None => Ok(b','),
    }
}

/// Reads files of one layout, with the part that each one's rows belong to. Ids are texts, numbered by first appearance.
///
/// # Errors
/// a data problem that names file, line and text; a usage problem where the delimiter is not one.
pub fn read(files: &[(Text<'_>, Option<Part>)], columns: &Config) -> Result<Parsed> {
    let mut rows = Rows::default();
    for (file, part) in files {
        let before = rows.users.len();
        rows.read(*file, columns)?;
        require!(rows.users.len() > before, Data, "{}: a header but no row", file.path);
        if let Some(part) = part {
            rows.parts.resize(rows.users.len(), *part as u8);
        }
    }
    let interactions = Interactions {
        parts: (rows.parts.len() == rows.users.len()).then(|| rows.parts.into()),
        users: rows.users.into(),
        items: rows.items.into(),
        values: columns.rating.is_some().then(|| Column::from(rows.values)),
        times: columns.time.is_some().then(|| Column::from(rows.times)),
        user_ids: rows.user_ids.finish(),
        item_ids: rows.item_ids.finish(),
        ..Interactions::default()
    };
    Ok(Parsed { interactions, candidates: None })
}

#[derive(Default)]
struct Rows {
    user_ids: Numbering,
    item_ids: Numbering,
    users: Vec<u32>,
    items: Vec<u32>,
    values: Vec<f32>,
    times: Vec<i64>,
    parts: Vec<u8>,
}

impl Rows {
    fn read(&mut self, file: Text<'_>, columns: &Config) -> Result<()> {
        let delimiter = delimiter(columns.delimiter, file.path)?;
        // Tab-separated files as a rule have no quoting, and a lone quote in a title must not swallow the lines after it.
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).quoting(delimiter != b'\t').has_headers(columns.header).from_reader(file.bytes);
        let first = reader.byte_headers().map_err(|e| csv_problem(file.path, &e))?.clone();
        let find =
            |name: &str| if columns.header { find_column(file.path, first.iter(), name) } else { nth_column(file.path, first.len(), name) };
        let (user, item) = (find(&columns.user)?, find(&columns.item)?);
        let (rating, time) = (columns.rating.as_deref().map(find).transpose()?, columns.time.as_deref().map(find).transpose()?);
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|e| csv_problem(file.path, &e))? {
            let line = Line { path: file.path, number: record.position().map_or(0, |p| p.line() as usize), bytes: record.as_slice() };
            // The csv reader has refused rows of another length than the header's.
            let field = |column: usize| record.get(column).unwrap_or_default();
            self.users.push(self.user_ids.number(line.token(field(user), "user")?));
            self.items.push(self.item_ids.number(line.token(field(item), "item")?));
            if let Some(column) = rating {
                self.values.push(line.rating(field(column))?);
            }
            if let Some(column) = time {
                self.times.push(line.time(field(column))?);
            }
        }
        Ok(())
    }
}

fn nth_column(path: &str, width: usize, name: &str) -> Result<usize> {
    match name.parse::<usize>() {
        Ok(n) if (1..=width).contains(&n) => Ok(n - 1),
        Ok(n) => fail!(Data, "{path}:1: no column {n}; there are {width}"),
        Err(_) => fail!(Usage, "with `header = false` columns are called `1` to `{width}`, not `{name}`"),
    }
}

/// A csv error as a data problem with file and line.
pub(super) fn csv_problem(path: &str, error: &csv::Error) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            problem!(
                Data,
                "{path}:{}: {len} columns, not {expected_len} (is the line cut off?)",
                pos.as_ref().map_or(0, csv::Position::line)
            )
        }
        _ => problem!(Data, "{path}: {}", excerpt(error.to_string().as_bytes()).trim_matches('`')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const FILE: &[u8] = b"when,who,what,stars\n10,ann,\"a, b\",4.5\n11,bob,c,3\n12,ann,c,1\n";
    const BARE: &[u8] = b"7\t1\t2\r\n8\t1\t5\r\n";

    fn columns() -> Config {
        Config { user: "who".into(), item: "what".into(), rating: Some("stars".into()), time: Some("when".into()), ..Config::default() }
    }

    fn bare() -> Config {
        Config {
            delimiter: Some('\t'),
            header: false,
            user: "1".into(),
            item: "2".into(),
            rating: Some("3".into()),
            time: None,
            ..Config::default()
        }
    }

    fn try_read(bytes: &[u8], columns: &Config) -> Result<Parsed> {
        read(&[(Text { path: "f.csv", bytes }, None)], columns)
    }

    #[test]
    fn columns_are_found_by_name() {
        let data = try_read(FILE, &columns()).expect("valid").interactions;
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 1, 0][..], &[0, 1, 1][..]));
        assert_eq!(data.item_ids.iter().collect::<Vec<_>>(), ["a, b", "c"]);
        assert_eq!((data.values.as_deref(), data.times.as_deref()), (Some(&[4.5, 3., 1.][..]), Some(&[10, 11, 12][..])));
        assert!(data.parts.is_none());
    }

    #[test]
    fn columns_without_a_header_are_found_by_place_and_files_become_parts() {
        let text = Text { path: "f", bytes: BARE };
        let data = read(&[(text, Some(Part::Train)), (text, Some(Part::Test))], &bare()).expect("valid").interactions;
        assert_eq!(data.parts.as_deref(), Some(&[0, 0, 2, 2][..]));
        assert_eq!(data.user_ids.iter().collect::<Vec<_>>(), ["7", "8"]);
        assert_eq!(data.values.as_deref(), Some(&[2., 5., 2., 5.][..]));
    }

    #[test]
    fn the_delimiter_follows_the_file_name() {
        assert_eq!((delimiter(None, "x.tsv").expect("tab"), delimiter(None, "x.txt").expect("comma")), (b'\t', b','));
        delimiter(Some('→'), "x").expect_err("not ASCII");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (bytes, why) in [
            (&b"when,whom,what,stars\n1,2,3,4\n"[..], "f.csv:1: no column `who` (did you mean `whom`?)"),
            (b"when,who,what,stars\n1,2,3\n", "f.csv:2: 3 columns, not 4"),
            (b"when,who,what,stars\n1,2,3,inf\n", "f.csv:2: the rating `inf` is not a finite"),
            (b"when,who,what,stars\n1,,3,4\n", "f.csv:2: the user is empty"),
            (b"when,who,what,stars\n1,\xff,3,4\n", "is not UTF-8"),
            (b"when,who,what,stars\n", "a header but no row"),
        ] {
            let error = try_read(bytes, &columns()).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = try_read(BARE, &Config { item: "9".into(), ..bare() }).expect_err("no such column").to_string();
        assert!(error.contains("no column 9; there are 3"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(FILE), b in mangled(BARE)) {
            let _ = try_read(&a, &columns());
            let _ = try_read(&b, &bare());
        }
    }
}
