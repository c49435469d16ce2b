//! `rec-bench new-model`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use rec_data::require;

use super::say;
use crate::run_folder::write_whole;

#[derive(Args)]
pub(super) struct NewModelArgs {
    /// Name of the model and of its crate: small letters, digits and dashes
    name: String,
    /// Where the crate's folder is made; `./NAME` where absent
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../templates/own-model/Cargo.toml.template")),
    ("build.rs", include_str!("../../templates/own-model/build.rs.template")),
    (".cargo/config.toml", include_str!("../../templates/own-model/config.toml.template")),
    ("src/main.rs", include_str!("../../templates/own-model/src/main.rs.template")),
    ("src/model.rs", include_str!("../../templates/own-model/src/model.rs.template")),
    ("table.toml", include_str!("../../templates/own-model/table.toml.template")),
];

pub(super) fn run(args: &NewModelArgs) -> Result<()> {
    let fine = args.name.starts_with(|c: char| c.is_ascii_lowercase())
        && args.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    require!(fine, Usage, "`{}` is no name of a crate: use small letters, digits and dashes, a letter first", args.name);
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    require!(!folder.exists(), Usage, "{} is there already: choose another name or `--out`", folder.display());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")?;
    let lock = workspace.join("Cargo.lock");
    require!(lock.exists(), Usage, "{} is not there: `new-model` needs the clone that this program was built from", lock.display());
    // The target folder of this very program: target/PROFILE/rec-bench.
    let target = std::env::current_exe()?.ancestors().nth(2).map_or_else(|| workspace.join("target"), Path::to_path_buf);
    for (name, text) in FILES {
        let text = text
            .replace("{{name}}", &args.name)
            .replace("{{workspace}}", &workspace.display().to_string())
            .replace("{{target}}", &target.display().to_string());
        write_whole(&folder.join(name), text.as_bytes())?;
    }
    // The same versions as the workspace, so that nothing is built twice.
    write_whole(&folder.join("Cargo.lock"), &std::fs::read(&lock)?)?;
    say(&format!("{0}: the model is src/model.rs\ncd {0} && cargo run -- table run table.toml\n", folder.display()))
}
