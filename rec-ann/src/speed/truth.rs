//! What is nearest to some queries, and how much of it an index finds.

use std::time::Instant;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

use crate::rows::Rows;
use crate::{Flat, Index, Metric};

/// Passes over the queries go on until they took this many seconds, or gave so many answers.
const SECONDS: f64 = 0.2;
const ANSWERS: usize = 20_000;

/// Queries, and how far away the farthest of the `k` nearest vectors of each is.
pub struct Truth {
    flat: Flat,
    queries: Vec<f32>,
    k: usize,
    farthest: Vec<f32>,
}

/// How well and how fast an index answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The share of the `k` nearest that was found, over all queries. What is found counts where it is as near as the `k`-th nearest, so of
    /// equally near vectors any will do.
    pub recall: f64,
    /// Queries a second, on all threads of the current rayon pool.
    pub queries_per_second: f64,
    /// Seconds that half of the queries took at most.
    pub p50: f64,
    /// Seconds that 99 of 100 queries took at most.
    pub p99: f64,
}

impl Truth {
    /// The `k` nearest of `vectors` (`[n, dim]`) to each of `queries` (`[m, dim]`), by a search that looks at every vector. Of `neighbours`, which
    /// are known to be nearest, the first `k` are taken instead.
    ///
    /// # Errors
    /// where `k` is 0, there are no queries, or fewer than `k` neighbours of one; and as [`Flat::new`] for vectors and queries.
    pub fn new(vectors: &[f32], dim: usize, metric: Metric, queries: Vec<f32>, k: usize, neighbours: Option<&[Vec<u32>]>) -> Result<Self> {
        ensure!(k >= 1, "k is 0: it must be at least 1");
        let flat = Flat::new(vectors, dim, metric)?;
        let k = k.min(flat.len());
        ensure!(!queries.is_empty(), "there are no queries");
        let farthest = match neighbours {
            None => flat.search_batch(&queries, k, None)?.iter().map(|found| found.last().map_or(f32::INFINITY, |n| n.distance)).collect(),
            Some(neighbours) => {
                let rows = Rows::checked(&queries, dim, metric)?;
                ensure!(neighbours.len() == rows.len(), "neighbours of {} queries, and there are {}", neighbours.len(), rows.len());
                let farthest = |(query, ids): (usize, &Vec<u32>)| -> Result<f32> {
                    ensure!(ids.len() >= k, "query {query} has {} neighbours, which is less than k, {k}", ids.len());
                    let outside = ids.iter().find(|&&id| id as usize >= flat.len());
                    ensure!(outside.is_none(), "query {query} has a neighbour {}, which is no vector", outside.copied().unwrap_or(0));
                    Ok(ids[..k].iter().map(|&id| flat.distance(rows.row(query), id)).fold(f32::NEG_INFINITY, f32::max))
                };
                neighbours.iter().enumerate().map(farthest).collect::<Result<_>>()?
            }
        };
        Ok(Self { flat, queries, k, farthest })
    }

    /// The number of queries.
    pub fn num_queries(&self) -> usize {
        self.farthest.len()
    }

    /// Asks `index`, which holds the same vectors, each query on its own: first once unmeasured, then until the time is long enough to tell.
    ///
    /// # Errors
    /// as [`Index::search`].
    pub fn measure(&self, index: &dyn Index) -> Result<Measured> {
        let dim = self.flat.dim();
        let hits = |(query, farthest): (&[f32], &f32)| -> Result<usize> {
            let found = index.search(query, self.k, None)?;
            let row = Rows::query(query, dim, self.flat.metric())?;
            Ok(found.iter().filter(|n| self.flat.distance(&row, n.id) <= *farthest).count())
        };
        let queries = || self.queries.par_chunks_exact(dim);
        let hits = queries().zip(&self.farthest).map(hits).collect::<Result<Vec<usize>>>()?.iter().sum::<usize>();
        let (mut latencies, mut seconds) = (Vec::new(), 0.0);
        while latencies.len() < ANSWERS && seconds < SECONDS {
            let pass = Instant::now();
            let one = |query| -> Result<f64> {
                let start = Instant::now();
                index.search(query, self.k, None)?;
                Ok(start.elapsed().as_secs_f64())
            };
            latencies.extend(queries().map(one).collect::<Result<Vec<f64>>>()?);
            seconds += pass.elapsed().as_secs_f64();
        }
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() as f64 * share).ceil() as usize).clamp(1, latencies.len()) - 1];
        let recall = hits as f64 / (self.k * self.num_queries()).max(1) as f64;
        Ok(Measured { recall, queries_per_second: latencies.len() as f64 / seconds, p50: at(0.5), p99: at(0.99) })
    }
}

