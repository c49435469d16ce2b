//! Getting libtorch: the wheel that PyPI has, checked by hash, unpacked once per user, seen by this clone through `.libtorch`.
//!
//! `.libtorch/lib` is what the linker sees: links to the CPU libraries only (and to the CUDA ones after `--cuda`). At run time the
//! libraries are loaded from the wheel's own folder, because their run-path leads from there to the packages they depend on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "2.13.0";
const PINNED: &str = include_str!("../libtorch-x86_64.txt");

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Makes `.libtorch` ready, or finds that the caller brought a libtorch along.
pub fn set_up(cuda: bool) -> Result<(), String> {
    let view = workspace().join(".libtorch");
    if let Some(own) = brought_along(&view)? {
        eprintln!("libtorch: {own}");
        return Ok(());
    }
    let flavour = if cuda { "cuda" } else { "cpu" };
    if fs::read_to_string(view.join("flavour")).is_ok_and(|f| f.trim() == flavour || (!cuda && f.trim() == "cuda"))
        && view.join("lib/libtorch_cpu.so").exists()
    {
        return Ok(());
    }
    let site = cache_dir()?.join(format!("libtorch-{VERSION}-{flavour}"));
    if !site.join("torch/lib/libtorch_cpu.so").exists() {
        install(&site, cuda)?;
    }
    link(&site, &view, cuda)?;
    eprintln!("libtorch {VERSION} ({flavour}): {}", site.display());
    Ok(())
}

/// A libtorch of the caller's own, in words: `LIBTORCH` set in the shell, or a complete PyTorch.
fn brought_along(view: &Path) -> Result<Option<String>, String> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let python = if std::env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
        let told = Command::new(python).args(["-c", "import torch; print(torch.__version__)"]).output();
        let version = match told {
            Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
            _ => {
                return Err(format!(
                    "LIBTORCH_USE_PYTORCH is set, but `{python} -c 'import torch'` fails: install PyTorch {VERSION} there, or unset the variable"
                ));
            }
        };
        if !version.starts_with(VERSION) {
            return Err(format!("LIBTORCH_USE_PYTORCH is set, but `{python}` has PyTorch {version}; this project needs {VERSION}"));
        }
        return Ok(Some(format!("PyTorch {version} of `{python}` (LIBTORCH_USE_PYTORCH)")));
    }
    match std::env::var_os("LIBTORCH").map(PathBuf::from) {
        Some(own) if own != view => {
            for part in ["lib/libtorch_cpu.so", "include/torch"] {
                if !own.join(part).exists() {
                    return Err(format!(
                        "LIBTORCH is {}, but {part} is not there: point it at a libtorch {VERSION}, or unset it",
                        own.display()
                    ));
                }
            }
            Ok(Some(format!("{} (LIBTORCH)", own.display())))
        }
        _ => Ok(None),
    }
}

/// `REC_CACHE_DIR`, or `rec` under the user's cache folder.
fn cache_dir() -> Result<PathBuf, String> {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    of("REC_CACHE_DIR")
        .or_else(|| of("XDG_CACHE_HOME").map(|d| d.join("rec")))
        .or_else(|| of("HOME").map(|d| d.join(".cache/rec")))
        .ok_or_else(|| "no cache folder: set REC_CACHE_DIR to a folder with 2 GB of room".into())
}

/// Unpacks the wheels into `site`, which appears whole or not at all.
fn install(site: &Path, cuda: bool) -> Result<(), String> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Err(format!(
            "prebuilt libtorch is set up on x86-64 Linux only: install PyTorch {VERSION} with pip and set LIBTORCH_USE_PYTORCH=1"
        ));
    }
    let parent = site.parent().expect("the cache folder is its parent");
    fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    let part = site.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "--no-warn-conflicts", "--only-binary=:all:"]);
    pip.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]);
    for platform in ["manylinux_2_28", "manylinux_2_27", "manylinux_2_25", "manylinux_2_17", "manylinux2014", "manylinux1"] {
        pip.args(["--platform", &format!("{platform}_x86_64")]);
    }
    pip.arg("--target").arg(&part);
    let pins = parent.join("libtorch-pins.txt");
    if cuda {
        pip.arg(format!("torch=={VERSION}"));
    } else {
        fs::write(&pins, PINNED).map_err(|e| format!("{}: {e}", pins.display()))?;
        pip.args(["--no-deps", "--require-hashes", "--requirement"]).arg(&pins);
    }
    eprintln!("libtorch {VERSION}: fetching {} from PyPI with pip, once for all clones", if cuda { "about 2.5 GB" } else { "540 MB" });
    let by_hand = format!(
        "libtorch could not be fetched. With a network and pip (`python3 -m ensurepip`, or your system's python3-pip), run this again. Without: \
         unpack a libtorch {VERSION} (C++11 ABI, shared) from another machine and set LIBTORCH to its folder, or set LIBTORCH_USE_PYTORCH=1 where `python3` imports PyTorch {VERSION}"
    );
    let ended = pip.status();
    let _ = fs::remove_file(&pins);
    if !ended.is_ok_and(|s| s.success()) {
        let _ = fs::remove_dir_all(&part);
        return Err(by_hand);
    }
    if !cuda {
        drop_cuda_half(&part.join("torch/lib"))?;
    }
    fs::rename(&part, site).map_err(|e| format!("{}: {e}", site.display()))
}

/// The wheel's CUDA libraries are two thirds of its size and cannot be loaded without packages that the CPU set-up leaves out.
fn drop_cuda_half(lib: &Path) -> Result<(), String> {
    for name in ["libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libtorch_python.so", "libtorch.so"] {
        let path = lib.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

/// Makes the view that the linker sees.
fn link(site: &Path, view: &Path, cuda: bool) -> Result<(), String> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("{path}: {e}")
    };
    let _ = fs::remove_dir_all(view);
    let lib = view.join("lib");
    fs::create_dir_all(&lib).map_err(told(&lib))?;
    let from = site.join("torch/lib");
    let mut names: Vec<(String, String)> = Vec::new();
    for entry in fs::read_dir(&from).map_err(told(&from))? {
        let name = entry.map_err(told(&from))?.file_name().to_string_lossy().into_owned();
        let wanted = ["libtorch_cpu.so", "libc10.so"].contains(&name.as_str())
            || name.starts_with("libgomp")
            || (cuda && ["libtorch_cuda.so", "libtorch_cuda_linalg.so", "libc10_cuda.so", "libtorch.so"].contains(&name.as_str()));
        if wanted {
            names.push((name.clone(), name));
        }
    }
    if let Some((_, gomp)) = names.iter().find(|(n, _)| n.starts_with("libgomp")).cloned() {
        names.retain(|(n, _)| !n.starts_with("libgomp"));
        names.push(("libgomp.so.1".into(), gomp.clone()));
        names.push(("libgomp.so".into(), gomp));
    }
    if !cuda {
        names.push(("libtorch.so".into(), "libtorch_cpu.so".into()));
    }
    for (name, target) in &names {
        symlink(from.join(target), lib.join(name)).map_err(told(&lib.join(name)))?;
    }
    symlink(site.join("torch/include"), view.join("include")).map_err(told(view))?;
    fs::write(view.join("build-version"), VERSION).map_err(told(view))?;
    fs::write(view.join("flavour"), if cuda { "cuda" } else { "cpu" }).map_err(told(view))
}
