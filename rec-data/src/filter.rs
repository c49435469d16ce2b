//! Filters of rows, and the funnel that says what each left.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{Interactions, problem, require};

/// One filter; a protocol lists them in the order in which they are applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Filter {
    /// Keeps rows whose value is at least `at_least`.
    Value {
        /// The smallest value kept.
        at_least: f32,
    },
    /// Drops rows whose value is `value`: a middle rating that says neither yes nor no.
    ValueOtherThan {
        /// The value dropped.
        value: f32,
    },
    /// Keeps rows with `from` ≤ time < `until`.
    Time {
        /// The first second kept.
        #[serde(default = "first_second")]
        from: i64,
        /// The first second dropped.
        #[serde(default = "last_second")]
        until: i64,
    },
    /// Keeps one row of each (user, item) pair.
    Duplicates {
        /// Which one, in row order.
        keep: Keep,
    },
    /// Drops users with fewer than `users` rows and items with fewer than `items`, until none is left to drop.
    KCore {
        /// The least number of rows of a user.
        users: usize,
        /// The least number of rows of an item.
        items: usize,
    },
    /// Drops users with fewer than `at_least` rows, once.
    UserRows {
        /// The least number of rows of a user.
        at_least: usize,
    },
    /// Drops items with fewer than `at_least` rows, once.
    ItemRows {
        /// The least number of rows of an item.
        at_least: usize,
    },
}

fn first_second() -> i64 {
    i64::MIN
}

fn last_second() -> i64 {
    i64::MAX
}

/// Which of several rows stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The first in row order.
    First,
    /// The last in row order.
    Last,
}

/// Rows, users and items left after each step.
#[derive(Clone, Debug, Default)]
pub struct Funnel {
    /// What was done, and the rows, users and items left.
    pub steps: Vec<(String, usize, usize, usize)>,
}

impl fmt::Display for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|s| s.0.len()).max().unwrap_or(0);
        for (step, rows, users, items) in &self.steps {
            writeln!(f, "{step:width$}  {rows:>10} rows  {users:>8} users  {items:>8} items")?;
        }
        Ok(())
    }
}

fn values_of(data: &Interactions) -> Result<&[f32]> {
    data.values.as_deref().ok_or_else(|| problem!(Usage, "a filter by value needs ratings, and this data has none"))
}

/// Applies `filters` in order, then drops users and items without rows from the vocabularies (numbers stay in their order).
///
/// # Errors
/// a usage problem where a filter needs a column that the data has not, or nothing is left.
pub fn apply(data: &Interactions, filters: &[Filter]) -> Result<(Interactions, Funnel)> {
    let mut funnel = Funnel::default();
    if filters.is_empty() {
        let some = |ids: &[u32], n: usize| {
            let mut used = vec![false; n];
            ids.iter().for_each(|&id| used[id as usize] = true);
            used.iter().filter(|&&used| used).count()
        };
        let (users, items) = (some(&data.users, data.num_users()), some(&data.items, data.num_items()));
        funnel.steps.push(("as published".into(), data.len(), users, items));
        require!(!data.is_empty(), Usage, "the filters leave no row:\n{funnel}");
        return Ok((compact(data), funnel));
    }
    let mut rows: Vec<u32> = (0..data.len() as u32).collect();
    let note = |name: String, rows: &[u32], funnel: &mut Funnel| {
        let (users, items) = (counts(rows, &data.users, data.num_users()), counts(rows, &data.items, data.num_items()));
        let some = |c: &[usize]| c.iter().filter(|&&n| n > 0).count();
        funnel.steps.push((name, rows.len(), some(&users), some(&items)));
    };
    note("as published".into(), &rows, &mut funnel);
    for filter in filters {
        match filter {
            Filter::Value { at_least } => {
                let values = values_of(data)?;
                rows.retain(|&r| values[r as usize] >= *at_least);
            }
            Filter::ValueOtherThan { value } => {
                let values = values_of(data)?;
                rows.retain(|&r| values[r as usize] != *value);
            }
            Filter::Time { from, until } => {
                let Some(times) = data.times.as_deref() else {
                    crate::fail!(Usage, "the filter `time` needs times, and this data has none")
                };
                rows.retain(|&r| (*from..*until).contains(&times[r as usize]));
            }
            Filter::Duplicates { keep } => {
                let mut seen = std::collections::HashSet::new();
                let mut once = |&r: &u32| seen.insert((data.users[r as usize], data.items[r as usize]));
                match keep {
                    Keep::First => rows.retain(once),
                    Keep::Last => {
                        rows.reverse();
                        rows.retain(&mut once);
                        rows.reverse();
                    }
                }
            }
            Filter::KCore { users, items } => loop {
                let before = rows.len();
                keep_frequent(&mut rows, &data.users, data.num_users(), *users);
                keep_frequent(&mut rows, &data.items, data.num_items(), *items);
                if rows.len() == before {
                    break;
                }
            },
            Filter::UserRows { at_least } => keep_frequent(&mut rows, &data.users, data.num_users(), *at_least),
            Filter::ItemRows { at_least } => keep_frequent(&mut rows, &data.items, data.num_items(), *at_least),
        }
        note(filter.to_string(), &rows, &mut funnel);
    }
    require!(!rows.is_empty(), Usage, "the filters leave no row:\n{funnel}");
    Ok((compact(&data.select(&rows)), funnel))
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Value { at_least } => write!(f, "value ≥ {at_least}"),
            Filter::ValueOtherThan { value } => write!(f, "value ≠ {value}"),
            Filter::Time { from, until } => write!(f, "time in {from}..{until}"),
            Filter::Duplicates { keep: Keep::First } => write!(f, "first of duplicates"),
            Filter::Duplicates { keep: Keep::Last } => write!(f, "last of duplicates"),
            Filter::KCore { users, items } => write!(f, "core of users ≥ {users}, items ≥ {items}"),
            Filter::UserRows { at_least } => write!(f, "users with ≥ {at_least} rows"),
            Filter::ItemRows { at_least } => write!(f, "items with ≥ {at_least} rows"),
        }
    }
}

