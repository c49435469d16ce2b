//! Parsed data sets on disk: one file each, memory-mapped when it is opened again.
//!
//! Layout, in the machine's own byte order: a header of 40 bytes, a table of sections (offset and length), then the sections, each at a
//! multiple of 8. Section 0 is JSON that says which section is which column. An xxh3 checksum covers every byte but its own and is
//! checked at every open. A file is written beside its place and renamed; one that is damaged, cut off or foreign is thrown away with a
//! note, and the data set is parsed again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use bytemuck::Pod;
use memmap2::{Mmap, MmapOptions};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::opened::Dataset;
use crate::candidates::CandidateLists;
use crate::catalogue::Format;
use crate::features::{Feature, Features};
use crate::fetch::archive::persist;
use crate::folders::Folders;
use crate::{Column, Interactions, Vocabulary};

const MAGIC: [u8; 8] = *b"RECDATA\n";
/// The layout of the file; another layout is another number.
const LAYOUT: u32 = 2;
/// What readers make of the same bytes; a reader that makes something else of them raises it.
pub const READER_VERSION: u32 = 2;
/// Reads as itself only in the byte order that wrote it.
const ORDER: u32 = 0x0102_0304;
const HEADER: usize = 40;
/// Larger files are not brought into memory at once.
const MOST_POPULATED: u64 = 256 << 20;
/// Where in the header the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 24..32;

/// What a parsed file was made from. Two equal keys stand for the same bytes read in the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    reader_version: u32,
    format: Format,
    sources: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    /// What the catalogue expects; a changed catalogue is a changed key.
    sha256: Option<String>,
}

impl Key {
    /// The key of files as they are now, with the hashes that they should have.
    ///
    /// # Errors
    /// an I/O error where a file cannot be looked at.
    pub fn new<'a>(format: &Format, files: impl IntoIterator<Item = (&'a Path, Option<&'a str>)>) -> Result<Self> {
        let source = |(path, sha256): (&Path, Option<&str>)| -> Result<Source> {
            let shown = || format!("cannot look at {}", path.display());
            let metadata = std::fs::metadata(path).with_context(shown)?;
            let modified = metadata.modified().with_context(shown)?;
            let modified = match modified.duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
            };
            Ok(Source { path: path.to_owned(), bytes: metadata.len(), modified, sha256: sha256.map(str::to_owned) })
        };
        Ok(Self { reader_version: READER_VERSION, format: format.clone(), sources: files.into_iter().map(source).collect::<Result<_>>()? })
    }

    /// The file that holds what is parsed by this key. A changed source has the same place, so old parses do not pile up.
    pub fn place(&self, id: &str, folders: &Folders) -> PathBuf {
        let name: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
        let mut what = serde_json::to_vec(&self.format).unwrap_or_default();
        for source in &self.sources {
            what.extend_from_slice(source.path.as_os_str().as_encoded_bytes());
            what.push(0);
        }
        folders.parsed().join(format!("{name}-{:016x}.rec", xxh3_64(&what)))
    }
}

/// The JSON section: which data set this is, and which section is which column.
#[derive(Serialize, Deserialize)]
struct Contents {
    key: Key,
    id: String,
    version: String,
    content_hash: String,
    users: usize,
    items: usize,
    values: Option<usize>,
    times: Option<usize>,
    parts: Option<usize>,
    user_ids: Texts,
    item_ids: Texts,
    user_features: Vec<(String, Shape)>,
    item_features: Vec<(String, Shape)>,
    row_features: Vec<(String, Shape)>,
    skipped_lines: u64,
    candidates: Option<(usize, usize)>,
}

/// The sections of a vocabulary: its bytes and its ends.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Texts(usize, usize);

/// The sections of a feature.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Shape {
    Token { values: usize, vocabulary: Texts },
    Tokens { ends: usize, values: usize, vocabulary: Texts },
    Number(usize),
    Text(Texts),
}

/// What is at a place.
pub enum Found {
    /// The data set of this key.
    Dataset(Box<Dataset>),
    /// Nothing, or a parse of an earlier state of the sources.
    Nothing,
    /// A file that cannot be used, and why.
    Damaged(String),
}

