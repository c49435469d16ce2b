//! What rows have of their own, one word a field, row after row: a batch reads each of its rows in one place.
//!
//! A large matrix lies in a file, made once for the same columns and features and mapped ever after: a header of 64 bytes, then the words.
//! An xxh3 checksum covers every byte but its own and is checked at every open. A file is written beside its place and renamed; one that is
//! damaged, cut off or foreign is made again, with a note.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use memmap2::Mmap;
use rayon::prelude::*;
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::Xxh3Default;

use super::encoder::Field;
use super::raw::Numbers;
use crate::Column;
use crate::fetch::archive::persist;

/// Smaller matrices are made in memory.
const LARGE: usize = 32 << 20;
/// Words that are made at once before they are written.
const BLOCK: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"RECROWS\n";
/// The layout of the file; another layout is another number.
const LAYOUT: u32 = 1;
/// Reads as itself only in the byte order that wrote it.
const ORDER: u32 = 0x0102_0304;
const HEADER: usize = 64;
/// Where in the header the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 24..32;

/// `[rows, width]`.
#[derive(Debug)]
pub(super) struct Matrix {
    words: Column<u32>,
    width: usize,
}

/// How the words of one field are made.
pub(super) enum Words<'a> {
    /// The feature of each row's category.
    Categories { of_row: &'a [u32], features: Vec<u32> },
    /// The feature of each row's number.
    Intervals { of_row: Numbers<'a>, field: &'a Field },
    /// The bits of each row's scaled number; those of NaN where it is missing.
    Numbers { of_row: Numbers<'a>, field: &'a Field },
}

impl Words<'_> {
    #[inline]
    fn word(&self, row: usize) -> u32 {
        match self {
            Words::Categories { of_row, features } => features[of_row[row] as usize],
            Words::Intervals { of_row, field } => field.first + field.encoder.number(of_row.get(row), field.spec.missing).0,
            Words::Numbers { of_row, field } => {
                let (feature, value) = field.encoder.number(of_row.get(row), field.spec.missing);
                if feature == field.spec.missing.feature() { f32::NAN.to_bits() } else { value.to_bits() }
            }
        }
    }

    /// All that the words depend on.
    fn hash(&self) -> u128 {
        let mut hash = Xxh3Default::new();
        match self {
            Words::Categories { of_row, features } => {
                hash.update(bytemuck::cast_slice(features));
                hash.update(bytemuck::cast_slice(of_row));
            }
            Words::Intervals { of_row, field } | Words::Numbers { of_row, field } => {
                hash.update(&serde_json::to_vec(field).expect("a field is plain data"));
                hash.update(of_row.bytes());
            }
        }
        hash.digest128()
    }
}

impl Matrix {
    /// The words of `rows` rows; kept in a file in `folder`, where there is one and they are many.
    ///
    /// # Errors
    /// an I/O error where the file cannot be written.
    pub(super) fn new(words: &[Words<'_>], rows: usize, folder: Option<&Path>) -> Result<Self> {
        let width = words.len();
        match folder.filter(|_| rows * width * 4 >= LARGE) {
            Some(folder) => Self::kept(words, rows, folder),
            None => {
                let mut all = vec![0; rows * width];
                fill(words, 0, &mut all);
                Ok(Self { words: all.into(), width })
            }
        }
    }

    fn kept(words: &[Words<'_>], rows: usize, folder: &Path) -> Result<Self> {
        let mut key = Xxh3Default::new();
        words.par_iter().map(Words::hash).collect::<Vec<_>>().iter().for_each(|hash| key.update(&hash.to_ne_bytes()));
        key.update(&rows.to_ne_bytes());
        let key = key.digest128();
        let (width, place) = (words.len(), folder.join(format!("encoded-{key:032x}.rows")));
        match open(&place, key, rows * width) {
            Ok(Some(words)) => return Ok(Self { words, width }),
            Ok(None) => {}
            Err(why) => crate::notes::note(&format!("{} is not used: {why}; it is made again", place.display())),
        }
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let shown = || format!("cannot write {}", place.display());
        let mut part = NamedTempFile::new_in(folder).with_context(shown)?;
        write(words, rows, key, part.as_file_mut()).with_context(shown)?;
        persist(part, &place)?;
        let words = open(&place, key, rows * width);
        let words = words.ok().flatten().with_context(|| format!("{} is damaged just after it was written", place.display()))?;
        Ok(Self { words, width })
    }

    /// The words of one row.
    #[inline]
    pub(super) fn row(&self, row: u32) -> &[u32] {
        let start = row as usize * self.width;
        &self.words[start..start + self.width]
    }
}

/// The words of the rows from `first` on that `out` has place for.
fn fill(words: &[Words<'_>], first: usize, out: &mut [u32]) {
    // Rows that stay in a core's cache while field after field is written into them.
    const ROWS: usize = 2048;
    let width = words.len().max(1);
    out.par_chunks_mut(ROWS * width).enumerate().for_each(|(chunk, out)| {
        let first = first + chunk * ROWS;
        for (at, words) in words.iter().enumerate() {
            out.iter_mut().skip(at).step_by(width).enumerate().for_each(|(row, word)| *word = words.word(first + row));
        }
    });
}

fn header(key: u128, words: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&LAYOUT.to_ne_bytes());
    header[12..16].copy_from_slice(&ORDER.to_ne_bytes());
    header[16..24].copy_from_slice(&(words as u64).to_ne_bytes());
    header[32..48].copy_from_slice(&key.to_ne_bytes());
    header
}

/// The words at `place`, where there are any.
fn open(place: &Path, key: u128, words: usize) -> std::result::Result<Option<Column<u32>>, &'static str> {
    let Ok(file) = File::open(place) else { return Ok(None) };
    // SAFETY: files at these places are only ever replaced by rename, never written in place, so the mapped bytes do not change.
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(|_| "it cannot be mapped")?);
    let mut expected = header(key, words);
    let (found, body) = map.split_at_checked(HEADER).ok_or("it is cut off")?;
    let mut checksum = Xxh3Default::new();
    checksum.update(body);
    checksum.update(&expected);
    expected[CHECKSUM].copy_from_slice(&checksum.digest().to_ne_bytes());
    if *found != expected {
        return Err("its checksum is wrong");
    }
    Column::mapped(&map, HEADER, words).filter(|_| body.len() == words * 4).map(Some).ok_or("it is cut off")
}

