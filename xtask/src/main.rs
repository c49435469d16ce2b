//! Chores of the workspace: `cargo xtask setup`, `quickstart`, `test`. Plain std, so that it builds in a second on a new machine.

mod checks;
mod libtorch;

use std::process::{Command, ExitCode};

const HELP: &str = "\
Chores of this workspace

Usage: cargo xtask <COMMAND>

Commands:
  quickstart [--cuda]  set libtorch up, build, run the quickstart table (MovieLens-100K, published beside measured)
  setup [--cuda]       set libtorch up, nothing else; --cuda takes the CUDA build (about 4 GB)
  test                 set libtorch up, then formatting, clippy, documentation and all tests

Environment:
  LIBTORCH               a libtorch 2.13 of your own (a folder with lib/ and include/)
  LIBTORCH_USE_PYTORCH   1: the PyTorch 2.13 that `python3` imports
  REC_CACHE_DIR          where libtorch and data sets are kept (default: ~/.cache/rec)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["quickstart"] => libtorch::set_up(false).and_then(|()| cargo(&["run", "--package", "rec-bench"])),
        ["quickstart", "--cuda"] => libtorch::set_up(true).and_then(|()| cargo(&["run", "--package", "rec-bench"])),
        ["setup"] => libtorch::set_up(false),
        ["setup", "--cuda"] => libtorch::set_up(true),
        ["test"] => libtorch::set_up(false).and_then(|()| checks::run()),
        ["-h" | "--help" | "help"] | [] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no chore is called `{}`\n\n{HELP}", words.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs cargo in the workspace and fails with its command line where cargo fails.
fn cargo(args: &[&str]) -> Result<(), String> {
    eprintln!("$ cargo {}", args.join(" "));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // What `cargo run` tells this program about itself must not reach the builds below: a build script that asks for it (ring's does) would
    // run again each time that the workspace is built in the other way, and with it nearly everything would be compiled again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_MANIFEST_LINKS"] {
        command.env_remove(name);
    }
    let status =
        command.args(args).current_dir(libtorch::workspace()).status().map_err(|error| format!("cargo could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed ({status})", args.join(" "))) }
}
