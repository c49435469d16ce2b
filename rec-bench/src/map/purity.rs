//! Neighbour purity: how far items whose vectors are near each other are of one genre.
//!
//! I are the items that have a training row and a genre, G(i) the genres of i, N(i) the k = 10 other items of I whose vectors have the
//! largest cosine with that of i (all pairs are compared; of equal ones the lower number).
//!
//! ```text
//! purity = mean over i ∈ I of |{j ∈ N(i) : G(i) ∩ G(j) ≠ ∅}| / k
//! chance = mean over i ∈ I of |{j ∈ I, j ≠ i : G(i) ∩ G(j) ≠ ∅}| / (|I| − 1)
//! ```
//!
//! Chance is what neighbours drawn at random have on average. It is high where a genre is common or items have many, so purity means
//! something beside it only. Popular items are the half of I with more training rows (of equal ones the lower number; the middle one of an
//! odd number is popular), rare ones the other half: the means are over the i of a half, neighbours may be any of I.

use std::collections::BTreeMap;

use anyhow::Result;
use rec_core::eval::nearest_by_cosine;
use rec_core::model::Vectors;
use serde::Serialize;

use super::Genres;

/// k: neighbours that are looked at.
pub const NEIGHBOURS: usize = 10;

/// How far neighbours share a genre, over all items and over two halves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Purity {
    /// All items with a genre.
    pub all: Share,
    /// The half of them with more training rows.
    pub popular: Share,
    /// The other half.
    pub rare: Share,
}

/// Means over some items.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many items.
    pub items: usize,
    /// Share of the neighbours that have a genre in common with the item, from 0 to 1.
    pub purity: f64,
    /// The same for neighbours drawn at random.
    pub chance: f64,
}

impl Purity {
    /// That of `items`, which come most popular first; those without a genre are left out. `None` where at most k have one.
    ///
    /// # Errors
    /// a numeric problem where a vector is not finite.
    pub fn new(vectors: &Vectors, genres: &Genres, items: &[u32]) -> Result<Option<Self>> {
        let items: Vec<u32> = items.iter().copied().filter(|&item| !genres.of(item).is_empty()).collect();
        if items.len() <= NEIGHBOURS {
            return Ok(None);
        }
        let nearest = nearest_by_cosine(&vectors.select(&items), vectors.dim, NEIGHBOURS)?;
        let alike = alike(genres, &items);
        let shares: Vec<(f64, f64)> = nearest
            .iter()
            .zip(&items)
            .map(|(nearest, &item)| {
                let own = genres.of(item);
                let same = nearest.iter().filter(|(at, _)| meet(own, genres.of(items[*at as usize]))).count();
                (same as f64 / NEIGHBOURS as f64, (alike[own] - 1) as f64 / (items.len() - 1) as f64)
            })
            .collect();
        let (popular, rare) = shares.split_at(items.len().div_ceil(2));
        Ok(Some(Self { all: Share::mean(&shares), popular: Share::mean(popular), rare: Share::mean(rare) }))
    }
}

impl Share {
    fn mean(shares: &[(f64, f64)]) -> Self {
        let mean = |of: fn(&(f64, f64)) -> f64| shares.iter().map(of).sum::<f64>() / shares.len() as f64;
        Self { items: shares.len(), purity: mean(|s| s.0), chance: mean(|s| s.1) }
    }
}

/// For each set of genres that an item has: how many items have a genre of it. Sets are few, pairs of items many.
fn alike<'a>(genres: &'a Genres, items: &[u32]) -> BTreeMap<&'a [u32], usize> {
    let mut counts: BTreeMap<&[u32], usize> = BTreeMap::new();
    items.iter().for_each(|&item| *counts.entry(genres.of(item)).or_default() += 1);
    let of = |own: &[u32]| counts.iter().filter(|(other, _)| meet(own, other)).map(|(_, count)| count).sum();
    counts.keys().map(|&own| (own, of(own))).collect()
}

fn meet(a: &[u32], b: &[u32]) -> bool {
    a.iter().any(|genre| b.contains(genre))
}

#[cfg(test)]
mod tests {
    use rec_data::Vocabulary;
    use rec_data::features::{Feature, Features};
    use rec_data::rng::{Rng, Stream};

    use super::*;

    /// Genres as numbers, several of an item one after the other.
    fn genres(of: &[&[u32]]) -> Genres {
        let mut end = 0;
        let ends: Vec<u64> = of
            .iter()
            .map(|own| {
                end += own.len() as u64;
                end
            })
            .collect();
        let feature = Feature::Tokens { ends: ends.into(), values: of.concat().into(), vocabulary: Vocabulary::numbers(10) };
        Genres::new(&Features { columns: vec![("genres".into(), feature)] }).expect("a feature called so")
    }

    /// Unit vectors at angles of so many degrees.
    fn at(degrees: impl Iterator<Item = f32>) -> Vectors<'static> {
        Vectors { dim: 2, values: degrees.flat_map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect() }
    }

    #[test]
    fn purity_and_chance_of_a_small_case_are_those_counted_by_hand() {
        // Eleven items on one side, eleven on the other; each has its own side as its ten neighbours. Item 22 has no genre and lies among
        // the first, item 23 has one and no training row: neither is asked nor answers.
        let vectors = at((0..22).map(|i| if i < 11 { i as f32 } else { 169.0 + i as f32 }).chain([5.5, 5.4]));
        // Item 0 is of genre 1, item 11 of both, else the first side is of genre 0, the second of genre 1.
        let own: Vec<&[u32]> = (0..24)
            .map(|i| match i {
                0 => &[1][..],
                11 => &[0, 1],
                22 => &[],
                i if i < 11 => &[0],
                _ => &[1],
            })
            .collect();
        let items: Vec<u32> = (0..23).collect();
        let found = Purity::new(&vectors, &genres(&own), &items).expect("finite").expect("enough items");
        // First side: item 0 shares with none of its ten, the ten others with nine each. Second side: all share.
        assert_eq!((found.all.items, found.popular.items, found.rare.items), (22, 11, 11));
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(found.popular.purity, (0.0 + 10.0 * 0.9) / 11.0);
        close(found.rare.purity, 1.0);
        close(found.all.purity, (10.0 * 0.9 + 11.0) / 22.0);
        // Of the 21 others, item 0 shares with the 11 of the second side, each of the ten with nine and item 11, item 11 with all, each of
        // the last ten with ten of its side and item 0.
        close(found.popular.chance, (11.0 + 10.0 * 10.0) / 21.0 / 11.0);
        close(found.rare.chance, (21.0 + 10.0 * 11.0) / 21.0 / 11.0);
        close(found.all.chance, (11.0 + 100.0 + 21.0 + 110.0) / 21.0 / 22.0);
        assert_eq!(Purity::new(&vectors, &genres(&own), &items[..10]).expect("finite"), None, "ten items have nine others");
    }

    #[test]
    fn neighbours_at_random_have_the_purity_of_chance() {
        let (n, dim) = (2000, 8);
        let mut rng = Rng::keyed(5, Stream::Init, 0, 0);
        let values: Vec<f32> = (0..n * dim).map(|_| rng.normal() as f32).collect();
        let own: Vec<Vec<u32>> = (0..n).map(|_| (0..1 + rng.below(3)).map(|_| rng.below(10)).collect()).collect();
        let genres = genres(&own.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let items: Vec<u32> = (0..n as u32).collect();
        let found = Purity::new(&Vectors { dim, values: values.into() }, &genres, &items).expect("finite").expect("enough items").all;
        assert!(found.chance > 0.2 && (found.purity - found.chance).abs() < 0.01, "{found:?}");
    }
}
