//! Which data sets there are, and which of them are at hand.

use std::path::PathBuf;

use serde::Serialize;

use crate::catalogue::{self, Entry};
use crate::fetch::sources;
use crate::folders::Folders;

/// An entry of the catalogue, and whether it is at hand.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The entry.
    pub entry: &'static Entry,
    /// The folder that has its files; `None` where they would be fetched.
    pub folder: Option<PathBuf>,
}

/// All entries of the catalogue.
pub fn list(folders: &Folders) -> Vec<Listed> {
    catalogue::entries().iter().map(|entry| Listed { entry, folder: sources::locate(entry, folders).map(|l| l.folder) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_at_hand_where_all_its_files_are() {
        let temp = tempfile::tempdir().expect("temp");
        let folders = Folders { data: Some(temp.path().join("own")), cache: temp.path().join("cache") };
        std::fs::create_dir_all(temp.path().join("own/gowalla")).expect("folder");
        for (file, at_hand) in [("train.txt", 0), ("test.txt", 1)] {
            std::fs::write(temp.path().join("own/gowalla").join(file), "0 1\n").expect("write");
            assert_eq!(list(&folders).iter().filter(|l| l.folder.is_some()).count(), at_hand);
        }
    }
}
