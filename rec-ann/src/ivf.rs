//! An inverted file: vectors in the cells of k-means, of which a search looks into the nearest few. Jégou, Douze and Schmid, "Product quantization
//! for nearest neighbor search", TPAMI 2011, section IV, with the vectors kept as they are.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cells::{CellSizes, Cells};
use crate::file::{self, Reader, Stored, Writer, inconsistent};
use crate::index::Index;
use crate::kmeans::KmeansConfig;
use crate::nearest::Nearest;
use crate::rows::Rows;
use crate::storage::{Precision, Storage};
use crate::{Metric, Neighbour, RawIds, Subset};

/// Cache lines of a vector that are asked for ahead, and how many vectors ahead.
const LINES_AHEAD: usize = 16;
const ROWS_AHEAD: u32 = 6;

/// Settings of [`Ivf`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IvfConfig {
    /// Cells; 0 stands for 4·√n.
    pub cells: usize,
    /// Cells that a search looks into, at least 1: more find more, and take longer.
    pub probes: usize,
    /// How the centroids are learned.
    pub kmeans: KmeansConfig,
    /// How the vectors are kept.
    pub precision: Precision,
}

impl Default for IvfConfig {
    fn default() -> Self {
        Self { cells: 0, probes: 8, kmeans: KmeansConfig { iterations: 5, ..KmeansConfig::default() }, precision: Precision::Float }
    }
}

impl IvfConfig {
    pub(crate) fn check(&self) -> Result<()> {
        self.kmeans.check()?;
        self.sizes().check()
    }

    fn sizes(&self) -> CellSizes {
        CellSizes { cells: self.cells, probes: self.probes }
    }
}

/// Vectors in cells, of which a search compares those in the nearest ones.
pub struct Ivf {
    metric: Metric,
    dim: usize,
    config: IvfConfig,
    cells: Cells,
    /// The vectors, cell after cell.
    storage: Storage,
}

impl Ivf {
    /// An index of `vectors` (`[n, dim]`), made on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, config: IvfConfig) -> Result<Self> {
        config.check()?;
        let rows = Rows::checked(vectors, dim, metric)?;
        let cells = Cells::new(&rows, metric, config.sizes(), &config.kmeans);
        let storage = Storage::new(rows.select(cells.ids().iter().copied()), config.precision, metric);
        Ok(Self { metric, dim, config, cells, storage })
    }

    /// Sets how many cells a search looks into.
    ///
    /// # Errors
    /// where `probes` is 0.
    pub fn set_probes(&mut self, probes: usize) -> Result<()> {
        self.config.probes = probes;
        self.config.check()
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

impl Index for Ivf {
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
        let (distances, ids) = (self.storage.distances(&query, self.metric), self.cells.ids());
        let mut nearest = Nearest::new(k);
        for (cell, _) in self.cells.nearest(&query, self.metric, self.config.probes, within) {
            let places = self.cells.places(cell);
            let last = places.end - 1;
            let places = places.filter(|&place| within.is_none_or(|within| within.contains(ids[place as usize])));
            let places = places.inspect(|&place| distances.prefetch((place + ROWS_AHEAD).min(last), LINES_AHEAD));
            distances.each(places, |distance, place| nearest.show(distance, ids[place as usize]));
        }
        Ok(nearest.into_sorted())
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

impl Stored for Ivf {
    const KIND: &'static str = "ivf";
    type Settings = IvfConfig;

    fn settings(&self) -> IvfConfig {
        self.config.clone()
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.cells.write(sections);
        self.storage.write(sections);
    }

    fn read(metric: Metric, dim: usize, config: IvfConfig, sections: &mut Reader) -> Result<Self> {
        config.check()?;
        let cells = Cells::read(dim, sections)?;
        let storage = Storage::read(config.precision, metric, dim, sections)?;
        ensure!(storage.len() == cells.len(), inconsistent("cells of another number of vectors"));
        Ok(Self { metric, dim, config, cells, storage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{bytes_of, check_file};
    use crate::index::tests::{drawn, recall};

    #[test]
    fn most_of_the_nearest_are_found_and_with_every_cell_all_of_them() {
        let (vectors, queries) = (drawn(3000, 12, 1), drawn(100, 12, 2));
        let within = Subset::of(3000, |id| id % 10 == 0);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for precision in [Precision::Float, Precision::Byte] {
                let mut index = Ivf::new(&vectors, 12, metric, IvfConfig { probes: 50, precision, ..IvfConfig::default() }).expect("made");
                for within in [None, Some(&within)] {
                    let found = recall(&index, &vectors, &queries, within);
                    assert!(found > 0.9, "{metric:?} {precision:?} {found}");
                }
                index.set_probes(index.num_cells()).expect("some");
                let least = if precision == Precision::Float { 1.0 } else { 0.95 };
                assert!(recall(&index, &vectors, &queries, None) >= least && recall(&index, &vectors, &queries, Some(&within)) >= least);
            }
        }
    }

    #[test]
    fn the_cells_do_not_depend_on_the_number_of_threads() {
        let vectors = drawn(2000, 6, 3);
        for (metric, batch_size) in [(Metric::L2, 0), (Metric::InnerProduct, 0), (Metric::Cosine, 100)] {
            let made = |threads: usize| {
                let kmeans = KmeansConfig { batch_size, ..KmeansConfig::default() };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                pool.install(|| bytes_of(&Ivf::new(&vectors, 6, metric, IvfConfig { kmeans, ..IvfConfig::default() }).expect("made")))
            };
            assert!(made(1) == made(3));
        }
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_is_refused() {
        check_file(&Ivf::new(&drawn(200, 4, 5), 4, Metric::L2, IvfConfig::default()).expect("made"), 1500);
        check_file(&Ivf::new(&[], 4, Metric::Cosine, IvfConfig::default()).expect("empty"), 200);
    }
}
