//! Views: what a model may learn from, and what an evaluator asks about. A model is given a [`TrainView`] only, and that type has no
//! way to a held-out row.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::candidates::CandidateLists;
use crate::csr::Csr;
use crate::features::Features;
use crate::interactions::Interactions;
use crate::questions::{Asked, Held, Questions, rows_of_users};
use crate::rng::{Rng, Stream};
use crate::split::Split;
use crate::windows::Windows;
use crate::{Column, Vocabulary, fail, require};

/// The rows that a model learns from, and what they imply.
#[derive(Debug)]
pub struct TrainView {
    users: Vec<u32>,
    items: Vec<u32>,
    values: Option<Vec<f32>>,
    times: Option<Vec<i64>>,
    names: Arc<Names>,
    by_user: OnceLock<Csr>,
    by_item: OnceLock<Csr>,
    sequences: OnceLock<Csr>,
    has: OnceLock<Option<Vec<u64>>>,
}

/// The largest table of who has what that is kept as bits: 64 MiB.
const MOST_BITS: usize = 64 << 23;

/// What all views of a data set share and no split can leak: ids and side features.
#[derive(Debug)]
struct Names {
    user_ids: Vocabulary,
    item_ids: Vocabulary,
    user_features: Features,
    item_features: Features,
}

impl TrainView {
    fn new(data: &Interactions, names: &Arc<Names>, rows: &[u32]) -> Self {
        let pick = |column: &[u32]| rows.iter().map(|&r| column[r as usize]).collect();
        Self {
            users: pick(&data.users),
            items: pick(&data.items),
            values: data.values.as_deref().map(|c| rows.iter().map(|&r| c[r as usize]).collect()),
            times: data.times.as_deref().map(|c| rows.iter().map(|&r| c[r as usize]).collect()),
            names: Arc::clone(names),
            by_user: OnceLock::new(),
            by_item: OnceLock::new(),
            sequences: OnceLock::new(),
            has: OnceLock::new(),
        }
    }

