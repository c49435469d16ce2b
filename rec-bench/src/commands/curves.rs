//! `rec-bench curves`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rec_core::Registry;
use rec_core::eval::Metric;
use rec_data::{fail, require};

use super::say;
use crate::curves::{Course, Curves, LOSS, curves_page};
use crate::run_folder::{RunFolder, write_whole};

#[derive(Args)]
pub(super) struct CurvesArgs {
    /// Folders of runs, finished or still in training
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The metric that judged the epochs [default: that of the first run]
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
}

pub(super) fn run(args: &CurvesArgs, registry: &Registry) -> Result<()> {
    let asked: Option<Metric> = args.metric.as_deref().map(str::parse).transpose()?;
    let courses: Vec<(RunFolder, Course)> = args.runs.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let metric = asked.map(|metric| metric.to_string()).or_else(|| courses.iter().flat_map(|(_, course)| course.metrics()).next());
    let curves: Vec<Curves> =
        courses.iter().map(|(folder, course)| of(folder, course, metric.as_deref(), registry)).collect::<Result<_>>()?;
    if let Some(metric) = &metric {
        require!(curves.iter().any(|run| !run.judged.is_empty()), Usage, "there is no `{metric}` by epoch: nothing judged these runs");
    }
    write_whole(&args.out, curves_page(&curves, metric.as_deref())?.as_bytes())?;
    say(&format!("{}\n", args.out.display()))
}

fn read(path: &Path) -> Result<(RunFolder, Course)> {
    let folder = RunFolder::existing(path)?;
    let course = Course::read(&folder)?;
    require!(
        !course.of(LOSS).is_empty() || !course.metrics().is_empty(),
        Usage,
        "{} has no curve: there is neither a loss nor a judged metric after any epoch so far",
        path.display()
    );
    Ok((folder, course))
}

/// A run that was judged, but not by `metric`, does not stand beside the others.
fn of(folder: &RunFolder, course: &Course, metric: Option<&str>, registry: &Registry) -> Result<Curves> {
    let path = folder.path().display();
    let mut label = format!("{path} ({})", folder.config(registry)?.name);
    let mut judged = Vec::new();
    if let Some(metric) = metric {
        let part;
        (part, judged) = course.judged(metric);
        let metrics = course.metrics();
        if judged.is_empty() && !metrics.is_empty() {
            fail!(Usage, "{path} has no `{metric}` by epoch: it was judged by `{}`", metrics.join("`, `"));
        }
        if !judged.is_empty() {
            label += &format!(", judged on {part}");
        }
    }
    Ok(Curves { label, loss: course.of(LOSS), judged })
}
