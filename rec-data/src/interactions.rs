//! Who did what with what, when, and how much they liked it: one row an interaction, one column a quantity.

use anyhow::Result;

use crate::features::Features;
use crate::{Column, Vocabulary, require};

/// The part that a published split gives a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// Rows that a model learns from.
    Train = 0,
    /// Rows that pick the epoch or the hyper-parameters.
    Valid = 1,
    /// Rows that the reported metrics are computed on.
    Test = 2,
    /// Rows that are seen as history when a test row is predicted, but never learned from (the prefix of a test session).
    Context = 3,
}

/// Interactions in columns, with the vocabularies of raw ids and the features of users, items and rows.
///
/// Row order is the source's order: where times are equal or absent, it is what "earlier" means.
/// For sessions, "user" is the session. Labelled rows without users or items (Criteo's) have one unnamed user and one unnamed item: columns
/// of zeros, which a cache maps from disk.
#[derive(Clone, Debug, Default)]
pub struct Interactions {
    /// The user of each row.
    pub users: Column<u32>,
    /// The item of each row.
    pub items: Column<u32>,
    /// The rating or weight of each row, finite; absent where the source has none.
    pub values: Option<Column<f32>>,
    /// The time of each row, seconds since 1970; absent where the source has none.
    pub times: Option<Column<i64>>,
    /// The part of each row ([`Part`] as a number), where the source comes with a split.
    pub parts: Option<Column<u8>>,
    /// Raw ids of the users.
    pub user_ids: Vocabulary,
    /// Raw ids of the items; may list items without any interaction.
    pub item_ids: Vocabulary,
    /// Features of the users, rows as in `user_ids`.
    pub user_features: Features,
    /// Features of the items, rows as in `item_ids`.
    pub item_features: Features,
    /// Features of the rows themselves: the place an ad was shown at, the hour.
    pub row_features: Features,
    /// Lines of the source that could not be read and were left out, as its reader was told to.
    pub skipped_lines: u64,
}

impl Interactions {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The number of users in the vocabulary.
    pub fn num_users(&self) -> usize {
        self.user_ids.len()
    }

    /// The number of items in the vocabulary.
    pub fn num_items(&self) -> usize {
        self.item_ids.len()
    }

    /// Checks that columns are equally long, ids lie in their vocabularies, and values are finite.
    ///
    /// # Errors
    /// a data problem that names `source`, the row and the value.
    pub fn check(&self, source: &str) -> Result<()> {
        let n = self.len();
        require!(self.items.len() == n, Data, "{source}: {n} users but {} items", self.items.len());
        for (name, len) in [
            ("ratings", self.values.as_deref().map(<[f32]>::len)),
            ("times", self.times.as_deref().map(<[i64]>::len)),
            ("parts", self.parts.as_deref().map(<[u8]>::len)),
        ] {
            require!(len.is_none_or(|l| l == n), Data, "{source}: {n} rows but {} {name}", len.unwrap_or(0));
        }
        let (users, items) = (self.num_users() as u32, self.num_items() as u32);
        for (row, (&user, &item)) in self.users.iter().zip(self.items.iter()).enumerate() {
            require!(user < users, Data, "{source}: row {row} has user number {user} of {users}");
            require!(item < items, Data, "{source}: row {row} has item number {item} of {items}");
        }
        for (row, value) in self.values.as_deref().unwrap_or(&[]).iter().enumerate() {
            require!(value.is_finite(), Data, "{source}: row {row} has the rating {value}");
        }
        for (name, feature) in &self.row_features.columns {
            require!(feature.len() == n, Data, "{source}: {n} rows but {} values of the feature `{name}`", feature.len());
        }
        for (row, &part) in self.parts.as_deref().unwrap_or(&[]).iter().enumerate() {
            require!(part <= Part::Context as u8, Data, "{source}: row {row} has the part {part}");
        }
        Ok(())
    }

    /// The rows `rows`, in that order; vocabularies and features stay whole.
    pub fn select(&self, rows: &[u32]) -> Self {
        fn pick<T: bytemuck::Pod>(column: &Column<T>, rows: &[u32]) -> Column<T> {
            rows.iter().map(|&r| column[r as usize]).collect::<Vec<_>>().into()
        }
        Self {
            users: pick(&self.users, rows),
            items: pick(&self.items, rows),
            values: self.values.as_ref().map(|c| pick(c, rows)),
            times: self.times.as_ref().map(|c| pick(c, rows)),
            parts: self.parts.as_ref().map(|c| pick(c, rows)),
            row_features: self.row_features.select(rows),
            ..self.clone()
        }
    }
}