fn write(words: &[Words<'_>], rows: usize, key: u128, mut to: impl Write + Seek) -> Result<()> {
    let width = words.len();
    let mut header = header(key, rows * width);
    to.write_all(&header)?;
    let mut checksum = Xxh3Default::new();
    let block = (BLOCK / width.max(1)).max(1);
    let mut buffer = Vec::new();
    for first in (0..rows).step_by(block) {
        buffer.resize(block.min(rows - first) * width, 0);
        fill(words, first, &mut buffer);
        checksum.update(bytemuck::cast_slice(&buffer));
        to.write_all(bytemuck::cast_slice(&buffer))?;
    }
    checksum.update(&header);
    header[CHECKSUM].copy_from_slice(&checksum.digest().to_ne_bytes());
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&header)?;
    to.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_matrix_is_kept_and_a_damaged_one_is_made_again() {
        let folder = tempfile::tempdir().expect("temp");
        let rows = LARGE / 8;
        let (a, b): (Vec<u32>, Vec<u32>) = (0..rows as u32).map(|r| (r % 3, r % 1000)).unzip();
        let words = |shift: u32| {
            let features = |n: u32| (0..n).map(|c| shift + 7 * c).collect();
            [Words::Categories { of_row: &a, features: features(3) }, Words::Categories { of_row: &b, features: features(1000) }]
        };
        let check = |matrix: &Matrix, shift: u32| {
            (0..rows as u32).step_by(997).for_each(|r| assert_eq!(matrix.row(r), [shift + 7 * (r % 3), shift + 7 * (r % 1000)]));
        };
        let files = || std::fs::read_dir(folder.path()).expect("folder").map(|f| f.expect("file").path()).collect::<Vec<_>>();
        check(&Matrix::new(&words(2), rows, None).expect("in memory"), 2);
        assert!(files().is_empty());
        check(&Matrix::new(&words(2), rows, Some(folder.path())).expect("kept"), 2);
        let place = files().remove(0);
        let written = std::fs::metadata(&place).expect("there").modified().expect("known");
        check(&Matrix::new(&words(2), rows, Some(folder.path())).expect("mapped"), 2);
        assert_eq!(std::fs::metadata(&place).expect("there").modified().expect("known"), written, "it is not made twice");
        check(&Matrix::new(&words(3), rows, Some(folder.path())).expect("another"), 3);
        assert_eq!(files().len(), 2);
        let whole = std::fs::read(&place).expect("there");
        for at in [0, 20, 24, 40, 60, HEADER, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&place, &damaged).expect("write");
            check(&Matrix::new(&words(2), rows, Some(folder.path())).expect("made again"), 2);
            assert!(std::fs::read(&place).expect("there") == whole, "byte {at}");
        }
        std::fs::write(&place, &whole[..whole.len() - 8]).expect("write");
        check(&Matrix::new(&words(2), rows, Some(folder.path())).expect("made again"), 2);
    }
}
