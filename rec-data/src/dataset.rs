//! Data sets by name.

use crate::{Column, Interactions};

/// A data set, opened.
#[derive(Debug)]
pub struct Dataset {
    /// Its catalogue id.
    pub id: String,
    /// The version of the source.
    pub version: String,
    /// sha256 over the sources.
    pub content_hash: String,
    /// Its rows.
    pub interactions: Interactions,
    /// Fixed candidates of each user, where it was published with such lists.
    pub candidates: Option<CandidateLists>,
}

/// Fixed candidate items of each user.
#[derive(Clone, Debug, Default)]
pub struct CandidateLists {
    /// `ends[u]` is where user `u`'s list ends.
    pub ends: Column<u64>,
    /// The lists, user after user.
    pub items: Column<u32>,
}
