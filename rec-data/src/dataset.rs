//! Data sets by name: found or fetched, verified, parsed once, and opened from the cache ever after.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytemuck::Pod;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cache::{self, Found, Key};
use crate::catalogue::{self, Entry, Form, Format, Role};
use crate::fetch::sources::{self, Located};
use crate::fetch::{checksum, sources::bring};
pub use crate::folders::Folders;
use crate::readers::{Parsed, Text, adjacency, delimited, movielens, ncf, recbole, sequence, sessions};
use crate::{Column, Interactions, Part, Vocabulary, fail, problem, require};

/// A data set, opened.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its catalogue id, or `file:<stem>` for a user's own file.
    pub id: String,
    /// The publisher's version, or the start of the SHA-256 of a user's own file.
    pub version: String,
    /// SHA-256 over the rows, raw ids and candidates (not over side features). It does not depend on the form that was read: a wheel and
    /// an archive with the same rows have the same hash, so numbers measured on either are comparable.
    pub content_hash: String,
    /// Its rows.
    pub interactions: Interactions,
    /// Fixed candidates of each user, where it was published with such lists.
    pub candidates: Option<CandidateLists>,
}

/// Fixed candidate items of each user, as published; the positives are the test rows. A list may repeat an item, and may hold the user's
/// own test item.
#[derive(Clone, Debug, Default)]
pub struct CandidateLists {
    /// `ends[u]` is where user `u`'s list ends.
    pub ends: Column<u64>,
    /// The lists, user after user.
    pub items: Column<u32>,
}

impl CandidateLists {
    /// The list of `user`.
    ///
    /// # Panics
    /// where `user` is not a user's number, as a slice does.
    pub fn of(&self, user: u32) -> &[u32] {
        let u = user as usize;
        let start = if u == 0 { 0 } else { self.ends[u - 1] as usize };
        &self.items[start..self.ends[u] as usize]
    }
}

/// Opens the data set called `id`: from the cache of an earlier parse, else from local files, else from where it can be fetched.
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
    let dataset = finish(id, version, parsed, &shown)?;
    keep(&dataset, &key, &place);
    Ok(dataset)
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
    let bytes = read_all(&located.files)?;
    let (hashes, parsed) = std::thread::scope(|scope| {
        let hashes = scope.spawn(|| bytes.iter().map(|b| checksum::of_bytes(b)).collect::<Vec<_>>());
        let sources: Vec<_> = located.files.iter().zip(&bytes).map(|(p, bytes)| Source { path: p.display().to_string(), bytes }).collect();
        let parsed = parse(located.form, &sources);
        (hashes.join().expect("hashing does not panic"), parsed)
    });
    for ((path, file), found) in located.files.iter().zip(files).zip(&hashes) {
        let Some(expected) = file.sha256.as_ref().filter(|e| *e != found) else { continue };
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
    let dataset = finish(entry.id.clone(), entry.version.clone(), parsed?, &shown)?;
    check_counts(entry, &dataset, &shown)?;
    keep(&dataset, &key, &place);
    Ok(Some(dataset))
}

fn cached(place: &Path, key: &Key, id: &str) -> Option<Dataset> {
    match cache::open(place, key) {
        Found::Dataset(dataset) if dataset.id == id => Some(*dataset),
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

/// Prints what a user must know of the licence, the first time only.
fn licence_once(entry: &Entry, folders: &Folders) {
    let marker = folders.cache.join("licences").join(&entry.id);
    let first = std::fs::create_dir_all(folders.cache.join("licences")).is_ok() && std::fs::File::create_new(&marker).is_ok();
    if first || !marker.exists() {
        crate::notes::note(&format!("{}: {}: {}\ncite: {}", entry.name, entry.licence, entry.licence_note, entry.citation));
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    paths.iter().map(|p| std::fs::read(p).with_context(|| format!("cannot read {}", p.display()))).collect()
}

/// A file's path as text, and its bytes.
struct Source<'a> {
    path: String,
    bytes: &'a [u8],
}

impl Source<'_> {
    fn text(&self) -> Result<Text<'_>> {
        Text::new(&self.path, self.bytes)
    }
}

/// Hands a form's files to its reader.
fn parse(form: &Form, sources: &[Source<'_>]) -> Result<Parsed> {
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
    }
}

