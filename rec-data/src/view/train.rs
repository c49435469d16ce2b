//! What a model learns from.

use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::csr::Csr;
use crate::features::Features;
use crate::fields::LabelledRows;
use crate::interactions::Interactions;
use crate::{Column, Rows, Vocabulary, fail};

/// The rows that a model learns from, and what they imply.
#[derive(Debug)]
pub struct TrainView {
    users: Column<u32>,
    items: Column<u32>,
    values: Option<Column<f32>>,
    times: Option<Column<i64>>,
    names: Arc<Names>,
    by_user: OnceLock<Csr>,
    by_item: OnceLock<Csr>,
    sequences: OnceLock<Csr>,
    has: OnceLock<Option<Vec<u64>>>,
    labelled: Option<LabelledRows>,
}

/// The largest table of who has what that is kept as bits: 64 MiB.
const MOST_BITS: usize = 64 << 23;

/// What all views of a data set share and no split can leak: ids and side features.
#[derive(Debug)]
pub(super) struct Names {
    user_ids: Vocabulary,
    item_ids: Vocabulary,
    user_features: Features,
    item_features: Features,
}

impl TrainView {
    pub(super) fn new(data: &Interactions, names: &Arc<Names>, rows: &Rows) -> Self {
        Self {
            users: rows.pick(&data.users),
            items: rows.pick(&data.items),
            values: data.values.as_ref().map(|c| rows.pick(c)),
            times: data.times.as_ref().map(|c| rows.pick(c)),
            names: Arc::clone(names),
            by_user: OnceLock::new(),
            by_item: OnceLock::new(),
            sequences: OnceLock::new(),
            has: OnceLock::new(),
            labelled: None,
        }
    }

    /// The same rows, with features and labels.
    pub(super) fn with_labels(self, labelled: Option<LabelledRows>) -> Self {
        Self { labelled, ..self }
    }

    /// A view of all rows of `data`: to train on everything, outside any protocol.
    pub fn of_all(data: &Interactions) -> Self {
        Self::new(data, &Names::of(data), &Rows::Range(0..data.len() as u32))
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
            for (&user, &item) in self.users.iter().zip(self.items.iter()) {
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

    /// The rows with features and labels, for models that predict labels.
    ///
    /// # Errors
    /// a usage problem where the protocol has no fields.
    pub fn labelled(&self) -> Result<&LabelledRows> {
        let Some(labelled) = &self.labelled else {
            fail!(Usage, "this model predicts a row's label from its fields, and the protocol names no `fields`")
        };
        Ok(labelled)
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
    pub(super) fn of(data: &Interactions) -> Arc<Self> {
        Arc::new(Self {
            user_ids: data.user_ids.clone(),
            item_ids: data.item_ids.clone(),
            user_features: data.user_features.clone(),
            item_features: data.item_features.clone(),
        })
    }
}
