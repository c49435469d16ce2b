//! What TensorBoard reads: event files with scalars, histograms, text, hyper-parameters and precision–recall curves, and the plain files
//! of its embedding projector. Everything here takes plain slices; nothing here knows about tensors or models.

mod histogram;
mod hparams;
mod pr_curve;
mod projector;
mod scalar;
mod text;
mod writer;

pub use histogram::Histogram;
pub use hparams::{HparamValue, SessionStatus, flatten_hparams};
pub use pr_curve::PrCurve;
pub use projector::{Embedding, EmbeddingColumn, write_embeddings};
pub use text::fenced;
pub use writer::EventWriter;
