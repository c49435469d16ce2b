//! Doubles: vectors that are kept as the same bytes.
//!
//! Many of them would fill each other's links, and no walk would come in or go on. So the graph links the first of them alone, and a search that
//! finds it finds the others through it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Result, ensure};
use xxhash_rust::xxh3::xxh3_64;

use super::graph::NONE;
use crate::column::Column;
use crate::file::{Reader, Writer, inconsistent};
use crate::storage::Storage;

/// Chains of doubles in rising order.
#[derive(Clone)]
pub(super) struct Doubles {
    /// The next double of each vector, or [`NONE`].
    next: Column<u32>,
    count: usize,
}

impl Doubles {
    pub(super) fn new() -> Self {
        Self { next: Column::new(), count: 0 }
    }

    /// Adds the vectors of `storage` from `first` on; says which of them are doubles of one before.
    pub(super) fn extend(&mut self, storage: &Storage, first: usize) -> Vec<bool> {
        let mut is_double = vec![false; storage.len() - first];
        self.next.resize(storage.len(), NONE);
        let next = self.next.make_mut();
        // The last of each chain so far. Of two vectors with one hash the second counts as no double: it is linked then, as any other.
        let mut last: HashMap<u64, u32> = HashMap::with_capacity(storage.len());
        for node in 0..storage.len() as u32 {
            match last.entry(xxh3_64(storage.bytes(node))) {
                Entry::Vacant(place) => {
                    place.insert(node);
                }
                Entry::Occupied(mut place) if storage.bytes(*place.get()) == storage.bytes(node) => {
                    let before = place.insert(node);
                    if node as usize >= first {
                        next[before as usize] = node;
                        is_double[node as usize - first] = true;
                        self.count += 1;
                    }
                }
                Entry::Occupied(_) => {}
            }
        }
        is_double
    }

    /// Whether no vector has a double.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `node` and its doubles with higher numbers.
    #[inline(always)]
    pub(super) fn from(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |&node| Some(self.next[node as usize]).filter(|&next| next != NONE))
    }

    pub(super) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        sections.add(&self.next);
    }

    /// Takes the doubles among `n` vectors from a file.
    pub(super) fn read(n: usize, sections: &mut Reader) -> Result<Self> {
        let next = sections.take::<u32>()?;
        ensure!(next.len() == n, inconsistent("doubles of another number of vectors"));
        let mut is_double = vec![false; n];
        for (node, &double) in next.iter().enumerate().filter(|(_, double)| **double != NONE) {
            // Numbers rise, so that a chain ends.
            let fits = (double as usize) < n && double as usize > node && !is_double[double as usize];
            ensure!(fits, inconsistent("doubles that are no chain"));
            is_double[double as usize] = true;
        }
        Ok(Self { next, count: is_double.iter().filter(|&&is| is).count() })
    }
}
