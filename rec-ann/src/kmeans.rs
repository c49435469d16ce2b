//! k-means: seeds by k-means++ (Arthur and Vassilvitskii, SODA 2007), then Lloyd's iterations (1982), or those on mini-batches (Sculley, WWW 2010).
//!
//! Sums run in a fixed order, so the centroids do not depend on the number of threads.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kernels::{dot, squared_l2, vectorised};
use crate::panels::{LANES, Panels, ROWS, products};
use crate::rng::{Rng, Stream};

/// Vectors that a thread assigns at a time.
const CHUNK: usize = 256;
/// Bytes of centroids that stay in the first-level cache while a chunk meets them.
const TILE_BYTES: usize = 1 << 14;
/// k-means++ looks at this many vectors for each centroid, and at least at `LEAST_SEED_ROWS`.
const SEED_ROWS: usize = 2;
const LEAST_SEED_ROWS: usize = 2048;

/// Settings of k-means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KmeansConfig {
    /// Lloyd's iterations, or mini-batches, at most; fewer where nothing changes any more.
    pub iterations: usize,
    /// Vectors learned from for each centroid, drawn at random, at least 1.
    pub sample: usize,
    /// Vectors of a mini-batch; 0 stands for Lloyd's iterations over all.
    pub batch_size: usize,
    /// Seed of the sample, the first centroids and the mini-batches.
    pub seed: u64,
}

impl Default for KmeansConfig {
    fn default() -> Self {
        Self { iterations: 10, sample: 256, batch_size: 0, seed: 0 }
    }
}

impl KmeansConfig {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.sample >= 1, "the sample of k-means is 0: it must be at least 1");
        Ok(())
    }
}

/// Vectors in one piece, `[n, stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Points<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> Points<'a> {
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.stride
    }

    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.stride]
    }
}

/// `k` centroids (`[k, stride]`) of `points`; fewer where there are fewer points. With `spherical` they have length 1, and a point belongs to
/// the centroid of the largest product.
pub(crate) fn train(points: Points<'_>, k: usize, config: &KmeansConfig, spherical: bool) -> Vec<f32> {
    let stride = points.stride;
    let k = k.min(points.len());
    let chosen = Rng::keyed(config.seed, Stream::Sample, 0).sample(points.len(), k.saturating_mul(config.sample));
    let sample: Vec<f32> = chosen.iter().flat_map(|&row| points.row(row as usize)).copied().collect();
    let sample = Points { values: &sample, stride };
    let mut centroids = seeds(sample, k, config.seed);
    let settle = |centroids: &mut [f32]| {
        if spherical {
            centroids.par_chunks_exact_mut(stride).for_each(|centroid| {
                let length = dot(centroid, centroid).sqrt();
                if length > 0.0 {
                    centroid.iter_mut().for_each(|v| *v /= length);
                }
            });
        }
    };
    settle(&mut centroids);
    if config.batch_size > 0 {
        let mut counts = vec![0f32; k];
        for batch in 0..config.iterations as u64 {
            learn_batch(sample, &mut centroids, &mut counts, config, batch);
            settle(&mut centroids);
        }
        return centroids;
    }
    let mut before = Vec::new();
    for _ in 0..config.iterations {
        let assigned = assign(sample, &centroids, spherical);
        if assigned == before {
            break;
        }
        centroids = means(sample, &assigned, &centroids);
        settle(&mut centroids);
        before = assigned;
    }
    centroids
}

/// First centroids: each next one is drawn by its squared distance from the nearest before it.
fn seeds(points: Points<'_>, k: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::keyed(seed, Stream::Centroids, 0);
    let chosen = rng.sample(points.len(), k.saturating_mul(SEED_ROWS).max(LEAST_SEED_ROWS));
    let mut distances = vec![f32::INFINITY; chosen.len()];
    let mut out: Vec<f32> = Vec::with_capacity(k * points.stride);
    let mut next = if chosen.is_empty() { 0 } else { rng.below(chosen.len()) };
    for _ in 0..k {
        let centroid = points.row(chosen[next] as usize);
        out.extend_from_slice(centroid);
        distances.par_iter_mut().zip(&chosen).with_min_len(CHUNK).for_each(|(distance, &row)| {
            *distance = distance.min(squared_l2(points.row(row as usize), centroid));
        });
        let total: f64 = distances.iter().map(|&d| f64::from(d)).sum();
        let mut left = rng.unit() * total;
        // Where all that is left are doubles, any will do.
        next = distances
            .iter()
            .position(|&d| {
                left -= f64::from(d);
                left < 0.0
            })
            .unwrap_or_else(|| rng.below(chosen.len()));
    }
    out
}