fn counts(rows: &[u32], ids: &[u32], n: usize) -> Vec<usize> {
    let mut counts = vec![0; n];
    for &r in rows {
        counts[ids[r as usize] as usize] += 1;
    }
    counts
}

fn keep_frequent(rows: &mut Vec<u32>, ids: &[u32], n: usize, at_least: usize) {
    let counts = counts(rows, ids, n);
    rows.retain(|&r| counts[ids[r as usize] as usize] >= at_least);
}

/// The same rows with users and items that have none taken out of vocabularies and features.
pub fn compact(data: &Interactions) -> Interactions {
    let side = |ids: &[u32], n: usize| -> (Vec<u32>, Vec<u32>) {
        let mut used = vec![false; n];
        ids.iter().for_each(|&id| used[id as usize] = true);
        let kept: Vec<u32> = (0..n as u32).filter(|&id| used[id as usize]).collect();
        let mut number = vec![0u32; n];
        kept.iter().enumerate().for_each(|(new, &old)| number[old as usize] = new as u32);
        (kept, number)
    };
    let (users, user_number) = side(&data.users, data.num_users());
    let (items, item_number) = side(&data.items, data.num_items());
    if users.len() == data.num_users() && items.len() == data.num_items() {
        return data.clone();
    }
    Interactions {
        users: data.users.iter().map(|&u| user_number[u as usize]).collect::<Vec<_>>().into(),
        items: data.items.iter().map(|&i| item_number[i as usize]).collect::<Vec<_>>().into(),
        user_ids: users.iter().map(|&u| data.user_ids.raw(u)).collect(),
        item_ids: items.iter().map(|&i| data.item_ids.raw(i)).collect(),
        user_features: data.user_features.select(&users),
        item_features: data.item_features.select(&items),
        ..data.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;

    fn data() -> Interactions {
        Interactions {
            users: vec![0, 0, 1, 1, 2, 0].into(),
            items: vec![0, 1, 0, 1, 2, 0].into(),
            values: Some(vec![5.0, 1.0, 4.0, 3.0, 2.0, 3.0].into()),
            user_ids: Vocabulary::from_iter(["a", "b", "c"]),
            item_ids: Vocabulary::from_iter(["x", "y", "z"]),
            ..Interactions::default()
        }
    }

    #[test]
    fn the_funnel_counts_what_each_filter_leaves() {
        let filters = [Filter::Duplicates { keep: Keep::Last }, Filter::KCore { users: 2, items: 2 }];
        let (left, funnel) = apply(&data(), &filters).expect("rows are left");
        let numbers: Vec<_> = funnel.steps.iter().map(|s| (s.1, s.2, s.3)).collect();
        assert_eq!(numbers, [(6, 3, 3), (5, 3, 3), (4, 2, 2)]);
        assert_eq!(left.user_ids.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(left.values.expect("kept")[..], [1.0, 4.0, 3.0, 3.0]);
    }

    #[test]
    fn a_core_that_unravels_leaves_nothing_and_says_so() {
        let error = apply(&data(), &[Filter::KCore { users: 4, items: 4 }]).expect_err("nothing is left");
        assert!(error.to_string().contains("leave no row"), "{error}");
    }
}
