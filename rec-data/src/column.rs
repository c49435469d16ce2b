//! A column of plain numbers, owned or seen through a memory map, and the way to write one that may be larger than memory.

use std::fs::File;
use std::io::Write;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytemuck::Pod;
use memmap2::Mmap;

/// Values of one column. Cloning is cheap.
#[derive(Clone)]
pub struct Column<T: Pod>(Source<T>);

#[derive(Clone)]
enum Source<T: Pod> {
    Owned { values: Arc<Vec<T>>, range: Range<usize> },
    Mapped { map: Arc<Mmap>, start: usize, len: usize },
}

impl<T: Pod> Column<T> {
    /// The `len` values that start at byte `start` of `map`; `None` where they do not lie in it or are not aligned.
    pub fn mapped(map: &Arc<Mmap>, start: usize, len: usize) -> Option<Self> {
        let bytes = map.get(start..start.checked_add(len.checked_mul(size_of::<T>())?)?)?;
        bytemuck::try_cast_slice::<u8, T>(bytes).ok()?;
        Some(Self(Source::Mapped { map: Arc::clone(map), start, len }))
    }

    /// The values.
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Source::Owned { values, range } => &values[range.clone()],
            Source::Mapped { map, start, len } => bytemuck::cast_slice(&map[*start..*start + *len * size_of::<T>()]),
        }
    }

    /// The values in `range`, not copied.
    ///
    /// # Panics
    /// where there are not as many.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} values", self.len());
        Self(match &self.0 {
            Source::Owned { values, range: whole } => {
                Source::Owned { values: Arc::clone(values), range: whole.start + range.start..whole.start + range.end }
            }
            Source::Mapped { map, start, .. } => {
                Source::Mapped { map: Arc::clone(map), start: start + range.start * size_of::<T>(), len: range.len() }
            }
        })
    }
}

impl<T: Pod> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        let range = 0..values.len();
        Self(Source::Owned { values: Arc::new(values), range })
    }
}

impl<T: Pod> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Pod + std::fmt::Debug> std::fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Column({} values)", self.len())
    }
}

/// Bytes that a writer holds before it begins a file.
const HELD: usize = 1 << 20;

/// Takes the values of a column one after the other. What is more than a megabyte goes to a file without a name, which the finished column
/// maps and which is gone with it.
pub struct ColumnWriter<T: Pod> {
    folder: Option<PathBuf>,
    held: Vec<T>,
    file: Option<File>,
    written: usize,
}

impl<T: Pod> ColumnWriter<T> {
    /// A writer whose file lies in `folder`; without one, everything stays in memory.
    pub fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_owned), held: Vec::new(), file: None, written: 0 }
    }

    /// The values so far.
    pub fn len(&self) -> usize {
        self.written + self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes more values.
    ///
    /// # Errors
    /// an I/O error where the file cannot be written.
    pub fn extend(&mut self, values: &[T]) -> Result<()> {
        self.held.extend_from_slice(values);
        if self.held.len() * size_of::<T>() >= HELD && self.folder.is_some() { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let shown = || format!("cannot write a temporary file in {}", folder.display());
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(folder).with_context(shown)?),
        };
        file.write_all(bytemuck::cast_slice(&self.held)).with_context(shown)?;
        self.written += self.held.len();
        self.held.clear();
        Ok(())
    }

    /// The column.
    ///
    /// # Errors
    /// an I/O error where the file cannot be written or mapped.
    pub fn finish(mut self) -> Result<Column<T>> {
        if self.file.is_none() {
            return Ok(self.held.into());
        }
        self.spill()?;
        let len = self.written;
        map_unnamed(self.file.as_ref().expect("just looked"), len)
    }
}

/// `len` zeros: past a megabyte a file without a name and without content, which takes no space on the disk.
///
/// # Errors
/// an I/O error where the file cannot be made or mapped.
pub fn zeros(len: usize, folder: Option<&Path>) -> Result<Column<u32>> {
    let Some(folder) = folder.filter(|_| len * 4 >= HELD) else { return Ok(vec![0; len].into()) };
    let file = tempfile::tempfile_in(folder).with_context(|| format!("cannot write a temporary file in {}", folder.display()))?;
    file.set_len(4 * len as u64).context("cannot make a temporary file longer")?;
    map_unnamed(&file, len)
}

fn map_unnamed<T: Pod>(file: &File, len: usize) -> Result<Column<T>> {
    // SAFETY: the file has no name and its handle is dropped here, so that nobody can change the mapped bytes.
    let map = Arc::new(unsafe { Mmap::map(file) }.context("cannot map a temporary file")?);
    Ok(Column::mapped(&map, 0, len).expect("a page is aligned, and all values were written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_larger_than_what_is_held_comes_back_from_its_file() {
        let folder = tempfile::tempdir().expect("temp");
        for (folder, n) in [(Some(folder.path()), 1_000_000), (None, 1_000_000), (Some(folder.path()), 5)] {
            let mut writer = ColumnWriter::<u32>::new(folder);
            let values: Vec<u32> = (0..n).collect();
            values.chunks(77_777).for_each(|chunk| writer.extend(chunk).expect("written"));
            assert_eq!(writer.len(), n as usize);
            assert_eq!(writer.file.is_some(), folder.is_some() && n > 5);
            let column = writer.finish().expect("mapped");
            assert!(column[..] == values);
            assert_eq!(&column.slice(2..5).slice(1..3)[..], &[3, 4]);
        }
        assert!(zeros(1_000_000, Some(folder.path())).expect("made").iter().all(|&zero| zero == 0));
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "files have no names");
    }
}
