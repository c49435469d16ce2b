//! What a data set is like: counts, density, ratings, times and spreads.

use serde::Serialize;

use super::opened::Dataset;
use crate::features::Features;

/// What a data set is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its content hash.
    pub content_hash: String,
    /// Users in the vocabulary.
    pub users: usize,
    /// Items in the vocabulary.
    pub items: usize,
    /// Rows.
    pub interactions: usize,
    /// Distinct (user, item) pairs by users times items.
    pub density: f64,
    /// Rows whose (user, item) came before.
    pub duplicates: usize,
    /// Rows of each user.
    pub per_user: Spread,
    /// Rows of each item.
    pub per_item: Spread,
    /// Rows by rating, rising: each rating where there are at most 20, else ten equal ranges.
    pub values: Option<Vec<Bin>>,
    /// The first and last time, seconds since 1970.
    pub times: Option<(i64, i64)>,
    /// Rows by published part, in the order train, valid, test, context.
    pub parts: Option<[usize; 4]>,
    /// Names of the features of users.
    pub user_features: Vec<String>,
    /// Names of the features of items.
    pub item_features: Vec<String>,
    /// Names of the features of rows.
    pub row_features: Vec<String>,
    /// Lines of the source that could not be read and were left out.
    pub skipped_lines: u64,
    /// Users with fixed candidates, and all their candidates.
    pub candidates: Option<(usize, usize)>,
}

/// The least, the middle and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: usize,
    /// The middle; the mean of the two middle ones where their number is even.
    pub median: f64,
    /// The most.
    pub max: usize,
}

/// Rows whose rating lies from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The lower end, included.
    pub from: f32,
    /// The upper end, included; equal to `from` for a single rating.
    pub to: f32,
    /// The number of rows.
    pub rows: usize,
}

/// Counts, density, ratings, times and spreads of a data set.
pub fn describe(dataset: &Dataset) -> Description {
    let data = &dataset.interactions;
    // Labelled rows without users and items, of which there may be many, are all of one pair.
    let mut pairs: Vec<u64> = match (data.num_users(), data.num_items()) {
        (1, 1) => vec![0],
        _ => data.users.iter().zip(data.items.iter()).map(|(&u, &i)| u64::from(u) << 32 | u64::from(i)).collect(),
    };
    pairs.sort_unstable();
    pairs.dedup();
    let cells = data.num_users() as f64 * data.num_items() as f64;
    Description {
        id: dataset.id.clone(),
        version: dataset.version.clone(),
        content_hash: dataset.content_hash.clone(),
        users: data.num_users(),
        items: data.num_items(),
        interactions: data.len(),
        density: if cells > 0. { pairs.len() as f64 / cells } else { 0. },
        duplicates: data.len() - pairs.len(),
        per_user: spread(&data.users, data.num_users()),
        per_item: spread(&data.items, data.num_items()),
        values: data.values.as_deref().map(histogram),
        times: data.times.as_deref().and_then(|t| Some((*t.iter().min()?, *t.iter().max()?))),
        parts: data.parts.as_deref().map(|parts| {
            let mut counts = [0; 4];
            parts.iter().for_each(|&p| counts[usize::from(p)] += 1);
            counts
        }),
        user_features: names(&data.user_features),
        item_features: names(&data.item_features),
        row_features: names(&data.row_features),
        skipped_lines: data.skipped_lines,
        candidates: dataset.candidates.as_ref().map(|c| {
            let users = (0..c.ends.len() as u32).filter(|&u| !c.of(u).is_empty()).count();
            (users, c.items.len())
        }),
    }
}

fn names(features: &Features) -> Vec<String> {
    features.columns.iter().map(|(name, _)| name.clone()).collect()
}

fn spread(numbers: &[u32], of: usize) -> Spread {
    let mut counts = vec![0usize; of];
    numbers.iter().for_each(|&n| counts[n as usize] += 1);
    counts.sort_unstable();
    let middle = |i: usize| counts.get(i).copied().unwrap_or(0) as f64;
    let median = if of % 2 == 1 { middle(of / 2) } else { (middle(of / 2) + middle((of / 2).wrapping_sub(1))) / 2. };
    Spread { min: counts.first().copied().unwrap_or(0), median, max: counts.last().copied().unwrap_or(0) }
}

fn histogram(values: &[f32]) -> Vec<Bin> {
    const MOST: usize = 20;
    const RANGES: usize = 10;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let single: Vec<Bin> =
        sorted.chunk_by(|a, b| a == b).take(MOST + 1).map(|run| Bin { from: run[0], to: run[0], rows: run.len() }).collect();
    if single.len() <= MOST {
        return single;
    }
    let (min, max) = (f64::from(sorted[0]), f64::from(sorted[sorted.len() - 1]));
    let edge = |i: usize| (min + (max - min) * i as f64 / RANGES as f64) as f32;
    let below = |i: usize| if i == RANGES { sorted.len() } else { sorted.partition_point(|&v| v < edge(i)) };
    (0..RANGES).map(|i| Bin { from: edge(i), to: edge(i + 1), rows: below(i + 1) - below(i) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::{Text, delimited};

    #[test]
    fn a_description_counts_what_it_says() {
        let file = "a,x,1,50\na,x,2,40\nb,y,2,60\nb,x,2,70\nc,y,2,80\n";
        let config = delimited::Config {
            header: false,
            user: "1".into(),
            item: "2".into(),
            rating: Some("3".into()),
            time: Some("4".into()),
            ..delimited::Config::default()
        };
        let parsed = delimited::read(&[(Text { path: "f", bytes: file.as_bytes() }, None)], &config).expect("valid");
        let about = describe(&Dataset::of_parsed("f".into(), "1".into(), parsed, "f").expect("sound"));
        assert_eq!((about.users, about.items, about.interactions, about.duplicates), (3, 2, 5, 1));
        assert!((about.density - 4. / 6.).abs() < 1e-12);
        assert_eq!(about.per_user, Spread { min: 1, median: 2., max: 2 });
        assert_eq!(about.per_item, Spread { min: 2, median: 2.5, max: 3 });
        assert_eq!(about.times, Some((40, 80)));
        assert_eq!(about.values, Some(vec![Bin { from: 1., to: 1., rows: 1 }, Bin { from: 2., to: 2., rows: 4 }]));
        assert_eq!((about.parts, about.candidates), (None, None));
    }

    #[test]
    fn many_ratings_are_counted_in_ten_ranges() {
        let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let bins = histogram(&values);
        assert_eq!((bins.len(), bins.iter().map(|b| b.rows).sum::<usize>(), bins[9].to), (10, 100, 99.));
        assert!(bins.iter().all(|b| b.rows == 10));
    }
}
