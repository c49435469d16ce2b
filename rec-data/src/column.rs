//! A column of plain numbers, owned or seen through a memory map.

use std::ops::Deref;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

/// Values of one column. Cloning is cheap where the values are mapped or shared.
#[derive(Clone)]
pub struct Column<T: Pod>(Source<T>);

#[derive(Clone)]
enum Source<T: Pod> {
    Owned(Arc<Vec<T>>),
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
            Source::Owned(values) => values,
            Source::Mapped { map, start, len } => bytemuck::cast_slice(&map[*start..*start + *len * size_of::<T>()]),
        }
    }
}

impl<T: Pod> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Source::Owned(Arc::new(values)))
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