/// Opens what was parsed by `key`, if it is there and whole.
pub fn open(place: &Path, key: &Key) -> Found {
    let Ok(file) = File::open(place) else { return Found::Nothing };
    // A large file is read as it is checked; its pages in memory stay the system's.
    let is_small = file.metadata().is_ok_and(|metadata| metadata.len() < MOST_POPULATED);
    let mut options = MmapOptions::new();
    if is_small {
        options.populate();
    }
    // SAFETY: files at these places are only ever replaced by rename, never written in place, so the mapped bytes do not change.
    let map = match unsafe { options.map(&file) } {
        Ok(map) => Arc::new(map),
        Err(error) => return Found::Damaged(error.to_string()),
    };
    let sections = match Sections::of(&map) {
        Ok(sections) => sections,
        Err(why) => return Found::Damaged(why.to_owned()),
    };
    let Some(contents) = sections.bytes(0).and_then(|json| serde_json::from_slice::<Contents>(json).ok()) else {
        return Found::Damaged("its table of contents cannot be read".into());
    };
    if contents.key != *key {
        return Found::Nothing;
    }
    match sections.dataset(&contents) {
        Some(dataset) => Found::Dataset(Box::new(dataset)),
        None => Found::Damaged("its columns do not fit together".into()),
    }
}

/// The sections of a mapped file.
struct Sections<'a> {
    map: &'a Arc<Mmap>,
    table: Vec<(usize, usize)>,
}

impl<'a> Sections<'a> {
    fn of(map: &'a Arc<Mmap>) -> std::result::Result<Self, &'static str> {
        let bytes: &[u8] = map;
        let header = bytes.get(..HEADER).ok_or("it is cut off")?;
        let u32_at = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| header[at + i]));
        let u64_at = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| header[at + i]));
        if header[..8] != MAGIC {
            return Err("it is not a parsed data set");
        }
        if u32_at(8) != LAYOUT || u32_at(12) != ORDER {
            return Err("it was written by another version or kind of machine");
        }
        if u64_at(16) != bytes.len() as u64 {
            return Err("it is cut off");
        }
        let mut checksum = Xxh3Default::new();
        checksum.update(&bytes[..CHECKSUM.start]);
        checksum.update(&bytes[CHECKSUM.end..]);
        if checksum.digest() != u64_at(CHECKSUM.start) {
            return Err("its checksum is wrong");
        }
        let n = usize::try_from(u64_at(32)).map_err(|_| "its table is too long")?;
        let table = n.checked_mul(16).and_then(|len| bytes.get(HEADER..HEADER.checked_add(len)?)).ok_or("its table is cut off")?;
        let word = |chunk: &[u8]| u64::from_ne_bytes(std::array::from_fn(|i| chunk[i])) as usize;
        Ok(Self { map, table: table.chunks_exact(16).map(|row| (word(&row[..8]), word(&row[8..]))).collect() })
    }

    fn bytes(&self, section: usize) -> Option<&'a [u8]> {
        let &(start, len) = self.table.get(section)?;
        self.map.get(start..start.checked_add(len)?)
    }

    fn column<T: Pod>(&self, section: usize) -> Option<Column<T>> {
        let &(start, len) = self.table.get(section)?;
        if len % size_of::<T>() != 0 {
            return None;
        }
        Column::mapped(self.map, start, len / size_of::<T>())
    }

    /// `Some(None)` for a column that is absent, `None` for one that should be there and is not.
    #[expect(clippy::option_option, reason = "absent and broken are two things")]
    fn optional<T: Pod>(&self, section: Option<usize>) -> Option<Option<Column<T>>> {
        section.map_or(Some(None), |s| self.column(s).map(Some))
    }

    fn texts(&self, Texts(bytes, ends): Texts) -> Option<Vocabulary> {
        Vocabulary::from_columns(self.column(bytes)?, self.column(ends)?)
    }

    fn features(&self, shapes: &[(String, Shape)], rows: usize) -> Option<Features> {
        let feature = |shape: Shape| -> Option<Feature> {
            Some(match shape {
                Shape::Token { values, vocabulary } => Feature::Token { values: self.column(values)?, vocabulary: self.texts(vocabulary)? },
                Shape::Tokens { ends, values, vocabulary } => {
                    Feature::Tokens { ends: self.column(ends)?, values: self.column(values)?, vocabulary: self.texts(vocabulary)? }
                }
                Shape::Number(values) => Feature::Number(self.column(values)?),
                Shape::Text(texts) => Feature::Text(self.texts(texts)?),
            })
        };
        let columns = shapes.iter().map(|(name, shape)| Some((name.clone(), feature(*shape)?))).collect::<Option<Vec<_>>>()?;
        columns.iter().all(|(_, f)| f.len() == rows).then_some(Features { columns })
    }

    fn dataset(&self, contents: &Contents) -> Option<Dataset> {
        let (user_ids, item_ids) = (self.texts(contents.user_ids)?, self.texts(contents.item_ids)?);
        let users: Column<u32> = self.column(contents.users)?;
        let interactions = Interactions {
            row_features: self.features(&contents.row_features, users.len())?,
            skipped_lines: contents.skipped_lines,
            users,
            items: self.column(contents.items)?,
            values: self.optional(contents.values)?,
            times: self.optional(contents.times)?,
            parts: self.optional(contents.parts)?,
            user_features: self.features(&contents.user_features, user_ids.len())?,
            item_features: self.features(&contents.item_features, item_ids.len())?,
            user_ids,
            item_ids,
        };
        let n = interactions.len();
        let lengths = [
            Some(interactions.items.len()),
            interactions.values.as_deref().map(<[f32]>::len),
            interactions.times.as_deref().map(<[i64]>::len),
            interactions.parts.as_deref().map(<[u8]>::len),
        ];
        if lengths.into_iter().flatten().any(|l| l != n) {
            return None;
        }
        let candidates = match contents.candidates {
            Some((ends, items)) => Some(CandidateLists { ends: self.column(ends)?, items: self.column(items)? }),
            None => None,
        };
        Some(Dataset {
            id: contents.id.clone(),
            version: contents.version.clone(),
            content_hash: contents.content_hash.clone(),
            interactions,
            candidates,
        })
    }
}

