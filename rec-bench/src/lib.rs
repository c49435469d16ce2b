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
pub mod report;
pub mod run_folder;
pub mod runner;
pub mod serve;
pub mod sinks;
pub mod table;
pub mod vectors;

pub use commands::main_with;
pub use rec_core::Registry;

/// The models of this workspace.
pub fn models() -> Registry {
    let mut registry = Registry::default();
    rec_cf::register(&mut registry);
    rec_autoencoder::register(&mut registry);
    rec_graph::register(&mut registry);
    rec_ctr::register(&mut registry);
    rec_seq::register(&mut registry);
    registry
}
