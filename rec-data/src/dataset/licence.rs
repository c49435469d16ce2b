//! The licence of a data set, told to its user.

use crate::catalogue::Entry;
use crate::folders::Folders;

/// Prints what a user must know of the licence, the first time only.
pub(super) fn licence_once(entry: &Entry, folders: &Folders) {
    let marker = folders.cache.join("licences").join(&entry.id);
    let first = std::fs::create_dir_all(folders.cache.join("licences")).is_ok() && std::fs::File::create_new(&marker).is_ok();
    if first || !marker.exists() {
        crate::notes::note(&format!("{}: {}: {}\ncite: {}", entry.name, entry.licence, entry.licence_note, entry.citation));
    }
}
