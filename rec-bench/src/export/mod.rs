//! What other programs take from here: splits and vectors.

mod qdrant;
mod recbole;
mod vectors;

pub use qdrant::upsert;
pub use recbole::recbole_benchmark;
pub use vectors::write_vectors;
