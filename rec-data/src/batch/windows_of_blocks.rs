//! Random order of more rows than a list should hold: blocks in random order, rows shuffled inside a window of blocks.

use std::sync::{Arc, Mutex, PoisonError};

use crate::rng::{Rng, Stream};

/// Rows of a block, which lie together on disk.
const BLOCK: usize = 1 << 13;
/// Blocks of a window.
const WINDOW: usize = 1 << 8;
/// Up to as many rows are shuffled as a whole.
pub(super) const MOST_SHUFFLED_WHOLE: usize = BLOCK * WINDOW;

/// The order of the rows of one epoch, of which one window is in memory.
pub(super) struct WindowsOfBlocks {
    rows: usize,
    batch_size: usize,
    seed: u64,
    epoch: u64,
    /// Rows of a block, and blocks of a window.
    sizes: (usize, usize),
    /// The blocks in random order.
    blocks: Vec<u32>,
    /// The window that was asked for last, shuffled.
    last: Mutex<Option<(usize, Arc<Vec<u32>>)>>,
}

impl WindowsOfBlocks {
    pub(super) fn new(rows: usize, batch_size: usize, seed: u64, epoch: u64) -> Self {
        Self::with_sizes(rows, batch_size, seed, epoch, (BLOCK, WINDOW))
    }

    fn with_sizes(rows: usize, batch_size: usize, seed: u64, epoch: u64, sizes: (usize, usize)) -> Self {
        let mut blocks: Vec<u32> = (0..rows.div_ceil(sizes.0) as u32).collect();
        Rng::keyed(seed, Stream::Shuffle, epoch, 0).shuffle(&mut blocks);
        Self { rows, batch_size, seed, epoch, sizes, blocks, last: Mutex::new(None) }
    }

    /// The number of batches.
    pub(super) fn len(&self) -> usize {
        self.rows.div_ceil(self.batch_size)
    }

    /// The rows of a batch. A batch may lie in two windows, or in more where it is larger than one.
    pub(super) fn rows(&self, index: usize) -> Vec<u32> {
        let end = ((index + 1) * self.batch_size).min(self.rows);
        let mut at = index * self.batch_size;
        let mut rows = Vec::with_capacity(end.saturating_sub(at));
        while at < end {
            let (number, start) = self.window_of(at);
            let window = self.window(number);
            let some = &window[at - start..(end - start).min(window.len())];
            rows.extend_from_slice(some);
            at += some.len();
        }
        rows
    }

    /// The window that the row at place `at` of the order lies in, and the place at which it starts.
    fn window_of(&self, at: usize) -> (usize, usize) {
        let (block, window) = self.sizes;
        // All blocks are equally long but the one with the last rows, which stands anywhere.
        let short = self.blocks.len() * block - self.rows;
        let last = (self.blocks.len() - 1) as u32;
        let short_at = self.blocks.iter().position(|&b| b == last).unwrap_or(0) / window;
        let start = |number: usize| number * window * block - if number > short_at { short } else { 0 };
        let number = at / (window * block);
        // What comes after the short block starts earlier than it would without it.
        let number = if start(number + 1) <= at { number + 1 } else { number };
        (number, start(number))
    }

    fn window(&self, number: usize) -> Arc<Vec<u32>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = last.as_ref().filter(|(at, _)| *at == number) {
            return Arc::clone(rows);
        }
        let (block, window) = self.sizes;
        let blocks = &self.blocks[number * window..((number + 1) * window).min(self.blocks.len())];
        let of = |b: u32| (b as usize * block) as u32..((b as usize + 1) * block).min(self.rows) as u32;
        let mut rows: Vec<u32> = blocks.iter().flat_map(|&b| of(b)).collect();
        Rng::keyed(self.seed, Stream::Window, self.epoch, number as u64).shuffle(&mut rows);
        let rows = Arc::new(rows);
        *last = Some((number, Arc::clone(&rows)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_once_an_epoch_and_any_batch_is_the_same_whoever_asks() {
        // Whole and short last blocks, one window and many, batches smaller and larger than a window.
        for rows in [1, 7, 64, 100, 101, 127, 128, 129, 1000] {
            for (batch_size, sizes) in [(3, (4, 2)), (10, (4, 8)), (50, (4, 4)), (1, (7, 3))] {
                let of = |epoch: u64| WindowsOfBlocks::with_sizes(rows, batch_size, 5, epoch, sizes);
                let (order, again) = (of(1), of(1));
                let batches: Vec<Vec<u32>> = (0..order.len()).map(|index| order.rows(index)).collect();
                assert!(batches[..batches.len() - 1].iter().all(|batch| batch.len() == batch_size), "{rows} {batch_size} {sizes:?}");
                let mut all = batches.concat();
                all.sort_unstable();
                assert_eq!(all, (0..rows as u32).collect::<Vec<_>>(), "{rows} {batch_size} {sizes:?}");
                (0..order.len()).rev().for_each(|index| assert_eq!(again.rows(index), batches[index]));
                if rows >= 100 {
                    assert_ne!((0..of(2).len()).map(|index| of(2).rows(index)).collect::<Vec<_>>(), batches);
                }
            }
        }
    }

    #[test]
    fn rows_of_a_window_come_from_its_blocks_in_another_order_than_the_sources() {
        let order = WindowsOfBlocks::with_sizes(10_000, 100, 5, 0, (100, 10));
        for window in 0..10 {
            let rows: Vec<u32> = (0..10).flat_map(|batch| order.rows(10 * window + batch)).collect();
            let mut blocks: Vec<u32> = rows.iter().map(|row| row / 100).collect();
            assert!(rows.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() < 10);
            blocks.sort_unstable();
            blocks.dedup();
            assert_eq!(blocks.len(), 10);
        }
    }
}
