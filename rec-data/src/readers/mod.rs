//! File formats: one file each. A reader takes file contents, never opens a file, and never panics on any bytes; only labelled rows
//! ([`rows`]) are read from where they lie, for there may be more of them than memory holds.
//!
//! Every reader numbers users and items by rule, not by chance, so that two forms of one data set (an archive and a wheel, say) give the
//! same rows with the same numbers: by first appearance in the interactions (MovieLens, RecBole, delimited), or in the order of their
//! published numbers (adjacency, sequences, sessions, NCF). Ids that a side file lists but no interaction names are left out.

pub mod adjacency;
pub mod delimited;
mod ids;
pub mod movielens;
pub mod ncf;
pub mod recbole;
pub mod rows;
pub mod sequence;
pub mod sessions;
mod side;
pub mod text;

#[cfg(test)]
mod mangled;

pub use text::{Parsed, Text};
