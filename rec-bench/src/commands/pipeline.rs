//! `rec-bench pipeline`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{say, say_json};
use crate::pipeline::{Pipeline, PipelineConfig, measure, page, text};
use crate::run_folder::write_whole;
use crate::runner::Bench;

const AFTER: &str = "\
Trains a first stage whose scores are products of vectors, builds an index over the items' vectors, trains a ranker,
and measures both together beside exact scoring. The folder can be served: rec-bench serve FOLDER.

A config holds what both stages share ([protocol], [selection], seed, split), num_candidates, [index], and for each
stage [candidates.model] and [ranker.model] with their own [….loop], [….optimizer], [….batch], [….protocol].

Example:
  rec-bench pipeline rec-bench/pipelines/ml-1m.toml --out runs/two-stages";

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct PipelineArgs {
    /// A config file
    config: PathBuf,
    /// The pipeline's folder; one that was cut off goes on there
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// One value over all others; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PipelineArgs, bench: &Bench) -> Result<()> {
    let config = PipelineConfig::read(&args.config, &args.settings, bench.registry)?;
    let pipeline = Pipeline::train(config, &args.out, bench)?;
    let measured = measure(&pipeline, &bench.interrupt)?;
    write_whole(&args.out.join("pipeline.json"), format!("{}\n", serde_json::to_string_pretty(&measured)?).as_bytes())?;
    let report = args.out.join("report.html");
    write_whole(&report, page(&measured).as_bytes())?;
    if args.json {
        return say_json(&measured);
    }
    say(&format!("{}{}\n", text(&measured), report.display()))
}
