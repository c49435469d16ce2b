//! Opening: from the cache of an earlier parse, else by parsing files that are the published ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cache::{self, Found, Key};
use super::licence::licence_once;
use super::opened::Dataset;
use super::parse::{Source, parse, parse_rows};
use crate::catalogue::{self, Entry, Form, Format, Labelled};
use crate::fetch::checksum;
use crate::fetch::sources::{self, Located, bring};
use crate::folders::Folders;
use crate::generated::Clicks;
use crate::readers::{Parsed, Text, delimited, rows};
use crate::{Interactions, fail, problem, require};

/// Opens the data set called `id`: from the cache of an earlier parse, else from local files, else from where it can be fetched. The data
/// sets called `generated-clicks-TRUTH-ROWS` are made ([`Clicks`]).
///
/// ```no_run
/// use rec_data::dataset::{self, Folders};
/// let data = dataset::open("ml-100k", &Folders::from_env()?)?;
/// assert_eq!(data.interactions.len(), 100_000);
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// # Errors
/// a usage problem for an unknown id; an unavailable problem where no source has it; a data problem where its files are not the published
/// ones.
pub fn open(id: &str, folders: &Folders) -> Result<Dataset> {
    if let Some(clicks) = Clicks::of_id(id)? {
        return open_generated(&clicks, folders);
    }
    let entry = catalogue::entry(id)?;
    if let Some(located) = sources::locate(entry, folders)
        && let Some(dataset) = open_located(entry, &located, folders)?
    {
        return Ok(dataset);
    }
    let located = bring(entry, folders)?;
    open_located(entry, &located, folders)?.ok_or_else(|| {
        problem!(Data, "the files of `{id}` are damaged in {} just after they arrived; is the disk sound?", located.folder.display())
    })
}

