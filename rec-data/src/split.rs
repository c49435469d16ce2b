//! Splits: which rows are learned from, which pick the epoch, which are reported.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::interactions::{Interactions, Part};
use crate::rng::{Rng, Stream};
use crate::{fail, require};

/// How rows are divided. Ratios are shares of train, valid and test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SplitSpec {
    /// Rows at random, within each user, within each item, or over all.
    Random {
        /// Within what the shares hold.
        by: By,
        /// Shares of train, valid, test; they add up to 1.
        ratios: [f64; 3],
    },
    /// The last rows in time of each user, or over all.
    Temporal {
        /// Within what the shares hold (`user` or `all`).
        by: By,
        /// Shares of train, valid, test; they add up to 1.
        ratios: [f64; 3],
    },
    /// The last `test` rows of each user, before them `valid` rows; users with fewer than `test + valid + 1` rows stay in train whole.
    LeaveLast {
        /// Rows held out for the test.
        test: usize,
        /// Rows held out for validation.
        valid: usize,
    },
    /// The parts that the data was published with.
    Published {},
}

/// Within what a share is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Within each user's rows.
    User,
    /// Within each item's rows.
    Item,
    /// Over all rows.
    All,
}

/// A validation part carved out of the training rows of a split that has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Nested {
    /// A share of each user's training rows, at random.
    Random {
        /// The share.
        valid: f64,
    },
    /// The last rows of each user's training rows.
    LeaveLast {
        /// How many.
        valid: usize,
    },
}

/// Row numbers of each part, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Learned from.
    pub train: Vec<u32>,
    /// Pick the epoch.
    pub valid: Vec<u32>,
    /// Reported.
    pub test: Vec<u32>,
    /// Seen as history at test time, never learned from.
    pub context: Vec<u32>,
    /// What a reader of the numbers should know, such as how much of train lies after the test rows.
    pub warnings: Vec<String>,
}

/// Divides the rows of `data`. `seed` matters to random splits and random nested validation only.
///
/// # Errors
/// a usage problem where the split needs times or published parts that the data has not, or ratios are not shares of 1.
pub fn split(data: &Interactions, spec: &SplitSpec, nested: Option<&Nested>, seed: u64) -> Result<Split> {
    let mut parts = vec![Part::Train; data.len()];
    match spec {
        SplitSpec::Random { by, ratios } => {
            check_ratios(ratios)?;
            for (group, mut rows) in groups(data, *by).into_iter().enumerate() {
                Rng::keyed(seed, Stream::Split, 0, group as u64).shuffle(&mut rows);
                assign(&rows, cut_points(rows.len(), ratios, *by), &mut parts);
            }
        }
        SplitSpec::Temporal { by, ratios } => {
            check_ratios(ratios)?;
            require!(data.times.is_some(), Usage, "a temporal split needs times, and this data has none");
            require!(*by != By::Item, Usage, "a temporal split is by `user` or over `all`, not by `item`");
            for rows in groups(data, *by) {
                let rows = in_time(data, rows);
                assign(&rows, cut_points(rows.len(), ratios, *by), &mut parts);
            }
        }
        SplitSpec::LeaveLast { test, valid } => {
            for rows in groups(data, By::User) {
                if rows.len() > test + valid {
                    let rows = in_time(data, rows);
                    let end = rows.len() - test;
                    assign(&rows, (end - valid, end), &mut parts);
                }
            }
        }
        SplitSpec::Published {} => {
            let Some(published) = data.parts.as_deref() else {
                fail!(Usage, "this data was published without a split: choose `random`, `temporal` or `leave-last`");
            };
            for (part, &number) in parts.iter_mut().zip(published) {
                *part = [Part::Train, Part::Valid, Part::Test, Part::Context][number as usize];
            }
        }
    }
    if let Some(nested) = nested {
        require!(!parts.contains(&Part::Valid), Usage, "the split has a validation part already: leave `nested` out");
        carve(data, nested, seed, &mut parts);
    }
    let of = |part: Part| (0..data.len() as u32).filter(|&r| parts[r as usize] == part).collect::<Vec<_>>();
    let mut split =
        Split { train: of(Part::Train), valid: of(Part::Valid), test: of(Part::Test), context: of(Part::Context), warnings: Vec::new() };
    require!(!split.train.is_empty(), Usage, "the split leaves no training row");
    split.warnings.extend(leak(data, &split));
    Ok(split)
}

