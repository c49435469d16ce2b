//! All vectors as codes, and no other structure.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::codes::{Codes, Table};
use super::quantiser::{ProductQuantiser, QuantiserConfig};
use crate::exact::Exact;
use crate::file::{self, Reader, Stored, Writer, inconsistent};
use crate::index::Index;
use crate::nearest::Nearest;
use crate::rows::Rows;
use crate::{Metric, Neighbour, RawIds, Subset};

/// Settings of [`Pq`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PqConfig {
    /// The quantiser.
    pub quantiser: QuantiserConfig,
    /// How many vectors, for each of the `k` asked for, are found by codes and then compared as they are; 0 keeps no vectors beside the codes.
    pub rerank: usize,
}

impl PqConfig {
    pub(crate) fn check(&self) -> Result<()> {
        self.quantiser.kmeans.check()
    }
}

/// Vectors as codes: every code is looked at.
pub struct Pq {
    metric: Metric,
    config: PqConfig,
    len: usize,
    quantiser: ProductQuantiser,
    codes: Codes,
    exact: Exact,
}

impl Pq {
    /// An index of `vectors` (`[n, dim]`), made on the threads of the current rayon pool; it does not depend on their number.
    ///
    /// # Errors
    /// where a setting is out of range, `vectors` is no whole number of vectors of 1 to 65,536 values, or one holds NaN, ∞ or values so large
    /// that a distance could overflow.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, config: PqConfig) -> Result<Self> {
        let rows = Rows::checked(vectors, dim, metric)?;
        let quantiser = ProductQuantiser::train(&rows.tight(), dim, &config.quantiser)?;
        let codes = Codes::new(&quantiser.encode(&rows.tight())?, quantiser.parts(), quantiser.bits(), &[rows.len()]);
        Ok(Self { metric, len: rows.len(), quantiser, codes, exact: Exact::new(rows, config.rerank), config })
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

    /// Opens a file of this kind of index.
    ///
    /// # Errors
    /// as [`open`](crate::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        file::open_as(path.as_ref())
    }
}

impl Index for Pq {
    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> usize {
        self.quantiser.dim()
    }

    fn len(&self) -> usize {
        self.len
    }

    fn search(&self, query: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Neighbour>> {
        let query = Rows::query(query, self.dim(), self.metric)?;
        let table = Table::new(self.quantiser.table(&query[..self.dim()], self.metric), self.quantiser.bits());
        let base = if self.metric == Metric::Cosine { 1.0 } else { 0.0 };
        let mut nearest = Nearest::new(self.exact.candidates(k, self.config.rerank));
        self.codes.scan(0, self.len, &table, &[], nearest.worst() - base, |id, distance| {
            if within.is_none_or(|within| within.contains(id as u32)) {
                nearest.show(base + distance, id as u32);
            }
            nearest.worst() - base
        });
        Ok(self.exact.reranked(nearest, &query, self.metric, k, self.config.rerank))
    }

    fn set_effort(&mut self, effort: usize) -> Result<()> {
        self.set_rerank(effort)
    }

    fn size(&self) -> usize {
        file::size(self)
    }

    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()> {
        file::save(self, path, ids)
    }
}

impl Stored for Pq {
    const KIND: &'static str = "pq";
    type Settings = (PqConfig, usize);

    fn settings(&self) -> Self::Settings {
        (self.config.clone(), self.len)
    }

    fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        self.quantiser.write(sections);
        sections.add(self.codes.packed());
        self.exact.write(sections);
    }

    fn read(metric: Metric, dim: usize, (config, len): Self::Settings, sections: &mut Reader) -> Result<Self> {
        ensure!(len <= crate::rows::MAX_ROWS, inconsistent("more vectors than an index can hold"));
        let quantiser = ProductQuantiser::read(dim, &config.quantiser, sections)?;
        let codes = Codes::read(quantiser.parts(), quantiser.bits(), &[len], sections)?;
        let exact = Exact::read(dim, len, config.rerank, sections)?;
        Ok(Self { metric, config, len, quantiser, codes, exact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::check_file;
    use crate::index::tests::{drawn, recall};
    use crate::product::Bits;

    #[test]
    fn codes_find_some_and_reranking_finds_nearly_all() {
        let (vectors, queries) = (drawn(3000, 16, 1), drawn(100, 16, 2));
        let within = Subset::of(3000, |id| id % 10 == 0);
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for (bits, parts, least) in [(Bits::Eight, 8, 0.7), (Bits::Four, 16, 0.55)] {
                let quantiser = QuantiserConfig { bits, parts, ..QuantiserConfig::default() };
                let mut index = Pq::new(&vectors, 16, metric, PqConfig { quantiser, rerank: 10 }).expect("made");
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
    fn without_kept_vectors_there_is_no_reranking() {
        let mut index = Pq::new(&drawn(20, 4, 1), 4, Metric::L2, PqConfig::default()).expect("made");
        assert!(index.set_rerank(3).is_err() && index.set_rerank(0).is_ok());
    }

    #[test]
    fn a_file_comes_back_and_a_changed_one_is_refused() {
        for bits in [Bits::Four, Bits::Eight] {
            let quantiser = QuantiserConfig { bits, rotations: 1, ..QuantiserConfig::default() };
            check_file(&Pq::new(&drawn(70, 4, 5), 4, Metric::L2, PqConfig { quantiser: quantiser.clone(), rerank: 2 }).expect("made"), 700);
            check_file(&Pq::new(&[], 4, Metric::Cosine, PqConfig { quantiser, rerank: 0 }).expect("empty"), 200);
        }
    }
}