/// The mean of each centroid's points. One without points is put beside that of the most, which then shares them.
fn means(points: Points<'_>, assigned: &[u32], centroids: &[f32]) -> Vec<f32> {
    let stride = points.stride;
    let k = centroids.len() / stride;
    let mut counts = vec![0usize; k];
    assigned.iter().for_each(|&c| counts[c as usize] += 1);
    let mut ends = counts.clone();
    for c in 1..k {
        ends[c] += ends[c - 1];
    }
    let mut order = vec![0u32; assigned.len()];
    let mut starts = ends.clone();
    for (row, &c) in assigned.iter().enumerate().rev() {
        starts[c as usize] -= 1;
        order[starts[c as usize]] = row as u32;
    }
    let mut out = vec![0f32; centroids.len()];
    out.par_chunks_exact_mut(stride).enumerate().for_each(|(c, mean)| {
        for &row in &order[starts[c]..ends[c]] {
            mean.iter_mut().zip(points.row(row as usize)).for_each(|(m, v)| *m += v);
        }
        mean.iter_mut().for_each(|m| *m /= counts[c].max(1) as f32);
    });
    for empty in 0..k {
        if counts[empty] == 0
            && let Some(largest) = (0..k).max_by_key(|&c| (counts[c], std::cmp::Reverse(c))).filter(|&c| counts[c] > 1)
        {
            // A little to either side, alternating by value, as faiss does.
            const MOVED: f32 = 1.0 / 1024.0;
            for j in 0..stride {
                let value = out[largest * stride + j];
                let by = if j % 2 == 0 { MOVED } else { -MOVED };
                out[empty * stride + j] = value * (1.0 + by);
                out[largest * stride + j] = value * (1.0 - by);
            }
            counts[empty] = counts[largest] / 2;
            counts[largest] -= counts[empty];
        }
    }
    out
}

/// One mini-batch: each point moves its centroid by 1/(points that it ever had).
fn learn_batch(points: Points<'_>, centroids: &mut [f32], counts: &mut [f32], config: &KmeansConfig, batch: u64) {
    let stride = points.stride;
    let mut rng = Rng::keyed(config.seed, Stream::Batches, batch);
    let rows: Vec<usize> = (0..config.batch_size).map(|_| rng.below(points.len().max(1))).filter(|&row| row < points.len()).collect();
    let values: Vec<f32> = rows.iter().flat_map(|&row| points.row(row)).copied().collect();
    let assigned = assign(Points { values: &values, stride }, centroids, false);
    for (point, &c) in values.chunks_exact(stride).zip(&assigned) {
        let c = c as usize;
        counts[c] += 1.0;
        let rate = 1.0 / counts[c];
        centroids[c * stride..][..stride].iter_mut().zip(point).for_each(|(m, v)| *m += rate * (v - *m));
    }
}

/// The nearest centroid of each point, or with `by_product` the one of the largest product; of equal ones the first.
pub(crate) fn assign(points: Points<'_>, centroids: &[f32], by_product: bool) -> Vec<u32> {
    let stride = points.stride;
    let halves: Vec<f32> = centroids.chunks_exact(stride).map(|c| if by_product { 0.0 } else { -0.5 * dot(c, c) }).collect();
    let mut out = vec![0u32; points.len()];
    out.par_chunks_mut(CHUNK).zip(points.values.par_chunks(CHUNK * stride)).for_each(|(out, values)| {
        let panels = Panels::new(values, stride);
        let mut best: Vec<Best> = vec![([f32::NEG_INFINITY; LANES], [0; LANES]); panels.len()];
        let tile = (TILE_BYTES / (4 * stride)).next_multiple_of(ROWS).max(ROWS);
        for (t, (centroids, halves)) in centroids.chunks(tile * stride).zip(halves.chunks(tile)).enumerate() {
            for (panel, best) in best.iter_mut().enumerate() {
                vectorised(
                    #[inline(always)]
                    || meet(panels.panel(panel), centroids, halves, (t * tile) as u32, best),
                );
            }
        }
        for (i, out) in out.iter_mut().enumerate() {
            *out = best[i / LANES].1[i % LANES];
        }
    });
    out
}

/// The best score of each point of a panel so far, and the centroid that has it.
type Best = ([f32; LANES], [u32; LANES]);

