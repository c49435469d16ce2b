//! What every index can do.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use crate::{Metric, Neighbour, RawIds, Subset};

/// Vectors that can be searched for those nearest to a query.
pub trait Index: Send + Sync {
    /// How distances are measured.
    fn metric(&self) -> Metric;

    /// The number of values in a vector.
    fn dim(&self) -> usize;

    /// The number of vectors that were given, deleted ones among them: their numbers are `0..len`.
    fn len(&self) -> usize;

    /// Whether there is no vector.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` vectors nearest to `query` (`[dim]`), nearest first, of equally near ones the lower number first; only of `within` where it is
    /// given. There are fewer where the index has, or finds, no more.
    ///
    /// # Errors
    /// where `query` has another length than `dim`, or holds NaN, ∞ or values so large that a distance could overflow.
    fn search(&self, query: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Neighbour>>;

    /// [`search`](Self::search) for each of `queries` (`[n, dim]`), on all threads of the current rayon pool: the same answers.
    ///
    /// # Errors
    /// as for one query, and where `queries` is no whole number of vectors.
    fn search_batch(&self, queries: &[f32], k: usize, within: Option<&Subset>) -> Result<Vec<Vec<Neighbour>>> {
        ensure!(queries.len().is_multiple_of(self.dim()), "{} values are no whole number of queries of {}", queries.len(), self.dim());
        queries.par_chunks_exact(self.dim()).map(|query| self.search(query, k, within)).collect()
    }

    /// Sets how far a search goes: `ef` of HNSW, `search_k` of a forest, `probes` of cells, `rerank` of codes. More finds more, and takes longer.
    ///
    /// # Errors
    /// where it is out of range, or the index has no such setting.
    fn set_effort(&mut self, effort: usize) -> Result<()> {
        bail!("an effort of {effort}: this index always looks at every vector")
    }

    /// Bytes of its file, which are those that it takes in memory once all of it was touched.
    fn size(&self) -> usize;

    /// Writes the index to a file, beside its place first and then renamed, and with it a raw id for each vector where they are given.
    ///
    /// # Errors
    /// where there are not as many ids as vectors, or the file cannot be written; nothing is left behind then.
    fn save_with_ids(&self, path: &Path, ids: Option<&RawIds>) -> Result<()>;

    /// Writes the index to a file without raw ids.
    ///
    /// # Errors
    /// as [`save_with_ids`](Self::save_with_ids).
    fn save(&self, path: &Path) -> Result<()> {
        self.save_with_ids(path, None)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Flat;
    use crate::rng::{Rng, Stream};

    /// `n` vectors of standard normal values.
    pub(crate) fn drawn(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::keyed(seed, Stream::Sample, 0);
        (0..n * dim).map(|_| rng.normal() as f32).collect()
    }

    /// The share of the ten nearest of `vectors` that the index finds.
    pub(crate) fn recall(index: &dyn Index, vectors: &[f32], queries: &[f32], within: Option<&Subset>) -> f64 {
        let exact = Flat::new(vectors, index.dim(), index.metric()).expect("finite");
        let (found, truth) = (index.search_batch(queries, 10, within), exact.search_batch(queries, 10, within));
        let (found, truth) = (found.expect("finite"), truth.expect("finite"));
        assert!(found.iter().flatten().all(|n| within.is_none_or(|within| within.contains(n.id))));
        let hits = found.iter().zip(&truth).map(|(f, t)| f.iter().filter(|n| t.iter().any(|m| m.id == n.id)).count()).sum::<usize>();
        hits as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
    }
}
