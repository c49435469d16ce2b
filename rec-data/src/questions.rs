//! Questions: who is asked about, what is known of them, and which items are the answers.

use std::ops::Range;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::csr::Csr;
use crate::fail;
use crate::interactions::Interactions;
use crate::split::in_time;
use crate::view::TrainView;
use crate::windows::Windows;

/// What is asked about held-out rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Questions {
    /// One question a user: all of the user's held-out rows are targets, and the earlier parts and the context are the history.
    #[default]
    HeldOutRows,
    /// One question a row, for users (sessions) that are held out whole: what comes next after the rows before it? Each held-out row but a
    /// user's first is the one target of a question, and all of the user's rows before it are the history. Rows are ordered by time, rows
    /// of equal time by the order of the source. A row that is not relevant is asked about by nobody and stays in later histories. Where cold
    /// rows are dropped, those are the rows whose item has no training row, and they are in no history.
    ///
    /// A user without training rows is all that this asks for: no such user is known, so no row is dropped as a cold user's.
    EachNext,
}

impl Questions {
    /// Whether it is the default, which is left out of a protocol's canonical form.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Rows of one part, and what of the others is seen beside them.
pub(crate) struct Held<'a> {
    pub data: &'a Interactions,
    /// Rows learned from, and rows that are only seen.
    pub history: &'a [u32],
    pub context: &'a [u32],
    /// Rows that are asked about.
    pub asked: &'a [u32],
    /// Whether a row of `asked` is a target.
    pub relevant: &'a dyn Fn(u32) -> bool,
}

/// Questions: user, history and targets of each, users rising.
pub(crate) struct Asked {
    pub users: Vec<u32>,
    pub histories: Windows,
    /// Items in any order, with values where the data has values.
    pub targets: Csr,
}

impl Asked {
    /// Each question so many times in a row.
    pub fn repeated(self, times: usize) -> Self {
        if times == 1 {
            return self;
        }
        let at: Vec<u32> = (0..(self.users.len() * times) as u32).map(|i| i / times as u32).collect();
        Self {
            users: at.iter().map(|&i| self.users[i as usize]).collect(),
            histories: self.histories.select(&at),
            targets: self.targets.select(&at),
        }
    }
}

impl Held<'_> {
    /// One question a user with a target.
    pub fn by_user(&self) -> Asked {
        let data = self.data;
        let mut users: Vec<u32> = self.asked.iter().filter(|&&r| (self.relevant)(r)).map(|&r| data.users[r as usize]).collect();
        users.sort_unstable();
        users.dedup();
        let past = in_time(data, sorted([self.history, self.context].concat()));
        let histories = rows_of_users(data, &users, &mut past.into_iter(), data.values.is_some());
        let targets = rows_of_users(data, &users, &mut self.asked.iter().copied().filter(|&r| (self.relevant)(r)), data.values.is_some());
        Asked { users, histories: histories.into(), targets }
    }

    /// One question a row that has another one before it; see [`Questions::EachNext`].
    ///
    /// # Errors
    /// a usage problem where a user with such rows has training rows.
    pub fn each_next(&self, train: &TrainView) -> Result<Asked> {
        let data = self.data;
        if let Some(&r) = self.asked.iter().find(|&&r| !train.by_user().row(data.users[r as usize] as usize).is_empty()) {
            fail!(
                Usage,
                "`questions = \"each-next\"` asks about users (sessions) held out whole, and `{}` has training rows: choose a split that holds out whole users, `published` parts of sessions say, and as nested validation `users` or `last-users`",
                data.user_ids.raw(data.users[r as usize])
            );
        }
        let mut is_asked = vec![false; data.len()];
        self.asked.iter().for_each(|&r| is_asked[r as usize] = true);
        let mut rows = in_time(data, sorted([self.context, self.asked].concat()));
        rows.sort_by_key(|&r| data.users[r as usize]);
        let mut users = Vec::new();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut answers = Vec::new();
        let mut start = 0;
        for at in 0..rows.len() {
            let (row, user) = (rows[at], data.users[rows[at] as usize]);
            if at > 0 && data.users[rows[at - 1] as usize] != user {
                start = at;
            }
            if at > start && is_asked[row as usize] && (self.relevant)(row) {
                users.push(user);
                ranges.push(start..at);
                answers.push(row);
            }
        }
        let items = |rows: &[u32]| rows.iter().map(|&r| data.items[r as usize]).collect::<Vec<_>>();
        let values =
            |rows: &[u32]| -> Vec<f32> { data.values.as_deref().map_or_else(Vec::new, |v| rows.iter().map(|&r| v[r as usize]).collect()) };
        let numbers: Vec<u32> = (0..answers.len() as u32).collect();
        let targets = Csr::from_coordinates(answers.len(), data.num_items(), &numbers, &items(&answers), &values(&answers));
        Ok(Asked { users, histories: Windows::new(items(&rows), values(&rows), ranges), targets })
    }
}

