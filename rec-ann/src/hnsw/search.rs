//! Walking through the layers: algorithms 2 and 5 of the paper.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::graph::{Graph, NONE};
use crate::nearest::{Nearest, Ranked};
use crate::storage::Distances;
use crate::visited::Visited;

/// Cache lines of a vector that are asked for while its node's other links are looked at; the processor follows a row from there.
const LINES_AHEAD: usize = 4;

/// What a search needs beside the graph, kept between searches.
#[derive(Default)]
pub(super) struct Scratch {
    visited: Visited,
    pool: Pool,
    fresh: Vec<u32>,
}

/// The node nearest to the query that is found by always going on to the nearest linked one, from the highest layer down to `layer`.
pub(super) fn descend(graph: &Graph, distances: &Distances<'_>, entry: u32, layer: u8) -> Ranked {
    let mut best = Ranked::new(distances.to(entry), entry);
    for layer in (layer..=graph.level(entry)).rev() {
        loop {
            let from = best;
            distances.each(graph.links(layer, from.id()), |distance, link| best = best.min(Ranked::new(distance, link)));
            if best.distance() >= from.distance() {
                best = from;
                break;
            }
        }
    }
    best
}

/// Up to `ef` nodes of a layer nearest to the query, nearest first: SEARCH-LAYER.
pub(super) fn search_layer<'a>(
    graph: &Graph,
    layer: u8,
    distances: &Distances<'_>,
    entry: Ranked,
    ef: usize,
    scratch: &'a mut Scratch,
) -> impl Iterator<Item = Ranked> + 'a {
    let Scratch { visited, pool, fresh } = scratch;
    visited.restart(graph.len());
    visited.first(entry.id());
    pool.restart(ef);
    pool.show(entry.distance(), entry.id());
    while let Some(node) = pool.next() {
        gather(graph, layer, node, distances, visited, fresh);
        distances.each(fresh.iter().copied(), |distance, link| pool.show(distance, link));
    }
    pool.entries.iter().map(|entry| Ranked::new(entry.distance(), entry.id() >> 1))
}

/// As [`search_layer`] on layer 0, but of what `allowed` makes of each node: the walk goes through all of them.
pub(super) fn search_allowed<I: Iterator<Item = u32>>(
    graph: &Graph,
    distances: &Distances<'_>,
    entry: Ranked,
    ef: usize,
    scratch: &mut Scratch,
    allowed: impl Fn(u32) -> I,
) -> Nearest {
    let Scratch { visited, fresh, .. } = scratch;
    visited.restart(graph.len());
    visited.first(entry.id());
    let mut nearest = Nearest::new(ef);
    let mut frontier = BinaryHeap::from([Reverse(entry)]);
    allowed(entry.id()).for_each(|id| nearest.show(entry.distance(), id));
    while let Some(Reverse(node)) = frontier.pop()
        && node.distance() <= nearest.worst()
    {
        gather(graph, 0, node.id(), distances, visited, fresh);
        distances.each(fresh.iter().copied(), |distance, link| {
            if distance < nearest.worst() {
                frontier.push(Reverse(Ranked::new(distance, link)));
                allowed(link).for_each(|id| nearest.show(distance, id));
            }
        });
    }
    nearest
}

/// The links of a node that were not visited before, into `fresh`; their vectors are asked for.
#[inline(always)]
fn gather(graph: &Graph, layer: u8, node: u32, distances: &Distances<'_>, visited: &mut Visited, fresh: &mut Vec<u32>) {
    fresh.clear();
    for &link in graph.places(layer, node) {
        if link == NONE {
            break;
        }
        if visited.first(link) {
            distances.prefetch(link, LINES_AHEAD);
            fresh.push(link);
        }
    }
}

/// The nearest `ef` nodes that were seen, sorted, and which of them are still to be walked from. What falls out of the nearest `ef` is never walked
/// from, so that one list is both queues of the paper.
///
/// An entry's number is twice the node's, and one more once it was walked from.
#[derive(Default)]
struct Pool {
    entries: Vec<Ranked>,
    ef: usize,
    /// All entries before this one were walked from.
    next: usize,
}

impl Pool {
    fn restart(&mut self, ef: usize) {
        self.entries.clear();
        self.entries.reserve(ef + 1);
        (self.ef, self.next) = (ef, 0);
    }

    #[inline(always)]
    fn show(&mut self, distance: f32, node: u32) {
        let entry = Ranked::new(distance, node << 1);
        if self.entries.len() == self.ef {
            match self.entries.last() {
                Some(&last) if entry < last => self.entries.pop(),
                _ => return,
            };
        }
        let at = self.entries.partition_point(|&other| other < entry);
        self.entries.insert(at, entry);
        self.next = self.next.min(at);
    }

    /// The nearest node that was not walked from.
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.next) {
            self.next += 1;
            let id = entry.id();
            if id & 1 == 0 {
                *entry = Ranked::new(entry.distance(), id | 1);
                return Some(id >> 1);
            }
        }
        None
    }
}
