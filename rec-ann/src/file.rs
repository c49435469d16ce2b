//! Index files: one layout for every kind, memory-mapped when opened.
//!
//! Layout, in the machine's own byte order: a header of 64 bytes, a table of sections (offset and length), then the sections, each at a
//! multiple of 64. Section 0 is JSON that says which kind of index it is and how it was made; then come the texts and ends of raw ids where it has
//! some, and the kind's arrays in its own order. An xxh3 checksum covers every byte but its own and is checked at every open, and so is what the arrays say about each other: a
//! file that is damaged, cut off or foreign is refused with the reason. A file is written beside its place and renamed.

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytemuck::Pod;
use memmap2::Mmap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::column::{Column, LINE};
use crate::index::Index;
use crate::rows::MAX_DIM;
use crate::{Flat, Forest, Hnsw, Ivf, IvfPq, Metric, Pq, RawIds};

const MAGIC: [u8; 8] = *b"RECANN\r\n";
/// The layout of the file; another layout is another number.
const VERSION: u32 = 2;
/// Reads as itself only in the byte order that wrote it.
const ORDER: u32 = 0x0102_0304;
const HEADER: usize = 64;
/// Where in the header the checksum stands.
const CHECKSUM: Range<usize> = 24..32;

/// Section 0.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<S> {
    kind: String,
    metric: Metric,
    dim: usize,
    settings: S,
    /// Whether there are raw ids.
    #[serde(default)]
    ids: bool,
}

/// An index that has a file.
pub(crate) trait Stored: Index + Sized {
    /// Its name in the file.
    const KIND: &'static str;
    /// What is kept beside the arrays.
    type Settings: Serialize + DeserializeOwned;

    fn settings(&self) -> Self::Settings;

    /// Adds the arrays.
    fn write<'a>(&'a self, sections: &mut Writer<'a>);

    /// Takes the arrays in the order of [`write`](Self::write), and checks that they fit each other: whatever they hold, a search must not panic.
    fn read(metric: Metric, dim: usize, settings: Self::Settings, sections: &mut Reader) -> Result<Self>;
}

/// Opens an index of any kind. It is memory-mapped: what a search touches is read.
///
/// # Errors
/// where the file cannot be read, or is damaged, cut off, of another version or no index at all; the message says which.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Index>> {
    opened(path.as_ref(), |sections| Ok(any(sections)?.0))
}

/// Opens an index of any kind that was saved with raw ids.
///
/// # Errors
/// as [`open`], and where it was saved without.
pub fn open_with_ids(path: impl AsRef<Path>) -> Result<(Box<dyn Index>, RawIds)> {
    opened(path.as_ref(), |sections| {
        let (index, ids) = any(sections)?;
        Ok((index, ids.ok_or_else(|| anyhow!("it holds no raw ids: it was saved without"))?))
    })
}

fn any(sections: Reader) -> Result<(Box<dyn Index>, Option<RawIds>)> {
    fn boxed<T: Stored + 'static>(sections: Reader) -> Result<(Box<dyn Index>, Option<RawIds>)> {
        let (index, ids) = sections.index::<T>()?;
        Ok((Box::new(index), ids))
    }
    let head: Head<serde_json::Value> = sections.head()?;
    match &head.kind[..] {
        Flat::KIND => boxed::<Flat>(sections),
        Hnsw::KIND => boxed::<Hnsw>(sections),
        Forest::KIND => boxed::<Forest>(sections),
        Ivf::KIND => boxed::<Ivf>(sections),
        Pq::KIND => boxed::<Pq>(sections),
        IvfPq::KIND => boxed::<IvfPq>(sections),
        other => bail!("it holds an index of the kind `{other}`, which this version does not know"),
    }
}

/// Opens an index of one kind.
pub(crate) fn open_as<T: Stored>(path: &Path) -> Result<T> {
    opened(path, |sections| Ok(sections.index::<T>()?.0))
}

fn opened<T>(path: &Path, read: impl FnOnce(Reader) -> Result<T>) -> Result<T> {
    let open = || -> Result<T> {
        let file = std::fs::File::open(path)?;
        ensure!(file.metadata()?.len() > 0, "it is empty");
        // SAFETY: index files are only ever replaced by rename, never written in place, so the mapped bytes do not change.
        let map = unsafe { Mmap::map(&file) }?;
        read(Reader::new(Arc::new(map))?)
    };
    open().with_context(|| format!("cannot open the index {}", path.display()))
}

