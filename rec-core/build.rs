//! Compiles the C++ shim against the libtorch that torch-sys found, and puts that libtorch on the run-time path.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=src/shim/shim.cpp");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    let lib = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is"));
    let root = lib.parent().expect("lib/ lies in libtorch").to_path_buf();
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .opt_level(1)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .flag("-std=c++17")
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        .file("src/shim/shim.cpp")
        .compile("rec_core_shim");
    // The folder that really holds the libraries: from there their own run-path leads to what they depend on.
    let real = fs::canonicalize(lib.join("libtorch_cpu.so"))
        .map(|file| file.parent().map(Path::to_path_buf).expect("a file lies in a folder"))
        .unwrap_or(lib);
    // A search path inside the target folder is one that `cargo run` and `cargo test` add to the loader's path.
    let link = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("libtorch-rt");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&real, &link).expect("OUT_DIR takes a link");
    println!("cargo:rustc-link-search=native={}", link.display());
    println!("cargo:rustc-env=REC_LIBTORCH={}", real.display());
    println!("cargo:libtorch={}", real.display());
}
