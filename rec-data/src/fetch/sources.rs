//! Where a data set's files come from: `REC_DATA_DIR`, the cache, the publisher's address, a wheel; the first that has them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::{self, Limits, Member};
use super::{download, wheel};
use crate::catalogue::{Entry, Form};
use crate::folders::Folders;
use crate::{Kind, fail};

/// The files of one form, all there.
#[derive(Clone, Debug)]
pub struct Located<'a> {
    /// The form.
    pub form: &'a Form,
    /// The folder that they were found in.
    pub folder: PathBuf,
    /// Their paths, in the form's order.
    pub files: Vec<PathBuf>,
}

/// The places of a form's files under the user's folder and in the cache.
pub fn places<'a>(entry: &Entry, form: &'a Form, folders: &Folders) -> Vec<Located<'a>> {
    let own = folders.data.iter().map(|d| (d.clone(), form.files.iter().map(|f| d.join(&f.path)).collect()));
    let fetched = folders.fetched(&entry.id);
    let cached = (fetched.clone(), form.files.iter().map(|f| fetched.join(f.name())).collect());
    own.chain([cached]).map(|(folder, files)| Located { form, folder, files }).collect()
}

/// The first form whose files are all there, in the user's folder before the cache.
pub fn locate<'a>(entry: &'a Entry, folders: &Folders) -> Option<Located<'a>> {
    let mut places: Vec<_> = entry.forms.iter().flat_map(|form| places(entry, form, folders)).collect();
    places.sort_by_key(|p| p.folder.starts_with(&folders.cache) && folders.data.as_ref() != Some(&p.folder));
    places.into_iter().find(|p| p.files.iter().all(|f| f.is_file()))
}

/// Brings the files of the first form that can be had into the cache; does nothing where they are there already.
///
/// # Errors
/// an unavailable problem that names every source that was tried and why it failed; an I/O error where the cache cannot be written.
pub fn bring<'a>(entry: &'a Entry, folders: &Folders) -> Result<Located<'a>> {
    let folder = folders.fetched(&entry.id);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _lock = lock(&folder.join(".lock"))?;
    // Another process may have brought them while this one waited.
    if let Some(located) = locate(entry, folders) {
        return Ok(located);
    }
    let mut tried = vec![match &folders.data {
        Some(data) => format!("{} (REC_DATA_DIR): {}", data.display(), lacking(entry, data)),
        None => "REC_DATA_DIR: not set".to_owned(),
    }];
    tried.push(format!("{} (cache): not there", folder.display()));
    for form in &entry.forms {
        for way in Way::of(form) {
            crate::notes::note(&format!("fetching {} from {}", entry.id, way.name()));
            match way.bring(&folder, &folders.cache) {
                Ok(()) => {
                    let files = form.files.iter().map(|f| folder.join(f.name())).collect();
                    return Ok(Located { form, folder, files });
                }
                // Nothing else will fit on a full disk either.
                Err(error) if Kind::exit_code_of(&error) == Kind::Io.exit_code() => return Err(error),
                Err(error) => {
                    crate::notes::note(&format!("not from there: {error:#}"));
                    tried.push(format!("{}: {error:#}", way.name()));
                }
            }
        }
    }
    if let Some(by_hand) = &entry.by_hand {
        tried.push(format!("no address serves it; by hand: {by_hand}"));
    }
    let wanted = entry.forms.iter().map(|f| f.files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>().join(", ")).collect::<Vec<_>>();
    fail!(
        Unavailable,
        "the data set `{}` cannot be had; tried\n  {}\nput {} under a folder and name it in REC_DATA_DIR",
        entry.id,
        tried.join("\n  "),
        wanted.join("; or ")
    )
}

/// What the user's folder lacks of the form of which it has most.
fn lacking(entry: &Entry, data: &Path) -> String {
    let missing = |form: &Form| form.files.iter().map(|f| f.path.clone()).filter(|p| !data.join(p).is_file()).collect::<Vec<_>>();
    let least = entry.forms.iter().map(missing).min_by_key(Vec::len).unwrap_or_default();
    format!("has no {}", least.join(", "))
}

/// Waits until no other process brings files into the same folder. The lock goes with the file handle.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        crate::notes::note(&format!("waiting for another process that fetches into {}", path.parent().unwrap_or(path).display()));
        // Some network file systems have no locks; two fetches at once then only do the work twice, for files arrive by rename.
        let _ = file.lock();
    }
    Ok(file)
}

/// One way to bring a form.
enum Way<'a> {
    Archive(&'a Form, &'a crate::catalogue::Archive),
    Files(&'a Form),
    Wheel(&'a Form, &'a crate::catalogue::Wheel),
}

impl<'a> Way<'a> {
    fn of(form: &'a Form) -> Vec<Self> {
        let mut ways = Vec::new();
        ways.extend(form.archive.as_ref().map(|a| Way::Archive(form, a)));
        if form.files.iter().all(|f| f.url.is_some()) {
            ways.push(Way::Files(form));
        }
        ways.extend(form.wheel.as_ref().map(|w| Way::Wheel(form, w)));
        ways
    }

