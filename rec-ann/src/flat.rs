//! Exact search: every vector is looked at.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::file::{self, Reader, Stored, Writer};
use crate::index::Index;
use crate::kernels::{self, vectorised};
use crate::nearest::Nearest;
use crate::panels::{LANES, Panels, ROWS, products};
use crate::rows::Rows;
use crate::storage::{Precision, Storage};
use crate::{Metric, Neighbour, RawIds, Subset};

/// Bytes of queries that a thread compares with each tile of rows: half of a usual second-level cache.
const QUERY_BYTES: usize = 1 << 18;
/// Bytes of a tile of rows: half of a usual first-level cache.
const TILE_BYTES: usize = 1 << 14;

/// Settings of [`Flat`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlatConfig {
    /// How the vectors are kept.
    pub precision: Precision,
}

/// All vectors in a row, and no structure: the answers are exact.
#[derive(Clone)]
pub struct Flat {
    metric: Metric,
    dim: usize,
    storage: Storage,
}

impl Flat {
    /// An index of `vectors` (`[n, dim]`), kept as they are.
    ///
    /// # Errors
    /// where `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric) -> Result<Self> {
        Self::with_precision(vectors, dim, metric, Precision::Float)
    }

    /// An index of `vectors` (`[n, dim]`). With [`Precision::Byte`] the answers are exact for the vectors as they are kept.
    ///
    /// # Errors
    /// as [`new`](Self::new).
    pub fn with_precision(vectors: &[f32], dim: usize, metric: Metric, precision: Precision) -> Result<Self> {
        let rows = Rows::checked(vectors, dim, metric)?;
        Ok(Self { metric, dim, storage: Storage::new(rows, precision, metric) })
    }

    /// The distance of `query`, which [`Rows::query`] made, from vector `id`.
    pub(crate) fn distance(&self, query: &[f32], id: u32) -> f32 {
        self.storage.distances(query, self.metric).to(id)
    }

    /// Opens a file of this kind of index.
    ///
    /// # Errors
    /// as [`open`](crate::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        file::open_as(path.as_ref())
    }
}

impl Stored for Flat {
    const KIND: &'static str = "flat";
    type Settings = Precision;

    fn settings(&self) -> Precision {
        self.storage.precision()
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.storage.write(sections);
    }

    fn read(metric: Metric, dim: usize, precision: Precision, sections: &mut Reader) -> Result<Self> {
        Ok(Self { metric, dim, storage: Storage::read(precision, metric, dim, sections)? })
    }
}

impl Index for Flat {
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
        let distances = self.storage.distances(&query, self.metric);
        let mut nearest = Nearest::new(k);
        let len = self.len() as u32;
        match within {
            Some(within) => distances.each(within.iter().take_while(|&id| id < len), |distance, id| nearest.show(distance, id)),
            None => distances.each(0..len, |distance, id| nearest.show(distance, id)),
        }
        Ok(nearest.into_sorted())
    }

    fn search_batch(&self, queries: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Vec<Neighbour>>> {
        let queries = Rows::checked(queries, self.dim, self.metric)?;
        match &self.storage {
            Storage::Float(rows) => Ok(Batch::new(rows, &queries, self.metric).search(k, within)),
            Storage::Byte(_) => {
                let search = |query| {
                    let mut nearest = Nearest::new(k);
                    let ids = (0..self.len() as u32).filter(|&id| within.is_none_or(|within| within.contains(id)));
                    self.storage.distances(queries.row(query), self.metric).each(ids, |distance, id| nearest.show(distance, id));
                    nearest.into_sorted()
                };
                Ok((0..queries.len()).into_par_iter().map(search).collect())
            }
        }
    }

    fn size(&self) -> usize {
        file::size(self)
    }

    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()> {
        file::save(self, path, ids)
    }
}

/// Many queries against many rows, as a product of matrices.
///
/// The product is rounded otherwise than a single distance. So a row is let through where it may be near enough by the product and a bound
/// on its rounding, and its distance is then computed as for a single query: the answers are the same bits.
struct Batch<'a> {
    rows: &'a Rows,
    queries: &'a Rows,
    panels: Panels,
    metric: Metric,
    /// The largest length of a query.
    longest: f32,
    /// Relative error of a sum over a row: u·(terms), with room for the few operations around it.
    rounding: f32,
}

impl<'a> Batch<'a> {
    fn new(rows: &'a Rows, queries: &'a Rows, metric: Metric) -> Self {
        let longest = (0..queries.len()).map(|q| kernels::dot(queries.row(q), queries.row(q)).sqrt()).fold(0.0, f32::max);
        let rounding = (rows.stride() + 16) as f32 * f32::EPSILON;
        Self { rows, queries, panels: Panels::new(queries.values(), queries.stride()), metric, longest, rounding }
    }

    fn search(&self, k: usize, within: Option<&Subset>) -> Vec<Vec<Neighbour>> {
        let fit = QUERY_BYTES / (4 * LANES * self.rows.stride());
        let group = self.panels.len().div_ceil(rayon::current_num_threads()).min(fit).max(1);
        let groups = (0..self.panels.len()).step_by(group).map(|from| from..(from + group).min(self.panels.len()));
        groups.collect::<Vec<_>>().into_par_iter().flat_map_iter(|panels| self.search_panels(panels, k, within)).collect()
    }