    /// A view of all rows of `data`: to train on everything, outside any protocol.
    pub fn of_all(data: &Interactions) -> Self {
        Self::new(data, &Names::of(data), &(0..data.len() as u32).collect::<Vec<_>>())
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The number of users, those without a training row among them.
    pub fn num_users(&self) -> usize {
        self.names.user_ids.len()
    }

    /// The number of items, those without a training row among them.
    pub fn num_items(&self) -> usize {
        self.names.item_ids.len()
    }

    /// The user of each row.
    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// The item of each row.
    pub fn items(&self) -> &[u32] {
        &self.items
    }

    /// The value of each row, where the data has values.
    pub fn values(&self) -> Option<&[f32]> {
        self.values.as_deref()
    }

    /// The time of each row, where the data has times.
    pub fn times(&self) -> Option<&[i64]> {
        self.times.as_deref()
    }

    /// Users × items, each user's items rising, duplicates merged; values are the rows' values, or absent.
    pub fn by_user(&self) -> &Csr {
        self.by_user.get_or_init(|| {
            Csr::from_coordinates(self.num_users(), self.num_items(), &self.users, &self.items, self.values.as_deref().unwrap_or(&[]))
                .sorted()
        })
    }

    /// Items × users: [`by_user`](Self::by_user) transposed.
    pub fn by_item(&self) -> &Csr {
        self.by_item.get_or_init(|| self.by_user().transposed())
    }

    /// Users × items, each user's rows in order of time; rows of equal time, and all rows where there are no times, in the order of the
    /// source. Nothing is merged; values are the rows' values, or absent.
    pub fn sequences(&self) -> &Csr {
        self.sequences.get_or_init(|| {
            let mut rows: Vec<u32> = (0..self.len() as u32).collect();
            if let Some(times) = self.times() {
                rows.sort_by_key(|&r| times[r as usize]);
            }
            let pick = |column: &[u32]| rows.iter().map(|&r| column[r as usize]).collect::<Vec<_>>();
            let values: Vec<f32> = self.values().map_or(Vec::new(), |values| rows.iter().map(|&r| values[r as usize]).collect());
            Csr::from_coordinates(self.num_users(), self.num_items(), &pick(&self.users), &pick(&self.items), &values)
        })
    }

    /// Whether `user` has a training row with `item`: one look-up where users × items bits are few, else a search in the user's row.
    #[inline]
    pub fn has(&self, user: u32, item: u32) -> bool {
        let bits = self.has.get_or_init(|| {
            let places = self.num_users().checked_mul(self.num_items()).filter(|&n| n <= MOST_BITS)?;
            let mut bits = vec![0u64; places.div_ceil(64)];
            for (&user, &item) in self.users.iter().zip(&self.items) {
                let at = user as usize * self.num_items() + item as usize;
                bits[at / 64] |= 1 << (at % 64);
            }
            Some(bits)
        });
        match bits {
            Some(bits) => {
                let at = user as usize * self.num_items() + item as usize;
                bits[at / 64] >> (at % 64) & 1 == 1
            }
            None => self.by_user().contains(user as usize, item),
        }
    }

    /// How many training rows each item has.
    pub fn popularity(&self) -> Vec<u32> {
        let mut counts = vec![0; self.num_items()];
        self.items.iter().for_each(|&i| counts[i as usize] += 1);
        counts
    }

    /// Raw ids of the users.
    pub fn user_ids(&self) -> &Vocabulary {
        &self.names.user_ids
    }

    /// Raw ids of the items.
    pub fn item_ids(&self) -> &Vocabulary {
        &self.names.item_ids
    }

    /// Side features of the users.
    pub fn user_features(&self) -> &Features {
        &self.names.user_features
    }

    /// Side features of the items.
    pub fn item_features(&self) -> &Features {
        &self.names.item_features
    }
}

impl Names {
    fn of(data: &Interactions) -> Arc<Self> {
        Arc::new(Self {
            user_ids: data.user_ids.clone(),
            item_ids: data.item_ids.clone(),
            user_features: data.user_features.clone(),
            item_features: data.item_features.clone(),
        })
    }
}

/// What is asked of a model about held-out rows.
#[derive(Debug)]
pub struct HeldOut {
    /// The user of each question; a question has at least one target.
    users: Vec<u32>,
    histories: Windows,
    masked: Csr,
    targets: Csr,
    candidates: Option<Csr>,
    blocked: Vec<u32>,
    rows: RatedRows,
}

/// Held-out rows one by one, for rating metrics.
#[derive(Debug, Default)]
pub struct RatedRows {
    /// The user of each row.
    pub users: Vec<u32>,
    /// The item of each row.
    pub items: Vec<u32>,
    /// The value of each row; empty where the data has none.
    pub values: Vec<f32>,
}

impl HeldOut {
    /// Questions made by hand: users, and for each of them (in that order) the history oldest first, the masked items, the relevant
    /// items with their values, and the candidates where they are not all items. Rows need not be sorted.
    ///
    /// # Panics
    /// where a matrix has not a row for each user.
    pub fn new(
        users: Vec<u32>,
        histories: impl Into<Windows>,
        masked: &Csr,
        targets: &Csr,
        candidates: Option<&Csr>,
        rows: RatedRows,
    ) -> Self {
        let histories = histories.into();
        assert_eq!(histories.num_rows(), users.len(), "a history for each user");
        for matrix in [Some(masked), Some(targets), candidates].into_iter().flatten() {
            assert_eq!(matrix.num_rows(), users.len(), "a row for each user");
        }
        let targets = keep_last(targets);
        let candidates = candidates.map(|c| with_targets(&targets, (0..c.num_rows()).map(|row| c.row(row))));
        Self { users, histories, masked: masked.sorted(), targets, candidates, blocked: Vec::new(), rows }
    }

    /// The same questions with items that are recommended to nobody.
    ///
    /// # Panics
    /// where there is no such item.
    pub fn with_blocked(self, mut blocked: Vec<u32>) -> Self {
        blocked.sort_unstable();
        blocked.dedup();
        assert!(blocked.last().is_none_or(|&item| (item as usize) < self.targets.num_columns()), "items that are there");
        Self { blocked, ..self }
    }

    /// The evaluated users, rising; where a session is asked about row by row, once for each question. The rows of all matrices below
    /// are those of this list.
    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// What each user did before, oldest first: what a model may score the user from.
    pub fn histories(&self) -> &Windows {
        &self.histories
    }

    /// Items that are not recommended to the user, rising.
    pub fn masked(&self) -> &Csr {
        &self.masked
    }

