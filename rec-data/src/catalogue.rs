//! The data sets that are known by name: one data file, `catalogue.toml`, embedded.
//!
//! An entry may come in several forms (an archive of the publisher, files of a repository, a wheel), each with its own files, hashes and
//! format; whichever form is read, the rows are the same, and [`Entry::content`] checks that they are.

use std::sync::OnceLock;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::generated::Clicks;
use crate::problem;
use crate::problem::did_you_mean;
use crate::readers::{delimited, recbole, rows};

/// One data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name by which it is opened.
    pub id: String,
    /// The name in prose.
    pub name: String,
    /// The publisher's version or date.
    pub version: String,
    /// The licence's name, or where its terms stand.
    pub licence: String,
    /// What a user must know of it; printed once.
    pub licence_note: String,
    /// Whom to cite.
    pub citation: String,
    /// Users with a row.
    pub users: usize,
    /// Items with a row, or the published number of items where ids are dense.
    pub items: usize,
    /// Rows.
    pub interactions: usize,
    /// Of labelled rows: how many are in train, valid and test; all are in train where the data comes without parts.
    pub labelled: Option<Labelled>,
    /// The content hash of the rows, whatever form they come from; absent where no copy was at hand to compute it.
    pub content: Option<String>,
    /// How to get it by hand, where no address serves it.
    pub by_hand: Option<String>,
    /// The forms in which it comes, the publisher's first.
    #[serde(rename = "form")]
    pub forms: Vec<Form>,
}

/// Labelled rows by part, in the order train, valid, test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// Rows.
    pub rows: [usize; 3],
    /// Rows with a label above 0.
    pub positives: [usize; 3],
}

/// Files of one format, and where to get them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// How to read the files.
    pub format: Format,
    /// The files.
    pub files: Vec<File>,
    /// A zip archive that holds them all.
    pub archive: Option<Archive>,
    /// A Python wheel that holds them all.
    pub wheel: Option<Wheel>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it holds.
    pub role: Role,
    /// Where it lies under `REC_DATA_DIR`; in the cache it lies in `data/<id>/` under its last component.
    pub path: String,
    /// The SHA-256 of its bytes, in hexadecimal; absent where it is not known, and then counts and content are the check.
    pub sha256: Option<String>,
    /// Its path in the archive or wheel.
    pub member: Option<String>,
    /// Its own address.
    pub url: Option<String>,
}

impl File {
    /// The last component of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// A zip archive at an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The address.
    pub url: String,
    /// The SHA-256 of the archive.
    pub sha256: Option<String>,
}

/// A wheel of the Python package index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of the wheel.
    pub sha256: String,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All interactions.
    Interactions,
    /// Features of users.
    Users,
    /// Features of items.
    Items,
    /// Interactions to learn from.
    Train,
    /// Interactions that pick the epoch.
    Valid,
    /// Interactions to test on.
    Test,
    /// Fixed negatives of the test rows.
    Negatives,
}

/// How files are read; each names its reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "reader")]
pub enum Format {
    /// MovieLens 100K.
    #[serde(rename = "movielens-100k")]
    MovieLens100K,
    /// MovieLens 1M.
    #[serde(rename = "movielens-1m")]
    MovieLens1M,
    /// MovieLens 10M.
    #[serde(rename = "movielens-10m")]
    MovieLens10M,
    /// Later MovieLens releases.
    #[serde(rename = "movielens-csv")]
    MovieLensCsv,
    /// Adjacency lists.
    Adjacency,
    /// One file of `user item` rows in order.
    Sequence,
    /// Session lists and test prefixes.
    SessionLists,
    /// Clicks with a header.
    SessionClicks,
    /// NCF's three files.
    Ncf,
    /// RecBole's atomic files.
    Recbole(recbole::Config),
    /// Delimited files, one to train on and one to test on.
    Delimited(delimited::Config),
    /// Labelled rows, of which there may be more than memory holds: one file, or one for each part.
    Rows(rows::Config),
    /// Rows made by the program itself, from no file.
    Generated(Clicks),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File_ {
    dataset: Vec<Entry>,
}

/// All entries, in the order of the file.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        toml::from_str::<File_>(include_str!("catalogue.toml")).expect("the embedded catalogue is parsed by a test").dataset
    })
}

/// The entry called `id`.
///
/// # Errors
/// a usage problem with the nearest id.
pub fn entry(id: &str) -> Result<&'static Entry> {
    entries().iter().find(|e| e.id == id).ok_or_else(|| {
        let known = || entries().iter().map(|e| e.id.as_str());
        problem!(Usage, "no data set is called `{id}`{}; there are {}", did_you_mean(id, known()), known().collect::<Vec<_>>().join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_catalogue_is_sound() {
        let mut ids = HashSet::new();
        for entry in entries() {
            assert!(ids.insert(&entry.id), "{} is there twice", entry.id);
            if let Some(labelled) = entry.labelled {
                assert_eq!(labelled.rows.iter().sum::<usize>(), entry.interactions, "{}", entry.id);
                assert!(labelled.rows.iter().zip(&labelled.positives).all(|(rows, positives)| positives <= rows));
            }
            assert!(entry.users > 0 && entry.items > 0 && entry.interactions > 0 && !entry.forms.is_empty());
            let mut names = HashSet::new();
            for form in &entry.forms {
                let reachable = form.archive.is_some() || form.wheel.is_some() || form.files.iter().all(|f| f.url.is_some());
                assert!(reachable || entry.by_hand.is_some(), "{} cannot be had", entry.id);
                for file in &form.files {
                    assert!(names.insert(file.name()), "two files of {} are called {}", entry.id, file.name());
                    assert_eq!(file.member.is_some(), form.archive.is_some() || form.wheel.is_some(), "{}", file.path);
                    assert!(!file.path.starts_with('/') && !file.path.contains(".."));
                }
            }
            let hashes = entry.forms.iter().flat_map(|f| f.files.iter().filter_map(|f| f.sha256.as_ref())).chain(&entry.content);
            for hash in hashes {
                assert!(hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{hash}");
            }
        }
    }

    #[test]
    fn an_unknown_id_gets_the_nearest_one() {
        let error = entry("ml100k").expect_err("unknown").to_string();
        assert!(error.contains("no data set is called `ml100k` (did you mean `ml-100k`?)"), "{error}");
    }
}
