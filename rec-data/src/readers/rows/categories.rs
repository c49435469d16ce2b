//! Categories numbered by first appearance, their texts on the way to a vocabulary.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::block::LongTexts;
use crate::Vocabulary;
use crate::column::ColumnWriter;

/// A table with linear probing for the keys of short texts, and a map of long ones.
pub(super) struct Categories {
    keys: Vec<u64>,
    numbers: Vec<u32>,
    short: usize,
    long: HashMap<Box<[u8]>, u32>,
    bytes: ColumnWriter<u8>,
    ends: ColumnWriter<u64>,
}

const FREE: u32 = u32::MAX;

impl Categories {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            keys: vec![0; 64],
            numbers: vec![FREE; 64],
            short: 0,
            long: HashMap::new(),
            bytes: ColumnWriter::new(Some(folder)),
            ends: ColumnWriter::new(Some(folder)),
        }
    }

    /// The number of the text with this key; `long` are the texts of its block.
    ///
    /// # Errors
    /// an I/O error where texts cannot be kept.
    #[inline]
    pub(super) fn number(&mut self, key: u64, long: &LongTexts) -> Result<u32> {
        if key & 0xff == 0 && key != 0 {
            return self.long_number(long.get((key >> 8) as usize - 1));
        }
        let mut slot = self.slot(key);
        loop {
            let number = self.numbers[slot];
            if number == FREE {
                return self.insert(key, slot);
            }
            if self.keys[slot] == key {
                return Ok(number);
            }
            slot = (slot + 1) & (self.keys.len() - 1);
        }
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        ((product >> 64) as u64 ^ product as u64) as usize & (self.keys.len() - 1)
    }

    #[cold]
    fn insert(&mut self, key: u64, slot: usize) -> Result<u32> {
        let bytes = key.to_le_bytes();
        let number = self.text(&bytes[..bytes.len() - key.leading_zeros() as usize / 8])?;
        (self.keys[slot], self.numbers[slot]) = (key, number);
        self.short += 1;
        if 3 * self.short > 2 * self.keys.len() {
            self.grow();
        }
        Ok(number)
    }

    fn grow(&mut self) {
        let size = 2 * self.keys.len();
        let keys = std::mem::replace(&mut self.keys, vec![0; size]);
        let numbers = std::mem::replace(&mut self.numbers, vec![FREE; size]);
        for (key, number) in keys.into_iter().zip(numbers).filter(|&(_, number)| number != FREE) {
            let mut slot = self.slot(key);
            while self.numbers[slot] != FREE {
                slot = (slot + 1) & (size - 1);
            }
            (self.keys[slot], self.numbers[slot]) = (key, number);
        }
    }

    fn long_number(&mut self, text: &[u8]) -> Result<u32> {
        if let Some(&number) = self.long.get(text) {
            return Ok(number);
        }
        let number = self.text(text)?;
        self.long.insert(text.into(), number);
        Ok(number)
    }

    /// Keeps the text of a new category.
    fn text(&mut self, text: &[u8]) -> Result<u32> {
        let number = self.ends.len() as u32;
        self.bytes.extend(text)?;
        self.ends.extend(&[self.bytes.len() as u64])?;
        Ok(number)
    }

    /// The texts.
    ///
    /// # Errors
    /// an I/O error where they cannot be kept.
    pub(super) fn finish(self) -> Result<Vocabulary> {
        Vocabulary::from_columns(self.bytes.finish()?, self.ends.finish()?).context("categories are UTF-8, and end one after the other")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::rows::Block;

    #[test]
    fn categories_are_numbered_by_first_appearance_however_many_and_long_they_are() {
        let folder = tempfile::tempdir().expect("temp");
        let mut categories = Categories::new(folder.path());
        let text =
            |n: u32| if n.is_multiple_of(10) { format!("a long category {n}") } else { format!("{:x}", n.wrapping_mul(2_654_435_761)) };
        for round in 0..2 {
            let mut block = Block::new(0, 0);
            for n in 0..100_000 {
                let key = block.key(text(n).as_bytes());
                assert_eq!(categories.number(key, &block.long).expect("kept"), n, "round {round}");
            }
        }
        let vocabulary = categories.finish().expect("kept");
        assert!((0..100_000).all(|n| vocabulary.raw(n) == text(n)));
    }
}
