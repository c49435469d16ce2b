//! Splits: which rows are learned from, which pick the epoch, which are reported.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::interactions::Interactions;
use crate::rng::{Rng, Stream};
use crate::{Rows, fail, require};

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
    /// Users held out whole: the strong generalisation of Liang et al., WWW 2018, arXiv:1802.05814, by the rules of their code.
    ///
    /// The users with a row are shuffled by the seed. The last `test_users` of them are test users, the `valid_users` before those are
    /// validation users, and the others are train users, with all their rows. Rows of held-out users whose item no train user has
    /// belong to no part. Of the n rows that a held-out user then has, ⌊(1 − fold_in)·n⌋ drawn at random are asked about and the others
    /// are the user's context; where n < 5 all of them are. The product is raised by 10⁻⁹ before it is cut off: (1 − 0.8)·5 is 1, and
    /// no row is lost because 0.8 has no exact binary form.
    ///
    /// Nothing of a held-out user is ever learned from, so a last training on all of train has the train users alone. No such user
    /// has a training row either: dropping cold rows as well would leave nothing to ask. The paper ranks the train users' items only.
    HeldOutUsers {
        /// How many users pick the epoch.
        valid_users: usize,
        /// How many users are reported.
        test_users: usize,
        /// The share of a held-out user's rows that the model sees; between 0 and 1, both left out.
        fold_in: f64,
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
    /// A share of each user's training rows, the last in time.
    Temporal {
        /// The share.
        valid: f64,
    },
    /// The last rows of each user's training rows.
    LeaveLast {
        /// How many.
        valid: usize,
    },
    /// Whole users, a share of those with a training row, at random: for questions about each next row
    /// ([`Questions::EachNext`](crate::questions::Questions::EachNext)), for nothing else is known of such a user.
    Users {
        /// The share, of which ⌊share·n⌋ users are taken.
        valid: f64,
    },
    /// As `users`, but those whose last row comes last: by time, equal times and all where there are no times by the order of the source.
    LastUsers {
        /// The share, of which ⌊share·n⌋ users are taken.
        valid: f64,
    },
}

impl Nested {
    /// Whether it takes whole users.
    pub fn takes_users(&self) -> bool {
        matches!(self, Self::Users { .. } | Self::LastUsers { .. })
    }
}

/// Row numbers of each part, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Learned from.
    pub train: Rows,
    /// Pick the epoch.
    pub valid: Rows,
    /// Reported.
    pub test: Rows,
    /// Seen as history at test time, never learned from.
    pub context: Rows,
    /// Seen as history when the validation rows are asked about, never learned from. Where there are any, the validation users are held
    /// out whole: their validation rows are not learned from afterwards either, and are not seen at test time.
    pub valid_context: Rows,
    /// What a reader of the numbers should know, such as how much of train lies after the test rows.
    pub warnings: Vec<String>,
}

/// Where a row goes.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Train,
    Valid,
    Test,
    Context,
    ValidContext,
    Nowhere,
}

