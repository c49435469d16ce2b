//! Adding nodes: algorithms 1 and 4 of the paper, for a batch at a time.
//!
//! The nodes of a batch search the graph as it was before the batch, all at once, and are compared with each other by distance alone; then
//! the links are set, each list by one thread, from what the batch found in the order of its nodes. So the graph does not depend on the number of
//! threads, and differs little from one that is built node by node.

use rayon::prelude::*;

use super::graph::Graph;
use super::index::Hnsw;
use super::search::{descend, search_layer};
use crate::Metric;
use crate::nearest::Ranked;
use crate::storage::Storage;

/// Nodes that are added together: enough to keep threads busy, few beside the nodes that are there.
const BATCH: usize = 64;
/// The graph has at least this many times the nodes of a batch.
const GROWTH: usize = 16;

/// A node's chosen links on one layer, nearest first.
struct Chosen {
    layer: u8,
    node: u32,
    links: Vec<Ranked>,
}

/// A link to be added to what `target` has.
struct Back {
    layer: u8,
    target: u32,
    source: Ranked,
}

/// Links the last nodes of the graph, which have none yet, from `first` on, but those that `is_double` is true for.
pub(super) fn link(index: &mut Hnsw, first: usize, is_double: &[bool]) {
    let mut from = first;
    while from < index.graph.len() {
        let to = (from + (from / GROWTH).clamp(1, BATCH)).min(index.graph.len());
        let batch: Vec<u32> = (from..to).filter(|&node| !is_double[node - first]).map(|node| node as u32).collect();
        add(index, &batch);
        from = to;
    }
}

fn add(index: &mut Hnsw, batch: &[u32]) {
    let found: Vec<Chosen> = (0..batch.len()).into_par_iter().flat_map_iter(|at| choose(index, batch[at], &batch[..at])).collect();
    let graph = &mut index.graph;
    let mut backs: Vec<Back> = Vec::new();
    for Chosen { layer, node, links } in &found {
        let ids: Vec<u32> = links.iter().map(|link| link.id()).collect();
        graph.set_links(*layer, *node, &ids, ids.len());
        backs.extend(links.iter().map(|l| Back { layer: *layer, target: l.id(), source: Ranked::new(l.distance(), *node) }));
    }
    backs.sort_by_key(|back| (back.layer, back.target, back.source));
    let lists: Vec<&[Back]> = backs.chunk_by(|a, b| (a.layer, a.target) == (b.layer, b.target)).collect();
    let renewed: Vec<(Vec<u32>, usize)> = lists.par_iter().map(|new| renew(graph, &index.storage, index.metric, new)).collect();
    for (new, (links, settled)) in lists.iter().zip(renewed) {
        graph.set_links(new[0].layer, new[0].target, &links, settled);
    }
    for &node in batch {
        if graph.entry().is_none_or(|entry| graph.level(node) > graph.level(entry)) {
            graph.set_entry(node);
        }
    }
}

/// The links of a new node on each of its layers, among the nodes that are linked already and those of its batch `before` it.
fn choose(index: &Hnsw, node: u32, before: &[u32]) -> Vec<Chosen> {
    let Hnsw { graph, storage, metric, config, .. } = index;
    let distances = storage.distances_from(node, *metric);
    let level = graph.level(node);
    let entry = graph.entry();
    let top = entry.map_or(0, |entry| graph.level(entry));
    let mut start = entry.map(|entry| descend(graph, &distances, entry, level.min(top) + 1));
    let mut mates = Vec::with_capacity(BATCH);
    distances.each(before.iter().copied(), |distance, mate| mates.push(Ranked::new(distance, mate)));
    let mut scratch = index.scratch();
    let choose = |layer: u8| {
        let mut candidates: Vec<Ranked> = mates.iter().copied().filter(|mate| graph.level(mate.id()) >= layer).collect();
        if let Some(start) = start.as_mut().filter(|_| layer <= top) {
            let linked = candidates.len();
            candidates.extend(search_layer(graph, layer, &distances, *start, config.ef_construction, &mut scratch));
            *start = candidates[linked];
        }
        candidates.sort_unstable();
        candidates.truncate(config.ef_construction);
        let candidates: Vec<(Ranked, bool)> = candidates.into_iter().map(|candidate| (candidate, false)).collect();
        Chosen { layer, node, links: diverse(storage, *metric, &candidates, config.m) }
    };
    let chosen = (0..=level).rev().map(choose).collect();
    index.give_back(scratch);
    chosen
}

/// A node's links with new ones added: all of them while there is place, and those that the heuristic chooses when there is not.
fn renew(graph: &Graph, storage: &Storage, metric: Metric, new: &[Back]) -> (Vec<u32>, usize) {
    let Back { layer, target, .. } = new[0];
    let mut links: Vec<u32> = graph.links(layer, target).collect();
    let settled = graph.settled(layer, target);
    if links.len() + new.len() <= graph.width(layer) {
        links.extend(new.iter().map(|back| back.source.id()));
        return (links, settled);
    }
    let mut candidates: Vec<(Ranked, bool)> = new.iter().map(|back| (back.source, false)).collect();
    let mut at = 0;
    storage.distances_from(target, metric).each(links.iter().copied(), |distance, link| {
        candidates.push((Ranked::new(distance, link), at < settled));
        at += 1;
    });
    candidates.sort_unstable();
    let kept = diverse(storage, metric, &candidates, graph.width(layer));
    (kept.iter().map(|link| link.id()).collect(), kept.len())
}

/// Up to `most` of `candidates`, nearest first: each that is nearer to the node than to any chosen before it. SELECT-NEIGHBORS-HEURISTIC,
/// without extension and without keeping what was discarded. Two that are marked were chosen together before, and are not compared again.
fn diverse(storage: &Storage, metric: Metric, candidates: &[(Ranked, bool)], most: usize) -> Vec<Ranked> {
    let mut kept: Vec<(Ranked, bool)> = Vec::with_capacity(most);
    let mut others: Vec<u32> = Vec::with_capacity(most);
    for &(candidate, marked) in candidates {
        if kept.len() == most {
            break;
        }
        others.clear();
        others.extend(kept.iter().filter(|(_, also)| !(marked && *also)).map(|(other, _)| other.id()));
        let distances = storage.distances_from(candidate.id(), metric);
        let nearer = others.chunks(4).any(|others| {
            let mut nearer = false;
            distances.each(others.iter().copied(), |distance, _| nearer |= distance < candidate.distance());
            nearer
        });
        if !nearer {
            kept.push((candidate, marked));
        }
    }
    kept.into_iter().map(|(candidate, _)| candidate).collect()
}
