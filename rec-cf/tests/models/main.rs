//! Each model against a second writing of its formulas: plain loops in f64 over whole matrices, as the doc comments and papers state
//! them, without the tricks that make the models fast.

mod data;
mod embeddings;
mod item_item;
mod neighbours;
mod neural;
mod pairwise;
mod ratings;
mod state;
mod weighted;
