//! What a run ran on.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// `env.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub version: String,
    /// Commit that the program was built from, `-dirty` where a tracked file was changed; `unknown` outside a clone.
    pub commit: String,
    /// The compiler.
    pub rustc: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads of libtorch and of our own kernels.
    pub threads: usize,
    /// The processor, as it calls itself.
    pub cpu: String,
    /// Kernel and architecture.
    pub os: String,
}

impl Environment {
    /// Looks around.
    pub fn now(device: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("REC_COMMIT").into(),
            rustc: env!("REC_RUSTC").into(),
            libtorch: libtorch_version(),
            device: device.into(),
            threads: rayon::current_num_threads(),
            cpu: cpu(),
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// Hardware in a few words.
    pub fn hardware(&self) -> String {
        let place = if self.device == "cpu" { String::new() } else { format!(", {}", self.device) };
        format!("{}, {} threads{place}", self.cpu, self.threads)
    }
}

/// The version that the linked libtorch was built as.
pub fn libtorch_version() -> String {
    let header = Path::new(rec_core::shim::LIBTORCH_FOLDER).join("../include/torch/headeronly/version.h");
    let text = std::fs::read_to_string(header).unwrap_or_default();
    let part = |name: &str| text.lines().find_map(|l| l.strip_prefix("#define TORCH_VERSION_")?.strip_prefix(name)).map(str::trim);
    match (part("MAJOR"), part("MINOR"), part("PATCH")) {
        (Some(major), Some(minor), Some(patch)) => format!("{major}.{minor}.{patch}"),
        _ => "unknown".into(),
    }
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| info.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_once(':')).map(|(_, v)| v.trim().to_owned());
    match (field("model name"), field("cpu family"), field("model\t")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        (Some(name), _, _) => name,
        _ => std::env::consts::ARCH.into(),
    }
}
