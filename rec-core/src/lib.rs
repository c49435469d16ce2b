//! Model, Trainer and Loss; optimizers, checkpoints, evaluation, metrics, significance, protocol, TensorBoard, devices.
//!
//! A researcher implements [`model::Model`] (gradients) or [`model::Fit`] (anything else) and [`model::Score`]; the rest is given.

pub mod additive_attention;
pub mod attention;
pub mod device;
pub mod distinct;
pub mod dropout;
pub mod eval;
pub mod events;
pub mod full_bce;
pub mod full_softmax;
pub mod gru_cell;
pub mod gru_sequence;
pub mod largest_product;
pub mod loss;
pub mod model;
pub mod optim;
pub mod pair_layer;
pub mod params;
pub mod protocol;
pub mod registry;
pub mod scores;
pub mod section;
pub mod shim;
pub mod simd;
pub mod sparse;
pub mod state;
pub mod statistics;
pub mod tensorboard;
pub mod train;

pub use model::{Fit, Model, ModelConfig, PairScore, Score, Users};
pub use params::{Init, Mean, Params, Table};
pub use rec_data;
pub use registry::Registry;
pub use scores::{Factors, Scores};
pub use tch;