    /// The relevant items of each user, rising, with their values as gains where the data has values.
    pub fn targets(&self) -> &Csr {
        &self.targets
    }

    /// Where the protocol ranks a fixed candidate list: each user's candidates, the targets among them, rising.
    pub fn candidates(&self) -> Option<&Csr> {
        self.candidates.as_ref()
    }

    /// Items that are recommended to nobody, rising: those without a training row, where the protocol ranks no others. A relevant item
    /// among them stays relevant, is in no list, and loses every pair of the AUC: as if the model had scored it −∞.
    pub fn blocked(&self) -> &[u32] {
        &self.blocked
    }

    /// All held-out rows, the irrelevant ones too, for rating metrics.
    pub fn rows(&self) -> &RatedRows {
        &self.rows
    }

    /// The users at `at` (places in [`users`](Self::users)), for a look at a part of them.
    pub fn subset(&self, at: &[usize]) -> Self {
        let pick = |m: &Csr| {
            let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for (new, &old) in at.iter().enumerate() {
                rows.extend(std::iter::repeat_n(new as u32, m.range(old).len()));
                columns.extend_from_slice(m.row(old));
                values.extend_from_slice(m.row_values(old));
            }
            Csr::from_coordinates(at.len(), m.num_columns(), &rows, &columns, &values)
        };
        Self {
            users: at.iter().map(|&i| self.users[i]).collect(),
            histories: self.histories.select(&at.iter().map(|&i| i as u32).collect::<Vec<_>>()),
            masked: pick(&self.masked),
            targets: pick(&self.targets),
            candidates: self.candidates.as_ref().map(pick),
            blocked: self.blocked.clone(),
            rows: RatedRows::default(),
        }
    }
}

/// Held-out rows that pick the epoch or the hyper-parameters.
#[derive(Debug)]
pub struct ValidView(HeldOut);

/// Held-out rows that the reported metrics are computed on.
#[derive(Debug)]
pub struct TestView(HeldOut);

impl Deref for ValidView {
    type Target = HeldOut;
    fn deref(&self) -> &HeldOut {
        &self.0
    }
}

impl Deref for TestView {
    type Target = HeldOut;
    fn deref(&self) -> &HeldOut {
        &self.0
    }
}

/// How held-out rows become questions.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// What is asked about held-out rows.
    pub questions: Questions,
    /// Rows with a smaller value are not relevant (they stay rating rows).
    pub relevant_at_least: Option<f32>,
    /// Which items are not recommended.
    pub mask: Mask,
    /// Which items are ranked.
    pub candidates: Candidates,
    /// Which items validation ranks; `None`: the same, or all items where those are published lists, which belong to the test rows.
    pub valid_candidates: Option<Candidates>,
    /// Whether held-out rows of users or items without a training row are dropped.
    pub drop_cold: bool,
}

/// Which items are not recommended to a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// All items of the user's history.
    #[default]
    Seen,
    /// The items of the history that were relevant (value at least the threshold): the others may be recommended.
    SeenRelevant,
    /// Nothing: an item may be recommended again.
    Nothing,
}

/// Which items are ranked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Candidates {
    /// All items.
    #[default]
    All,
    /// Items with at least one training row; a relevant item without one counts as not found.
    TrainItems,
    /// The lists that the data was published with, as sets, the targets added.
    Published,
    /// `n` items drawn for each user, none that the user ever had, the targets added; drawn once by the seed.
    Sampled {
        /// How many.
        n: usize,
        /// 0 draws uniformly, 1 in proportion to training popularity.
        popularity_percent: u32,
    },
}

/// The views of one split.
#[derive(Debug)]
pub struct Views {
    /// Learned from while the epoch is picked.
    pub train: Arc<TrainView>,
    /// Picks the epoch; absent where the split has no validation part.
    pub valid: Option<ValidView>,
    /// Reported.
    pub test: TestView,
    /// Train and valid together: for a last training with the picked epoch. Train alone where whole users are held out for validation
    /// ([`Split::valid_context`] is not empty): half of a user's rows would be learned from.
    pub all_of_train: Arc<TrainView>,
}

