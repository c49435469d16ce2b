//! HNSW: layers of navigable graphs. Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs", TPAMI 2020, arXiv:1603.09320.

mod build;
mod doubles;
mod graph;
mod index;
mod search;

pub use index::{Hnsw, HnswConfig};
