//! Raw ids and their dense numbers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::Column;

/// Raw ids as text, numbered 0, 1, 2 … Texts lie end to end in one buffer, so a vocabulary can be memory-mapped whole.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    bytes: Column<u8>,
    /// `ends[i]` is where text `i` ends and text `i + 1` starts.
    ends: Column<u64>,
    /// Numbers in the order of their texts, made at the first look-up.
    sorted: Arc<OnceLock<Vec<u32>>>,
}

impl Vocabulary {
    /// A vocabulary from its two columns; `None` where they do not fit together (ends not rising, not UTF-8, or past the bytes).
    pub fn from_columns(bytes: Column<u8>, ends: Column<u64>) -> Option<Self> {
        let mut start = 0u64;
        for &end in ends.iter() {
            std::str::from_utf8(bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?).ok()?;
            start = end;
        }
        (start as usize == bytes.len()).then(|| Self { bytes, ends, sorted: Arc::default() })
    }

    /// The ids `"0"`, `"1"`, … `"n - 1"`, for data whose published numbers are dense already.
    pub fn numbers(n: usize) -> Self {
        (0..n).map(|i| i.to_string()).collect()
    }

    /// The number of ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no id.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The raw id of `number`.
    ///
    /// # Panics
    /// where `number` is not below [`len`](Self::len), as a slice does.
    pub fn raw(&self, number: u32) -> &str {
        let i = number as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        std::str::from_utf8(&self.bytes[start..self.ends[i] as usize]).expect("checked when the vocabulary was made")
    }

    /// The number of a raw id.
    pub fn number(&self, raw: &str) -> Option<u32> {
        let sorted = self.sorted.get_or_init(|| {
            let mut order: Vec<u32> = (0..self.len() as u32).collect();
            order.sort_by(|&a, &b| self.raw(a).cmp(self.raw(b)));
            order
        });
        sorted.binary_search_by(|&n| self.raw(n).cmp(raw)).ok().map(|at| sorted[at])
    }

    /// All raw ids in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|n| self.raw(n))
    }

    /// The texts end to end, and where each ends: what a cache stores.
    pub fn columns(&self) -> (&[u8], &[u64]) {
        (&self.bytes, &self.ends)
    }
}

impl<S: AsRef<str>> FromIterator<S> for Vocabulary {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for text in texts {
            bytes.extend_from_slice(text.as_ref().as_bytes());
            ends.push(bytes.len() as u64);
        }
        Self { bytes: bytes.into(), ends: ends.into(), sorted: Arc::default() }
    }
}

/// Numbers raw ids in the order in which they first appear.
#[derive(Default)]
pub struct Numbering {
    numbers: HashMap<Box<str>, u32>,
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Numbering {
    /// The number of `raw`, a new one where it was not seen before.
    pub fn number(&mut self, raw: &str) -> u32 {
        if let Some(&n) = self.numbers.get(raw) {
            return n;
        }
        let n = self.ends.len() as u32;
        self.bytes.extend_from_slice(raw.as_bytes());
        self.ends.push(self.bytes.len() as u64);
        self.numbers.insert(raw.into(), n);
        n
    }

    /// The vocabulary so far.
    pub fn finish(self) -> Vocabulary {
        Vocabulary { bytes: self.bytes.into(), ends: self.ends.into(), sorted: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_ids_and_numbers_are_each_others_inverse() {
        let mut numbering = Numbering::default();
        for raw in ["b", "a", "", "b", "ü"] {
            numbering.number(raw);
        }
        let vocabulary = numbering.finish();
        assert_eq!(vocabulary.iter().collect::<Vec<_>>(), ["b", "a", "", "ü"]);
        for n in 0..4 {
            assert_eq!(vocabulary.number(vocabulary.raw(n)), Some(n));
        }
        assert_eq!(vocabulary.number("c"), None);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        assert!(Vocabulary::from_columns(vec![b'a'].into(), vec![2].into()).is_none());
        assert!(Vocabulary::from_columns(vec![0xff].into(), vec![1].into()).is_none());
        assert!(Vocabulary::from_columns(b"ab".to_vec().into(), vec![2, 1].into()).is_none());
    }
}
