//! Data without tensors: catalogue, readers, filters, splits, views, samplers, batches. Builds and tests without libtorch.
//!
//! The way of a data set: [`catalogue`] says what it is and where from → [`dataset::open`] fetches, verifies and parses it, or maps
//! the cache of an earlier parse → [`filter`] → [`split`] → [`view`]s, which a model and the evaluator see → [`batch`]es.

pub mod batch;
pub mod candidates;
pub mod catalogue;
pub mod column;
pub mod csr;
pub mod dataset;
pub mod features;
pub mod fetch;
pub mod fields;
pub mod filter;
pub mod folders;
pub mod generated;
pub mod graph;
pub mod interactions;
pub mod notes;
pub mod problem;
mod progress;
pub mod questions;
pub mod readers;
pub mod rng;
pub mod rows;
pub mod sampler;
pub mod split;
pub mod view;
pub mod vocabulary;
pub mod windows;

pub use column::Column;
pub use interactions::{Interactions, Part};
pub use problem::{Kind, Problem};
pub use rows::Rows;
pub use vocabulary::Vocabulary;
