//! A data set as it is when it is open: its name, its rows, and the hash of what it holds.

use anyhow::Result;

use super::content_hash::content_hash;
use crate::candidates::CandidateLists;
use crate::readers::Parsed;
use crate::{Interactions, require};

/// A data set, opened.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its catalogue id, or `file:<stem>` for a user's own file.
    pub id: String,
    /// The publisher's version, or the start of the SHA-256 of a user's own file.
    pub version: String,
    /// SHA-256 over the rows with the features of their own, raw ids and candidates (not over features of users and items). It does not depend on the form that was read: a wheel and
    /// an archive with the same rows have the same hash, so numbers measured on either are comparable.
    pub content_hash: String,
    /// Its rows.
    pub interactions: Interactions,
    /// Fixed candidates of each user, where it was published with such lists.
    pub candidates: Option<CandidateLists>,
}

impl Dataset {
    /// What a reader made of the files at `shown`, checked, with its name and its hash.
    ///
    /// # Errors
    /// a data problem where there is no row, or the columns do not fit together.
    pub(super) fn of_parsed(id: String, version: String, parsed: Parsed, shown: &str) -> Result<Self> {
        let Parsed { interactions, candidates } = parsed;
        require!(!interactions.is_empty(), Data, "{shown}: there is no interaction");
        interactions.check(shown)?;
        let content_hash = content_hash(&interactions, candidates.as_ref());
        Ok(Self { id, version, content_hash, interactions, candidates })
    }
}
