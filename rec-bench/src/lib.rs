//! The command line as a library: a crate of one's own adds its models and has every command.
//!
//! ```no_run
//! # mod my { pub use rec_cf::Popularity as MyModel; }
//! fn main() -> std::process::ExitCode {
//!     rec_bench::main_with(|registry| registry.fit::<my::MyModel>("my-model", "counts rows"))
//! }
//! ```

pub mod ann;
mod commands;
pub mod config;
pub mod curves;
pub mod environment;
pub mod export;
pub mod map;
pub mod page;
pub mod pipeline;
pub mod plot;
pub mod registry;
pub mod report;
pub mod run_folder;
pub mod runner;
mod section;
pub mod serve;
pub mod sinks;
pub mod table;
pub mod vectors;

pub use commands::main_with;
pub use registry::Registry;