/// Writes a parsed data set to its place, by rename.
///
/// # Errors
/// an I/O error; nothing is left behind then.
pub fn store(dataset: &Dataset, key: &Key, place: &Path) -> Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let shown = || format!("cannot write {}", place.display());
    let mut part = NamedTempFile::new_in(folder).with_context(shown)?;
    write(dataset, key, part.as_file_mut()).with_context(shown)?;
    persist(part, place)
}

/// Writes a parsed data set's bytes.
fn write(dataset: &Dataset, key: &Key, to: impl Write) -> Result<()> {
    let mut layout = Layout::default();
    let data = &dataset.interactions;
    let contents = Contents {
        key: key.clone(),
        id: dataset.id.clone(),
        version: dataset.version.clone(),
        content_hash: dataset.content_hash.clone(),
        users: layout.add(&data.users),
        items: layout.add(&data.items),
        values: data.values.as_deref().map(|c| layout.add(c)),
        times: data.times.as_deref().map(|c| layout.add(c)),
        parts: data.parts.as_deref().map(|c| layout.add(c)),
        user_ids: layout.add_texts(&data.user_ids),
        item_ids: layout.add_texts(&data.item_ids),
        user_features: layout.add_features(&data.user_features),
        item_features: layout.add_features(&data.item_features),
        row_features: layout.add_features(&data.row_features),
        skipped_lines: data.skipped_lines,
        candidates: dataset.candidates.as_ref().map(|c| (layout.add(&c.ends), layout.add(&c.items))),
    };
    let json = serde_json::to_vec(&contents).context("cannot write the table of contents")?;
    layout.write(&json, BufWriter::with_capacity(1 << 18, to))
}

/// Sections on their way to a file; section 0 is kept free for the JSON.
#[derive(Default)]
struct Layout<'a> {
    sections: Vec<&'a [u8]>,
}

impl<'a> Layout<'a> {
    fn add<T: Pod>(&mut self, column: &'a [T]) -> usize {
        self.sections.push(bytemuck::cast_slice(column));
        self.sections.len()
    }

    fn add_texts(&mut self, texts: &'a Vocabulary) -> Texts {
        let (bytes, ends) = texts.columns();
        Texts(self.add(bytes), self.add(ends))
    }

