//! A forest of random trees, as Annoy grows them: Bernhardsson, <https://github.com/spotify/annoy>, version 1.17.
//!
//! A tree halves its vectors by a hyperplane between two means of a few of them, until a leaf is small. A search has one queue over
//! all trees: it goes on where the query lies deepest on the right side, or least on the wrong one, of the planes above.

use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::augment::augmented;
use crate::column::Column;
use crate::file::{self, Reader, Stored, Writer, inconsistent};
use crate::index::Index;
use crate::kernels::{dot, squared_l2};
use crate::nearest::{Nearest, Ranked};
use crate::rng::{Rng, Stream};
use crate::rows::Rows;
use crate::storage::{Precision, Storage};
use crate::visited::Visited;
use crate::{Metric, Neighbour, RawIds, Subset};

/// Vectors that two means are made from.
const MEANS_STEPS: usize = 200;
/// How often a plane is drawn anew when one side would get more than this share.
const ATTEMPTS: usize = 3;
const LARGEST_SHARE: f64 = 0.95;
/// The bit that tells a leaf from a split.
const LEAF: u32 = 1 << 31;
/// Cache lines of a vector that are asked for ahead, and how many vectors ahead.
const LINES_AHEAD: usize = 8;
const ROWS_AHEAD: usize = 8;

/// Settings of [`Forest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForestConfig {
    /// Trees, at least 1: more find more, and take more memory.
    pub trees: usize,
    /// Vectors that a leaf holds at most, at least 1: fewer find more, and take more memory.
    pub leaf_size: usize,
    /// How many vectors a search collects from all trees, doubles among them, before it compares them; 0 stands for `k` · `trees`.
    pub search_k: usize,
    /// Seed of the trees.
    pub seed: u64,
    /// How the vectors are kept.
    pub precision: Precision,
}

impl Default for ForestConfig {
    fn default() -> Self {
        Self { trees: 100, leaf_size: 128, search_k: 0, seed: 0, precision: Precision::Float }
    }
}

impl ForestConfig {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.trees >= 1, "trees is 0: it must be at least 1");
        ensure!(self.leaf_size >= 1, "leaf_size is 0: it must be at least 1");
        Ok(())
    }
}

/// Trees of hyperplanes.
///
/// Under [`Metric::InnerProduct`] the trees are grown on the vectors with one value more, which gives all of them the same length (Bachrach et al. 2014);
/// the value of a query there is 0, so the planes are kept without it.
pub struct Forest {
    metric: Metric,
    dim: usize,
    config: ForestConfig,
    storage: Storage,
    trees: Trees,
    scratches: Mutex<Vec<Scratch>>,
}

/// A plane with what lies on either side: the number of a split, or that of a leaf and [`LEAF`].
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Split {
    /// On the side that the plane's normal points away from, and to.
    sides: [u32; 2],
    offset: f32,
}

/// All trees in common arrays; a split comes before those below it.
struct Trees {
    roots: Column<u32>,
    splits: Column<Split>,
    /// The normal of each split's plane, of length 1.
    normals: Rows,
    /// Where each leaf starts in `ids`, and after the last one their number.
    starts: Column<u32>,
    ids: Column<u32>,
}

#[derive(Default)]
struct Scratch {
    visited: Visited,
    queue: BinaryHeap<Ranked>,
    found: Vec<u32>,
}

impl Forest {
    /// A forest over `vectors` (`[n, dim]`), grown on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, config: ForestConfig) -> Result<Self> {
        config.check()?;
        let rows = Rows::checked(vectors, dim, metric)?;
        let places = rows.len().checked_mul(config.trees).filter(|&places| places < LEAF as usize);
        ensure!(places.is_some(), "{} vectors in {} trees: their product must lie below 2³¹", rows.len(), config.trees);
        let longer = (metric == Metric::InnerProduct).then(|| augmented(&rows));
        let grown = (0..config.trees as u64).into_par_iter();
        let grown = grown.map(|tree| Grower::grow(longer.as_ref().unwrap_or(&rows), metric, &config, tree)).collect();
        let trees = Trees::joined(grown, dim);
        let storage = Storage::new(rows, config.precision, metric);
        Ok(Self { metric, dim, config, storage, trees, scratches: Mutex::default() })
    }

    /// Sets how many vectors a search collects; 0 stands for `k` · `trees`.
    pub fn set_search_k(&mut self, search_k: usize) {
        self.config.search_k = search_k;
    }

    /// Opens a file of this kind of index.
    ///
    /// # Errors
    /// as [`open`](crate::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        file::open_as(path.as_ref())
    }
}