/// Makes the views of `split`.
///
/// A validation history holds the user's rows of train and `valid_context`, a test history those of `all_of_train` and `context`. So
/// where whole users are held out, a test user's history is the user's own context and nothing else.
///
/// # Errors
/// a usage problem where the candidates or the mask need what the data has not.
pub fn views(data: &Interactions, published: Option<&CandidateLists>, split: &Split, asking: &Asking, seed: u64) -> Result<Views> {
    let names = Names::of(data);
    let train = Arc::new(TrainView::new(data, &names, &split.train));
    let (all_rows, all_of_train) = if split.valid.is_empty() || !split.valid_context.is_empty() {
        (split.train.clone(), Arc::clone(&train))
    } else {
        let mut rows = [&split.train[..], &split.valid].concat();
        rows.sort_unstable();
        let view = Arc::new(TrainView::new(data, &names, &rows));
        (rows, view)
    };
    let valid = if split.valid.is_empty() {
        None
    } else {
        let candidates = match (&asking.valid_candidates, &asking.candidates) {
            (Some(Candidates::Published), _) => {
                fail!(Usage, "published candidate lists belong to the test rows: let validation rank others")
            }
            (Some(own), _) => own.clone(),
            (None, Candidates::Published) => Candidates::All,
            (None, same) => same.clone(),
        };
        let asking = Asking { candidates, ..asking.clone() };
        let rows = Rows { history: &split.train, context: &split.valid_context, held: &split.valid };
        Some(ValidView(held_out(data, None, &rows, &asking, &train, seed ^ 1)?))
    };
    let rows = Rows { history: &all_rows, context: &split.context, held: &split.test };
    let test = TestView(held_out(data, published, &rows, asking, &all_of_train, seed)?);
    Ok(Views { train, valid, test, all_of_train })
}

/// Row numbers that a question is made of.
struct Rows<'a> {
    history: &'a [u32],
    context: &'a [u32],
    held: &'a [u32],
}

fn held_out(
    data: &Interactions,
    published: Option<&CandidateLists>,
    rows: &Rows,
    asking: &Asking,
    train: &TrainView,
    seed: u64,
) -> Result<HeldOut> {
    let threshold = asking.relevant_at_least;
    require!(threshold.is_none() || data.values.is_some(), Usage, "a relevance threshold needs ratings, and this data has none");
    let value = |r: u32| data.values.as_deref().map_or(1.0, |v| v[r as usize]);
    let relevant = |r: u32| threshold.is_none_or(|t| value(r) >= t);
    let popularity = train.popularity();
    let known_item = |r: u32| popularity[data.items[r as usize] as usize] > 0;
    let known_user = |r: u32| !train.by_user().row(data.users[r as usize] as usize).is_empty();
    let each_next = asking.questions == Questions::EachNext;
    let kept =
        |rows: &[u32]| rows.iter().copied().filter(|&r| !asking.drop_cold || ((each_next || known_user(r)) && known_item(r))).collect();
    let held: Vec<u32> = kept(rows.held);
    let Asked { users, histories, targets } = if each_next {
        let context: Vec<u32> = kept(rows.context);
        Held { data, history: rows.history, context: &context, asked: &held, relevant: &relevant }.each_next(train)?
    } else {
        Held { data, history: rows.history, context: rows.context, asked: &held, relevant: &relevant }.by_user()
    };
    let targets = keep_last(&targets);
    let masked = match asking.mask {
        Mask::Seen => masked(&histories, data.num_items(), f32::NEG_INFINITY),
        Mask::SeenRelevant => masked(&histories, data.num_items(), threshold.unwrap_or(f32::NEG_INFINITY)),
        Mask::Nothing => Csr::from_rows(data.num_items(), vec![[]; users.len()]),
    };
    let candidates = match &asking.candidates {
        // The few items without a training row are blocked instead: a list for each user would be as large as all scores.
        Candidates::All | Candidates::TrainItems => None,
        Candidates::Published => {
            let Some(lists) = published else { fail!(Usage, "this data was published without candidate lists: rank `all` items instead") };
            Some(with_targets(&targets, users.iter().map(|&u| lists.of(u))))
        }
        Candidates::Sampled { n, popularity_percent } => {
            let sampler = crate::sampler::Sampler::new(*popularity_percent as f64 / 100.0, &popularity);
            // Each user's list is drawn once, also where several questions are asked about the user.
            let mut drawn_for = users.clone();
            drawn_for.dedup();
            // What the user has in any part: a test item must not be a negative of the validation either.
            let ever = rows_of_users(data, &drawn_for, &mut (0..data.len() as u32), false).sorted();
            let drawn = draw_candidates(&drawn_for, &ever, *n, &sampler, seed, data)?;
            let of = |user: &u32| drawn[drawn_for.partition_point(|u| u < user)].as_slice();
            Some(with_targets(&targets, users.iter().map(of)))
        }
    };
    let blocked = match asking.candidates {
        Candidates::TrainItems => (0..data.num_items() as u32).filter(|&i| popularity[i as usize] == 0).collect(),
        _ => Vec::new(),
    };
    let rows = RatedRows {
        users: held.iter().map(|&r| data.users[r as usize]).collect(),
        items: held.iter().map(|&r| data.items[r as usize]).collect(),
        values: data.values.as_deref().map(|v| held.iter().map(|&r| v[r as usize]).collect()).unwrap_or_default(),
    };
    Ok(HeldOut { users, histories, masked, targets, candidates, blocked, rows })
}

