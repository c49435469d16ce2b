//! The index: settings, construction, search, deletion, file.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::build::link;
use super::doubles::Doubles;
use super::graph::{Graph, MAX_LEVEL};
use super::search::{Scratch, descend, search_allowed, search_layer};
use crate::column::Column;
use crate::file::{self, Reader, Stored, Writer, inconsistent};
use crate::index::Index;
use crate::nearest::{Nearest, Ranked};
use crate::rng::{Rng, Stream};
use crate::rows::{MAX_ROWS, Rows};
use crate::storage::{Precision, Storage};
use crate::{Metric, Neighbour, RawIds, Subset};

/// Settings of [`Hnsw`], with the paper's letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswConfig {
    /// M: links that a new node gets on each of its layers, in 2..=1024. A node keeps at most M on a layer, and 2M on the lowest.
    pub m: usize,
    /// efConstruction: how many near nodes a new node chooses its links from, at least 1.
    pub ef_construction: usize,
    /// ef: how many near nodes a search keeps, at least 1; a search for more than `ef` keeps as many as it is asked for, and one that keeps all there are
    /// looks at each.
    pub ef: usize,
    /// Seed of the nodes' levels.
    pub seed: u64,
    /// How the vectors are kept.
    pub precision: Precision,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef: 100, seed: 0, precision: Precision::Float }
    }
}

impl HnswConfig {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!((2..=1024).contains(&self.m), "m is {}: it must lie in 2..=1024", self.m);
        ensure!(self.ef_construction >= 1, "ef_construction is 0: it must be at least 1");
        ensure!(self.ef >= 1, "ef is 0: it must be at least 1");
        Ok(())
    }
}

/// Layers of graphs, each with fewer nodes than the one below; a search walks from the highest to the lowest.
///
/// Under [`Metric::InnerProduct`] the graph is built and walked by the inner product itself (Morozov and Babenko, "Non-metric similarity graphs for
/// maximum inner product search", NeurIPS 2018): no vector is normalised or given a further dimension, so vectors of any length can be added later.
pub struct Hnsw {
    pub(super) metric: Metric,
    pub(super) config: HnswConfig,
    pub(super) storage: Storage,
    pub(super) graph: Graph,
    doubles: Doubles,
    dim: usize,
    /// 1 for each vector that must not be found.
    deleted: Column<u8>,
    num_deleted: usize,
    scratches: Mutex<Vec<Scratch>>,
}

impl Hnsw {
    /// An index of `vectors` (`[n, dim]`), built on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, config: HnswConfig) -> Result<Self> {
        config.check()?;
        let rows = Rows::checked(vectors, dim, metric)?;
        let (n, graph) = (rows.len(), Graph::new(config.m));
        let storage = Storage::new(rows, config.precision, metric);
        let (doubles, deleted) = (Doubles::new(), Column::new());
        let mut out = Self { metric, config, storage, graph, doubles, dim, deleted, num_deleted: 0, scratches: Mutex::default() };
        out.add_nodes(n);
        Ok(out)
    }

    /// Adds vectors (`[n, dim]`), with the numbers from [`len`](Index::len) on. Under [`Precision::Byte`] the steps stay those of the first vectors.
    ///
    /// # Errors
    /// as [`new`](Self::new); nothing is added then.
    pub fn insert(&mut self, vectors: &[f32]) -> Result<()> {
        let rows = Rows::checked(vectors, self.dim, self.metric)?;
        ensure!(self.len() + rows.len() <= MAX_ROWS, "an index holds at most {MAX_ROWS} vectors");
        self.storage.append(&rows, self.metric);
        self.add_nodes(rows.len());
        Ok(())
    }

    fn add_nodes(&mut self, count: usize) {
        let first = self.graph.len();
        let is_double = self.doubles.extend(&self.storage, first);
        let levels: Vec<u8> = (first..first + count).map(|node| if is_double[node - first] { 0 } else { self.drawn_level(node) }).collect();
        self.graph.extend(&levels);
        self.deleted.resize(first + count, 0);
        link(self, first, &is_double);
    }

    /// ⌊−ln(u)·m_L⌋ with m_L = 1/ln(M).
    fn drawn_level(&self, node: usize) -> u8 {
        let u = 1.0 - Rng::keyed(self.config.seed, Stream::Levels, node as u64).unit();
        (-u.ln() / (self.config.m as f64).ln()).min(f64::from(MAX_LEVEL)) as u8
    }

    /// Marks a vector so that no search finds it; walks still go through it. Returns whether it was there and not marked.
    pub fn delete(&mut self, id: u32) -> bool {
        let fresh = self.deleted.get(id as usize) == Some(&0);
        if fresh {
            self.deleted.make_mut()[id as usize] = 1;
            self.num_deleted += 1;
        }
        fresh
    }

    /// How many vectors are marked as deleted.
    pub fn num_deleted(&self) -> usize {
        self.num_deleted
    }

    /// Sets how many near nodes a search keeps: more find more, and take longer.
    ///
    /// # Errors
    /// where `ef` is 0.
    pub fn set_ef(&mut self, ef: usize) -> Result<()> {
        self.config.ef = ef;
        self.config.check()
    }

    /// Opens a file of this kind of index. A vector that is inserted later copies what is mapped.
    ///
    /// # Errors
    /// as [`open`](crate::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        file::open_as(path.as_ref())
    }

    /// What a search needs: a kept one, or a new one.
    pub(super) fn scratch(&self) -> Scratch {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }

    /// The `k` nearest of what was found and its doubles.
    fn with_doubles(&self, found: impl Iterator<Item = Ranked>, k: usize) -> Vec<Neighbour> {
        let mut nearest = Nearest::new(k);
        found.for_each(|first| self.doubles.from(first.id()).for_each(|id| nearest.show(first.distance(), id)));
        nearest.into_sorted()
    }

    /// Whether looking at each of `count` allowed vectors costs less than a walk, which sees about ef·M nodes for every n/count that it may keep.
    fn few(&self, count: usize, ef: usize) -> bool {
        (count as f64).powi(2) <= (ef * self.config.m) as f64 * self.len() as f64
    }
}