/// For each of `users`, rising, the items of those of `rows` that are theirs, in the order of `rows`.
pub(crate) fn rows_of_users(data: &Interactions, users: &[u32], rows: &mut dyn Iterator<Item = u32>, with_values: bool) -> Csr {
    let mut place = vec![u32::MAX; data.num_users()];
    users.iter().enumerate().for_each(|(at, &u)| place[u as usize] = at as u32);
    let (mut at, mut items, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for r in rows {
        let p = place[data.users[r as usize] as usize];
        if p != u32::MAX {
            at.push(p);
            items.push(data.items[r as usize]);
            if with_values {
                values.push(data.values.as_deref().map_or(1.0, |v| v[r as usize]));
            }
        }
    }
    Csr::from_coordinates(users.len(), data.num_items(), &at, &items, &values)
}

fn sorted(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rows;
    use crate::split::{Nested, Split, SplitSpec, split};
    use crate::view::{Asking, Candidates, HeldOut, Mask, SampledCandidates, views};
    use crate::{Kind, Part, Vocabulary};

    const USERS: u32 = 12;
    const ITEMS: u32 = 9;

    /// Rows of (session, item, time, value); sessions 0 to 5 are train, the others test.
    fn data(rows: &[(u32, u32, i64, f32)]) -> Interactions {
        let part = |user: u32| if user < USERS / 2 { Part::Train } else { Part::Test } as u8;
        Interactions {
            users: rows.iter().map(|r| r.0).collect::<Vec<_>>().into(),
            items: rows.iter().map(|r| r.1).collect::<Vec<_>>().into(),
            times: Some(rows.iter().map(|r| r.2).collect::<Vec<_>>().into()),
            values: Some(rows.iter().map(|r| r.3).collect::<Vec<_>>().into()),
            parts: Some(rows.iter().map(|r| part(r.0)).collect::<Vec<_>>().into()),
            user_ids: Vocabulary::numbers(USERS as usize),
            item_ids: Vocabulary::numbers(ITEMS as usize),
            ..Interactions::default()
        }
    }

    fn each_next() -> Asking {
        Asking { questions: Questions::EachNext, mask: Mask::Nothing, ..Asking::default() }
    }

    fn published(data: &Interactions, nested: Option<&Nested>) -> Split {
        split(data, &SplitSpec::Published {}, nested, 3).expect("has parts")
    }

    /// Session, history with values, target: question after question.
    type Plain = Vec<(u32, Vec<(u32, f32)>, u32)>;

    fn asked(held: &HeldOut) -> Plain {
        let history = |at| held.histories().row(at).iter().copied().zip(held.histories().row_values(at).iter().copied()).collect();
        let one = |(at, &user)| {
            assert_eq!(held.targets().row(at).len(), 1);
            (user, history(at), held.targets().row(at)[0])
        };
        held.users().iter().enumerate().map(one).collect()
    }

    /// The same in plain words: for each session, its rows in order, and for each but the first what was before it.
    fn plainly(rows: &[(u32, u32, i64, f32)], users: &[u32], kept: impl Fn(u32) -> bool, relevant: impl Fn(f32) -> bool) -> Plain {
        let mut out = Vec::new();
        for &user in users {
            let mut session: Vec<_> = rows.iter().filter(|r| r.0 == user && kept(r.1)).collect();
            session.sort_by_key(|r| r.2);
            for at in 1..session.len() {
                if relevant(session[at].3) {
                    out.push((user, session[..at].iter().map(|r| (r.1, r.3)).collect(), session[at].1));
                }
            }
        }
        out
    }

    fn users_of(data: &Interactions, rows: &Rows) -> Vec<u32> {
        let mut users: Vec<u32> = rows.iter().map(|r| data.users[r as usize]).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    proptest! {
        #[test]
        fn each_next_row_is_asked_about_with_what_came_before(
            mut rows in prop::collection::vec((0..USERS, 0..ITEMS, 0i64..6, 0u8..3), 1..90), drop_cold: bool, threshold in 0u8..3,
        ) {
            // Somebody is learned from and somebody is asked about.
            rows.extend([(0, 0, 0, 0), (USERS - 1, 0, 1, 2), (USERS - 1, 0, 2, 2)]);
            let rows: Vec<_> = rows.into_iter().map(|(user, item, time, value)| (user, item, time, f32::from(value))).collect();
            let data = data(&rows);
            let trained = |item: u32| rows.iter().any(|r| r.0 < USERS / 2 && r.1 == item);
            let least = f32::from(threshold);
            let asking = Asking { drop_cold, relevant_at_least: Some(least), ..each_next() };
            let made = views(&data, None, &published(&data, None), &asking, 1).expect("sessions are held out whole");
            let test: Vec<u32> = (USERS / 2..USERS).collect();
            prop_assert_eq!(asked(&made.test), plainly(&rows, &test, |item| !drop_cold || trained(item), |value| value >= least));
            for seen in [Mask::Seen, Mask::SeenRelevant] {
                let made = views(&data, None, &published(&data, None), &Asking { mask: seen, ..asking.clone() }, 1).expect("made");
                for (at, (_, history, _)) in asked(&made.test).iter().enumerate() {
                    let masked = |item: u32| history.iter().any(|&(i, value)| i == item && (seen == Mask::Seen || value >= least));
                    prop_assert_eq!(made.test.masked().row(at).to_vec(), (0..ITEMS).filter(|&i| masked(i)).collect::<Vec<_>>());
                }
            }
        }

        #[test]
        fn whole_sessions_are_taken_out_of_train_for_validation(
            rows in prop::collection::vec((0..USERS, 0..ITEMS, 0i64..6), 12..90), last: bool, share in 0.0f64..0.9,
        ) {
            let rows: Vec<_> = (0..USERS).map(|user| (user, 0, 3)).chain(rows).map(|(u, i, t)| (u, i, t, 1.0)).collect();
            let data = data(&rows);
            let nested = if last { Nested::LastUsers { valid: share } } else { Nested::Users { valid: share } };
            let split = published(&data, Some(&nested));
            let (train, valid) = (users_of(&data, &split.train), users_of(&data, &split.valid));
            prop_assert_eq!(valid.len(), (share * 6.0) as usize);
            prop_assert_eq!(train.len() + valid.len(), 6);
            let end = |user: &u32| (0..rows.len()).filter(|&r| rows[r].0 == *user).map(|r| (rows[r].2, r)).max();
            if last && !valid.is_empty() {
                prop_assert!(train.iter().map(end).max() < valid.iter().map(end).min());
            }
            let made = views(&data, None, &split, &each_next(), 1).expect("made");
            let found = made.valid.as_deref().map_or_else(Vec::new, asked);
            prop_assert_eq!(found, plainly(&rows, &valid, |_| true, |_| true));
            prop_assert_eq!(made.all_of_train.len(), split.train.len() + split.valid.len());
        }
    }

    #[test]
    fn no_history_is_copied() {
        let rows: Vec<_> =
            (0..40).map(|at| (at / 20 * 11, at as u32 % ITEMS, i64::from(at), 1.0)).map(|(u, i, t, v)| (u as u32, i, t, v)).collect();
        let data = data(&rows);
        let made = views(&data, None, &published(&data, None), &each_next(), 1).expect("made");
        let histories = made.test.histories();
        assert_eq!((histories.num_rows(), histories.items().len()), (19, 20));
        assert!((0..19).all(|at| histories.row(at).as_ptr() == histories.items().as_ptr()));
        let part = made.test.subset(&[3, 18]);
        assert_eq!(part.histories().row(1).as_ptr(), histories.items().as_ptr());
        assert_eq!(part.histories().row(0), histories.row(3));
    }

    #[test]
    fn candidates_are_drawn_once_a_session_with_the_target_of_each_question_added() {
        let rows: Vec<_> = (0..ITEMS).map(|item| (0, item, 0, 1.0)).chain((0..4).map(|at| (11, at, i64::from(at), 1.0))).collect();
        let data = data(&rows);
        let asking = Asking { candidates: Candidates::Sampled(SampledCandidates::uniform(2)), ..each_next() };
        let made = views(&data, None, &published(&data, None), &asking, 1).expect("made");
        let drawn = |at: usize| {
            let (all, target) = (made.test.candidates().expect("drawn").row(at), made.test.targets().row(at)[0]);
            assert!(all.contains(&target));
            all.iter().copied().filter(|&i| i != target).collect::<Vec<_>>()
        };
        assert_eq!((drawn(0).len(), drawn(0)), (2, drawn(2)));
        assert!(drawn(1).iter().all(|&i| i > 3), "no item that the session ever has");
    }

    #[test]
    fn a_session_that_is_learned_from_is_not_asked_about() {
        let rows: Vec<_> = (0..8u32).map(|at| (at / 4, at % 4, i64::from(at), 1.0)).collect();
        let data = data(&rows);
        let leave_last = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 0 }, None, 1).expect("splits");
        let error = views(&data, None, &leave_last, &each_next(), 1).expect_err("users are known");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
        assert!(error.to_string().contains("held out whole, and `0` has training rows"), "{error}");
        let error =
            split(&data, &SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(&Nested::Users { valid: 1.0 }), 1).expect_err("no share");
        assert!(error.to_string().contains("must lie in [0, 1)"), "{error}");
    }

    #[test]
    fn context_rows_are_seen_and_not_asked_about() {
        let mut data = data(&[(0, 0, 0, 1.0), (11, 1, 0, 1.0), (11, 2, 1, 1.0), (11, 3, 2, 1.0)]);
        data.parts = Some(vec![0, 2, 3, 2].into());
        let made = views(&data, None, &published(&data, None), &each_next(), 1).expect("made");
        assert_eq!(asked(&made.test), [(11, vec![(1, 1.0), (2, 1.0)], 3)]);
    }
}