/// The items of each history whose value is at least `least`, rising, each once.
fn masked(histories: &Windows, num_items: usize, least: f32) -> Csr {
    let of = |row: usize| {
        let values = histories.row_values(row);
        let enough = |at: usize| values.get(at).copied().unwrap_or(1.0) >= least;
        let mut items: Vec<u32> = histories.row(row).iter().enumerate().filter(|&(at, _)| enough(at)).map(|(_, &item)| item).collect();
        items.sort_unstable();
        items.dedup();
        items
    };
    Csr::from_rows(num_items, (0..histories.num_rows()).map(of))
}

/// Each row by rising column; of equal columns the last one's value.
fn keep_last(m: &Csr) -> Csr {
    let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..m.num_rows() {
        let mut entries: Vec<(u32, f32)> =
            m.row(row).iter().enumerate().map(|(i, &c)| (c, m.row_values(row).get(i).copied().unwrap_or(1.0))).collect();
        entries.sort_by_key(|e| e.0);
        for (i, &(column, value)) in entries.iter().enumerate() {
            if entries.get(i + 1).is_none_or(|next| next.0 != column) {
                rows.push(row as u32);
                columns.push(column);
                values.push(value);
            }
        }
    }
    let values = if m.values().is_empty() { Vec::new() } else { values };
    Csr::from_coordinates(m.num_rows(), m.num_columns(), &rows, &columns, &values)
}

fn with_targets<'a>(targets: &Csr, lists: impl Iterator<Item = &'a [u32]>) -> Csr {
    let rows = lists.enumerate().map(|(row, list)| {
        let mut all = [list, targets.row(row)].concat();
        all.sort_unstable();
        all.dedup();
        all
    });
    Csr::from_rows(targets.num_columns(), rows)
}

/// `n` different items for each user, none of them in the user's row of `ever`.
fn draw_candidates(
    users: &[u32],
    ever: &Csr,
    n: usize,
    sampler: &crate::sampler::Sampler,
    seed: u64,
    data: &Interactions,
) -> Result<Vec<Vec<u32>>> {
    let mut all = Vec::with_capacity(users.len());
    for (row, &user) in users.iter().enumerate() {
        let taken = |item: u32| ever.contains(row, item);
        let free = (0..data.num_items() as u32).filter(|&i| !taken(i) && sampler.can_draw(i)).count();
        require!(
            free >= n,
            Usage,
            "user `{}` has {free} items left that were never theirs, fewer than the {n} candidates asked for",
            data.user_ids.raw(user)
        );
        let mut rng = Rng::keyed(seed, Stream::Candidates, 0, u64::from(user));
        let mut drawn: Vec<u32> = Vec::with_capacity(n);
        while drawn.len() < n {
            let item = sampler.draw(&mut rng);
            if !taken(item) && !drawn.contains(&item) {
                drawn.push(item);
            }
        }
        all.push(drawn);
    }
    Ok(all)
}

impl CandidateLists {
    /// The same lists after users and items were dropped and renumbered from `old` to `new`.
    pub fn renumbered(&self, old: &Interactions, new: &Interactions) -> Self {
        let item: Vec<Option<u32>> = old.item_ids.iter().map(|raw| new.item_ids.number(raw)).collect();
        Self::from_lists(new.user_ids.iter().map(|raw| {
            let list = old.user_ids.number(raw).map_or(&[][..], |user| self.of(user));
            list.iter().filter_map(|&i| item[i as usize]).collect::<Vec<u32>>()
        }))
    }