impl Index for Forest {
    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.storage.len()
    }

    fn search(&self, query: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Neighbour>> {
        let query = Rows::query(query, self.dim, self.metric)?;
        let search_k = if self.config.search_k > 0 { self.config.search_k } else { k.saturating_mul(self.config.trees) };
        let mut scratch = self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        self.trees.collect(&query, search_k, self.len(), within, &mut scratch);
        let (distances, mut nearest) = (self.storage.distances(&query, self.metric), Nearest::new(k));
        let found = &scratch.found;
        let ids = found.iter().enumerate().map(|(i, &id)| {
            if let Some(&ahead) = found.get(i + ROWS_AHEAD) {
                distances.prefetch(ahead, LINES_AHEAD);
            }
            id
        });
        distances.each(ids, |distance, id| nearest.show(distance, id));
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        Ok(nearest.into_sorted())
    }

    fn set_effort(&mut self, effort: usize) -> Result<()> {
        self.set_search_k(effort);
        Ok(())
    }

    fn size(&self) -> usize {
        file::size(self)
    }

    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()> {
        file::save(self, path, ids)
    }
}

impl Trees {
    /// The vectors of the leaves that the query is nearest to, until there are `search_k`, into `scratch.found`, each once.
    fn collect(&self, query: &[f32], search_k: usize, len: usize, within: Option<&Subset>, scratch: &mut Scratch) {
        let Scratch { visited, queue, found } = scratch;
        visited.restart(len);
        queue.clear();
        found.clear();
        queue.extend(self.roots.iter().map(|&root| Ranked::new(f32::INFINITY, root)));
        let mut collected = 0;
        while collected < search_k
            && let Some(best) = queue.pop()
        {
            let node = best.id();
            if node & LEAF == 0 {
                let Split { sides, offset } = self.splits[node as usize];
                let margin = dot(self.normals.row(node as usize), query) + offset;
                queue.push(Ranked::new(best.distance().min(-margin), sides[0]));
                queue.push(Ranked::new(best.distance().min(margin), sides[1]));
            } else {
                let leaf = (node & !LEAF) as usize;
                for &id in &self.ids[self.starts[leaf] as usize..self.starts[leaf + 1] as usize] {
                    if within.is_none_or(|within| within.contains(id)) {
                        collected += 1;
                        if visited.first(id) {
                            found.push(id);
                        }
                    }
                }
            }
        }
    }

    /// Trees in common arrays.
    fn joined(grown: Vec<Grower<'_>>, dim: usize) -> Self {
        let (mut roots, mut splits, mut starts, mut ids) = (Vec::new(), Vec::new(), vec![0u32], Vec::new());
        let mut normals = Rows::zeros(0, dim);
        for tree in grown {
            let (first_split, first_leaf) = (splits.len() as u32, starts.len() as u32 - 1);
            let moved = |node: u32| if node & LEAF == 0 { node + first_split } else { node + first_leaf };
            roots.push(moved(tree.root));
            splits.extend(tree.splits.iter().map(|s| Split { sides: s.sides.map(moved), offset: s.offset }));
            normals.append(&tree.kept_normals(dim));
            for leaf in &tree.leaves {
                ids.extend_from_slice(leaf);
                starts.push(ids.len() as u32);
            }
        }
        Self { roots: roots.into(), splits: splits.into(), normals, starts: starts.into(), ids: ids.into() }
    }
}

/// One tree that grows.
struct Grower<'a> {
    rows: &'a Rows,
    metric: Metric,
    leaf_size: usize,
    rng: Rng,
    root: u32,
    splits: Vec<Split>,
    normals: Vec<f32>,
    leaves: Vec<Vec<u32>>,
}

