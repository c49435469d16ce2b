//! `rec-bench doctor`.

use anyhow::Result;
use clap::Args;
use rec_core::device::DeviceChoice;
use rec_core::{shim, tch};
use rec_data::dataset::{Folders, list};
use rec_data::fail;

use super::{say, say_json};
use crate::environment::Environment;
use crate::runner::device_name;

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// One thing looked at.
#[derive(serde::Serialize)]
struct Finding {
    what: &'static str,
    found: String,
    /// What is wrong, with the way out.
    wrong: Option<String>,
}

pub(super) fn run(args: &DoctorArgs, choice: DeviceChoice) -> Result<()> {
    let mut findings = Vec::new();
    let mut add = |what, found: String, wrong: Option<String>| findings.push(Finding { what, found, wrong });
    let device = choice.open();
    let name = device.as_ref().map_or_else(|_| choice.to_string(), |d| device_name(*d));
    let e = Environment::now(&name);
    add("rec-bench", format!("{} at commit {}", e.version, e.commit), None);
    add("rustc", e.rustc.clone(), None);
    let wanted = "2.13.0";
    let wrong = (e.libtorch != wanted).then(|| {
        format!("this program was made for libtorch {wanted}: run `cargo xtask setup`, or point LIBTORCH at that version, and build again")
    });
    add("libtorch", format!("{} in {}", e.libtorch, shim::LIBTORCH_FOLDER), wrong);
    add("device", name, device.err().map(|e| e.to_string()));
    let cuda = match shim::load_cuda() {
        Ok(()) => format!("{} devices", tch::Cuda::device_count()),
        Err(_) => "this libtorch has no CUDA half (`cargo xtask setup --cuda` brings it)".into(),
    };
    add("cuda", cuda, None);
    add("cpu", e.cpu.clone(), None);
    add("threads", format!("{} of rayon, {} of libtorch", rayon::current_num_threads(), tch::get_num_threads()), None);
    match Folders::from_env() {
        Err(error) => add("folders", "–".into(), Some(format!("{error:#}"))),
        Ok(folders) => {
            let data = folders.data.as_ref().map_or("not set".into(), |d| d.display().to_string());
            let missing = folders
                .data
                .as_ref()
                .filter(|d| !d.is_dir())
                .map(|d| format!("REC_DATA_DIR is {}, which is no folder: make it or unset the variable", d.display()));
            add("REC_DATA_DIR", data, missing);
            let probe = std::fs::create_dir_all(&folders.cache).and_then(|()| tempfile::tempfile_in(&folders.cache));
            let wrong = probe.err().map(|e| format!("it cannot be written ({e}): set REC_CACHE_DIR to a folder that can"));
            add("cache", folders.cache.display().to_string(), wrong);
            let here: Vec<String> = list(&folders).into_iter().filter(|l| l.folder.is_some()).map(|l| l.entry.id.clone()).collect();
            add(
                "data sets here",
                if here.is_empty() { "none yet; `rec-bench data fetch ml-100k` brings one".into() } else { here.join(", ") },
                None,
            );
        }
    }
    let sick = findings.iter().filter(|f| f.wrong.is_some()).count();
    if args.json {
        say_json(&findings)?;
    } else {
        for f in &findings {
            say(&format!("{} {:14} {}\n", if f.wrong.is_some() { "✗" } else { "✓" }, f.what, f.found))?;
            if let Some(wrong) = &f.wrong {
                say(&format!("  {:14} {wrong}\n", ""))?;
            }
        }
    }
    if sick > 0 {
        fail!(Unavailable, "{sick} {} wrong", if sick == 1 { "thing is" } else { "things are" });
    }
    Ok(())
}
