//! The nearest of what was seen.

use std::collections::BinaryHeap;

/// A vector that was found. The nearer comes first; of equally near ones the lower number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The vector's number.
    pub id: u32,
    /// Its distance from the query under the index's [`Metric`](crate::Metric).
    pub distance: f32,
}

/// A distance and a number in 64 bits that sort as the pair does, so that queues compare whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked(u64);

impl Ranked {
    #[inline(always)]
    pub(crate) fn new(distance: f32, id: u32) -> Self {
        let bits = distance.to_bits();
        // Positive numbers sort as their bits; of negative ones all bits are turned.
        let sortable = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Self(u64::from(sortable) << 32 | u64::from(id))
    }

    #[inline(always)]
    pub(crate) fn id(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(crate) fn distance(self) -> f32 {
        let sortable = (self.0 >> 32) as u32;
        f32::from_bits(if sortable >> 31 == 1 { sortable & !(1 << 31) } else { !sortable })
    }
}

impl From<Ranked> for Neighbour {
    fn from(ranked: Ranked) -> Self {
        Self { id: ranked.id(), distance: ranked.distance() }
    }
}

/// Keeps the nearest `k` of what it is shown.
pub(crate) struct Nearest {
    k: usize,
    kept: BinaryHeap<Ranked>,
}

impl Nearest {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::new() }
    }

    /// Shows a vector that was not shown before.
    #[inline(always)]
    pub(crate) fn show(&mut self, distance: f32, id: u32) {
        let ranked = Ranked::new(distance, id);
        if self.kept.len() < self.k {
            self.kept.push(ranked);
        } else if let Some(mut last) = self.kept.peek_mut()
            && ranked < *last
        {
            *last = ranked;
        }
    }

    /// The largest distance that can still be among the nearest; ∞ before there are `k`.
    #[inline(always)]
    pub(crate) fn worst(&self) -> f32 {
        match self.kept.peek() {
            _ if self.kept.len() < self.k => f32::INFINITY,
            Some(last) => last.distance(),
            None => f32::NEG_INFINITY,
        }
    }

    /// The nearest, nearest first.
    pub(crate) fn into_sorted(self) -> Vec<Neighbour> {
        self.kept.into_sorted_vec().into_iter().map(Neighbour::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_are_those_of_a_full_sort(distances in prop::collection::vec(-4i8..4, 0..200), k in 0usize..20) {
            let mut nearest = Nearest::new(k);
            let mut all: Vec<(i8, u32)> = distances.iter().enumerate().map(|(id, &d)| (d, id as u32)).collect();
            for &(distance, id) in &all {
                nearest.show(f32::from(distance), id);
            }
            all.sort_unstable();
            all.truncate(k);
            let found: Vec<(i8, u32)> = nearest.into_sorted().iter().map(|n| (n.distance as i8, n.id)).collect();
            prop_assert_eq!(found, all);
        }

        #[test]
        fn a_ranked_pair_sorts_as_the_pair_and_gives_it_back(a: (f32, u32), b: (f32, u32)) {
            let of = |pair: (f32, u32)| Ranked::new(pair.0, pair.1);
            prop_assert_eq!(of(a).cmp(&of(b)), a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            prop_assert_eq!((of(a).distance().to_bits(), of(a).id()), (a.0.to_bits(), a.1));
        }
    }
}
