//! IVF-PQ: vectors in cells, as codes of what they differ by from the cell's centroid (IVFADC of the paper, section IV).
//!
//! With a centroid c and a code that stands for r, q·x ≈ q·c + q·r, and ‖q − x‖² ≈ ‖q − c‖² + (‖r‖² + 2 c·r) − 2 q·r. The first term is the cell's
//! distance, the one in brackets is kept with each vector, and so the table of −q·r serves all cells of a query.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::codes::{Codes, Table, sizes};
use super::quantiser::{ProductQuantiser, QuantiserConfig};
use crate::cells::{CellSizes, Cells};
use crate::column::Column;
use crate::exact::Exact;
use crate::file::{self, Reader, Stored, Writer, inconsistent};
use crate::index::Index;
use crate::kernels::dot;
use crate::kmeans::KmeansConfig;
use crate::nearest::Nearest;
use crate::rows::Rows;
use crate::{Metric, Neighbour, RawIds, Subset};

/// Settings of [`IvfPq`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IvfPqConfig {
    /// Cells; 0 stands for 4·√n.
    pub cells: usize,
    /// Cells that a search looks into, at least 1: more find more, and take longer.
    pub probes: usize,
    /// How the cells' centroids are learned.
    pub kmeans: KmeansConfig,
    /// The quantiser of what vectors differ by from their centroids.
    pub quantiser: QuantiserConfig,
    /// How many vectors, for each of the `k` asked for, are found by codes and then compared as they are; 0 keeps no vectors beside the codes.
    pub rerank: usize,
}

impl Default for IvfPqConfig {
    fn default() -> Self {
        Self {
            cells: 0,
            probes: 8,
            kmeans: KmeansConfig { iterations: 5, ..KmeansConfig::default() },
            quantiser: QuantiserConfig::default(),
            rerank: 0,
        }
    }
}

impl IvfPqConfig {
    pub(crate) fn check(&self) -> Result<()> {
        self.kmeans.check()?;
        self.quantiser.kmeans.check()?;
        self.sizes().check()
    }

    fn sizes(&self) -> CellSizes {
        CellSizes { cells: self.cells, probes: self.probes }
    }
}

/// Vectors in cells as codes, of which a search looks at those in the nearest cells.
pub struct IvfPq {
    metric: Metric,
    dim: usize,
    config: IvfPqConfig,
    cells: Cells,
    quantiser: ProductQuantiser,
    codes: Codes,
    /// ‖r‖² + 2 c·r of each vector, cell after cell, under L2; empty otherwise.
    terms: Column<f32>,
    exact: Exact,
}

impl IvfPq {
    /// An index of `vectors` (`[n, dim]`), made on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, config: IvfPqConfig) -> Result<Self> {
        config.check()?;
        let rows = Rows::checked(vectors, dim, metric)?;
        let cells = Cells::new(&rows, metric, config.sizes(), &config.kmeans);
        let mut residuals: Vec<f32> = Vec::with_capacity(vectors.len());
        for cell in 0..cells.num_cells() as u32 {
            for place in cells.places(cell) {
                let row = rows.row(cells.ids()[place as usize] as usize);
                residuals.extend(row.iter().zip(cells.centroid(cell)).take(dim).map(|(x, c)| x - c));
            }
        }
        let quantiser = ProductQuantiser::train(&residuals, dim, &config.quantiser)?;
        let encoded = quantiser.encode(&residuals)?;
        let mut terms = Vec::new();
        if metric == Metric::L2 {
            for cell in 0..cells.num_cells() as u32 {
                let places = cells.places(cell);
                let decoded =
                    quantiser.decode(&encoded[places.start as usize * quantiser.parts()..places.end as usize * quantiser.parts()])?;
                terms.extend(decoded.chunks_exact(dim).map(|r| dot(r, r) + 2.0 * dot(r, &cells.centroid(cell)[..dim])));
            }
        }
        let groups = sizes((0..cells.num_cells() as u32).map(|cell| cells.places(cell)));
        let codes = Codes::new(&encoded, quantiser.parts(), quantiser.bits(), &groups);
        let exact = Exact::new(rows, config.rerank);
        Ok(Self { metric, dim, config, cells, quantiser, codes, terms: terms.into(), exact })
    }

    /// Sets how many cells a search looks into.
    ///
    /// # Errors
    /// where `probes` is 0.
    pub fn set_probes(&mut self, probes: usize) -> Result<()> {
        self.config.probes = probes;
        self.config.check()
    }

    /// Sets how many vectors, for each one asked for, are compared as they are.
    ///
    /// # Errors
    /// where the index was made with `rerank` 0, and so keeps no vectors.
    pub fn set_rerank(&mut self, rerank: usize) -> Result<()> {
        self.exact.check(rerank)?;
        self.config.rerank = rerank;
        Ok(())
    }

    /// The number of cells.
    pub fn num_cells(&self) -> usize {
        self.cells.num_cells()
    }

    /// Opens a file of this kind of index.
    ///
    /// # Errors
    /// as [`open`](crate::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        file::open_as(path.as_ref())
    }
}

