//! Puts the folder of libtorch on the binary's run path, so that it runs by hand too, and notes the compiler.

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
}
