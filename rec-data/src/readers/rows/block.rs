//! Some rows as they were read, column by column.

/// Rows of a block.
#[derive(Default)]
pub(crate) struct Block {
    pub rows: usize,
    pub labels: Vec<f32>,
    /// By number feature.
    pub numbers: Vec<Vec<f32>>,
    /// By token feature, then users, then items: the key of each text.
    pub tokens: Vec<Vec<u64>>,
    /// Seconds since 1970, where there is a column of times or hours.
    pub times: Vec<i64>,
    /// Texts that are longer than their key.
    pub long: LongTexts,
    /// Lines read, those that are no row among them.
    pub lines: usize,
    /// Lines left out.
    pub skipped: u64,
    /// The first line that could not be read, counted from the block's first as 0, and why; the block ends there.
    pub bad: Option<(usize, String)>,
}

/// Texts of more than eight bytes.
#[derive(Default)]
pub(crate) struct LongTexts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl LongTexts {
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }
}

impl Block {
    /// An empty block of as many columns.
    pub(crate) fn new(numbers: usize, tokens: usize) -> Self {
        Self { numbers: vec![Vec::new(); numbers], tokens: vec![Vec::new(); tokens], ..Self::default() }
    }

    /// The key of a text without NUL bytes: its bytes where they are at most eight, the first one lowest; else a multiple of 256, which no
    /// text is, that says where the text is kept.
    #[inline]
    pub(crate) fn key(&mut self, text: &[u8]) -> u64 {
        match short_key(text) {
            Some(key) => key,
            None => {
                self.long.bytes.extend_from_slice(text);
                self.long.ends.push(self.long.bytes.len());
                (self.long.ends.len() as u64) << 8
            }
        }
    }

    /// Drops what was read of a row that is not finished.
    pub(super) fn roll_back(&mut self) {
        self.labels.truncate(self.rows);
        self.times.truncate(self.rows);
        self.numbers.iter_mut().for_each(|column| column.truncate(self.rows));
        self.tokens.iter_mut().for_each(|column| column.truncate(self.rows));
    }
}

/// The key of a text of at most eight bytes.
#[inline]
pub(crate) fn short_key(text: &[u8]) -> Option<u64> {
    match text.len() {
        0 => Some(0),
        // Two loads that overlap, instead of a loop over bytes.
        n @ 4..=8 => {
            let low = u32::from_le_bytes([text[0], text[1], text[2], text[3]]);
            let high = u32::from_le_bytes([text[n - 4], text[n - 3], text[n - 2], text[n - 1]]);
            Some(u64::from(low) | u64::from(high) << (8 * (n - 4)))
        }
        1..=3 => Some(text.iter().rev().fold(0, |key, &byte| key << 8 | u64::from(byte))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_up_to_eight_bytes_are_their_own_keys_and_longer_ones_are_kept() {
        let mut block = Block::new(0, 0);
        for text in ["", "a", "ab", "abc", "abcd", "abcde", "abcdefg", "abcdefgh", "zz\u{fc}"] {
            let key = block.key(text.as_bytes());
            assert_eq!(&key.to_le_bytes()[..text.len()], text.as_bytes(), "{text}");
            assert!(key.to_le_bytes()[text.len()..].iter().all(|&b| b == 0), "{text}");
        }
        assert_eq!([block.key(b"123456789"), block.key(b"another long one")], [1 << 8, 2 << 8]);
        assert_eq!((block.long.get(0), block.long.get(1)), (&b"123456789"[..], &b"another long one"[..]));
    }
}
