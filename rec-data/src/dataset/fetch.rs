//! The files of a data set, brought without being read.

use std::path::PathBuf;

use anyhow::Result;

use super::licence::licence_once;
use crate::catalogue;
use crate::fetch::sources::{self, bring};
use crate::folders::Folders;

/// Brings the files of a data set, unless they are at hand, and returns where they are.
///
/// # Errors
/// a usage problem for an unknown id; an unavailable problem where no source has it.
pub fn fetch(id: &str, folders: &Folders) -> Result<Vec<PathBuf>> {
    let entry = catalogue::entry(id)?;
    licence_once(entry, folders);
    match sources::locate(entry, folders) {
        Some(located) => Ok(located.files),
        None => Ok(bring(entry, folders)?.files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_at_hand_are_left_where_they_are() {
        let temp = tempfile::tempdir().expect("temp");
        let own = temp.path().join("own");
        let folders = Folders { data: Some(own.clone()), cache: temp.path().join("cache") };
        std::fs::create_dir_all(own.join("gowalla")).expect("folder");
        let files = ["gowalla/train.txt", "gowalla/test.txt"].map(|file| own.join(file));
        files.iter().for_each(|file| std::fs::write(file, "0 1\n").expect("write"));
        assert_eq!(fetch("gowalla", &folders).expect("at hand"), files);
    }
}