    /// From one list a user.
    pub fn from_lists<L: AsRef<[u32]>>(lists: impl IntoIterator<Item = L>) -> Self {
        let (mut ends, mut items) = (Vec::new(), Vec::new());
        for list in lists {
            items.extend_from_slice(list.as_ref());
            ends.push(items.len() as u64);
        }
        Self { ends: Column::from(ends), items: Column::from(items) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::{Nested, SplitSpec, split};

    /// 20 users with ten of 15 items each, the last user with one more that nobody else has.
    fn data() -> Interactions {
        let rows = (0..20u32).flat_map(|user| (0..10).map(move |at| (user, (user * 4 + at) % 15))).chain([(19, 15)]);
        let (users, items): (Vec<u32>, Vec<u32>) = rows.unzip();
        Interactions {
            users: users.into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(20),
            item_ids: Vocabulary::numbers(16),
            ..Interactions::default()
        }
    }

    fn items_of(data: &Interactions, rows: &[u32], user: u32) -> Vec<u32> {
        rows.iter().filter(|&&r| data.users[r as usize] == user).map(|&r| data.items[r as usize]).collect()
    }

    #[test]
    fn users_held_out_whole_are_known_by_their_own_context_only_and_never_learned_from() {
        let data = data();
        let s = split(&data, &SplitSpec::HeldOutUsers { valid_users: 4, test_users: 5, fold_in: 0.8 }, None, 1).expect("splits");
        let views = views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert_eq!((views.all_of_train.users(), views.all_of_train.items()), (views.train.users(), views.train.items()));
        let valid = views.valid.as_deref().expect("there are validation users");
        assert_eq!((valid.users().len(), views.test.users().len()), (4, 5));
        for (held, seen, asked) in [(valid, &s.valid_context, &s.valid), (&*views.test, &s.context, &s.test)] {
            for (row, &user) in held.users().iter().enumerate() {
                assert!(views.train.by_user().row(user as usize).is_empty());
                assert_eq!(held.histories().row(row), items_of(&data, seen, user));
                assert_eq!((held.masked().row(row).len(), held.targets().row(row).len()), (8, items_of(&data, asked, user).len()));
            }
        }
    }

    #[test]
    fn a_validation_part_of_train_users_is_learned_from_and_seen_afterwards() {
        let data = data();
        let nested = Nested::LeaveLast { valid: 2 };
        let s = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(&nested), 1).expect("splits");
        let views = views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert_eq!(views.all_of_train.len(), s.train.len() + s.valid.len());
        assert_eq!(views.test.histories().row(3), items_of(&data, &[&s.train[..], &s.valid].concat(), 3));
        assert_eq!(views.valid.as_deref().expect("nested").histories().row(3), items_of(&data, &s.train, 3));
    }

    #[test]
    fn validation_may_rank_drawn_candidates_where_the_test_ranks_others() {
        let data = data();
        let s = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 1 }, None, 1).expect("splits");
        let asking = |own: Candidates| Asking { valid_candidates: Some(own), ..Asking::default() };
        let made = views(&data, None, &s, &asking(Candidates::Sampled { n: 2, popularity_percent: 0 }), 1).expect("made");
        let valid = made.valid.as_deref().and_then(HeldOut::candidates).expect("drawn");
        assert!((0..valid.num_rows()).all(|row| valid.row(row).len() == 3));
        assert!(made.test.candidates().is_none());
        assert!(views(&data, None, &s, &asking(Candidates::Published), 1).is_err());
    }

    #[test]
    fn items_without_a_training_row_are_blocked_once_for_all_users() {
        let data = data();
        let s = split(&data, &SplitSpec::LeaveLast { test: 2, valid: 1 }, None, 1).expect("splits");
        let asking = Asking { candidates: Candidates::TrainItems, ..Asking::default() };
        let views = views(&data, None, &s, &asking, 1).expect("made");
        assert_eq!(views.test.blocked(), [15]);
        assert!(views.test.candidates().is_none());
        assert_eq!(views.test.targets().row(19).last(), Some(&15), "a relevant item stays relevant");
        assert_eq!(views.test.subset(&[3, 19]).blocked(), [15]);
        let all = super::views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert!(all.test.blocked().is_empty());
    }
}