fn finish(id: String, version: String, parsed: Parsed, shown: &str) -> Result<Dataset> {
    let Parsed { interactions, candidates } = parsed;
    require!(!interactions.is_empty(), Data, "{shown}: there is no interaction");
    interactions.check(shown)?;
    let content_hash = content_hash(&interactions, candidates.as_ref());
    Ok(Dataset { id, version, content_hash, interactions, candidates })
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

/// SHA-256 over the rows, the raw ids and the candidates.
fn content_hash(data: &Interactions, candidates: Option<&CandidateLists>) -> String {
    let mut hash = ContentHash(Sha256::new());
    hash.0.update(b"rec-data rows 1\n");
    hash.texts(&data.user_ids);
    hash.texts(&data.item_ids);
    hash.column(Some(&data.users[..]), u32::to_le_bytes);
    hash.column(Some(&data.items[..]), u32::to_le_bytes);
    hash.column(data.values.as_deref(), f32::to_le_bytes);
    hash.column(data.times.as_deref(), i64::to_le_bytes);
    hash.column(data.parts.as_deref(), u8::to_le_bytes);
    hash.column(candidates.map(|c| &c.ends[..]), u64::to_le_bytes);
    hash.column(candidates.map(|c| &c.items[..]), u32::to_le_bytes);
    checksum::hex(hash.0.finalize().as_slice())
}

struct ContentHash(Sha256);

impl ContentHash {
    /// A column's length (or that it is absent) and its values, in one byte order on every machine.
    fn column<T: Pod, const N: usize>(&mut self, column: Option<&[T]>, bytes: impl Fn(T) -> [u8; N]) {
        self.0.update(column.map_or(u64::MAX, |c| c.len() as u64).to_le_bytes());
        let mut buffer = Vec::with_capacity(4096 * N);
        for chunk in column.unwrap_or(&[]).chunks(4096) {
            buffer.clear();
            chunk.iter().for_each(|&v| buffer.extend_from_slice(&bytes(v)));
            self.0.update(&buffer);
        }
    }

    fn texts(&mut self, texts: &Vocabulary) {
        let (bytes, ends) = texts.columns();
        self.column(Some(ends), u64::to_le_bytes);
        self.0.update(bytes);
    }
}

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

/// What a data set is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its content hash.
    pub content_hash: String,
    /// Users in the vocabulary.
    pub users: usize,
    /// Items in the vocabulary.
    pub items: usize,
    /// Rows.
    pub interactions: usize,
    /// Distinct (user, item) pairs by users times items.
    pub density: f64,
    /// Rows whose (user, item) came before.
    pub duplicates: usize,
    /// Rows of each user.
    pub per_user: Spread,
    /// Rows of each item.
    pub per_item: Spread,
    /// Rows by rating, rising: each rating where there are at most 20, else ten equal ranges.
    pub values: Option<Vec<Bin>>,
    /// The first and last time, seconds since 1970.
    pub times: Option<(i64, i64)>,
    /// Rows by published part, in the order train, valid, test, context.
    pub parts: Option<[usize; 4]>,
    /// Names of the features of users.
    pub user_features: Vec<String>,
    /// Names of the features of items.
    pub item_features: Vec<String>,
    /// Users with fixed candidates, and all their candidates.
    pub candidates: Option<(usize, usize)>,
}

/// The least, the middle and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: usize,
    /// The middle; the mean of the two middle ones where their number is even.
    pub median: f64,
    /// The most.
    pub max: usize,
}

/// Rows whose rating lies from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The lower end, included.
    pub from: f32,
    /// The upper end, included; equal to `from` for a single rating.
    pub to: f32,
    /// The number of rows.
    pub rows: usize,
}

