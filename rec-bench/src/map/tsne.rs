//! t-SNE: places in the plane of which near ones stand for near vectors. van der Maaten and Hinton, JMLR 9, 2008; repulsion by the tree
//! of Barnes and Hut: van der Maaten, JMLR 15, 2014. The crate `bhtsne` computes it.

use anyhow::{Context, Result};
use bhtsne::{Neighbor, tSNE};
use rec_core::eval::nearest_by_cosine;

/// Vectors below which there is no picture: the perplexity would be less than 2.
pub const FEWEST: usize = 7;
/// How many neighbours count, softly; a third of the others where there are fewer than three times as many.
const PERPLEXITY: usize = 30;
/// How coarse the tree's summaries may be; 0 would be exact.
const THETA: f32 = 0.5;
/// Steps: 250 in which attraction is exaggerated, and 500 without, as openTSNE makes them.
const STEPS: usize = 750;

/// The place of each of `vectors`, around 0. Vectors count by their direction: the distance of two is that of their unit vectors,
/// √(2 − 2 cosine), so that a place's neighbours are those of [`Purity`](super::Purity).
///
/// Nothing is drawn at random: the start are leading eigenvectors of the neighbours' graph. All of it is on one thread, since the sums of
/// several would depend on who took which part.
///
/// # Shapes
/// `vectors`: `[n, dim]`, n ≥ [`FEWEST`]; returns `[n, 2]`
///
/// # Errors
/// a numeric problem that names a vector that is not finite.
///
/// # Panics
/// where there are fewer than [`FEWEST`] vectors.
pub fn places(vectors: &[f32], dim: usize) -> Result<Vec<[f32; 2]>> {
    let samples: Vec<&[f32]> = vectors.chunks(dim).collect();
    assert!(samples.len() >= FEWEST, "a picture needs some vectors");
    let perplexity = PERPLEXITY.min((samples.len() - 1) / 3);
    let distance = |(index, cosine): &(u32, f32)| Neighbor { index: *index as usize, distance: (2.0 - 2.0 * cosine).max(0.0).sqrt() };
    let nearest = nearest_by_cosine(vectors, dim, 3 * perplexity)?;
    let neighbours: Vec<Vec<Neighbor<f32>>> = nearest.iter().map(|row| row.iter().map(distance).collect()).collect();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("starting a thread")?;
    let flat = alone.install(|| {
        let mut tsne: tSNE<f32, &[f32]> = tSNE::new(&samples);
        tsne.perplexity(perplexity as f32).epochs(STEPS).spectral_init().barnes_hut_with_neighbors(THETA, &neighbours);
        tsne.embedding()
    });
    Ok(flat.as_chunks::<2>().0.to_vec())
}

#[cfg(test)]
mod tests {
    use rec_data::rng::{Rng, Stream};

    use super::*;

    /// Three groups of directions of so many vectors each, of any length.
    fn three_groups(each: usize, dim: usize) -> Vec<f32> {
        let mut rng = Rng::keyed(2, Stream::Init, 0, 0);
        let centres: Vec<f64> = (0..3 * dim).map(|_| rng.normal()).collect();
        (0..3 * each)
            .flat_map(|i| {
                let length = 0.5 + rng.unit();
                (0..dim).map(|k| (length * (centres[i % 3 * dim + k] + 0.3 * rng.normal())) as f32).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn groups_of_vectors_are_groups_of_places_and_the_same_on_any_number_of_threads() {
        let vectors = three_groups(60, 12);
        let found = places(&vectors, 12).expect("finite");
        let distance = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (i, &place) in found.iter().enumerate() {
            let mut others: Vec<usize> = (0..found.len()).filter(|&j| j != i).collect();
            others.sort_by(|&a, &b| distance(place, found[a]).total_cmp(&distance(place, found[b])));
            assert!(others[..10].iter().all(|j| j % 3 == i % 3), "{i}");
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads");
        assert_eq!(found, pool.install(|| places(&vectors, 12)).expect("finite"));
    }

    #[test]
    fn few_vectors_and_equal_ones_have_places() {
        for vectors in [three_groups(3, 4)[..FEWEST * 4].to_vec(), vec![1.0; 40 * 4], vec![0.0; 40 * 4]] {
            let found = places(&vectors, 4).expect("finite");
            assert_eq!(found.len(), vectors.len() / 4);
            assert!(found.iter().flatten().all(|x| x.is_finite()), "{found:?}");
        }
    }
}
