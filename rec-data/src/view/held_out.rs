//! Questions about held-out rows, as an evaluator asks them.

use std::ops::Deref;

use crate::csr::Csr;
use crate::fields::LabelledRows;
use crate::windows::Windows;

/// What is asked of a model about held-out rows.
#[derive(Debug)]
pub struct HeldOut {
    /// The user of each question; a question has at least one target.
    pub(super) users: Vec<u32>,
    pub(super) known_as: Vec<u32>,
    pub(super) in_a_row: usize,
    pub(super) histories: Windows,
    pub(super) masked: Csr,
    pub(super) targets: Csr,
    pub(super) candidates: Option<Csr>,
    pub(super) blocked: Vec<u32>,
    pub(super) rows: RatedRows,
    pub(super) labelled: Option<LabelledRows>,
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
    /// Stands for a user who was not there in training.
    pub const NEW: u32 = u32::MAX;

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
        Self {
            known_as: users.clone(),
            in_a_row: 1,
            users,
            histories,
            masked: masked.sorted(),
            targets,
            candidates,
            blocked: Vec::new(),
            rows,
            labelled: None,
        }
    }

    /// Nothing is asked about `num_items` items, and no row is rated.
    pub(super) fn nothing(num_items: usize) -> Self {
        let none = || Csr::from_rows(num_items, Vec::<Vec<u32>>::new());
        Self::new(Vec::new(), none(), &none(), &none(), None, RatedRows::default())
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

    /// The evaluated users, rising; where a session is asked about row by row, or with several draws of candidates, once for each question. The rows of all matrices below
    /// are those of this list.
    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// The users as models know them: [`HeldOut::NEW`] for those who are held out whole.
    pub fn known_as(&self) -> &[u32] {
        &self.known_as
    }

    /// Questions `k·in_a_row..(k + 1)·in_a_row` differ in their candidates alone.
    pub fn in_a_row(&self) -> usize {
        self.in_a_row
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

    /// All held-out rows with features and labels, where the protocol names fields.
    pub fn labelled(&self) -> Option<&LabelledRows> {
        self.labelled.as_ref()
    }

    /// The users at `at` (places in [`users`](Self::users)), for a look at a part of them.
    pub fn subset(&self, at: &[usize]) -> Self {
        let ids: Vec<u32> = at.iter().map(|&i| i as u32).collect();
        Self {
            users: at.iter().map(|&i| self.users[i]).collect(),
            in_a_row: 1,
            known_as: at.iter().map(|&i| self.known_as[i]).collect(),
            histories: self.histories.select(&ids),
            masked: self.masked.select(&ids),
            targets: self.targets.select(&ids),
            candidates: self.candidates.as_ref().map(|c| c.select(&ids)),
            blocked: self.blocked.clone(),
            rows: RatedRows::default(),
            labelled: None,
        }
    }
}

/// Held-out rows that pick the epoch or the hyper-parameters.
#[derive(Debug)]
pub struct ValidView(pub(super) HeldOut);

/// Held-out rows that the reported metrics are computed on.
#[derive(Debug)]
pub struct TestView(pub(super) HeldOut);

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

/// Each row by rising column; of equal columns the last one's value.
pub(super) fn keep_last(m: &Csr) -> Csr {
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

pub(super) fn with_targets<'a>(targets: &Csr, lists: impl Iterator<Item = &'a [u32]>) -> Csr {
    let rows = lists.enumerate().map(|(row, list)| {
        let mut all = [list, targets.row(row)].concat();
        all.sort_unstable();
        all.dedup();
        all
    });
    Csr::from_rows(targets.num_columns(), rows)
}
