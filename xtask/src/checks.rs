//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.

use crate::cargo;

/// What is off by default is checked too.
const FEATURES: &str = "rec-bench/hdf5,rec-bench/qdrant";

/// Formatting, lints, documentation, then the tests of the whole workspace.
pub fn run() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--features", FEATURES, "--", "-D", "warnings"])?;
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("RUSTDOCFLAGS", "-D warnings") };
    cargo(&["doc", "--workspace", "--no-deps"])?;
    cargo(&["test", "--workspace", "--features", FEATURES, "--no-fail-fast"])
}