/// Shows some centroids to a panel of points: c·x − ‖c‖²/2 is largest for the nearest.
#[inline(always)]
fn meet(panel: &[f32], centroids: &[f32], halves: &[f32], first: u32, best: &mut Best) {
    let stride = panel.len() / LANES;
    let mut kept = *best;
    let mut at = 0;
    while at + ROWS <= halves.len() {
        show(products::<ROWS>(panel, &centroids[at * stride..]), &halves[at..], first + at as u32, &mut kept);
        at += ROWS;
    }
    while at < halves.len() {
        show(products::<1>(panel, &centroids[at * stride..]), &halves[at..], first + at as u32, &mut kept);
        at += 1;
    }
    *best = kept;
}

#[inline(always)]
fn show<const R: usize>(sums: [[f32; LANES]; R], halves: &[f32], first: u32, best: &mut Best) {
    for (i, (sums, half)) in sums.iter().zip(halves).enumerate() {
        for (lane, sum) in sums.iter().enumerate() {
            let score = sum + half;
            let better = score > best.0[lane];
            // Choices and no branches, so that the lanes stay together.
            best.0[lane] = if better { score } else { best.0[lane] };
            best.1[lane] = if better { first + i as u32 } else { best.1[lane] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::drawn;

    #[test]
    fn a_point_is_assigned_to_the_nearest_centroid() {
        let (points, centroids) = (drawn(700, 5, 1), drawn(47, 5, 2));
        let found = assign(Points { values: &points, stride: 5 }, &centroids, false);
        let by_product = assign(Points { values: &points, stride: 5 }, &centroids, true);
        for (i, point) in points.chunks_exact(5).enumerate() {
            let distances: Vec<f32> = centroids.chunks_exact(5).map(|c| squared_l2(c, point)).collect();
            let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
            assert!(distances[found[i] as usize] <= least + 1e-4);
            let most = centroids.chunks_exact(5).map(|c| dot(c, point)).fold(f32::NEG_INFINITY, f32::max);
            assert!(dot(&centroids[by_product[i] as usize * 5..][..5], point) >= most - 1e-4);
        }
    }

    #[test]
    fn clusters_far_apart_are_found_by_all_points_and_by_mini_batches() {
        let mut points = drawn(600, 3, 3);
        points.chunks_exact_mut(3).enumerate().for_each(|(i, p)| p[i % 3] += 100.0 * (1 + i % 6) as f32);
        let points = Points { values: &points, stride: 3 };
        for batch_size in [0, 100] {
            let config = KmeansConfig { batch_size, iterations: 30, ..KmeansConfig::default() };
            let centroids = train(points, 6, &config, false);
            let assigned = assign(points, &centroids, false);
            assert!((0..600).all(|i| assigned[i] == assigned[i % 6]), "batches of {batch_size}");
            assert_eq!((0..6).map(|i| assigned[i]).collect::<std::collections::BTreeSet<_>>().len(), 6);
        }
    }

    #[test]
    fn each_of_lloyds_iterations_lowers_the_error_and_spherical_centroids_have_length_1() {
        let points = drawn(2000, 8, 4);
        let points = Points { values: &points, stride: 8 };
        let error = |iterations| {
            let centroids = train(points, 40, &KmeansConfig { iterations, ..KmeansConfig::default() }, false);
            let assigned = assign(points, &centroids, false);
            assigned.iter().enumerate().map(|(i, &c)| f64::from(squared_l2(points.row(i), &centroids[c as usize * 8..][..8]))).sum::<f64>()
        };
        let errors: Vec<f64> = [0, 1, 3, 10].into_iter().map(error).collect();
        assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
        let spherical = train(points, 40, &KmeansConfig::default(), true);
        assert!(spherical.chunks_exact(8).all(|c| (dot(c, c) - 1.0).abs() < 1e-5));
    }

    #[test]
    fn no_points_few_points_and_equal_points_have_centroids() {
        let config = KmeansConfig::default();
        assert!(train(Points { values: &[], stride: 2 }, 3, &config, false).is_empty());
        assert_eq!(train(Points { values: &[1.0, 2.0], stride: 2 }, 3, &config, false), [1.0, 2.0]);
        let equal = train(Points { values: &[1.0; 40], stride: 2 }, 3, &KmeansConfig { batch_size: 5, ..config.clone() }, false);
        assert_eq!(equal, [1.0; 6]);
        assert!(train(Points { values: &[0.0; 40], stride: 2 }, 3, &config, true).iter().all(|&v| v == 0.0));
    }
}
