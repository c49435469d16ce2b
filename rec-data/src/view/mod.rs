//! Views: what a model may learn from, and what an evaluator asks about. A model is given a [`TrainView`] only, and that type has no
//! way to a held-out row.

mod asking;
mod held_out;
mod sampled;
mod train;

pub use asking::{Asking, Candidates, Mask, Views, views};
pub use held_out::{HeldOut, RatedRows, TestView, ValidView};
pub use sampled::{Excluded, SampledCandidates};
pub use train::TrainView;
