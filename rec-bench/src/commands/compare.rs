//! `rec-bench compare`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rec_core::eval::Metric;
use rec_core::protocol::Protocol;
use rec_core::statistics::paired;
use rec_data::{fail, problem, require};

use super::{say, say_json};
use crate::run_folder::{RunFolder, read_per_user};

#[derive(Args)]
pub(super) struct CompareArgs {
    /// A finished run's folder
    first: PathBuf,
    /// Another one, under the same protocol
    second: PathBuf,
    /// What to compare
    #[arg(long, default_value = "ndcg@10")]
    metric: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let metric: Metric = args.metric.parse()?;
    require!(metric.is_per_user(), Usage, "{metric} is no mean over users: it cannot be compared user by user");
    let protocol = |path: &PathBuf| -> Result<(Protocol, usize)> {
        let folder = RunFolder::existing(path)?;
        let Some(result) = folder.result()? else { fail!(Usage, "{} is not finished", path.display()) };
        let file = folder.file("protocol.json");
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file)?).map_err(|e| problem!(Data, "{}: {e}", file.display()))?;
        Ok((serde_json::from_value(value["protocol"].clone()).map_err(|e| problem!(Data, "{}: {e}", file.display()))?, result.split))
    };
    let ((first, first_split), (second, second_split)) = (protocol(&args.first)?, protocol(&args.second)?);
    if let Some((key, a, b)) = first.first_difference(&second) {
        fail!(Usage, "the two runs do not compare: `{key}` of the protocol is {a} in the first and {b} in the second");
    }
    require!(
        first_split == second_split,
        Usage,
        "the two runs do not compare: split number {first_split} in the first, {second_split} in the second"
    );
    let (users, a) = read_per_user(&args.first.join("per_user.parquet"), metric)?;
    let (same, b) = read_per_user(&args.second.join("per_user.parquet"), metric)?;
    require!(users == same, Data, "the two runs measured different users");
    let found = paired(&users, &a, &b, 2000, 1);
    if args.json {
        return say_json(&found);
    }
    let d = found.difference;
    say(&format!(
        "{metric}: first − second = {:+.4}, 95 % interval over {} users {:+.4} – {:+.4}; Wilcoxon p = {:.2e}\n",
        d.mean, found.users, d.low, d.high, found.wilcoxon_p
    ))
}