/// Opens a user's own delimited file.
///
/// ```no_run
/// use rec_data::dataset::{self, Folders};
/// use rec_data::readers::delimited::Config;
/// let config = Config { path: "clicks.tsv".into(), user: "visitor".into(), item: "page".into(), ..Config::default() };
/// let data = dataset::open_file(&config, &Folders::from_env()?)?;
/// assert_eq!(data.id, "file:clicks");
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// # Errors
/// a usage problem where the file does not exist; a data problem where it is not as the configuration says.
pub fn open_file(config: &delimited::Config, folders: &Folders) -> Result<Dataset> {
    let path = std::path::absolute(&config.path).with_context(|| format!("cannot make {} absolute", config.path.display()))?;
    require!(path.is_file(), Usage, "there is no file {}", config.path.display());
    let id = format!("file:{}", path.file_stem().unwrap_or_default().to_string_lossy());
    // The key names the file itself, and another spelling of its path must not be another key.
    let columns = delimited::Config { path: PathBuf::new(), ..config.clone() };
    let key = Key::new(&Format::Delimited(columns.clone()), [(path.as_path(), None)])?;
    let place = key.place(&id, folders);
    if let Some(dataset) = cached(&place, &key, &id) {
        return Ok(dataset);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = path.display().to_string();
    let parsed = delimited::read(&[(Text::new(&shown, &bytes)?, None)], &columns)?;
    let version = checksum::of_bytes(&bytes)[..12].to_owned();
    let dataset = Dataset::of_parsed(id, version, parsed, &shown)?;
    keep(&dataset, &key, &place);
    Ok(dataset)
}

/// Opens a user's own labelled rows: a delimited file, a Parquet file, or a folder of Parquet files. They may be more than memory holds.
///
/// ```no_run
/// use rec_data::dataset::{self, Folders};
/// use rec_data::readers::rows::Config;
/// let config = Config { path: "clicks".into(), label: "clicked".into(), tokens: vec!["site".into()], ..Config::default() };
/// let data = dataset::open_rows(&config, &Folders::from_env()?)?;
/// assert_eq!(data.id, "file:clicks");
/// # Ok::<(), anyhow::Error>(())
/// ```
///
/// # Errors
/// a usage problem where there is nothing at the path; a data problem where it is not as the configuration says.
pub fn open_rows(config: &rows::Config, folders: &Folders) -> Result<Dataset> {
    let path = std::path::absolute(&config.path).with_context(|| format!("cannot make {} absolute", config.path.display()))?;
    require!(path.exists(), Usage, "there is no file or folder {}", config.path.display());
    let id = format!("file:{}", path.file_stem().unwrap_or_default().to_string_lossy());
    let format = Format::Rows(rows::Config { path: PathBuf::new(), ..config.clone() });
    let files = rows::files_at(&path)?;
    let key = Key::new(&format, files.iter().map(|file| (file.as_path(), None)))?;
    let place = key.place(&id, folders);
    if let Some(dataset) = cached(&place, &key, &id) {
        return Ok(dataset);
    }
    let parsed = rows::read(&[(path.clone(), None)], config, &scratch(folders)?)?;
    let dataset = Dataset::of_parsed(id, String::new(), parsed, &path.display().to_string())?;
    // Nobody wants to hash a file of many gigabytes for its name: its rows are hashed already.
    let version = dataset.content_hash[..12].to_owned();
    Ok(keep_mapped(Dataset { version, ..dataset }, &key, &place))
}

/// Makes generated rows, or maps those that were made before.
fn open_generated(clicks: &Clicks, folders: &Folders) -> Result<Dataset> {
    let id = clicks.id();
    let key = Key::new(&Format::Generated(clicks.clone()), [])?;
    let place = key.place(&id, folders);
    if let Some(dataset) = cached(&place, &key, &id) {
        return Ok(dataset);
    }
    let parsed = Parsed { interactions: clicks.read(&scratch(folders)?)?, candidates: None };
    let dataset = Dataset::of_parsed(id.clone(), "generated".into(), parsed, &id)?;
    Ok(keep_mapped(dataset, &key, &place))
}

/// Where columns lie while rows are read: beside their last place, so that there is room for them.
fn scratch(folders: &Folders) -> Result<PathBuf> {
    let folder = folders.parsed();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Stores what was read and maps it from there, so that its files without names go; where it cannot be stored, these serve.
fn keep_mapped(dataset: Dataset, key: &Key, place: &Path) -> Dataset {
    keep(&dataset, key, place);
    cached(place, key, &dataset.id).unwrap_or(dataset)
}

/// Opens files that are all there; `None` where they lie in the cache and are damaged, and were removed so that they can be brought again.
fn open_located(entry: &Entry, located: &Located<'_>, folders: &Folders) -> Result<Option<Dataset>> {
    let Form { format, files, .. } = located.form;
    let key = Key::new(format, located.files.iter().zip(files).map(|(path, file)| (path.as_path(), file.sha256.as_deref())))?;
    let place = key.place(&entry.id, folders);
    if let Some(dataset) = cached(&place, &key, &entry.id) {
        return Ok(Some(dataset));
    }
    licence_once(entry, folders);
    let (hashes, parsed) = match format {
        Format::Rows(config) => hash_and_read(located, config, &scratch(folders)?)?,
        _ => hash_and_parse(located)?,
    };
    for ((path, file), found) in located.files.iter().zip(files).zip(&hashes) {
        let (Some(expected), Some(found)) = (file.sha256.as_ref().filter(|e| Some(*e) != found.as_ref()), found) else { continue };
        if located.folder == folders.fetched(&entry.id) {
            crate::notes::note(&format!("{} has the sha256 {found}, not {expected}; it is fetched again", path.display()));
            std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            return Ok(None);
        }
        fail!(
            Data,
            "{} has the sha256 {found}, not {expected}: it is not the published file; replace it, or take it away and it will be fetched",
            path.display()
        );
    }
    let shown = located.folder.display().to_string();
    let dataset = Dataset::of_parsed(entry.id.clone(), entry.version.clone(), parsed?, &shown)?;
    check_counts(entry, &dataset, &shown)?;
    Ok(Some(match format {
        Format::Rows(_) => keep_mapped(dataset, &key, &place),
        _ => {
            keep(&dataset, &key, &place);
            dataset
        }
    }))
}

/// The SHA-256 of each file, and what its reader makes of all.
fn hash_and_parse(located: &Located<'_>) -> Result<(Vec<Option<String>>, Result<Parsed>)> {
    let bytes = read_all(&located.files)?;
    Ok(std::thread::scope(|scope| {
        let hashes = scope.spawn(|| bytes.iter().map(|b| Some(checksum::of_bytes(b))).collect::<Vec<_>>());
        let sources: Vec<_> = located.files.iter().zip(&bytes).map(|(p, bytes)| Source { path: p.display().to_string(), bytes }).collect();
        let parsed = parse(located.form, &sources);
        (hashes.join().expect("hashing does not panic"), parsed)
    }))
}

/// The same of files that may be larger than memory. Those whose SHA-256 nobody knows are not hashed.
fn hash_and_read(located: &Located<'_>, config: &rows::Config, folder: &Path) -> Result<(Vec<Option<String>>, Result<Parsed>)> {
    let known = located.form.files.iter().map(|file| file.sha256.is_some());
    let hashes = located.files.iter().zip(known).map(|(path, known)| known.then(|| checksum::of_file(path)).transpose());
    Ok((hashes.collect::<Result<_>>()?, parse_rows(located.form, &located.files, config, folder)))
}

fn cached(place: &Path, key: &Key, id: &str) -> Option<Dataset> {
    match cache::open(place, key) {
        Found::Dataset(dataset) if dataset.id == id => {
            let skipped = dataset.interactions.skipped_lines;
            if skipped > 0 {
                crate::notes::note(&format!("{id}: {skipped} lines that could not be read are left out"));
            }
            Some(*dataset)
        }
        Found::Dataset(_) | Found::Nothing => None,
        Found::Damaged(why) => {
            crate::notes::note(&format!("{} is not used: {why}; {id} is parsed again", place.display()));
            // It is replaced after the parse; if it cannot be removed now, that changes nothing.
            let _ = std::fs::remove_file(place);
            None
        }
    }
}

/// Stores what was parsed; a failure costs only the time of the next parse.
fn keep(dataset: &Dataset, key: &Key, place: &Path) {
    if let Err(error) = cache::store(dataset, key, place) {
        crate::notes::note(&format!("{} is not kept parsed: {error:#}", dataset.id));
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    paths.iter().map(|p| std::fs::read(p).with_context(|| format!("cannot read {}", p.display()))).collect()
}

fn check_counts(entry: &Entry, dataset: &Dataset, shown: &str) -> Result<()> {
    let data = &dataset.interactions;
    for (what, found, expected) in [
        ("interactions", data.len(), entry.interactions),
        ("users", data.num_users(), entry.users),
        ("items", data.num_items(), entry.items),
    ] {
        require!(
            found == expected,
            Data,
            "`{}` in {shown} has {found} {what}, not {expected}: a file is cut off or not the published one; replace it",
            entry.id
        );
    }
    if let Some(expected) = entry.labelled {
        let found = labelled(data);
        require!(
            found == expected,
            Data,
            "`{}` in {shown} has {:?} rows and {:?} positive ones in train, valid and test, not {:?} and {:?}: a file is cut off or not the published one; replace it",
            entry.id,
            found.rows,
            found.positives,
            expected.rows,
            expected.positives
        );
    }
    if let Some(expected) = &entry.content {
        let found = &dataset.content_hash;
        require!(
            found == expected,
            Data,
            "the rows of `{}` in {shown} have the content hash {found}, not {expected}: a file is not the published one; replace it",
            entry.id
        );
    }
    Ok(())
}

/// Rows and positive rows by part.
fn labelled(data: &Interactions) -> Labelled {
    let mut found = Labelled { rows: [0; 3], positives: [0; 3] };
    for (row, &value) in data.values.as_deref().unwrap_or(&[]).iter().enumerate() {
        let part = data.parts.as_deref().map_or(0, |parts| usize::from(parts[row]).min(2));
        found.rows[part] += 1;
        found.positives[part] += usize::from(value > 0.0);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::catalogue::{File, Role};

    struct Case {
        temp: tempfile::TempDir,
        folders: Folders,
        entry: Entry,
    }

    const ROWS: &str = "1 20\n1 3\n2 3\n";

    impl Case {
        /// A made-up data set of one sequence file in the user's folder.
        fn new() -> Self {
            let temp = tempfile::tempdir().expect("temp");
            let folders = Folders { data: Some(temp.path().join("own")), cache: temp.path().join("cache") };
            let sha256 = Some(checksum::of_bytes(ROWS.as_bytes()));
            let files = vec![File { role: Role::Interactions, path: "m/rows.txt".into(), sha256, member: None, url: None }];
            let text = |t: &str| t.to_owned();
            let entry = Entry {
                id: text("made-up"),
                name: text("Made up"),
                version: text("1"),
                licence: text("none"),
                licence_note: text("made up for a test"),
                citation: text("nobody"),
                users: 2,
                items: 2,
                interactions: 3,
                labelled: None,
                content: None,
                by_hand: Some(text("write it")),
                forms: vec![Form { format: Format::Sequence, files, archive: None, wheel: None }],
            };
            let case = Self { temp, folders, entry };
            case.put("own/m/rows.txt", ROWS);
            case
        }

        fn put(&self, path: &str, text: &str) -> PathBuf {
            let path = self.temp.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(&path, text).expect("write");
            path
        }

        fn open(&self) -> Result<Option<Dataset>> {
            open_located(&self.entry, &sources::locate(&self.entry, &self.folders).expect("located"), &self.folders)
        }

        fn parsed(&self) -> Vec<PathBuf> {
            std::fs::read_dir(self.folders.parsed()).map(|d| d.map(|e| e.expect("entry").path()).collect()).unwrap_or_default()
        }
    }

    #[test]
    fn a_data_set_is_parsed_once_and_opened_from_the_cache_until_its_file_changes() {
        let mut case = Case::new();
        let first = case.open().expect("valid").expect("there");
        assert_eq!(case.parsed().len(), 1);
        assert!(case.temp.path().join("cache/licences/made-up").exists());
        let again = case.open().expect("valid").expect("there");
        assert_eq!(again.content_hash, first.content_hash);
        assert_eq!(again.interactions.users[..], first.interactions.users[..]);

        case.put("own/m/rows.txt", "1 20\n1 3\n2 3\n2 20\n");
        let error = case.open().expect_err("changed").to_string();
        assert!(error.contains("rows.txt has the sha256") && error.contains("it is not the published file"), "{error}");
        case.entry.forms[0].files[0].sha256 = None;
        let error = case.open().expect_err("more rows").to_string();
        assert!(error.contains("has 4 interactions, not 3"), "{error}");
        case.entry.interactions = 4;
        case.entry.content = Some("0".repeat(64));
        let error = case.open().expect_err("other content").to_string();
        assert!(error.contains("have the content hash") && error.contains("replace it"), "{error}");
        case.entry.content = None;
        assert_eq!(case.open().expect("valid").expect("there").interactions.len(), 4);
        assert_eq!(case.parsed().len(), 1, "a changed source takes the place of the old parse");
    }

    #[test]
    fn a_damaged_file_in_the_cache_is_removed_to_be_fetched_again() {
        let mut case = Case::new();
        case.folders.data = None;
        let path = case.put("cache/data/made-up/rows.txt", "1 2\n");
        assert!(case.open().expect("no error").is_none());
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_parse_is_replaced() {
        let case = Case::new();
        case.open().expect("valid").expect("there");
        let parsed = case.parsed().remove(0);
        for damage in [&b"not a parse"[..], b"", b"RECDATA\n"] {
            std::fs::write(&parsed, damage).expect("write");
            assert_eq!(case.open().expect("valid").expect("there").interactions.len(), 3);
            assert!(std::fs::metadata(&parsed).expect("rewritten").len() > 100);
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_only_a_note() {
        let case = Case::new();
        case.put("cache/parsed", "a file where a folder should be");
        assert_eq!(case.open().expect("valid").expect("there").interactions.len(), 3);
    }

    #[test]
    fn an_unknown_id_is_a_usage_problem_and_a_missing_set_an_unavailable_one() {
        let case = Case::new();
        assert_eq!(Kind::exit_code_of(&open("gowala", &case.folders).expect_err("unknown")), 2);
        let error = open("diginetica", &case.folders).expect_err("not there");
        assert_eq!(Kind::exit_code_of(&error), 4);
        assert!(error.to_string().contains("by hand: run SR-GNN's"), "{error}");
    }

    #[test]
    fn a_users_own_file_is_opened_by_its_columns_and_cached() {
        let case = Case::new();
        let path = case.put("my data.csv", "who,what,stars\na,x,1\nb,x,2.5\n");
        let config = delimited::Config {
            path: path.clone(),
            user: "who".into(),
            item: "what".into(),
            rating: Some("stars".into()),
            ..delimited::Config::default()
        };
        let first = open_file(&config, &case.folders).expect("valid");
        assert_eq!((first.id.as_str(), first.interactions.values.as_deref()), ("file:my data", Some(&[1., 2.5][..])));
        assert_eq!(case.parsed().len(), 1);
        let again = open_file(&config, &case.folders).expect("valid");
        assert_eq!((again.content_hash, again.version), (first.content_hash, first.version));
        let other = delimited::Config { rating: None, ..config.clone() };
        assert!(open_file(&other, &case.folders).expect("valid").interactions.values.is_none(), "other columns are another parse");

        std::fs::write(&path, "who,what,stars\na,x,nan\n").expect("write");
        let error = open_file(&config, &case.folders).expect_err("NaN");
        assert!(error.to_string().contains("my data.csv:2: the rating `nan`"), "{error}");
        let missing = delimited::Config { path: case.temp.path().join("none.csv"), ..config };
        assert_eq!(Kind::exit_code_of(&open_file(&missing, &case.folders).expect_err("missing")), 2);
    }
}