    fn add_features(&mut self, features: &'a Features) -> Vec<(String, Shape)> {
        let shape = |feature: &'a Feature| match feature {
            Feature::Token { values, vocabulary } => Shape::Token { values: self.add(values), vocabulary: self.add_texts(vocabulary) },
            Feature::Tokens { ends, values, vocabulary } => {
                Shape::Tokens { ends: self.add(ends), values: self.add(values), vocabulary: self.add_texts(vocabulary) }
            }
            Feature::Number(values) => Shape::Number(self.add(values)),
            Feature::Text(texts) => Shape::Text(self.add_texts(texts)),
        };
        let (names, shapes): (Vec<_>, Vec<_>) = features.columns.iter().map(|(name, feature)| (name.clone(), feature)).unzip();
        names.into_iter().zip(shapes.into_iter().map(shape)).collect()
    }

    fn write(&self, json: &[u8], mut to: impl Write) -> Result<()> {
        let sections: Vec<&[u8]> = std::iter::once(json).chain(self.sections.iter().copied()).collect();
        let mut head = vec![0u8; HEADER];
        let mut end = HEADER + 16 * sections.len();
        for section in &sections {
            end = end.next_multiple_of(8);
            head.extend_from_slice(&(end as u64).to_ne_bytes());
            head.extend_from_slice(&(section.len() as u64).to_ne_bytes());
            end += section.len();
        }
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&LAYOUT.to_ne_bytes());
        head[12..16].copy_from_slice(&ORDER.to_ne_bytes());
        head[16..24].copy_from_slice(&(end as u64).to_ne_bytes());
        head[32..40].copy_from_slice(&(sections.len() as u64).to_ne_bytes());

        // Padding stands before each section, none after the last.
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(2 * sections.len());
        let mut at = head.len();
        for section in &sections {
            let padding = at.next_multiple_of(8) - at;
            pieces.push(&[0; 8][..padding]);
            pieces.push(section);
            at += padding + section.len();
        }
        let mut checksum = Xxh3Default::new();
        checksum.update(&head[..CHECKSUM.start]);
        checksum.update(&head[CHECKSUM.end..]);
        pieces.iter().for_each(|piece| checksum.update(piece));
        head[CHECKSUM].copy_from_slice(&checksum.digest().to_ne_bytes());

        to.write_all(&head)?;
        for piece in pieces {
            to.write_all(piece)?;
        }
        to.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn dataset() -> Dataset {
        let texts = |t: &[&str]| t.iter().collect::<Vocabulary>();
        let interactions = Interactions {
            users: vec![0, 1, 0].into(),
            items: vec![2, 0, 1].into(),
            values: Some(vec![1.5, -2., 3.].into()),
            times: Some(vec![i64::MIN, 0, 7].into()),
            parts: Some(vec![0, 3, 2].into()),
            user_ids: texts(&["ann", ""]),
            item_ids: texts(&["x", "ü", "long name"]),
            user_features: Features {
                columns: vec![
                    ("sex".into(), Feature::Token { values: vec![1, 0].into(), vocabulary: texts(&["M", "F"]) }),
                    ("age".into(), Feature::Number(vec![f32::NAN, 30.].into())),
                ],
            },
            item_features: Features {
                columns: vec![
                    (
                        "genres".into(),
                        Feature::Tokens { ends: vec![0, 2, 3].into(), values: vec![0, 1, 1].into(), vocabulary: texts(&["War", "Drama"]) },
                    ),
                    ("title".into(), Feature::Text(texts(&["X", "", "A long one"]))),
                ],
            },
            row_features: Features {
                columns: vec![
                    ("place".into(), Feature::Token { values: vec![1, 0, 1].into(), vocabulary: texts(&["", "top"]) }),
                    ("depth".into(), Feature::Number(vec![0.5, f32::NAN, 2.].into())),
                ],
            },
            skipped_lines: 7,
        };
        let candidates = Some(CandidateLists { ends: vec![2, 2].into(), items: vec![0, 1].into() });
        Dataset { id: "made-up".into(), version: "1".into(), content_hash: "abc".into(), interactions, candidates }
    }

    struct Case {
        temp: tempfile::TempDir,
        key: Key,
        place: PathBuf,
    }

    impl Case {
        fn new(dataset: &Dataset) -> Self {
            let temp = tempfile::tempdir().expect("temp");
            let source = temp.path().join("source.txt");
            std::fs::write(&source, "rows").expect("write");
            let key = Key::new(&Format::Sequence, [(source.as_path(), Some("00"))]).expect("key");
            let place = key.place(&dataset.id, &Folders { data: None, cache: temp.path().to_owned() });
            store(dataset, &key, &place).expect("stored");
            Self { temp, key, place }
        }

        fn damage(&self, bytes: &[u8]) -> String {
            std::fs::write(&self.place, bytes).expect("write");
            match open(&self.place, &self.key) {
                Found::Damaged(why) => why,
                Found::Nothing => "nothing".into(),
                Found::Dataset(_) => "opened".into(),
            }
        }
    }

    /// Every field as text.
    fn dump(dataset: &Dataset) -> String {
        let Dataset { id, version, content_hash, interactions: d, candidates } = dataset;
        let features = |f: &Features| {
            f.columns
                .iter()
                .map(|(name, f)| format!("{name}={:?}", (0..f.len()).map(|r| f.text(r)).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        format!(
            "{id} {version} {content_hash} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            &d.users[..],
            &d.items[..],
            d.values.as_deref(),
            d.times.as_deref(),
            d.parts.as_deref(),
            d.user_ids.iter().collect::<Vec<_>>(),
            d.item_ids.iter().collect::<Vec<_>>(),
            features(&d.user_features),
            features(&d.item_features),
            features(&d.row_features),
            d.skipped_lines,
            candidates.as_ref().map(|c| (c.ends.to_vec(), c.items.to_vec())),
        )
    }

    #[test]
    fn every_field_comes_back_as_it_went() {
        for full in [true, false] {
            let mut dataset = dataset();
            if !full {
                let d = &mut dataset.interactions;
                (d.values, d.times, d.parts) = (None, None, None);
                (d.user_features, d.item_features, d.row_features) = Default::default();
                dataset.candidates = None;
            }
            let case = Case::new(&dataset);
            let Found::Dataset(again) = open(&case.place, &case.key) else { panic!("not found") };
            assert_eq!(dump(&again), dump(&dataset));
        }
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_noticed() {
        let case = Case::new(&dataset());
        let whole = std::fs::read(&case.place).expect("there");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(!["opened", "nothing"].contains(&case.damage(&bytes).as_str()), "byte {at}");
        }
        for length in [0, 1, HEADER - 1, HEADER, HEADER + 5, whole.len() / 2, whole.len() - 1] {
            assert!(!["opened", "nothing"].contains(&case.damage(&whole[..length]).as_str()), "length {length}");
        }
        assert!(!["opened", "nothing"].contains(&case.damage(&[&whole[..], b"x"].concat()).as_str()));
        assert_eq!(case.damage(&whole), "opened");
    }

    #[test]
    fn a_table_that_points_outside_is_refused_even_with_a_right_checksum() {
        let case = Case::new(&dataset());
        let whole = std::fs::read(&case.place).expect("there");
        for (at, value) in
            [(32, u64::MAX), (32, 1 << 40), (HEADER + 16, u64::MAX), (HEADER + 24, u64::MAX - 8), (HEADER + 24, 8), (HEADER + 16, 41)]
        {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
            let mut checksum = Xxh3Default::new();
            checksum.update(&bytes[..CHECKSUM.start]);
            checksum.update(&bytes[CHECKSUM.end..]);
            bytes[CHECKSUM].copy_from_slice(&checksum.digest().to_ne_bytes());
            let why = case.damage(&bytes);
            assert!(why.contains("table") || why.contains("columns"), "{at} {value}: {why}");
        }
    }

    #[test]
    fn another_state_of_a_source_is_another_key_at_the_same_place() {
        let case = Case::new(&dataset());
        let source = case.temp.path().join("source.txt");
        std::fs::write(&source, "more rows").expect("write");
        let folders = Folders { data: None, cache: case.temp.path().to_owned() };
        let changed = Key::new(&Format::Sequence, [(source.as_path(), Some("00"))]).expect("key");
        assert_ne!(changed, case.key);
        assert_eq!(changed.place("made-up", &folders), case.place);
        assert!(matches!(open(&case.place, &changed), Found::Nothing));
        let other = Key::new(&Format::Adjacency, [(source.as_path(), Some("00"))]).expect("key");
        assert_ne!(other.place("made-up", &folders), case.place);
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                if self.0 < bytes.len() {
                    return Err(std::io::ErrorKind::StorageFull.into());
                }
                self.0 -= bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (dataset, case) = (dataset(), Case::new(&dataset()));
        let length = std::fs::metadata(&case.place).expect("there").len() as usize;
        for space in [0, 100, length - 1] {
            write(&dataset, &case.key, Full(space)).expect_err("full");
        }
        write(&dataset, &case.key, Full(length)).expect("just enough");
        if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
            let error = write(&dataset, &case.key, full).expect_err("full");
            assert_eq!(crate::Kind::exit_code_of(&error), 5);
        }
        let blocked = case.temp.path().join("source.txt/x.rec");
        store(&dataset, &case.key, &blocked).expect_err("a file is in the way");
        assert_eq!(std::fs::read_dir(case.place.parent().expect("folder")).expect("folder").count(), 1);
    }
}
