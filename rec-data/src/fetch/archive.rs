//! Zip archives, trusted in nothing: names, sizes and checksums are all checked, and only the wanted members are unpacked.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;
use zip::ZipArchive;

use crate::fetch::checksum;
use crate::{fail, problem, require};

/// A file to unpack.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its path in the archive.
    pub name: String,
    /// Where it goes.
    pub target: PathBuf,
    /// What its bytes must hash to.
    pub sha256: Option<String>,
}

/// How much an archive may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all members together.
    pub total: u64,
    /// Unpacked bytes for a packed one, in members above `ratio_from`.
    pub ratio: u64,
    /// Members of at most this many bytes may have any ratio.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// 4 GiB, and a ratio of 200 above 10 MiB: text rarely packs better than 20 to 1, and deflate cannot pass 1032 to 1.
    fn default() -> Self {
        Self { total: 4 << 30, ratio: 200, ratio_from: 10 << 20 }
    }
}

/// Unpacks `members` of a zip archive. Each arrives by rename after its length and hash were checked.
///
/// # Errors
/// a data problem where the archive is damaged, lacks a member, has a name that leaves its folder, a link, an absurd size, or a member of
/// the wrong hash; an I/O error where a target cannot be written.
pub fn extract(archive: &Path, members: &[Member], limits: Limits) -> Result<()> {
    let shown = archive.display().to_string();
    let file = File::open(archive).with_context(|| format!("cannot open {shown}"))?;
    let mut zip =
        ZipArchive::new(file).map_err(|e| problem!(Data, "{shown} is not a whole zip archive: {e}; delete it and fetch again"))?;
    check(&mut zip, &shown, limits)?;
    let mut left = limits.total;
    for member in members {
        let Some(index) = zip.index_for_name(&member.name) else {
            fail!(Data, "{shown} has no `{}`; has the publisher changed the archive?", member.name);
        };
        let mut entry = zip.by_index(index).map_err(|e| problem!(Data, "{shown}: `{}` cannot be unpacked: {e}", member.name))?;
        left -= unpack(&mut entry, member, &shown, left)?;
    }
    Ok(())
}

/// Looks at every entry, wanted or not: an archive with one hostile entry is not one to trust with another.
fn check(zip: &mut ZipArchive<File>, shown: &str, limits: Limits) -> Result<()> {
    let mut total = 0u64;
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|e| problem!(Data, "{shown}: entry {index} is damaged: {e}"))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        require!(is_inside(&name), Data, "{shown} is refused: its entry `{}` leaves the archive's folder", name.escape_default());
        require!(!entry.is_symlink(), Data, "{shown} is refused: its entry `{name}` is a link");
        let (packed, unpacked) = (entry.compressed_size(), entry.size());
        require!(
            unpacked <= limits.ratio_from || unpacked / limits.ratio <= packed,
            Data,
            "{shown} is refused: its entry `{name}` unpacks from {packed} to {unpacked} bytes"
        );
        total = total.saturating_add(unpacked);
        require!(total <= limits.total, Data, "{shown} is refused: it unpacks to more than {} bytes", limits.total);
    }
    Ok(())
}

/// Whether a name of an entry stays in the folder it is unpacked to, on any system.
fn is_inside(name: &str) -> bool {
    let drive = name.as_bytes().get(1) == Some(&b':');
    !name.is_empty() && !name.starts_with(['/', '\\']) && !drive && !name.contains('\0') && name.split(['/', '\\']).all(|part| part != "..")
}

/// Unpacks one member and returns its size. The header's size is a claim; the bytes that come are counted.
fn unpack(entry: &mut impl Read, member: &Member, shown: &str, left: u64) -> Result<u64> {
    let name = &member.name;
    let folder = member.target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut part = NamedTempFile::new_in(folder).with_context(|| format!("cannot write in {}", folder.display()))?;
    let (mut size, mut buffer) = (0u64, vec![0; 1 << 16]);
    loop {
        let n = entry.read(&mut buffer).map_err(|e| problem!(Data, "{shown}: `{name}` is damaged: {e}; delete it and fetch again"))?;
        if n == 0 {
            break;
        }
        size += n as u64;
        require!(size <= left, Data, "{shown} is refused: `{name}` unpacks to more than the {left} bytes that are left of the limit");
        part.write_all(&buffer[..n]).with_context(|| format!("cannot write {}", member.target.display()))?;
    }
    part.flush().with_context(|| format!("cannot write {}", member.target.display()))?;
    if let Some(expected) = &member.sha256 {
        let found = checksum::of_file(part.path())?;
        require!(found == *expected, Data, "{shown}: `{name}` has the sha256 {found}, not {expected}");
    }
    persist(part, &member.target)?;
    Ok(size)
}