fn check_ratios(ratios: &[f64; 3]) -> Result<()> {
    let fine = ratios.iter().all(|r| (0.0..=1.0).contains(r)) && (ratios.iter().sum::<f64>() - 1.0).abs() < 1e-9 && ratios[0] > 0.0;
    require!(
        fine,
        Usage,
        "the ratios of train, valid and test are {ratios:?}: they must lie in [0, 1] and add up to 1, with train above 0"
    );
    Ok(())
}

/// The rows of each user, of each item, or all of them; rising within each group.
fn groups(data: &Interactions, by: By) -> Vec<Vec<u32>> {
    let (ids, n): (&[u32], usize) = match by {
        By::User => (&data.users, data.num_users()),
        By::Item => (&data.items, data.num_items()),
        By::All => return vec![(0..data.len() as u32).collect()],
    };
    let mut groups = vec![Vec::new(); n];
    for (row, &id) in ids.iter().enumerate() {
        groups[id as usize].push(row as u32);
    }
    groups
}

/// `rows` by time; rows of equal time, and all rows where there are no times, stay in row order.
pub(crate) fn in_time(data: &Interactions, mut rows: Vec<u32>) -> Vec<u32> {
    if let Some(times) = data.times.as_deref() {
        rows.sort_by_key(|&r| times[r as usize]);
    }
    rows
}

fn assign(rows: &[u32], (train_end, valid_end): (usize, usize), parts: &mut [Part]) {
    for (at, &row) in rows.iter().enumerate() {
        parts[row as usize] = if at < train_end {
            Part::Train
        } else if at < valid_end {
            Part::Valid
        } else {
            Part::Test
        };
    }
}

/// Where train and valid end among `n` rows.
///
/// By user, valid and test get ⌊share·n⌋ rows, or one where 0 < share·n < 1 and train keeps more than one: the test part first
/// (RecBole's rule). By item and over all, the bounds are the rounded cumulative shares, halves to even (NumPy's rule).
fn cut_points(n: usize, ratios: &[f64; 3], by: By) -> (usize, usize) {
    if by == By::User {
        let share = |i: usize| ratios[i] * n as f64;
        let mut count = [0, share(1) as usize, share(2) as usize];
        count[0] = n - count[1] - count[2];
        for i in [2, 1] {
            if count[0] <= 1 {
                break;
            }
            if share(i) > 0.0 && share(i) < 1.0 {
                count[i] += 1;
                count[0] -= 1;
            }
        }
        (count[0], count[0] + count[1])
    } else {
        let at = |share: f64| ((share * n as f64).round_ties_even() as usize).min(n);
        (at(ratios[0]), at(ratios[0] + ratios[1]))
    }
}

fn carve(data: &Interactions, nested: &Nested, seed: u64, parts: &mut [Part]) {
    for (user, mut rows) in groups(data, By::User).into_iter().enumerate() {
        rows.retain(|&r| parts[r as usize] == Part::Train);
        let held = match nested {
            Nested::Random { valid } => {
                Rng::keyed(seed, Stream::Nested, 0, user as u64).shuffle(&mut rows);
                (valid * rows.len() as f64) as usize
            }
            Nested::LeaveLast { valid } => {
                rows = in_time(data, rows);
                *valid
            }
        };
        if rows.len() > held {
            for &row in &rows[rows.len() - held..] {
                parts[row as usize] = Part::Valid;
            }
        }
    }
}

