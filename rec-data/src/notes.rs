//! Lines to standard error beside the answer.

use std::io::Write;

/// Writes a line to standard error. Nobody reading it, or a full disk behind it, is no reason to stop a run (`eprintln!` would panic).
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
