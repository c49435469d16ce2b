//! Readers of the event stream: a progress bar, a file of lines, TensorBoard.

mod board;
mod lines;
mod progress;

pub use board::Board;
pub use lines::Lines;
pub use progress::Progress;
