//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.

use crate::cargo;

/// Formatting, lints, documentation, then the tests of the whole workspace.
pub fn run() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var("RUSTDOCFLAGS", "-D warnings") };
    cargo(&["doc", "--workspace", "--no-deps"])?;
    cargo(&["test", "--workspace", "--no-fail-fast"])
}
