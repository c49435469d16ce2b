//! Candidate lists: the items that a published protocol ranks for each user.

use crate::Column;

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
