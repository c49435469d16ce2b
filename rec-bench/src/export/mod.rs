//! What other programs take from here: splits and vectors.

#[cfg(feature = "qdrant")]
mod qdrant;
mod recbole;
mod vectors;

#[cfg(feature = "qdrant")]
pub use qdrant::upsert;
pub use recbole::recbole_benchmark;
pub use vectors::write_vectors;
