//! `rec-bench eval`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rec_core::eval::{Metric, evaluate};
use rec_core::events::Clock;
use rec_data::problem;

use super::{say, say_json};
use crate::runner::{Bench, learned_from};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// A finished run's folder
    run: PathBuf,
    /// Metrics, instead of the protocol's
    #[arg(long = "metric", value_name = "METRIC", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Which rows
    #[arg(long, value_enum, default_value_t = Part::Test)]
    part: Part,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Measures so many times, and says how long each took
    #[arg(long, default_value_t = 1, value_name = "N")]
    repeat: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Valid,
    Test,
}

pub(super) fn run(args: &EvalArgs, bench: &Bench) -> Result<()> {
    let (trainer, prepared, config) = bench.load(&args.run)?;
    let metrics: Vec<Metric> = if args.metrics.is_empty() {
        config.protocol.metrics.clone()
    } else {
        args.metrics.iter().map(|m| m.parse()).collect::<Result<_>>()?
    };
    let views = &prepared.views;
    let (held, train) = match args.part {
        Part::Test => (&*views.test, learned_from(&config, &prepared)),
        Part::Valid => (
            &**views.valid.as_ref().ok_or_else(|| problem!(Usage, "the split of {} has no validation part", args.run.display()))?,
            &*views.train,
        ),
    };
    let mut seconds = Vec::new();
    let mut evaluation = evaluate(trainer.model(), held, train, &metrics)?;
    for _ in 0..args.repeat.max(1) {
        let clock = Clock::new();
        evaluation = evaluate(trainer.model(), held, train, &metrics)?;
        seconds.push(clock.seconds());
    }
    if args.json {
        let values: serde_json::Map<String, serde_json::Value> =
            evaluation.values.iter().map(|(m, v)| (m.to_string(), (*v).into())).collect();
        return say_json(
            &serde_json::json!({ "protocol_hash": config.protocol.hash(), "users": evaluation.users.len(), "seconds": seconds, "metrics": values }),
        );
    }
    for (metric, value) in &evaluation.values {
        say(&format!("{:14} {value:.6}\n", metric.to_string()))?;
    }
    say(&format!("{} users, {:.4} s\n", evaluation.users.len(), seconds.iter().copied().fold(f64::INFINITY, f64::min)))
}
