//! Puts the folder of libtorch on the binary's run path, so that it runs by hand too, and notes the compiler and the commit.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(libtorch) = env::var("DEP_REC_CORE_LIBTORCH") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{libtorch}");
    }
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    println!("cargo:rustc-env=REC_RUSTC={}", version.unwrap_or_else(|_| "unknown".into()));
    // The commit that this program is built from, not that of the tree when it runs: asked again whenever a commit is made or a source of
    // the workspace changes.
    let git = |words: &[&str]| Command::new("git").args(words).output().ok().filter(|out| out.status.success());
    let text = |out: std::process::Output| String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).map(text);
    println!("cargo:rustc-env=REC_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).map(text) {
        println!("cargo:rerun-if-changed={log}");
    }
    for member in ["data", "core", "cf", "autoencoder", "graph", "ctr", "seq", "ann", "bench"] {
        println!("cargo:rerun-if-changed=../rec-{member}/src");
    }
    for file in ["../Cargo.toml", "../Cargo.lock", "tables"] {
        println!("cargo:rerun-if-changed={file}");
    }
}