impl<'a> Grower<'a> {
    fn grow(rows: &'a Rows, metric: Metric, config: &ForestConfig, tree: u64) -> Self {
        let rng = Rng::keyed(config.seed, Stream::Hyperplanes, tree);
        let (splits, normals, leaves) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = Self { rows, metric, leaf_size: config.leaf_size, rng, root: 0, splits, normals, leaves };
        out.root = out.node((0..rows.len() as u32).collect());
        out
    }

    /// Adds what stands for `ids`, and all below it.
    fn node(&mut self, ids: Vec<u32>) -> u32 {
        if ids.len() <= self.leaf_size {
            self.leaves.push(ids);
            return (self.leaves.len() as u32 - 1) | LEAF;
        }
        let (normal, offset, sides) = self.halved(&ids);
        drop(ids);
        let split = self.splits.len();
        self.splits.push(Split { sides: [0; 2], offset });
        self.normals.extend_from_slice(&normal);
        for (i, side) in sides.into_iter().enumerate() {
            self.splits[split].sides[i] = self.node(side);
        }
        split as u32
    }

    /// A plane and the two sides of it; where no plane divides, sides drawn at random.
    fn halved(&mut self, ids: &[u32]) -> (Vec<f32>, f32, [Vec<u32>; 2]) {
        for _ in 0..ATTEMPTS {
            let (normal, offset) = self.plane(ids);
            let mut sides = [Vec::new(), Vec::new()];
            for &id in ids {
                let margin = dot(&normal, self.rows.row(id as usize)) + offset;
                let side = if margin == 0.0 { self.rng.below(2) } else { usize::from(margin > 0.0) };
                sides[side].push(id);
            }
            if (sides[0].len().max(sides[1].len()) as f64) < LARGEST_SHARE * ids.len() as f64 {
                return (normal, offset, sides);
            }
        }
        let mut sides = [Vec::new(), Vec::new()];
        for &id in ids {
            // At least one on each side, so that the tree ends.
            let side = match (sides[0].len(), sides[1].len()) {
                (0, _) => 0,
                (_, 0) => 1,
                _ => self.rng.below(2),
            };
            sides[side].push(id);
        }
        (vec![0.0; self.rows.stride()], 0.0, sides)
    }

    /// The plane halfway between two means that a few vectors of `ids` were drawn to.
    fn plane(&mut self, ids: &[u32]) -> (Vec<f32>, f32) {
        let first = self.rng.below(ids.len());
        let second = (first + 1 + self.rng.below(ids.len() - 1)) % ids.len();
        let angular = self.metric != Metric::L2;
        let mut means = [first, second].map(|i| self.rows.row(ids[i] as usize).to_vec());
        if angular {
            means.iter_mut().for_each(|mean| scale_to_one(mean));
        }
        let mut counts = [1.0f32; 2];
        for _ in 0..MEANS_STEPS {
            let vector = self.rows.row(ids[self.rng.below(ids.len())] as usize);
            let length = if angular { dot(vector, vector).sqrt() } else { 1.0 };
            if length == 0.0 {
                continue;
            }
            // Weighted by how many it has, so that the two stay of a size.
            let cost = |i: usize| {
                let distance = if angular { 1.0 - dot(&means[i], vector) / length } else { squared_l2(&means[i], vector) };
                distance * counts[i]
            };
            let (a, b) = (cost(0), cost(1));
            if a == b {
                continue;
            }
            let nearer = usize::from(b < a);
            for (mean, value) in means[nearer].iter_mut().zip(vector) {
                *mean = (*mean * counts[nearer] + value / length) / (counts[nearer] + 1.0);
            }
            counts[nearer] += 1.0;
        }
        if angular {
            means.iter_mut().for_each(|mean| scale_to_one(mean));
        }
        let mut normal: Vec<f32> = means[0].iter().zip(&means[1]).map(|(a, b)| a - b).collect();
        scale_to_one(&mut normal);
        let offset = if angular { 0.0 } else { -0.5 * (dot(&normal, &means[0]) + dot(&normal, &means[1])) };
        (normal, offset)
    }

    /// The normals without the value that was added for the inner product.
    fn kept_normals(&self, dim: usize) -> Rows {
        let mut out = Rows::zeros(self.splits.len(), dim);
        let stride = out.stride();
        for (to, normal) in out.values_mut().chunks_exact_mut(stride).zip(self.normals.chunks_exact(self.rows.stride())) {
            to[..dim].copy_from_slice(&normal[..dim]);
        }
        out
    }
}

