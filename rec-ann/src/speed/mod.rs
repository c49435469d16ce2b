//! Recall against speed: what an index finds of the nearest vectors, and how fast, for many settings.

mod grid;
mod truth;

pub use grid::{Attempt, grid};
pub use truth::{Measured, Truth, best};