impl Index for Hnsw {
    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.graph.len()
    }

    fn search(&self, query: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Neighbour>> {
        let query = Rows::query(query, self.dim, self.metric)?;
        let distances = self.storage.distances(&query, self.metric);
        let Some(entry) = self.graph.entry().filter(|_| k > 0) else { return Ok(Vec::new()) };
        let ef = self.config.ef.max(k).min(self.len());
        let allowed = |id: u32| self.deleted[id as usize] == 0 && within.is_none_or(|within| within.contains(id));
        if ef == self.len() {
            // Who is to be kept is all there are: looking at each costs less than a walk, and misses none that no link leads to.
            let mut nearest = Nearest::new(k);
            distances.each((0..self.len() as u32).filter(|&id| allowed(id)), |distance, id| nearest.show(distance, id));
            return Ok(nearest.into_sorted());
        }
        if let Some(within) = within.filter(|within| self.few(within.len(), ef)) {
            let mut nearest = Nearest::new(k);
            let len = self.len() as u32;
            let ids = within.iter().take_while(|&id| id < len).filter(|&id| allowed(id));
            distances.each(ids, |distance, id| nearest.show(distance, id));
            return Ok(nearest.into_sorted());
        }
        let start = descend(&self.graph, &distances, entry, 1);
        let mut scratch = self.scratch();
        let found = if within.is_none() && self.num_deleted == 0 {
            let found = search_layer(&self.graph, 0, &distances, start, ef, &mut scratch).take(k);
            if self.doubles.is_empty() { found.map(Neighbour::from).collect() } else { self.with_doubles(found, k) }
        } else {
            let found = |id| self.doubles.from(id).filter(|&id| allowed(id));
            let mut found = search_allowed(&self.graph, &distances, start, ef, &mut scratch, found).into_sorted();
            found.truncate(k);
            found
        };
        self.give_back(scratch);
        Ok(found)
    }

    fn set_effort(&mut self, effort: usize) -> Result<()> {
        self.set_ef(effort)
    }

    fn size(&self) -> usize {
        file::size(self)
    }

    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()> {
        file::save(self, path, ids)
    }
}

impl Stored for Hnsw {
    const KIND: &'static str = "hnsw";
    type Settings = HnswConfig;

    fn settings(&self) -> HnswConfig {
        self.config.clone()
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.storage.write(sections);
        self.graph.write(sections);
        self.doubles.write(sections);
        sections.add(&self.deleted);
    }