/// Writes an index to its file.
pub(crate) fn save<T: Stored>(index: &T, path: &Path, ids: Option<&RawIds>) -> Result<()> {
    let write = || -> Result<()> {
        let fits = ids.is_none_or(|ids| ids.len() == index.len());
        ensure!(fits, "{} raw ids for {} vectors", ids.map_or(0, RawIds::len), index.len());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut part = NamedTempFile::new_in(folder)?;
        with_sections(index, ids, |sections| sections.write(BufWriter::with_capacity(1 << 18, part.as_file_mut())))?;
        part.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write the index {}", path.display()))
}

/// The bytes of an index's file.
pub(crate) fn size<T: Stored>(index: &T) -> usize {
    with_sections(index, None, |sections| Ok(sections.places().1)).expect("settings are plain values, which JSON can hold")
}

fn with_sections<T: Stored, R>(index: &T, ids: Option<&RawIds>, then: impl FnOnce(&Writer) -> Result<R>) -> Result<R> {
    let head = Head { kind: T::KIND.to_owned(), metric: index.metric(), dim: index.dim(), settings: index.settings(), ids: ids.is_some() };
    let json = serde_json::to_vec(&head)?;
    let mut sections = Writer { sections: vec![&json] };
    if let Some(ids) = ids {
        ids.write(&mut sections);
    }
    index.write(&mut sections);
    then(&sections)
}

/// Arrays on their way to a file.
pub(crate) struct Writer<'a> {
    sections: Vec<&'a [u8]>,
}

impl<'a> Writer<'a> {
    pub(crate) fn add<T: Pod>(&mut self, column: &'a [T]) {
        self.sections.push(bytemuck::cast_slice(column));
    }

    /// Where each section starts, and where the file ends.
    fn places(&self) -> (Vec<usize>, usize) {
        let mut end = HEADER + 16 * self.sections.len();
        let mut place = |section: &&[u8]| {
            let start = end.next_multiple_of(LINE);
            end = start + section.len();
            start
        };
        let starts = self.sections.iter().map(&mut place).collect();
        (starts, end)
    }

