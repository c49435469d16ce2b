//! Nearest neighbours among vectors by cosine: all pairs, by the product of our own.

use anyhow::Result;
use rayon::prelude::*;
use rec_data::require;

use super::product::ItemPanels;
use super::top_k::TopK;

/// Vectors that share a pass over a span of panels.
const ROWS: usize = 24;
/// Panels whose cosines are looked at while they are in the cache: 512 vectors.
const SPAN: usize = 32;

/// For each of `vectors` the `k` others of the largest cosine, largest first, with their cosines; of equal ones the lower number first. A
/// vector of zeros has the cosine 0 with all others. The same bits on any number of threads; the cost is that of n² inner products.
///
/// # Shapes
/// `vectors`: `[n, dim]`; returns `[n, min(k, n − 1)]`
///
/// # Errors
/// a numeric problem that names a vector that is not finite.
///
/// # Panics
/// where `vectors` is not a whole number of vectors.
pub fn nearest_by_cosine(vectors: &[f32], dim: usize, k: usize) -> Result<Vec<Vec<(u32, f32)>>> {
    let units = units(vectors, dim)?;
    let panels = ItemPanels::new(&units, dim, None);
    Ok(units.par_chunks(ROWS * dim).enumerate().flat_map_iter(|(block, rows)| nearest_of(&panels, rows, block * ROWS, k)).collect())
}

/// Each vector divided by its length.
fn units(vectors: &[f32], dim: usize) -> Result<Vec<f32>> {
    let mut units = Vec::with_capacity(vectors.len());
    for (at, vector) in vectors.chunks(dim).enumerate() {
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        require!(length.is_finite(), Numeric, "vector {at} is not finite");
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        units.extend(vector.iter().map(|&x| (f64::from(x) * scale) as f32));
    }
    Ok(units)
}

/// The neighbours of the vectors `rows`, which are those from number `first` on.
fn nearest_of(panels: &ItemPanels, rows: &[f32], first: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
    let mut tops: Vec<TopK> = rows.chunks(panels.dim()).map(|_| TopK::new(k)).collect();
    for from in (0..panels.num_panels()).step_by(SPAN) {
        let to = (from + SPAN).min(panels.num_panels());
        let (items, width) = (panels.items_of(from, to), (to - from) * ItemPanels::LANES);
        let mut cosines = vec![0.0; tops.len() * width];
        panels.scores(rows, from, to, &mut cosines);
        for (i, (top, row)) in tops.iter_mut().zip(cosines.chunks_mut(width)).enumerate() {
            if items.contains(&(first + i)) {
                // What is −∞ is skipped.
                row[first + i - items.start] = f32::NEG_INFINITY;
            }
            top.show(items.start as u32, &row[..items.len()], &[]).expect("cosines of finite vectors are finite");
        }
    }
    tops.iter_mut().map(|top| top.best(&[]).iter().map(|&(cosine, at)| (at, cosine)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rec_data::rng::{Rng, Stream};

    #[test]
    fn the_nearest_are_those_of_plain_loops_in_f64() {
        let (n, dim, k) = (700, 19, 10);
        let mut rng = Rng::keyed(3, Stream::Init, 0, 0);
        let vectors: Vec<f32> = (0..n * dim).map(|_| (rng.normal() * (1.0 + 9.0 * rng.unit())) as f32).collect();
        let row = |i: usize| vectors[i * dim..(i + 1) * dim].iter().map(|&x| f64::from(x));
        let length = |i: usize| row(i).map(|x| x * x).sum::<f64>().sqrt();
        let found = nearest_by_cosine(&vectors, dim, k).expect("finite");
        assert_eq!(found.len(), n);
        for (i, found) in found.iter().enumerate() {
            let cosine = |j: usize| row(i).zip(row(j)).map(|(a, b)| a * b).sum::<f64>() / (length(i) * length(j));
            let mut all: Vec<(f64, u32)> = (0..n).filter(|&j| j != i).map(|j| (cosine(j), j as u32)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (&(number, cosine), expected) in found.iter().zip(&all) {
                assert!((f64::from(cosine) - expected.0).abs() < 1e-6, "{i}: {cosine} for {}", expected.0);
                assert!(all[..k].iter().any(|e| e.1 == number), "{i}: {number}");
            }
            assert_eq!(found.len(), k);
        }
    }

    #[test]
    fn ties_go_to_the_lower_number_and_zeros_are_as_far_as_right_angles() {
        let vectors = [1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 0.0];
        let found = nearest_by_cosine(&vectors, 2, 9).expect("finite");
        assert_eq!(found[0], [(3, 1.0), (1, 0.0), (2, 0.0)]);
        assert_eq!(found[1], [(0, 0.0), (2, 0.0), (3, 0.0)]);
        let error = nearest_by_cosine(&[1.0, f32::NAN], 1, 1).expect_err("refused");
        assert_eq!(error.to_string(), "vector 1 is not finite");
    }
}
