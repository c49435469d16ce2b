//! Numbers of numeric raw ids.

use std::collections::HashMap;

use crate::Vocabulary;

/// Numbers numeric ids in the order in which they first appear. Small ids, the usual case, cost one look into a table.
#[derive(Default)]
pub struct Appearance {
    small: Vec<u32>,
    large: HashMap<u32, u32>,
    ids: Vec<u32>,
}

const UNSEEN: u32 = u32::MAX;
/// Tables grow to at most 16 MiB; ids beyond go to the map.
const SMALL: usize = 1 << 22;

impl Appearance {
    /// The number of `id`, a new one where it was not seen before.
    pub fn number(&mut self, id: u32) -> u32 {
        let new = self.ids.len() as u32;
        let slot = if (id as usize) < SMALL {
            if id as usize >= self.small.len() {
                self.small.resize((id as usize + 1).next_power_of_two(), UNSEEN);
            }
            &mut self.small[id as usize]
        } else {
            self.large.entry(id).or_insert(UNSEEN)
        };
        if *slot == UNSEEN {
            *slot = new;
            self.ids.push(id);
        }
        *slot
    }

    /// The number of an id that was seen.
    pub fn get(&self, id: u32) -> Option<u32> {
        let found = if (id as usize) < SMALL { self.small.get(id as usize) } else { self.large.get(&id) };
        found.copied().filter(|&n| n != UNSEEN)
    }

    /// The number of ids seen.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The ids as text, in the order of their numbers.
    pub fn vocabulary(&self) -> Vocabulary {
        self.ids.iter().map(u32::to_string).collect()
    }
}

/// Renumbers published ids in their own order: the smallest is 0, the next 1. Returns their texts.
pub fn ranked(ids: &mut [u32]) -> Vocabulary {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let top = sorted.last().copied().unwrap_or(0) as usize;
    if top < SMALL.max(4 * ids.len()) {
        let mut rank = vec![0u32; top + 1];
        for (n, &id) in sorted.iter().enumerate() {
            rank[id as usize] = n as u32;
        }
        ids.iter_mut().for_each(|id| *id = rank[*id as usize]);
    } else {
        ids.iter_mut().for_each(|id| *id = sorted.partition_point(|s| s < id) as u32);
    }
    sorted.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_appearance_gives_the_number_for_small_and_large_ids() {
        let mut ids = Appearance::default();
        let numbers: Vec<_> = [7, u32::MAX - 1, 0, 7, u32::MAX - 1, 5_000_000].into_iter().map(|id| ids.number(id)).collect();
        assert_eq!(numbers, [0, 1, 2, 0, 1, 3]);
        assert_eq!(ids.get(5_000_000), Some(3));
        assert_eq!((ids.get(1), ids.get(100), ids.get(6_000_000)), (None, None, None));
        assert_eq!(ids.vocabulary().iter().collect::<Vec<_>>(), ["7", "4294967294", "0", "5000000"]);
    }

    #[test]
    fn ranks_follow_the_published_order() {
        for top in [30, u32::MAX - 1] {
            let mut ids = vec![20, 3, top, 3];
            let vocabulary = ranked(&mut ids);
            assert_eq!(ids, [1, 0, 2, 0]);
            assert_eq!(vocabulary.raw(2), top.to_string());
        }
    }
}