/// Gives a vector the length 1; zeros stay zeros.
fn scale_to_one(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

impl Stored for Forest {
    const KIND: &'static str = "forest";
    type Settings = ForestConfig;

    fn settings(&self) -> ForestConfig {
        self.config.clone()
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.storage.write(sections);
        sections.add(&self.trees.roots);
        sections.add(&self.trees.splits);
        sections.add(self.trees.normals.values());
        sections.add(&self.trees.starts);
        sections.add(&self.trees.ids);
    }

    fn read(metric: Metric, dim: usize, config: ForestConfig, sections: &mut Reader) -> Result<Self> {
        config.check()?;
        let storage = Storage::read(config.precision, metric, dim, sections)?;
        let (roots, splits) = (sections.take::<u32>()?, sections.take::<Split>()?);
        let normals = Rows::stored(sections.take()?, dim).ok_or_else(|| inconsistent("planes that are not whole or not finite"))?;
        let (starts, ids) = (sections.take::<u32>()?, sections.take::<u32>()?);
        ensure!(normals.len() == splits.len(), inconsistent("not a plane for each split"));
        let ordered = starts.windows(2).all(|pair| pair[0] <= pair[1]);
        let ends = starts.last().is_some_and(|&end| end as usize == ids.len());
        ensure!(ordered && ends && ids.iter().all(|&id| (id as usize) < storage.len()), inconsistent("leaves that do not fit"));
        let leaf = |node: u32| node & LEAF != 0 && ((node & !LEAF) as usize) < starts.len() - 1;
        let node = |node: u32| leaf(node) || (node as usize) < splits.len();
        let below =
            splits.iter().enumerate().all(|(i, split)| split.sides.iter().all(|&side| leaf(side) || node(side) && side as usize > i));
        ensure!(below && roots.iter().all(|&root| node(root)), inconsistent("trees whose branches do not fit"));
        let trees = Trees { roots, splits, normals, starts, ids };
        Ok(Self { metric, dim, config, storage, trees, scratches: Mutex::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{bytes_of, check_file};
    use crate::index::tests::{drawn, recall};

    #[test]
    fn most_of_the_nearest_are_found_also_within_a_subset() {
        let (vectors, queries) = (drawn(3000, 12, 1), drawn(100, 12, 2));
        let within = Subset::of(3000, |id| id % 10 == 0);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for precision in [Precision::Float, Precision::Byte] {
                let config = ForestConfig { trees: 40, leaf_size: 30, search_k: 2000, precision, ..ForestConfig::default() };
                let index = Forest::new(&vectors, 12, metric, config).expect("grown");
                for within in [None, Some(&within)] {
                    let found = recall(&index, &vectors, &queries, within);
                    assert!(found > 0.9, "{metric:?} {precision:?} {found}");
                }
            }
        }
    }

    #[test]
    fn the_trees_do_not_depend_on_the_number_of_threads() {
        let vectors = drawn(500, 6, 3);
        let grown = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                bytes_of(
                    &Forest::new(&vectors, 6, Metric::InnerProduct, ForestConfig { trees: 7, ..ForestConfig::default() }).expect("grown"),
                )
            })
        };
        assert!(grown(1) == grown(3));
    }

    #[test]
    fn equal_vectors_are_divided_at_random_and_a_tree_ends() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for value in [0.0, 1.0] {
                let config = ForestConfig { trees: 3, leaf_size: 1, search_k: 10_000, ..ForestConfig::default() };
                let index = Forest::new(&[value; 300], 3, metric, config).expect("grown");
                let found = index.search(&[1.0, 2.0, 3.0], 5, None).expect("finite");
                assert_eq!(found.iter().map(|n| n.id).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            }
        }
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_is_refused() {
        let config = ForestConfig { trees: 4, leaf_size: 10, ..ForestConfig::default() };
        check_file(&Forest::new(&drawn(200, 4, 5), 4, Metric::L2, config.clone()).expect("grown"), 1500);
        check_file(&Forest::new(&[], 4, Metric::Cosine, config).expect("empty"), 200);
    }
}
