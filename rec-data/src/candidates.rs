//! Candidate lists: the items that a published protocol ranks for each user.

use crate::Column;
use crate::interactions::Interactions;

/// Fixed candidate items of each user, as published; the positives are the test rows. A list may repeat an item, and may hold the user's
/// own test item.
#[derive(Clone, Debug, Default)]
pub struct CandidateLists {
    /// `ends[u]` is where user `u`'s list ends.
    pub ends: Column<u64>,
    /// The lists, user after user.
    pub items: Column<u32>,
}

impl CandidateLists {
    /// The list of `user`.
    ///
    /// # Panics
    /// where `user` is not a user's number, as a slice does.
    pub fn of(&self, user: u32) -> &[u32] {
        let u = user as usize;
        let start = if u == 0 { 0 } else { self.ends[u - 1] as usize };
        &self.items[start..self.ends[u] as usize]
    }
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
