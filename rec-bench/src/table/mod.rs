//! Paper tables: data files with published cells, a queue of the runs that answer them, and what was measured.

mod cell;
mod queue;
mod render;
mod spec;

pub use cell::{Cell, Status, cells, keep};
pub use queue::{Finished, finished, run};
pub use render::{markdown, text, update_readme};
pub use spec::{CellSpec, Priority, Row, Table, find, shipped};
