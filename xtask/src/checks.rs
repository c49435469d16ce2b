//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.

use crate::cargo;

/// Formatting, lints, documentation, then the tests of the whole workspace.
pub fn run() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // What is off by default, in the one crate that has it.
    cargo(&["clippy", "-p", "rec-ann", "--all-targets", "--features", "hdf5", "--", "-D", "warnings"])?;
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("RUSTDOCFLAGS", "-D warnings") };
    cargo(&["doc", "--workspace", "--no-deps"])?;
    cargo(&["test", "-p", "rec-ann", "--features", "hdf5", "vectors"])?;
    cargo(&["test", "--workspace", "--no-fail-fast"])
}