    fn read(metric: Metric, dim: usize, config: HnswConfig, sections: &mut Reader) -> Result<Self> {
        config.check()?;
        let storage = Storage::read(config.precision, metric, dim, sections)?;
        let graph = Graph::read(config.m, storage.len(), sections)?;
        let doubles = Doubles::read(storage.len(), sections)?;
        let deleted = sections.take::<u8>()?;
        let marks = deleted.len() == storage.len() && deleted.iter().all(|&mark| mark <= 1);
        ensure!(marks, inconsistent("marks of deletion that do not fit"));
        let num_deleted = deleted.iter().filter(|&&mark| mark == 1).count();
        Ok(Self { metric, config, storage, graph, doubles, dim, deleted, num_deleted, scratches: Mutex::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flat;
    use crate::file::tests::{bytes_of, check_file};
    use crate::index::tests::{drawn, recall};

    #[test]
    fn nearly_all_of_the_nearest_are_found_also_within_a_subset_and_after_deletion() {
        let (vectors, queries) = (drawn(3000, 24, 1), drawn(100, 24, 2));
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for (precision, least) in [(Precision::Float, 0.97), (Precision::Byte, 0.9)] {
                let mut index = Hnsw::new(&vectors, 24, metric, HnswConfig { precision, ..HnswConfig::default() }).expect("built");
                let exact = Flat::new(&vectors, 24, metric).expect("finite");
                let found = recall(&index, &vectors, &queries, None);
                assert!(found > least, "{metric:?} {precision:?} {found}");
                for share in [2, 50] {
                    let within = Subset::of(3000, |id| id % share == 0);
                    let found = recall(&index, &vectors, &queries, Some(&within));
                    assert!(found > least, "{metric:?} {precision:?} one of {share}: {found}");
                }
                for id in (0..3000).filter(|id| id % 3 == 0) {
                    assert!(index.delete(id) && !index.delete(id));
                }
                let left = Subset::of(3000, |id| id % 3 != 0);
                let found = index.search_batch(&queries, 10, None).expect("finite");
                assert!(found.iter().flatten().all(|n| left.contains(n.id)));
                let exact = exact.search_batch(&queries, 10, Some(&left)).expect("finite");
                let hits = found.iter().zip(&exact).flat_map(|(f, e)| f.iter().filter(|n| e.iter().any(|m| m.id == n.id))).count();
                assert!(hits as f64 > least * 1000.0, "{metric:?} {precision:?} after deletion: {hits}");
            }
        }
    }

    #[test]
    fn doubles_are_found_and_hide_nothing_else() {
        // Ten vectors of 200 doubles each in a row, more than all links of a node, and single ones before, between and after them.
        let (mut vectors, single) = (drawn(100, 8, 6), drawn(1000, 8, 7));
        for (group, chunk) in single.chunks_exact(100 * 8).enumerate() {
            vectors.extend_from_slice(&drawn(1, 8, 20 + group as u64).repeat(200));
            vectors.extend_from_slice(chunk);
        }
        let queries = drawn(30, 8, 8);
        let (n, config) = (vectors.len() / 8, HnswConfig { m: 8, ..HnswConfig::default() });
        for (metric, least) in [(Metric::L2, 8_950), (Metric::InnerProduct, 8_800), (Metric::Cosine, 8_950)] {
            let index = Hnsw::new(&vectors, 8, metric, config.clone()).expect("built");
            let mut inserted = Hnsw::new(&vectors[..n / 2 * 8], 8, metric, config.clone()).expect("built");
            inserted.insert(&vectors[n / 2 * 8..]).expect("inserted");
            for within in [None, Some(&Subset::of(n, |id| id % 3 != 0))] {
                for index in [&index, &inserted] {
                    let found = index.search_batch(&queries, 300, within).expect("finite");
                    let exact = Flat::new(&vectors, 8, metric).expect("finite").search_batch(&queries, 300, within).expect("finite");
                    let near =
                        |(f, e): (&Vec<Neighbour>, &Vec<Neighbour>)| f.iter().filter(|n| n.distance <= e[e.len() - 1].distance).count();
                    let hits = found.iter().zip(&exact).map(near).sum::<usize>();
                    assert!(hits >= least, "{metric:?} {hits}");
                }
            }
        }
    }

    #[test]
    fn the_graph_does_not_depend_on_the_number_of_threads() {
        let vectors = drawn(1500, 12, 3);
        let built = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let mut index = Hnsw::new(&vectors[..1000 * 12], 12, Metric::L2, HnswConfig::default()).expect("built");
                index.insert(&vectors[1000 * 12..]).expect("inserted");
                bytes_of(&index)
            })
        };
        assert!(built(1) == built(3));
    }

    #[test]
    fn what_is_inserted_after_opening_is_found() {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("index");
        let vectors = drawn(1000, 8, 4);
        Hnsw::new(&vectors[..500 * 8], 8, Metric::L2, HnswConfig::default()).expect("built").save(&path).expect("saved");
        let mut index = Hnsw::open(&path).expect("whole");
        index.insert(&vectors[500 * 8..]).expect("inserted");
        let itself = (0..1000).filter(|&i| index.search(&vectors[i * 8..][..8], 1, None).expect("finite")[0].id == i as u32).count();
        assert!(itself > 990, "{itself}");
        assert_eq!(Hnsw::open(&path).expect("whole").len(), 500);
        assert!(index.insert(&[f32::NAN; 8]).is_err() && index.len() == 1000);
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_is_refused() {
        let mut index = Hnsw::new(&drawn(300, 4, 5), 4, Metric::L2, HnswConfig { m: 3, ..HnswConfig::default() }).expect("built");
        index.delete(7);
        index.insert(&[0.5; 8]).expect("inserted");
        check_file(&index, 2000);
        check_file(&Hnsw::new(&[], 4, Metric::Cosine, HnswConfig::default()).expect("empty"), 200);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let error = |config| Hnsw::new(&[], 2, Metric::L2, config).err().expect("refused").to_string();
        assert_eq!(error(HnswConfig { m: 1, ..HnswConfig::default() }), "m is 1: it must lie in 2..=1024");
        assert!(error(HnswConfig { ef: 0, ..HnswConfig::default() }).contains("ef is 0"));
        assert!(error(HnswConfig { ef_construction: 0, ..HnswConfig::default() }).contains("ef_construction is 0"));
    }
}