/// Counts, density, ratings, times and spreads of a data set.
pub fn describe(dataset: &Dataset) -> Description {
    let data = &dataset.interactions;
    let mut pairs: Vec<u64> = data.users.iter().zip(data.items.iter()).map(|(&u, &i)| u64::from(u) << 32 | u64::from(i)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let cells = data.num_users() as f64 * data.num_items() as f64;
    Description {
        id: dataset.id.clone(),
        version: dataset.version.clone(),
        content_hash: dataset.content_hash.clone(),
        users: data.num_users(),
        items: data.num_items(),
        interactions: data.len(),
        density: if cells > 0. { pairs.len() as f64 / cells } else { 0. },
        duplicates: data.len() - pairs.len(),
        per_user: spread(&data.users, data.num_users()),
        per_item: spread(&data.items, data.num_items()),
        values: data.values.as_deref().map(histogram),
        times: data.times.as_deref().and_then(|t| Some((*t.iter().min()?, *t.iter().max()?))),
        parts: data.parts.as_deref().map(|parts| {
            let mut counts = [0; 4];
            parts.iter().for_each(|&p| counts[usize::from(p)] += 1);
            counts
        }),
        user_features: data.user_features.columns.iter().map(|(name, _)| name.clone()).collect(),
        item_features: data.item_features.columns.iter().map(|(name, _)| name.clone()).collect(),
        candidates: dataset.candidates.as_ref().map(|c| {
            let users = (0..c.ends.len() as u32).filter(|&u| !c.of(u).is_empty()).count();
            (users, c.items.len())
        }),
    }
}

fn spread(numbers: &[u32], of: usize) -> Spread {
    let mut counts = vec![0usize; of];
    numbers.iter().for_each(|&n| counts[n as usize] += 1);
    counts.sort_unstable();
    let middle = |i: usize| counts.get(i).copied().unwrap_or(0) as f64;
    let median = if of % 2 == 1 { middle(of / 2) } else { (middle(of / 2) + middle((of / 2).wrapping_sub(1))) / 2. };
    Spread { min: counts.first().copied().unwrap_or(0), median, max: counts.last().copied().unwrap_or(0) }
}

fn histogram(values: &[f32]) -> Vec<Bin> {
    const MOST: usize = 20;
    const RANGES: usize = 10;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let single: Vec<Bin> =
        sorted.chunk_by(|a, b| a == b).take(MOST + 1).map(|run| Bin { from: run[0], to: run[0], rows: run.len() }).collect();
    if single.len() <= MOST {
        return single;
    }
    let (min, max) = (f64::from(sorted[0]), f64::from(sorted[sorted.len() - 1]));
    let edge = |i: usize| (min + (max - min) * i as f64 / RANGES as f64) as f32;
    let below = |i: usize| if i == RANGES { sorted.len() } else { sorted.partition_point(|&v| v < edge(i)) };
    (0..RANGES).map(|i| Bin { from: edge(i), to: edge(i + 1), rows: below(i + 1) - below(i) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::catalogue::File;

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

    #[test]
    fn verification_tells_good_wrong_and_missing_files_apart() {
        let case = Case::new();
        let statuses = |folders: &Folders| verify("gowalla", folders).expect("known").into_iter().map(|c| c.status).collect::<Vec<_>>();
        assert_eq!(statuses(&case.folders), [Status::Missing, Status::Missing]);
        case.put("own/gowalla/train.txt", "0 1\n");
        case.put("own/gowalla/test.txt", "0 1\n");
        let found = statuses(&case.folders);
        assert!(matches!(&found[..], [Status::Unhashed { .. }, Status::Wrong { .. }]), "{found:?}");
        assert_eq!(list(&case.folders).iter().filter(|l| l.folder.is_some()).count(), 1);
        assert_eq!(fetch("gowalla", &case.folders).expect("at hand").len(), 2);
    }

    #[test]
    fn a_description_counts_what_it_says() {
        let file = "a,x,1,50\na,x,2,40\nb,y,2,60\nb,x,2,70\nc,y,2,80\n";
        let config = delimited::Config {
            header: false,
            user: "1".into(),
            item: "2".into(),
            rating: Some("3".into()),
            time: Some("4".into()),
            ..delimited::Config::default()
        };
        let parsed = delimited::read(&[(Text { path: "f", bytes: file.as_bytes() }, None)], &config).expect("valid");
        let about = describe(&finish("f".into(), "1".into(), parsed, "f").expect("sound"));
        assert_eq!((about.users, about.items, about.interactions, about.duplicates), (3, 2, 5, 1));
        assert!((about.density - 4. / 6.).abs() < 1e-12);
        assert_eq!(about.per_user, Spread { min: 1, median: 2., max: 2 });
        assert_eq!(about.per_item, Spread { min: 2, median: 2.5, max: 3 });
        assert_eq!(about.times, Some((40, 80)));
        assert_eq!(about.values, Some(vec![Bin { from: 1., to: 1., rows: 1 }, Bin { from: 2., to: 2., rows: 4 }]));
        assert_eq!((about.parts, about.candidates), (None, None));
    }

    #[test]
    fn many_ratings_are_counted_in_ten_ranges() {
        let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let bins = histogram(&values);
        assert_eq!((bins.len(), bins.iter().map(|b| b.rows).sum::<usize>(), bins[9].to), (10, 100, 99.));
        assert!(bins.iter().all(|b| b.rows == 10));
    }

    #[test]
    fn the_content_hash_sees_every_column_and_ignores_features() {
        let data = Interactions {
            users: vec![0].into(),
            items: vec![0].into(),
            user_ids: Vocabulary::numbers(1),
            item_ids: Vocabulary::numbers(1),
            ..Interactions::default()
        };
        let lists = CandidateLists { ends: vec![1].into(), items: vec![0].into() };
        let variants = [
            content_hash(&data, None),
            content_hash(&data, Some(&lists)),
            content_hash(&Interactions { values: Some(vec![1.].into()), ..data.clone() }, None),
            content_hash(&Interactions { times: Some(vec![1].into()), ..data.clone() }, None),
            content_hash(&Interactions { parts: Some(vec![0].into()), ..data.clone() }, None),
            content_hash(&Interactions { item_ids: Vocabulary::numbers(2), ..data.clone() }, None),
            content_hash(&Interactions { users: vec![0, 0].into(), items: vec![0, 0].into(), ..data.clone() }, None),
        ];
        assert_eq!(variants.iter().collect::<std::collections::HashSet<_>>().len(), variants.len());
        let mut featured = data.clone();
        featured.user_features.columns.push(("age".into(), crate::features::Feature::Number(vec![1.].into())));
        assert_eq!(content_hash(&featured, None), variants[0]);
    }
}