/// Divides the rows of `data`. `seed` matters to random splits and random nested validation only.
///
/// # Errors
/// a usage problem where the split needs times or published parts that the data has not, ratios are not shares of 1, or held-out users
/// leave nobody to learn from.
pub fn split(data: &Interactions, spec: &SplitSpec, nested: Option<&Nested>, seed: u64) -> Result<Split> {
    let mut places = vec![Place::Train; data.len()];
    match spec {
        SplitSpec::Random { by, ratios } => {
            check_ratios(ratios)?;
            for (group, mut rows) in groups(data, *by).into_iter().enumerate() {
                Rng::keyed(seed, Stream::Split, 0, group as u64).shuffle(&mut rows);
                assign(&rows, cut_points(rows.len(), ratios, *by), &mut places);
            }
        }
        SplitSpec::Temporal { by, ratios } => {
            check_ratios(ratios)?;
            require!(data.times.is_some(), Usage, "a temporal split needs times, and this data has none");
            require!(*by != By::Item, Usage, "a temporal split is by `user` or over `all`, not by `item`");
            for rows in groups(data, *by) {
                let rows = in_time(data, rows);
                assign(&rows, cut_points(rows.len(), ratios, *by), &mut places);
            }
        }
        SplitSpec::LeaveLast { test, valid } => {
            for rows in groups(data, By::User) {
                if rows.len() > test + valid {
                    let rows = in_time(data, rows);
                    let end = rows.len() - test;
                    assign(&rows, (end - valid, end), &mut places);
                }
            }
        }
        SplitSpec::HeldOutUsers { valid_users, test_users, fold_in } => {
            hold_out(data, (*valid_users, *test_users), *fold_in, seed, &mut places)?
        }
        SplitSpec::Published {} => {
            let Some(published) = data.parts.as_deref() else {
                fail!(Usage, "this data was published without a split: choose `random`, `temporal`, `leave-last` or `held-out-users`");
            };
            for (place, &number) in places.iter_mut().zip(published) {
                *place = [Place::Train, Place::Valid, Place::Test, Place::Context][number as usize];
            }
        }
    }
    if let Some(nested) = nested {
        let has_valid = places.iter().any(|p| matches!(p, Place::Valid | Place::ValidContext));
        require!(!has_valid, Usage, "the split has a validation part already: leave `nested` out");
        if let Nested::Users { valid } | Nested::LastUsers { valid } = nested {
            require!((0.0..1.0).contains(valid), Usage, "`valid` of the nested validation is {valid}: it must lie in [0, 1)");
        }
        carve(data, nested, seed, &mut places);
    }
    let of = |place: Place| Rows::of(data.len(), |r| places[r as usize] == place);
    let mut split = Split {
        train: of(Place::Train),
        valid: of(Place::Valid),
        test: of(Place::Test),
        context: of(Place::Context),
        valid_context: of(Place::ValidContext),
        warnings: Vec::new(),
    };
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

fn assign(rows: &[u32], (train_end, valid_end): (usize, usize), places: &mut [Place]) {
    for (at, &row) in rows.iter().enumerate() {
        places[row as usize] = if at < train_end {
            Place::Train
        } else if at < valid_end {
            Place::Valid
        } else {
            Place::Test
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

/// Users in a held-out part with fewer rows than this are asked nothing.
const LEAST_ROWS: usize = 5;

/// Takes whole users out of train: see [`SplitSpec::HeldOutUsers`].
fn hold_out(data: &Interactions, (valid, test): (usize, usize), fold_in: f64, seed: u64, places: &mut [Place]) -> Result<()> {
    require!(fold_in > 0.0 && fold_in < 1.0, Usage, "`fold_in` is {fold_in}: it must lie between 0 and 1, both left out");
    let rows = groups(data, By::User);
    let mut users: Vec<usize> = (0..rows.len()).filter(|&user| !rows[user].is_empty()).collect();
    let held = valid.saturating_add(test);
    require!(
        held < users.len(),
        Usage,
        "{valid} validation users and {test} test users are asked for, the data has {} users: at least one must be left to learn from",
        users.len()
    );
    // Epoch 0 orders the users, epoch 1 each user's rows.
    Rng::keyed(seed, Stream::Split, 0, 0).shuffle(&mut users);
    let (train, held) = users.split_at(users.len() - held);
    let mut known = vec![false; data.num_items()];
    train.iter().flat_map(|&user| &rows[user]).for_each(|&r| known[data.items[r as usize] as usize] = true);
    for (at, &user) in held.iter().enumerate() {
        let (asked, seen) = if at < valid { (Place::Valid, Place::ValidContext) } else { (Place::Test, Place::Context) };
        let (mut left, dropped): (Vec<u32>, Vec<u32>) = rows[user].iter().partition(|&&r| known[data.items[r as usize] as usize]);
        dropped.iter().for_each(|&r| places[r as usize] = Place::Nowhere);
        Rng::keyed(seed, Stream::Split, 1, user as u64).shuffle(&mut left);
        let first_asked = left.len() - num_asked(left.len(), fold_in);
        left.iter().enumerate().for_each(|(at, &r)| places[r as usize] = if at < first_asked { seen } else { asked });
    }
    Ok(())
}

/// ⌊(1 − fold_in)·n⌋ of `n` rows, which is fewer than `n`; none of few.
fn num_asked(n: usize, fold_in: f64) -> usize {
    if n < LEAST_ROWS { 0 } else { (((1.0 - fold_in) * n as f64 + 1e-9) as usize).min(n - 1) }
}

fn carve(data: &Interactions, nested: &Nested, seed: u64, places: &mut [Place]) {
    let mut by_user = groups(data, By::User);
    by_user.iter_mut().for_each(|rows| rows.retain(|&r| places[r as usize] == Place::Train));
    let share = |valid: f64, n: usize| (valid * n as f64) as usize;
    let held: Vec<u32> = match *nested {
        Nested::Random { valid } => {
            by_user.iter_mut().enumerate().for_each(|(user, rows)| Rng::keyed(seed, Stream::Nested, 0, user as u64).shuffle(rows));
            last_of_each(by_user, |n| share(valid, n))
        }
        Nested::Temporal { valid } => last_of_each(by_user.into_iter().map(|rows| in_time(data, rows)), |n| share(valid, n)),
        Nested::LeaveLast { valid } => last_of_each(by_user.into_iter().map(|rows| in_time(data, rows)), |_| valid),
        Nested::Users { valid } => {
            by_user.retain(|rows| !rows.is_empty());
            Rng::keyed(seed, Stream::Nested, 0, 0).shuffle(&mut by_user);
            by_user.split_off(by_user.len() - share(valid, by_user.len())).concat()
        }
        Nested::LastUsers { valid } => {
            let time = |r: u32| data.times.as_deref().map_or(0, |times| times[r as usize]);
            by_user.retain(|rows| !rows.is_empty());
            by_user.sort_by_key(|rows| rows.iter().map(|&r| (time(r), r)).max());
            by_user.split_off(by_user.len() - share(valid, by_user.len())).concat()
        }
    };
    held.into_iter().for_each(|r| places[r as usize] = Place::Valid);
}

/// The last `count(n)` of the n rows of each group that has more.
fn last_of_each(groups: impl IntoIterator<Item = Vec<u32>>, count: impl Fn(usize) -> usize) -> Vec<u32> {
    let last = |mut rows: Vec<u32>| {
        let held = count(rows.len());
        if rows.len() > held { rows.split_off(rows.len() - held) } else { Vec::new() }
    };
    groups.into_iter().flat_map(last).collect()
}

/// A sentence on how much of train lies after the first test rows, where it does.
fn leak(data: &Interactions, split: &Split) -> Option<String> {
    let times = data.times.as_deref()?;
    let mut test: Vec<i64> = split.test.iter().map(|r| times[r as usize]).collect();
    if test.is_empty() {
        return None;
    }
    let middle = test.len() / 2;
    let median = *test.select_nth_unstable(middle).1;
    let later = split.train.iter().filter(|&r| times[r as usize] > median).count();
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
        assert_eq!([s.train, s.test].map(|rows| rows.to_vec()), [vec![0, 1, 4], vec![2, 3]]);
    }

    #[test]
    fn nested_validation_takes_from_train_only() {
        let d = data(vec![0, 0, 0, 0, 0], None);
        let s = split(&d, &SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(&Nested::LeaveLast { valid: 1 }), 0).expect("splits");
        assert_eq!([s.train, s.valid, s.test].map(|rows| rows.to_vec()), [vec![0, 1, 2], vec![3], vec![4]]);
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

    /// 40 users with the same `n` items, in different orders, and one item more for each third user that nobody else has.
    fn crowd(n: u32) -> Interactions {
        let rows = (0..40u32).flat_map(|user| {
            let own = (user % 3 == 0).then_some((user, 30 + user / 3));
            (0..n).map(move |at| (user, (user * 7 + at) % n)).chain(own)
        });
        let (users, items): (Vec<u32>, Vec<u32>) = rows.unzip();
        Interactions { items: items.into(), item_ids: Vocabulary::numbers(44), ..data(users, None) }
    }

    const HELD: SplitSpec = SplitSpec::HeldOutUsers { valid_users: 6, test_users: 9, fold_in: 0.8 };

    fn users_of(d: &Interactions, rows: &Rows) -> Vec<u32> {
        let mut users: Vec<u32> = rows.iter().map(|r| d.users[r as usize]).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    #[test]
    fn a_share_of_a_held_out_users_rows_is_asked_about_and_the_others_are_seen() {
        for n in 1..=15 {
            let d = crowd(n);
            let s = split(&d, &HELD, None, 3).expect("splits");
            let count = |rows: &Rows, user: u32| rows.iter().filter(|&r| d.users[r as usize] == user).count();
            for (asked, seen, users) in [(&s.valid, &s.valid_context, 6), (&s.test, &s.context, 9)] {
                assert_eq!(users_of(&d, seen).len(), users);
                for user in users_of(&d, seen) {
                    let expected = if n < 5 { 0 } else { n as usize / 5 };
                    assert_eq!((count(asked, user), count(seen, user)), (expected, n as usize - expected), "{n} rows");
                }
            }
            let held = users_of(&d, &s.valid_context.with(&s.context));
            assert_eq!((held.len(), users_of(&d, &s.train).len()), (15, 25));
            assert!(held.iter().all(|&user| count(&s.train, user) == 0), "no held-out user is learned from");
        }
    }

    #[test]
    fn shares_lose_no_row_to_rounding_and_leave_one_to_see() {
        // Python: int(0.2 * n), as in the code of the paper.
        assert_eq!([4, 5, 9, 10, 15, 35, 99_995, 20_000_000].map(|n| num_asked(n, 0.8)), [0, 1, 1, 2, 3, 7, 19_999, 4_000_000]);
        assert_eq!([5, 10, 19].map(|n| num_asked(n, 0.9)), [0, 1, 1]);
        assert_eq!([5, 6].map(|n| num_asked(n, 1e-12)), [4, 5]);
    }

    #[test]
    fn a_held_out_users_row_with_an_item_that_nobody_learns_from_is_in_no_part() {
        let d = crowd(10);
        let s = split(&d, &HELD, None, 3).expect("splits");
        let items = |rows: &Rows| rows.iter().map(|r| d.items[r as usize]).collect::<std::collections::HashSet<_>>();
        let known = items(&s.train);
        let others = s.valid.with(&s.test).with(&s.context).with(&s.valid_context);
        assert!(items(&others).is_subset(&known));
        let held = users_of(&d, &others);
        let own = held.iter().filter(|&&user| user % 3 == 0).count();
        assert!(own > 0);
        assert_eq!(s.train.len() + others.len() + own, d.len());
    }

    #[test]
    fn held_out_users_are_drawn_by_the_seed() {
        let d = crowd(10);
        let with = |seed: u64| split(&d, &HELD, None, seed).expect("splits");
        assert_eq!(with(3), with(3));
        assert_ne!(users_of(&d, &with(3).test), users_of(&d, &with(4).test));
        let named = toml::from_str("kind = \"held-out-users\"\nvalid_users = 6\ntest_users = 9\nfold_in = 0.8\n");
        assert_eq!(named, Ok(HELD));
        // Users without a row are nobody to hold out.
        let more = Interactions { user_ids: Vocabulary::numbers(60), ..d.clone() };
        assert_eq!(split(&more, &HELD, None, 3).expect("splits"), with(3));
    }

    #[test]
    fn users_to_hold_out_must_leave_one_and_shares_be_shares() {
        let d = crowd(10);
        let with = |valid_users, test_users, fold_in| split(&d, &SplitSpec::HeldOutUsers { valid_users, test_users, fold_in }, None, 1);
        with(20, 19, 0.8).expect("one is left");
        let error = with(20, 20, 0.8).expect_err("nobody is left").to_string();
        assert!(error.contains("20 validation users and 20 test users") && error.contains("has 40 users"), "{error}");
        with(usize::MAX, 2, 0.8).expect_err("nobody is left");
        for share in [0.0, 1.0, -0.1, 1.5, f64::NAN] {
            let error = with(2, 2, share).expect_err("no share").to_string();
            assert!(error.contains("`fold_in` is"), "{error}");
        }
        let nested = Nested::LeaveLast { valid: 1 };
        split(&d, &HELD, Some(&nested), 1).expect_err("there are validation users");
        let without = SplitSpec::HeldOutUsers { valid_users: 0, test_users: 9, fold_in: 0.8 };
        let s = split(&d, &without, Some(&nested), 1).expect("none so far");
        assert_eq!((users_of(&d, &s.valid).len(), s.valid_context.len()), (31, 0));
    }

    proptest! {
        #[test]
        fn every_row_gets_exactly_one_part(rows in prop::collection::vec((0u32..6, 0u32..12), 1..60), seed: u64, kind in 0usize..5) {
            let (users, items): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
            let times = (0..users.len() as i64).rev().collect();
            let d = Interactions { items: items.into(), item_ids: Vocabulary::numbers(12), ..data(users, Some(times)) };
            let ratios = [0.6, 0.2, 0.2];
            let spec = [
                SplitSpec::Random { by: By::User, ratios },
                SplitSpec::Random { by: By::All, ratios },
                SplitSpec::Temporal { by: By::User, ratios },
                SplitSpec::LeaveLast { test: 1, valid: 1 },
                SplitSpec::HeldOutUsers { valid_users: 1, test_users: 2, fold_in: 0.5 },
            ][kind].clone();
            if let Ok(s) = split(&d, &spec, None, seed) {
                let mut all = [&s.train, &s.valid, &s.test, &s.context, &s.valid_context].map(Rows::to_vec).concat();
                if kind == 4 {
                    // The rows of no part are those of users and items that train has not.
                    let unknown = |r: u32| s.train.iter().all(|t| d.users[t as usize] != d.users[r as usize] && d.items[t as usize] != d.items[r as usize]);
                    all.extend((0..d.len() as u32).filter(|&r| unknown(r)));
                }
                all.sort_unstable();
                prop_assert_eq!(all, (0..d.len() as u32).collect::<Vec<_>>());
            }
        }
    }
}
