//! Values in one piece of memory that starts at a cache line: owned, or part of a mapped file.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

/// A cache line. Rows that start at one are read without a load that straddles two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Bytes of a cache line; sections of a file start at multiples of it.
pub(crate) const LINE: usize = 64;

/// A list of numbers. Reading is the same wherever it lies; the first change copies what is mapped.
#[derive(Clone)]
pub(crate) struct Column<T> {
    place: Place,
    len: usize,
    kind: PhantomData<T>,
}

#[derive(Clone)]
enum Place {
    Owned(Vec<Line>),
    Mapped { map: Arc<Mmap>, start: usize },
}

impl<T: Pod> Column<T> {
    /// No values.
    pub(crate) fn new() -> Self {
        Self { place: Place::Owned(Vec::new()), len: 0, kind: PhantomData }
    }

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut out = Self::new();
        out.resize(len, T::zeroed());
        out
    }

    /// The `len` values from byte `start` of `map` on; `None` where they lie outside or `start` is not aligned for them.
    pub(crate) fn mapped(map: &Arc<Mmap>, start: usize, len: usize) -> Option<Self> {
        let bytes = map.get(start..start.checked_add(len.checked_mul(size_of::<T>())?)?)?;
        bytemuck::try_cast_slice::<u8, T>(bytes).ok()?;
        Some(Self { place: Place::Mapped { map: map.clone(), start }, len, kind: PhantomData })
    }

    /// The values, to change.
    pub(crate) fn make_mut(&mut self) -> &mut [T] {
        let length = self.len * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytemuck::cast_slice_mut::<Line, u8>(self.owned())[..length])
    }

    /// Makes the list `len` long; new places hold `value`.
    pub(crate) fn resize(&mut self, len: usize, value: T) {
        let (old, lines) = (self.len, (len * size_of::<T>()).div_ceil(LINE));
        self.owned().resize(lines, Line([0; LINE]));
        self.len = len;
        if len > old {
            self.make_mut()[old..].fill(value);
        }
    }

    /// Appends values.
    pub(crate) fn extend(&mut self, values: &[T]) {
        let old = self.len;
        self.resize(old + values.len(), T::zeroed());
        self.make_mut()[old..].copy_from_slice(values);
    }

    fn owned(&mut self) -> &mut Vec<Line> {
        if let Place::Mapped { .. } = self.place {
            let mut lines = vec![Line([0; LINE]); size_of_val(&**self).div_ceil(LINE)];
            let bytes: &[u8] = bytemuck::cast_slice(self);
            bytemuck::cast_slice_mut::<Line, u8>(&mut lines)[..bytes.len()].copy_from_slice(bytes);
            self.place = Place::Owned(lines);
        }
        match &mut self.place {
            Place::Owned(lines) => lines,
            Place::Mapped { .. } => unreachable!("it was copied above"),
        }
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let bytes = match &self.place {
            Place::Owned(lines) => bytemuck::cast_slice(lines),
            Place::Mapped { map, start } => &map[*start..],
        };
        bytemuck::cast_slice(&bytes[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> From<&[T]> for Column<T> {
    fn from(values: &[T]) -> Self {
        let mut out = Self::new();
        out.extend(values);
        out
    }
}

impl<T: Pod> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self::from(&values[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_keep_their_order_while_they_grow() {
        let mut column = Column::from(vec![1u32, 2, 3]);
        column.extend(&[4; 40]);
        column.resize(50, 7);
        column.resize(49, 0);
        assert_eq!(column.as_ptr() as usize % LINE, 0);
        assert_eq!((&column[..4], column[42], column[43], column.len()), (&[1, 2, 3, 4][..], 4, 7, 49));
    }

    #[test]
    fn a_mapped_list_is_copied_before_it_changes() {
        let mut file = tempfile::tempfile().expect("temp");
        std::io::Write::write_all(&mut file, bytemuck::cast_slice(&[1u32, 2, 3, 4])).expect("written");
        // SAFETY: nothing else has the file.
        let map = Arc::new(unsafe { Mmap::map(&file) }.expect("mapped"));
        let mut column = Column::<u32>::mapped(&map, 4, 3).expect("inside");
        column.make_mut()[0] = 9;
        column.extend(&[5]);
        assert_eq!(&column[..], [9, 3, 4, 5]);
        assert_eq!(&Column::<u32>::mapped(&map, 0, 4).expect("inside")[..], [1, 2, 3, 4]);
        for (start, len) in [(0, 5), (16, 1), (2, 1), (usize::MAX, 1), (0, usize::MAX)] {
            assert!(Column::<u32>::mapped(&map, start, len).is_none(), "{start} {len}");
        }
    }
}