    fn search_panels(&self, panels: Range<usize>, k: usize, within: Option<&Subset>) -> Vec<Vec<Neighbour>> {
        let queries = panels.start * LANES..(panels.end * LANES).min(self.queries.len());
        let mut nearest: Vec<Nearest> = queries.clone().map(|_| Nearest::new(k)).collect();
        // The least product (and bias) with which a row can still be near enough; no row is for the places without a query.
        let least = |query: usize, nearest: &Nearest| match self.metric {
            Metric::L2 => 0.5 * (kernels::dot(self.queries.row(query), self.queries.row(query)) - nearest.worst()),
            Metric::InnerProduct => -nearest.worst(),
            Metric::Cosine => 1.0 - nearest.worst(),
        };
        let mut bounds = vec![[f32::INFINITY; LANES]; panels.len()];
        for (i, query) in queries.clone().enumerate() {
            bounds[i / LANES][i % LANES] = least(query, &nearest[i]);
        }
        let tile = (TILE_BYTES / (4 * self.rows.stride())).next_multiple_of(ROWS).max(ROWS);
        for from in (0..self.rows.len()).step_by(tile) {
            let tile = from..(from + tile).min(self.rows.len());
            let biases: Vec<f32> = tile.clone().map(|row| self.bias(row)).collect();
            for panel in panels.clone() {
                let bounds = &mut bounds[panel - panels.start];
                self.meet(panel, tile.clone(), &biases, bounds, |row, lane, bound| {
                    let query = panel * LANES + lane;
                    if within.is_none_or(|within| within.contains(row as u32)) {
                        let nearest = &mut nearest[query - queries.start];
                        nearest.show(self.metric.between(self.queries.row(query), self.rows.row(row)), row as u32);
                        *bound = least(query, nearest);
                    }
                });
            }
        }
        nearest.into_iter().map(Nearest::into_sorted).collect()
    }

    /// What is added to a row's product before it is compared: the row's part of the distance, and the bound on all rounding.
    fn bias(&self, row: usize) -> f32 {
        let square = kernels::dot(self.rows.row(row), self.rows.row(row));
        let lengths = square.sqrt() + self.longest;
        let own = if self.metric == Metric::L2 { -0.5 * square } else { 0.0 };
        own + self.rounding * lengths * lengths
    }

    /// Names each row and lane of a panel whose product and bias reach the lane's bound, which may then rise.
    fn meet(
        &self,
        panel: usize,
        tile: Range<usize>,
        biases: &[f32],
        bounds: &mut [f32; LANES],
        mut found: impl FnMut(usize, usize, &mut f32),
    ) {
        let (panel, stride) = (self.panels.panel(panel), self.rows.stride());
        let values = &self.rows.values()[tile.start * stride..tile.end * stride];
        let mut row = 0;
        while row < tile.len() {
            let count = if tile.len() - row >= ROWS { ROWS } else { 1 };
            let rows = &values[row * stride..][..count * stride];
            let mut sums = [[f32::NEG_INFINITY; LANES]; ROWS];
            let reached = vectorised(
                #[inline(always)]
                || {
                    if count == ROWS {
                        sums = products::<ROWS>(panel, rows);
                    } else {
                        sums[0] = products::<1>(panel, rows)[0];
                    }
                    let mut reached = [false; LANES];
                    for (sums, bias) in sums[..count].iter().zip(&biases[row..]) {
                        for lane in 0..LANES {
                            reached[lane] |= sums[lane] + bias >= bounds[lane];
                        }
                    }
                    reached.iter().any(|&reached| reached)
                },
            );
            if reached {
                for (i, sums) in sums[..count].iter().enumerate() {
                    for (lane, bound) in bounds.iter_mut().enumerate() {
                        if sums[lane] + biases[row + i] >= *bound {
                            found(tile.start + row + i, lane, bound);
                        }
                    }
                }
            }
            row += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Rng, Stream};

    #[test]
    fn a_batch_gives_the_bits_of_single_queries() {
        for (dim, n, spread) in [(3, 200, 1.0), (64, 333, 1e-3), (100, 50, 1e6)] {
            let mut rng = Rng::keyed(1, Stream::Sample, dim as u64);
            // A large common part makes L2 by the product lose most of its digits.
            let mut draw = |n: usize| (0..n * dim).map(|_| (1000.0 + spread * rng.normal()) as f32).collect::<Vec<_>>();
            let (mut vectors, queries) = (draw(n), draw(37));
            vectors.extend_from_within(..dim * 5);
            let within = Subset::of(n + 5, |id| id % 3 != 0);
            for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
                let index = Flat::new(&vectors, dim, metric).expect("finite");
                for (k, within) in [(0, None), (1, None), (10, None), (10, Some(&within)), (n * 2, None)] {
                    let found = index.search_batch(&queries, k, within).expect("finite");
                    for (query, found) in queries.chunks_exact(dim).zip(found) {
                        assert_eq!(index.search(query, k, within).expect("finite"), found, "{metric:?} {dim} {k}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_nearest_are_those_of_a_full_sort(values in prop::collection::vec(-3i8..4, 0..120), dim in 1usize..5, k in 0usize..9, query in prop::collection::vec(-3i8..4, 4)) {
            let vectors: Vec<f32> = values[..values.len() / dim * dim].iter().map(|&v| f32::from(v)).collect();
            let query: Vec<f32> = query[..dim].iter().map(|&v| f32::from(v)).collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            for metric in [Metric::L2, Metric::InnerProduct] {
                let mut all: Vec<(f32, u32)> = vectors.chunks_exact(dim).enumerate().map(|(id, v)| {
                    let distance = match metric {
                        Metric::L2 => dot(v, v) + dot(&query, &query) - 2.0 * dot(v, &query),
                        _ => -dot(v, &query),
                    };
                    (distance, id as u32)
                }).collect();
                all.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("whole numbers").then(a.1.cmp(&b.1)));
                all.truncate(k);
                let found = Flat::new(&vectors, dim, metric).expect("finite").search(&query, k, None).expect("finite");
                prop_assert_eq!(found.iter().map(|n| (n.distance, n.id)).collect::<Vec<_>>(), all);
            }
        }
    }
}