impl Index for IvfPq {
    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.cells.len()
    }

    fn search(&self, query: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Neighbour>> {
        let query = Rows::query(query, self.dim, self.metric)?;
        let mut products = self.quantiser.table(&query[..self.dim], Metric::InnerProduct);
        if self.metric == Metric::L2 {
            products.iter_mut().for_each(|product| *product *= 2.0);
        }
        let table = Table::new(products, self.quantiser.bits());
        let ids = self.cells.ids();
        let mut nearest = Nearest::new(self.exact.candidates(k, self.config.rerank));
        for (cell, base) in self.cells.nearest(&query, self.metric, self.config.probes, within) {
            let places = self.cells.places(cell);
            let terms = self.terms.get(places.start as usize..places.end as usize).unwrap_or(&[]);
            self.codes.scan(cell as usize, places.len(), &table, terms, nearest.worst() - base, |member, distance| {
                let id = ids[places.start as usize + member];
                if within.is_none_or(|within| within.contains(id)) {
                    nearest.show(base + distance, id);
                }
                nearest.worst() - base
            });
        }
        Ok(self.exact.reranked(nearest, &query, self.metric, k, self.config.rerank))
    }

    fn set_effort(&mut self, effort: usize) -> Result<()> {
        self.set_probes(effort)
    }

    fn size(&self) -> usize {
        file::size(self)
    }

    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()> {
        file::save(self, path, ids)
    }
}

impl Stored for IvfPq {
    const KIND: &'static str = "ivf-pq";
    type Settings = IvfPqConfig;

    fn settings(&self) -> IvfPqConfig {
        self.config.clone()
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.cells.write(sections);
        self.quantiser.write(sections);
        sections.add(self.codes.packed());
        sections.add(&self.terms);
        self.exact.write(sections);
    }

    fn read(metric: Metric, dim: usize, config: IvfPqConfig, sections: &mut Reader) -> Result<Self> {
        config.check()?;
        let cells = Cells::read(dim, sections)?;
        let quantiser = ProductQuantiser::read(dim, &config.quantiser, sections)?;
        let groups = sizes((0..cells.num_cells() as u32).map(|cell| cells.places(cell)));
        let codes = Codes::read(quantiser.parts(), quantiser.bits(), &groups, sections)?;
        let terms = sections.take::<f32>()?;
        let expected = if metric == Metric::L2 { cells.len() } else { 0 };
        ensure!(terms.len() == expected && terms.iter().all(|t| t.is_finite()), inconsistent("terms of another number of vectors"));
        let exact = Exact::read(dim, cells.len(), config.rerank, sections)?;
        Ok(Self { metric, dim, config, cells, quantiser, codes, terms, exact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{bytes_of, check_file};
    use crate::index::tests::{drawn, recall};
    use crate::product::Bits;

    #[test]
    fn codes_find_some_and_reranking_finds_nearly_all() {
        let (vectors, queries) = (drawn(3000, 16, 1), drawn(100, 16, 2));
        let within = Subset::of(3000, |id| id % 10 == 0);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for (bits, parts, least) in [(Bits::Eight, 8, 0.7), (Bits::Four, 16, 0.55)] {
                let quantiser = QuantiserConfig { bits, parts, ..QuantiserConfig::default() };
                let config = IvfPqConfig { cells: 40, probes: 40, quantiser, rerank: 10, ..IvfPqConfig::default() };
                let mut index = IvfPq::new(&vectors, 16, metric, config).expect("made");
                for within in [None, Some(&within)] {
                    let found = recall(&index, &vectors, &queries, within);
                    assert!(found > 0.98, "{metric:?} {bits:?} {found}");
                }
                index.set_rerank(0).expect("vectors are kept");
                let found = recall(&index, &vectors, &queries, None);
                assert!(found > least && found < 0.98, "{metric:?} {bits:?} {found}");
            }
        }
    }

    #[test]
    fn distances_by_codes_are_near_the_exact_ones() {
        let vectors = drawn(1000, 8, 3);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let quantiser = QuantiserConfig { parts: 8, rotations: 2, ..QuantiserConfig::default() };
            let index = IvfPq::new(&vectors, 8, metric, IvfPqConfig { quantiser, ..IvfPqConfig::default() }).expect("made");
            let exact = crate::Flat::new(&vectors, 8, metric).expect("finite").search(&vectors[..8], 1000, None).expect("finite");
            for found in index.search(&vectors[..8], 10, None).expect("finite") {
                let exact = exact.iter().find(|n| n.id == found.id).expect("all are there").distance;
                assert!((found.distance - exact).abs() < 0.15, "{metric:?} {} {exact}", found.distance);
            }
        }
    }

    #[test]
    fn the_codes_do_not_depend_on_the_number_of_threads() {
        let vectors = drawn(2000, 8, 3);
        let made = |threads: usize| {
            let quantiser = QuantiserConfig { rotations: 2, ..QuantiserConfig::default() };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                bytes_of(&IvfPq::new(&vectors, 8, Metric::L2, IvfPqConfig { quantiser, ..IvfPqConfig::default() }).expect("made"))
            })
        };
        assert!(made(1) == made(3));
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_is_refused() {
        for bits in [Bits::Four, Bits::Eight] {
            let quantiser = QuantiserConfig { bits, ..QuantiserConfig::default() };
            let config = IvfPqConfig { quantiser, cells: 5, rerank: 2, ..IvfPqConfig::default() };
            check_file(&IvfPq::new(&drawn(70, 4, 5), 4, Metric::L2, config.clone()).expect("made"), 700);
            check_file(&IvfPq::new(&[], 4, Metric::Cosine, IvfPqConfig { rerank: 0, ..config }).expect("empty"), 200);
        }
    }
}