    fn write(&self, mut to: impl Write) -> Result<()> {
        let mut head = vec![0u8; HEADER];
        let (starts, end) = self.places();
        for (start, section) in starts.iter().zip(&self.sections) {
            head.extend_from_slice(&(*start as u64).to_ne_bytes());
            head.extend_from_slice(&(section.len() as u64).to_ne_bytes());
        }
        head[..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        head[12..16].copy_from_slice(&ORDER.to_ne_bytes());
        head[16..24].copy_from_slice(&(end as u64).to_ne_bytes());
        head[32..40].copy_from_slice(&(self.sections.len() as u64).to_ne_bytes());

        // Padding stands before each section, none after the last.
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(2 * self.sections.len());
        let mut at = head.len();
        for section in &self.sections {
            let padding = at.next_multiple_of(LINE) - at;
            pieces.push(&[0; LINE][..padding]);
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

/// Arrays of a mapped file, taken one after the other.
pub(crate) struct Reader {
    map: Arc<Mmap>,
    sections: Vec<Range<usize>>,
    next: usize,
}

impl Reader {
    /// Checks all that does not depend on the kind.
    fn new(map: Arc<Mmap>) -> Result<Self> {
        ensure!(map.len() >= HEADER && map[..8] == MAGIC, "it is no index file: it does not begin as one");
        let order = u32::from_ne_bytes(array(&map, 12)?);
        ensure!(order == ORDER, "it was written on a machine of another byte order");
        let version = u32::from_ne_bytes(array(&map, 8)?);
        ensure!(version == VERSION, "its format has version {version}, and this program reads version {VERSION}; build the index again");
        let length = u64::from_ne_bytes(array(&map, 16)?);
        ensure!(length == map.len() as u64, "it should have {length} bytes and has {}: it was cut off or added to", map.len());
        ensure!(u64::from_ne_bytes(array(&map, CHECKSUM.start)?) == checksum(&map), "it is damaged: its checksum is not that of its bytes");
        let count = u64::from_ne_bytes(array(&map, 32)?);
        ensure!(count <= ((map.len() - HEADER) / 16) as u64, "its table of sections does not fit");
        let section = |i: usize| -> Result<Range<usize>> {
            let start = usize::try_from(u64::from_ne_bytes(array(&map, HEADER + 16 * i)?))?;
            let length = usize::try_from(u64::from_ne_bytes(array(&map, HEADER + 16 * i + 8)?))?;
            let end = start.checked_add(length).filter(|&end| end <= map.len() && start.is_multiple_of(LINE));
            Ok(start..end.ok_or_else(|| anyhow!("section {i} lies outside of it"))?)
        };
        let sections = (0..count as usize).map(section).collect::<Result<_>>()?;
        Ok(Self { map, sections, next: 1 })
    }

    fn head<S: DeserializeOwned>(&self) -> Result<Head<S>> {
        let json = self.sections.first().ok_or_else(|| anyhow!("it has no sections"))?;
        let head: Head<S> = serde_json::from_slice(&self.map[json.clone()]).context("its description cannot be read")?;
        ensure!((1..=MAX_DIM).contains(&head.dim), "it has vectors of {} values", head.dim);
        Ok(head)
    }

    fn index<T: Stored>(mut self) -> Result<(T, Option<RawIds>)> {
        let head: Head<serde_json::Value> = self.head()?;
        ensure!(head.kind == T::KIND, "it holds an index of the kind `{}`, not `{}`", head.kind, T::KIND);
        let settings = serde_json::from_value(head.settings).context("its settings cannot be read")?;
        let ids = head.ids.then(|| RawIds::read(&mut self)).transpose()?;
        let index = T::read(head.metric, head.dim, settings, &mut self)?;
        ensure!(self.next == self.sections.len(), "it has {} sections, and its kind has {}", self.sections.len(), self.next);
        ensure!(ids.as_ref().is_none_or(|ids| ids.len() == index.len()), inconsistent("raw ids of another number of vectors"));
        Ok((index, ids))
    }

    /// Whether there is a further array.
    pub(crate) fn has_more(&self) -> bool {
        self.next < self.sections.len()
    }

    /// The next array.
    pub(crate) fn take<T: Pod>(&mut self) -> Result<Column<T>> {
        let section = self.sections.get(self.next).ok_or_else(|| anyhow!("section {} is missing", self.next))?;
        ensure!(section.len().is_multiple_of(size_of::<T>()), "section {} is no whole number of values", self.next);
        let column = Column::mapped(&self.map, section.start, section.len() / size_of::<T>());
        self.next += 1;
        column.ok_or_else(|| anyhow!("section {} cannot be mapped", self.next - 1))
    }
}

/// The error of arrays that do not fit each other.
pub(crate) fn inconsistent(what: &str) -> anyhow::Error {
    anyhow!("it contradicts itself: {what}")
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at + N;
    bytes.get(at..end).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| anyhow!("it ends before byte {end}"))
}

fn checksum(bytes: &[u8]) -> u64 {
    if bytes.len() < CHECKSUM.end {
        return xxh3_64(bytes);
    }
    let mut checksum = Xxh3Default::new();
    checksum.update(&bytes[..CHECKSUM.start]);
    checksum.update(&bytes[CHECKSUM.end..]);
    checksum.digest()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};
    use crate::{Precision, Subset};

    /// The bytes of an index's file.
    pub(crate) fn bytes_of<T: Stored>(index: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        with_sections(index, None, |sections| sections.write(&mut bytes)).expect("written");
        bytes
    }

    /// What [`open`] makes of a file with these bytes.
    fn open_bytes(bytes: &[u8]) -> Result<Box<dyn Index>> {
        let mut map = memmap2::MmapMut::map_anon(bytes.len().max(1))?;
        map[..bytes.len()].copy_from_slice(bytes);
        Ok(any(Reader::new(Arc::new(map.make_read_only()?))?)?.0)
    }

    /// Saves, opens and searches: the same answers. Then changes bytes at random, with a checksum that fits them and without: it is
    /// refused, or every search ends.
    pub(crate) fn check_file<T: Stored>(index: &T, changes: usize) {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("index");
        let query: Vec<f32> = (0..index.dim()).map(|i| (i as f32).sin()).collect();
        index.save(&path).expect("saved");
        let found = index.search(&query, 10, None).expect("finite");
        assert_eq!(open(&path).expect("whole").search(&query, 10, None).expect("finite"), found);
        assert_eq!(open_as::<T>(&path).expect("whole").search(&query, 10, None).expect("finite"), found);
        assert_eq!(bytes_of(&open_as::<T>(&path).expect("whole")), std::fs::read(&path).expect("there"));

        let ids: RawIds = (0..index.len()).map(|id| ["", "b", "ü/7"][id % 3]).collect();
        index.save_with_ids(&path, Some(&ids)).expect("saved");
        let (opened, read) = open_with_ids(&path).expect("whole");
        assert_eq!(opened.search(&query, 10, None).expect("finite"), found);
        assert!((0..=index.len() as u32).all(|id| read.get(id) == ids.get(id)) && read.len() == index.len());
        assert_eq!(open(&path).expect("whole").len(), index.len());

        assert_eq!(bytes_of(index).len(), index.size());
        let whole = std::fs::read(&path).expect("there");
        let mut rng = Rng::keyed(1, Stream::Sample, 0);
        for change in 0..changes {
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                // Half of the changes meet the header, the table and the JSON.
                let within = if rng.below(2) == 0 { bytes.len() } else { bytes.len().min(512) };
                let at = rng.below(within);
                bytes[at] = [0, 1, 0x7f, 0xff, rng.bits() as u8][rng.below(5)];
            }
            if rng.below(8) == 0 {
                bytes.truncate(rng.below(bytes.len()));
            }
            let same = bytes == whole;
            assert!(same || open_bytes(&bytes).is_err(), "change {change} was not noticed");
            if bytes.len() >= HEADER {
                let length = bytes.len() as u64;
                bytes[16..24].copy_from_slice(&length.to_ne_bytes());
                let sum = checksum(&bytes).to_ne_bytes();
                bytes[CHECKSUM].copy_from_slice(&sum);
                if let Ok(index) = open_bytes(&bytes) {
                    let query: Vec<f32> = query.iter().copied().cycle().take(index.dim()).collect();
                    let _ = index.search(&query, 10, None);
                    let _ = index.search_batch(&query, 3, Some(&Subset::of(index.len(), |id| id % 2 == 0)));
                }
            }
        }
    }

    fn flat(precision: Precision) -> Flat {
        let mut rng = Rng::keyed(3, Stream::Sample, 0);
        let vectors: Vec<f32> = (0..40 * 5).map(|_| rng.normal() as f32).collect();
        Flat::with_precision(&vectors, 5, Metric::L2, precision).expect("finite")
    }

    #[test]
    fn a_flat_index_comes_back_and_a_changed_one_is_refused() {
        check_file(&flat(Precision::Float), 3000);
        check_file(&flat(Precision::Byte), 3000);
        check_file(&Flat::new(&[], 3, Metric::Cosine).expect("empty"), 1000);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("index");
        let whole = bytes_of(&flat(Precision::Float));
        let why = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            open(&path).err().map(|error| format!("{error:#}"))
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(open_bytes(&bytes).is_err(), "byte {at}");
            assert!(open_bytes(&whole[..at]).is_err(), "length {at}");
        }
        assert!(why(&whole).is_none());
        assert!(open_with_ids(&path).err().is_some_and(|error| format!("{error:#}").contains("holds no raw ids")));
        let few = flat(Precision::Float).save_with_ids(&path, Some(&RawIds::from_iter(["one"]))).expect_err("too few");
        assert!(format!("{few:#}").contains("1 raw ids for 40 vectors"));
        let why = |bytes: &[u8]| why(bytes).expect("refused");
        assert!(why(b"").contains("it is empty"));
        assert!(why(&b"PK\x03\x04".repeat(100)).contains("no index file"));
        assert!(why(&whole[..100]).contains("cut off"));
        let changed = |at: usize, value: u8| [&whole[..at], &[value], &whole[at + 1..]].concat();
        assert!(why(&changed(8, 9)).contains("version 9"));
        assert!(why(&changed(12, 9)).contains("byte order"));
        assert!(why(&changed(300, 9)).contains("damaged"));
        let missing = open(temp.path().join("none")).err().expect("missing").to_string();
        assert!(missing.contains("cannot open the index") && missing.contains("none"));
    }
}