/// For each of `measured`, whether none of the others is better in recall or speed without being worse in the other: whether it is Pareto-optimal.
pub fn best(measured: &[Measured]) -> Vec<bool> {
    let better = |a: &Measured, b: &Measured| {
        a.recall >= b.recall
            && a.queries_per_second >= b.queries_per_second
            && (a.recall > b.recall || a.queries_per_second > b.queries_per_second)
    };
    measured.iter().map(|one| !measured.iter().any(|other| better(other, one))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::drawn;
    use crate::{Hnsw, HnswConfig};

    #[test]
    fn exact_search_finds_all_whichever_of_equal_vectors_it_names() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            // Each vector three times, so that which of them are the ten nearest is open.
            let (vectors, queries) = (drawn(100, 6, 1).repeat(3), drawn(20, 6, 2));
            let flat = Flat::new(&vectors, 6, metric).expect("finite");
            let truth = Truth::new(&vectors, 6, metric, queries.clone(), 10, None).expect("fine");
            let measured = truth.measure(&flat).expect("fine");
            assert_eq!(measured.recall, 1.0, "{metric:?}");
            assert!(measured.p50 > 0.0 && measured.p50 <= measured.p99 && measured.queries_per_second > 0.0, "{measured:?}");
            // The same neighbours with the numbers of their doubles.
            let found = flat.search_batch(&queries, 10, None).expect("fine");
            let known: Vec<Vec<u32>> = found.iter().map(|found| found.iter().map(|n| (n.id + 100) % 300).collect()).collect();
            let truth = Truth::new(&vectors, 6, metric, queries.clone(), 10, Some(&known)).expect("fine");
            assert_eq!(truth.measure(&flat).expect("fine").recall, 1.0);
            let reversed: Vec<f32> = vectors.iter().rev().copied().collect();
            assert!(truth.measure(&Flat::new(&reversed, 6, metric).expect("finite")).expect("fine").recall < 0.5);
        }
    }

    #[test]
    fn a_search_that_looks_at_less_finds_less_and_no_vectors_are_no_trouble() {
        let (vectors, queries) = (drawn(5000, 24, 3), drawn(200, 24, 4));
        let truth = Truth::new(&vectors, 24, Metric::L2, queries, 10, None).expect("fine");
        let mut index = Hnsw::new(&vectors, 24, Metric::L2, HnswConfig::default()).expect("built");
        let mut of = |ef| {
            index.set_ef(ef).expect("some");
            truth.measure(&index).expect("fine").recall
        };
        let (few, many) = (of(10), of(400));
        assert!(few < many && few > 0.3 && many > 0.98, "{few} {many}");
        let empty = Truth::new(&[], 2, Metric::L2, vec![0.0, 1.0], 10, None).expect("fine");
        assert_eq!(empty.measure(&Flat::new(&[], 2, Metric::L2).expect("empty")).expect("fine").recall, 0.0);
        let error = |k, queries, known: Option<&[Vec<u32>]>| {
            Truth::new(&[0.0; 8], 2, Metric::L2, queries, k, known).err().expect("refused").to_string()
        };
        assert!(error(0, vec![0.0; 2], None).contains("k is 0") && error(1, Vec::new(), None).contains("no queries"));
        assert!(error(2, vec![0.0; 2], Some(&[vec![1]])).contains("query 0 has 1 neighbours"));
        assert!(error(1, vec![0.0; 2], Some(&[vec![9]])).contains("neighbour 9"));
        assert!(error(1, vec![0.0, f32::NAN], None).contains("value 1 is NaN"));
    }

    #[test]
    fn the_best_are_those_that_nothing_beats() {
        let one = |(recall, queries_per_second): (f64, f64)| Measured { recall, queries_per_second, p50: 0.0, p99: 0.0 };
        let measured: Vec<Measured> =
            [(1.0, 1.0), (0.9, 5.0), (0.8, 4.0), (0.9, 3.0), (0.5, 9.0), (1.0, 1.0)].into_iter().map(one).collect();
        assert_eq!(best(&measured), [true, true, false, false, true, true]);
    }
}