/// A sentence on how much of train lies after the first test rows, where it does.
fn leak(data: &Interactions, split: &Split) -> Option<String> {
    let times = data.times.as_deref()?;
    let mut test: Vec<i64> = split.test.iter().map(|&r| times[r as usize]).collect();
    if test.is_empty() {
        return None;
    }
    let middle = test.len() / 2;
    let median = *test.select_nth_unstable(middle).1;
    let later = split.train.iter().filter(|&&r| times[r as usize] > median).count();
    let share = 100.0 * later as f64 / split.train.len() as f64;
    (later > 0).then(|| format!("{share:.0} % of the training rows are later than the median test row: the model learns from the future"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;
    use proptest::prelude::*;

    fn data(users: Vec<u32>, times: Option<Vec<i64>>) -> Interactions {
        let n = users.len();
        Interactions {
            user_ids: Vocabulary::numbers(users.iter().max().map_or(0, |&m| m as usize + 1)),
            item_ids: Vocabulary::numbers(n),
            users: users.into(),
            items: (0..n as u32).collect::<Vec<_>>().into(),
            times: times.map(Into::into),
            ..Interactions::default()
        }
    }

    #[test]
    fn shares_by_user_follow_recboles_rule() {
        // recbole/data/dataset/dataset.py, _calcu_split_ids, at ratios .8/.1/.1.
        let ratios = [0.8, 0.1, 0.1];
        for (n, train, valid, test) in
            [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (9, 7, 1, 1), (10, 8, 1, 1), (19, 17, 1, 1), (25, 21, 2, 2)]
        {
            let (a, b) = cut_points(n, &ratios, By::User);
            assert_eq!((a, b - a, n - b), (train, valid, test), "{n} rows");
        }
    }

    #[test]
    fn the_last_row_is_the_latest_and_ties_stay_in_row_order() {
        let d = data(vec![0, 0, 0, 1, 1], Some(vec![5, 9, 9, 2, 1]));
        let s = split(&d, &SplitSpec::LeaveLast { test: 1, valid: 0 }, None, 0).expect("splits");
        assert_eq!((s.train, s.test), (vec![0, 1, 4], vec![2, 3]));
    }

    #[test]
    fn nested_validation_takes_from_train_only() {
        let d = data(vec![0, 0, 0, 0, 0], None);
        let s = split(&d, &SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(&Nested::LeaveLast { valid: 1 }), 0).expect("splits");
        assert_eq!((s.train, s.valid, s.test), (vec![0, 1, 2], vec![3], vec![4]));
    }

    #[test]
    fn a_split_that_learns_from_the_future_says_so() {
        let d = data(vec![0, 0, 0, 1, 1, 1], Some(vec![1, 2, 3, 4, 5, 6]));
        let s = split(&d, &SplitSpec::LeaveLast { test: 1, valid: 0 }, None, 0).expect("splits");
        assert!(s.warnings.is_empty() || s.warnings[0].contains("future"));
        let s = split(&d, &SplitSpec::Random { by: By::User, ratios: [0.34, 0.33, 0.33] }, None, 1).expect("splits");
        let t = split(&d, &SplitSpec::Temporal { by: By::All, ratios: [0.5, 0.0, 0.5] }, None, 1).expect("splits");
        assert!(t.warnings.is_empty(), "{:?}", t.warnings);
        assert_eq!(s.train.len() + s.valid.len() + s.test.len(), 6);
    }

    #[test]
    fn ratios_that_are_no_shares_are_refused() {
        let d = data(vec![0], None);
        assert!(split(&d, &SplitSpec::Random { by: By::User, ratios: [0.8, 0.1, 0.2] }, None, 0).is_err());
    }

    proptest! {
        #[test]
        fn every_row_gets_exactly_one_part(users in prop::collection::vec(0u32..6, 1..60), seed: u64, kind in 0usize..4) {
            let times = (0..users.len() as i64).rev().collect();
            let d = data(users, Some(times));
            let ratios = [0.6, 0.2, 0.2];
            let spec = [
                SplitSpec::Random { by: By::User, ratios },
                SplitSpec::Random { by: By::All, ratios },
                SplitSpec::Temporal { by: By::User, ratios },
                SplitSpec::LeaveLast { test: 1, valid: 1 },
            ][kind].clone();
            if let Ok(s) = split(&d, &spec, None, seed) {
                let mut all = [s.train, s.valid, s.test, s.context].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..d.len() as u32).collect::<Vec<_>>());
            }
        }
    }
}
