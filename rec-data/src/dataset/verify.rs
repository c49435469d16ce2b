//! Whether the files of a data set are the published ones.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::catalogue;
use crate::fetch::checksum;
use crate::fetch::sources::{self, Located};
use crate::folders::Folders;

/// The state of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// Its hash is the catalogue's.
    Good {
        /// The hash.
        sha256: String,
    },
    /// The catalogue has no hash for it; opening it checks counts and content.
    Unhashed {
        /// The hash.
        sha256: String,
    },
    /// Its hash is not the catalogue's.
    Wrong {
        /// The hash of the file.
        sha256: String,
        /// The hash in the catalogue.
        expected: String,
    },
    /// It is not there.
    Missing,
}

/// A file and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCheck {
    /// Where it is, or should be.
    pub path: PathBuf,
    /// Its state.
    #[serde(flatten)]
    pub status: Status,
}

/// Checks the hash of every file of a data set that is at hand, in every form and folder that has at least one of its files. Where nothing
/// is at hand, the files of the first form are reported missing.
///
/// # Errors
/// a usage problem for an unknown id; an I/O error where a file cannot be read.
pub fn verify(id: &str, folders: &Folders) -> Result<Vec<FileCheck>> {
    let entry = catalogue::entry(id)?;
    let mut checks = Vec::new();
    let places: Vec<Located<'_>> = entry.forms.iter().flat_map(|form| sources::places(entry, form, folders)).collect();
    let some: Vec<&Located<'_>> = places.iter().filter(|p| p.files.iter().any(|f| f.is_file())).collect();
    for located in if some.is_empty() { places.iter().take(1).collect() } else { some } {
        for (path, file) in located.files.iter().zip(&located.form.files) {
            let status = match (path.is_file(), &file.sha256) {
                (false, _) => Status::Missing,
                (true, None) => Status::Unhashed { sha256: checksum::of_file(path)? },
                (true, Some(expected)) => match checksum::of_file(path)? {
                    sha256 if sha256 == *expected => Status::Good { sha256 },
                    sha256 => Status::Wrong { sha256, expected: expected.clone() },
                },
            };
            checks.push(FileCheck { path: path.clone(), status });
        }
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verification_tells_good_wrong_and_missing_files_apart() {
        let temp = tempfile::tempdir().expect("temp");
        let own = temp.path().join("own");
        let folders = Folders { data: Some(own.clone()), cache: temp.path().join("cache") };
        let statuses = || verify("gowalla", &folders).expect("known").into_iter().map(|c| c.status).collect::<Vec<_>>();
        assert_eq!(statuses(), [Status::Missing, Status::Missing]);
        std::fs::create_dir_all(own.join("gowalla")).expect("folder");
        for file in ["train.txt", "test.txt"] {
            std::fs::write(own.join("gowalla").join(file), "0 1\n").expect("write");
        }
        let found = statuses();
        assert!(matches!(&found[..], [Status::Unhashed { .. }, Status::Wrong { .. }]), "{found:?}");
    }
}