    fn name(&self) -> String {
        match self {
            Way::Archive(_, archive) => archive.url.clone(),
            Way::Files(form) => form.files.iter().filter_map(|f| f.url.clone()).next().unwrap_or_default(),
            Way::Wheel(_, wheel) => format!("the wheel {}=={}", wheel.package, wheel.version),
        }
    }

    fn bring(&self, folder: &Path, scratch: &Path) -> Result<()> {
        match self {
            Way::Archive(form, archive) => {
                let name = archive.url.rsplit('/').next().filter(|n| !n.is_empty()).unwrap_or("archive.zip");
                let zip = folder.join(name);
                download::download(&archive.url, &zip, archive.sha256.as_deref())?;
                let done = archive::extract(&zip, &members(form, folder), Limits::default());
                // The members are what is kept; a refused archive is not kept either.
                std::fs::remove_file(&zip).with_context(|| format!("cannot remove {}", zip.display()))?;
                done
            }
            Way::Files(form) => {
                for file in &form.files {
                    let target = folder.join(file.name());
                    if !target.is_file() {
                        download::download(file.url.as_deref().unwrap_or_default(), &target, file.sha256.as_deref())?;
                    }
                }
                Ok(())
            }
            Way::Wheel(form, wheel) => wheel::fetch(wheel, &members(form, folder), scratch),
        }
    }
}

fn members(form: &Form, folder: &Path) -> Vec<Member> {
    let member =
        |f: &crate::catalogue::File| Some(Member { name: f.member.clone()?, target: folder.join(f.name()), sha256: f.sha256.clone() });
    form.files.iter().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{self, Archive, Format, Role};
    use crate::fetch::download::tests::{ok, server as serve};

    fn file(path: &str, url: Option<String>) -> catalogue::File {
        catalogue::File { role: Role::Interactions, path: path.into(), sha256: None, member: Some("m".into()), url }
    }

    fn form(path: &str) -> Form {
        Form { format: Format::Sequence, files: vec![file(path, None)], archive: None, wheel: None }
    }

    fn entry(forms: Vec<Form>) -> Entry {
        let text = String::new;
        Entry {
            id: "made-up".into(),
            name: text(),
            version: text(),
            licence: text(),
            licence_note: text(),
            citation: text(),
            users: 1,
            items: 1,
            interactions: 1,
            labelled: None,
            content: None,
            by_hand: Some("ask the author".into()),
            forms,
        }
    }

    #[test]
    fn the_users_folder_comes_before_the_cache_and_the_first_form_before_the_second() {
        let temp = tempfile::tempdir().expect("temp");
        let folders = Folders { data: Some(temp.path().join("own")), cache: temp.path().join("cache") };
        let entry = entry(vec![form("d/first.txt"), form("d/second.txt")]);
        let put = |path: &str| {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, b"x").expect("write");
        };
        let found = || locate(&entry, &folders).map(|l| l.files[0].strip_prefix(temp.path()).expect("in temp").display().to_string());
        assert_eq!(found(), None);
        put("cache/data/made-up/second.txt");
        assert_eq!(found().as_deref(), Some("cache/data/made-up/second.txt"));
        put("cache/data/made-up/first.txt");
        assert_eq!(found().as_deref(), Some("cache/data/made-up/first.txt"));
        put("own/d/second.txt");
        assert_eq!(found().as_deref(), Some("own/d/second.txt"));
        put("own/d/first.txt");
        assert_eq!(found().as_deref(), Some("own/d/first.txt"));
    }

    #[test]
    fn a_source_that_fails_gives_way_to_the_next_and_the_files_are_found_there_after() {
        let temp = tempfile::tempdir().expect("temp");
        let folders = Folders { data: None, cache: temp.path().to_owned() };
        let (url, served) = serve(vec![ok(b"1 2\n", 4)]);
        let dead = Form { archive: Some(Archive { url: "http://127.0.0.1:9/x.zip".into(), sha256: None }), ..form("d/first.txt") };
        let alive = Form { files: vec![file("d/second.txt", Some(url))], ..form("") };
        let entry = entry(vec![dead, alive]);
        for _ in 0..2 {
            let located = bring(&entry, &folders).expect("the second form");
            assert_eq!(located.files, [temp.path().join("data/made-up/second.txt")]);
            assert_eq!(std::fs::read(&located.files[0]).expect("there"), b"1 2\n");
        }
        assert_eq!(served.join().expect("served").len(), 1);
    }

    #[test]
    fn when_all_sources_fail_each_is_named_with_its_reason() {
        let temp = tempfile::tempdir().expect("temp");
        let folders = Folders { data: Some(temp.path().to_owned()), cache: temp.path().join("cache") };
        let dead = "http://127.0.0.1:9/x.zip";
        let entry = entry(vec![Form { archive: Some(Archive { url: dead.into(), sha256: None }), ..form("d/first.txt") }]);
        let error = bring(&entry, &folders).expect_err("nothing there");
        let text = error.to_string();
        for part in
            ["(REC_DATA_DIR): has no d/first.txt", "(cache): not there", dead, "by hand: ask the author", "put d/first.txt under a folder"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(Kind::exit_code_of(&error), 4);
    }
}