/// Renames a temporary file to its place, readable as an ordinary file is.
pub(crate) fn persist(part: NamedTempFile, target: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        part.as_file().set_permissions(mode).with_context(|| format!("cannot write {}", target.display()))?;
    }
    part.persist(target).map_err(|e| e.error).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    struct Case {
        dir: tempfile::TempDir,
    }

    impl Case {
        fn new(bytes: &[u8]) -> Self {
            let dir = tempfile::tempdir().expect("temp");
            std::fs::write(dir.path().join("a.zip"), bytes).expect("write");
            Self { dir }
        }

        fn extract(&self, name: &str, sha256: Option<String>, limits: Limits) -> Result<()> {
            let member = Member { name: name.into(), target: self.dir.path().join("out/x.txt"), sha256 };
            extract(&self.dir.path().join("a.zip"), &[member], limits)
        }

        fn refusal(&self, name: &str, limits: Limits) -> String {
            let error = self.extract(name, None, limits).expect_err("must be refused").to_string();
            assert!(!self.dir.path().join("out/x.txt").exists());
            assert_eq!(std::fs::read_dir(self.dir.path().join("out")).map_or(0, Iterator::count), 0, "a part was left behind");
            error
        }
    }

    fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).expect("start");
            zip.write_all(bytes).expect("write");
        }
        zip.finish().expect("finish").into_inner()
    }

    #[test]
    fn the_wanted_member_arrives_and_nothing_else() {
        let case = Case::new(&zip_of(&[("d/x.txt", b"hello"), ("d/y.txt", b"other")]));
        case.extract("d/x.txt", Some(checksum::of_bytes(b"hello")), Limits::default()).expect("valid");
        assert_eq!(std::fs::read(case.dir.path().join("out/x.txt")).expect("there"), b"hello");
        assert_eq!(std::fs::read_dir(case.dir.path().join("out")).expect("there").count(), 1);
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_refused_even_if_it_is_not_wanted() {
        for name in ["../evil", "d/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\evil"] {
            // The writer tidies names, so the name is put into the finished archive.
            let placeholder: String = std::iter::repeat_n('q', name.len()).collect();
            let mut bytes = zip_of(&[("x.txt", b"hello"), (&placeholder, b"evil")]);
            while let Some(at) = memchr::memmem::find(&bytes, placeholder.as_bytes()) {
                bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            }
            let error = Case::new(&bytes).refusal("x.txt", Limits::default());
            assert!(error.contains("leaves the archive's folder"), "{name}: {error}");
        }
    }

    #[test]
    fn a_link_is_refused() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.add_symlink("x.txt", "/etc/passwd", SimpleFileOptions::default()).expect("link");
        let error = Case::new(&zip.finish().expect("finish").into_inner()).refusal("x.txt", Limits::default());
        assert!(error.contains("is a link"), "{error}");
    }

    #[test]
    fn a_bomb_is_refused_by_its_ratio_and_by_its_total() {
        let bomb = Case::new(&zip_of(&[("x.txt", &vec![0; 11 << 20])]));
        assert!(bomb.refusal("x.txt", Limits::default()).contains("unpacks from"));
        let many = Case::new(&zip_of(&[("x.txt", &[7; 600]), ("y.txt", &[7; 600])]));
        assert!(many.refusal("x.txt", Limits { total: 1000, ..Limits::default() }).contains("unpacks to more than 1000 bytes"));
    }

    #[test]
    fn a_bomb_that_lies_about_its_size_is_stopped_while_it_unpacks() {
        let mut bytes = zip_of(&[("x.txt", &vec![7; 100_000])]);
        // The uncompressed size in the local header (offset 22) and in the central directory (offset 24).
        let central = memchr::memmem::rfind(&bytes, b"PK\x01\x02").expect("central directory");
        bytes[22..26].copy_from_slice(&10u32.to_le_bytes());
        bytes[central + 24..central + 28].copy_from_slice(&10u32.to_le_bytes());
        let error = Case::new(&bytes).refusal("x.txt", Limits { total: 1000, ..Limits::default() });
        assert!(error.contains("unpacks to more than the 1000 bytes") || error.contains("is damaged"), "{error}");
    }

    #[test]
    fn a_truncated_or_damaged_archive_is_refused() {
        let whole = zip_of(&[("x.txt", b"hello hello hello"), ("y.txt", b"other")]);
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            let error = Case::new(&whole[..length]).refusal("x.txt", Limits::default());
            assert!(error.contains("is not a whole zip archive"), "{length}: {error}");
        }
        let mut damaged = whole;
        damaged[36] ^= 0xff; // in the packed data
        let error = Case::new(&damaged).refusal("x.txt", Limits::default());
        assert!(error.contains("is damaged") || error.contains("cannot be unpacked"), "{error}");
    }

    #[test]
    fn a_missing_member_and_a_wrong_hash_are_named() {
        let case = Case::new(&zip_of(&[("x.txt", b"hello")]));
        assert!(case.refusal("z.txt", Limits::default()).contains("has no `z.txt`"));
        let error = case.extract("x.txt", Some("0".repeat(64)), Limits::default()).expect_err("hash").to_string();
        assert!(error.contains("has the sha256 2cf24d"), "{error}");
        assert!(!case.dir.path().join("out/x.txt").exists());
    }
}
