//! How near models come to the best AUC that a planted truth allows, on generated rows of Criteo's schema.
//!
//!     cargo run -p rec-ctr --example planted -- runs/planted all 1,5,20 all
//!     cargo run -p rec-ctr --example planted -- runs/planted shared,by-field 1 lr,fm,ffm
//!
//! The words are a folder, truths, millions of rows, and models of [`MODELS`]. In the folder it writes `planted.json`, an object for each
//! training, and `planted.svg`, what each model lacks by rows. A training is a process of its own, so that the peak of memory is its own;
//! one that is in `planted.json` already is not repeated. Rows are made once for each truth and number and then mapped.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use plotters::prelude::*;
use rec_core::eval::{Metric, evaluate};
use rec_core::events::Events;
use rec_core::model::Model;
use rec_core::optim::{OptimizerConfig, Rows};
use rec_core::rec_data::batch::BatchOptions;
use rec_core::rec_data::dataset::{Folders, open};
use rec_core::rec_data::generated::Clicks;
use rec_core::rec_data::split::{SplitSpec, split};
use rec_core::rec_data::view::{Asking, Views, views};
use rec_core::tch::Device;
use rec_core::train::{GradientConfig, GradientTrainer, Interrupt, Judge, LoopConfig, Trainer, train};
use rec_ctr::dcn::DcnConfig;
use rec_ctr::ffm::FfmConfig;
use rec_ctr::fm::FmConfig;
use rec_ctr::poly2::Poly2Config;
use rec_ctr::{Dcn, Ffm, Fm, Lr, Poly2};
use serde_json::{Value, json};

const TRUTHS: [&str; 4] = ["linear", "shared", "by-field", "third-order"];
const MODELS: [&str; 5] = ["lr", "poly2", "fm", "ffm", "dcn"];
/// Training rows that a category must have for a feature of its own.
const MIN_COUNT: u32 = 10;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["train", folder, id, model] => {
            println!("{}", trained(Path::new(folder), id, model)?);
            Ok(())
        }
        [folder, truths, millions, models] => all(Path::new(folder), &among(truths, &TRUTHS)?, millions, &among(models, &MODELS)?),
        _ => bail!("give a folder, truths, millions of rows and models: runs/planted all 1 lr,fm"),
    }
}

/// The words of `list`, each one of `known`, or all of these.
fn among<'a>(list: &'a str, known: &[&'a str]) -> Result<Vec<&'a str>> {
    let words: Vec<&str> = if list == "all" { known.to_vec() } else { list.split(',').collect() };
    for word in &words {
        ensure!(known.contains(word), "`{word}` is none of {}", known.join(", "));
    }
    Ok(words)
}

fn all(folder: &Path, truths: &[&str], millions: &str, models: &[&str]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("planted.json");
    let mut done: Vec<Value> = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is none of mine", file.display()))?,
        Err(_) => Vec::new(),
    };
    for size in millions.split(',') {
        let rows = size.parse::<f64>().with_context(|| format!("`{size}` is not a number of millions"))? * 1e6;
        for truth in truths {
            let id = format!("generated-clicks-{truth}-{}", rows as u32);
            for &model in models {
                if done.iter().any(|one| one["dataset"] == id && one["model"] == model) {
                    continue;
                }
                let out = Command::new(std::env::current_exe()?).arg("train").arg(folder).args([id.as_str(), model]).output()?;
                ensure!(out.status.success(), "{id}, {model}: {}", String::from_utf8_lossy(&out.stderr));
                let line = String::from_utf8(out.stdout)?;
                print!("{line}");
                done.push(serde_json::from_str(&line)?);
                std::fs::write(&file, serde_json::to_string_pretty(&done)? + "\n")?;
            }
        }
    }
    draw(&done, &folder.join("planted.svg"))
}

/// Trains `model` on the data set `id`, and tells what came of it.
fn trained(folder: &Path, id: &str, model: &str) -> Result<Value> {
    let clicks = Clicks::of_id(id)?.context("a generated data set")?;
    let data = open(id, &Folders { data: None, cache: folder.join("data") })?.interactions;
    let split = split(&data, &SplitSpec::Published {}, None, 1)?;
    let keep_in = Some(folder.join("data"));
    let asking = Asking { fields: Clicks::fields(MIN_COUNT), labels_only: true, keep_in, ..Asking::default() };
    let views = views(&data, None, &split, &asking, 1)?;
    let mut trainer = trainer(model, &views)?;
    let auc: Metric = "auc".parse()?;
    let looping = LoopConfig { epochs: 5, patience: 0, metric: auc, checkpoint_seconds: 600.0, ..LoopConfig::default() };
    let judge = Judge { held: views.valid.as_deref().context("a validation part")?, part: "valid" };
    let states = tempfile::tempdir_in(folder)?;
    let end = train(trainer.as_mut(), &views.train, Some(judge), &looping, states.path(), &Interrupt::default(), &mut Events::silent())?;
    let found = evaluate(trainer.model(), &views.test, &views.train, &[auc])?.values[0].1;
    let best = clicks.bayes_auc(clicks.rows - clicks.rows / 10..clicks.rows);
    Ok(json!({
        "dataset": id, "truth": clicks.truth, "rows": clicks.rows, "model": model, "auc": found, "bayes_auc": best, "gap": best - found,
        "features": views.train.labelled()?.encoders().num_features(), "epochs": end.epochs,
        "rows_per_second": views.train.len() as f64 * end.epochs as f64 / end.train_seconds, "peak_bytes": peak_bytes()?,
    }))
}

fn trainer(model: &str, views: &Views) -> Result<Box<dyn Trainer>> {
    match model {
        "lr" => gradient::<Lr>(Default::default(), views),
        "poly2" => gradient::<Poly2>(Poly2Config { buckets: 1 << 22 }, views),
        "fm" => gradient::<Fm>(FmConfig { embedding_size: 8, ..FmConfig::default() }, views),
        "ffm" => gradient::<Ffm>(FfmConfig { embedding_size: 4, ..FfmConfig::default() }, views),
        "dcn" => {
            let config = DcnConfig { embedding_size: 8, num_layers: 2, hidden_sizes: vec![64], init_std: 0.1, ..DcnConfig::default() };
            gradient::<Dcn>(config, views)
        }
        _ => bail!("`{model}` is none of {}", MODELS.join(", ")),
    }
}

fn gradient<M: Model>(config: M::Config, views: &Views) -> Result<Box<dyn Trainer>> {
    let how =
        GradientConfig { optimizer: OptimizerConfig { rows: Rows::Touched, ..OptimizerConfig::default() }, batch: BatchOptions::default() };
    Ok(Box::new(GradientTrainer::<M>::new(&config, &how, &views.train, Device::Cpu, 1)?))
}

/// A chart for each truth: the gap to the best AUC by rows, a line for each model.
fn draw(done: &[Value], to: &Path) -> Result<()> {
    let root = SVGBackend::new(to, (960, 640)).into_drawing_area();
    let number = |one: &Value, key: &str| one[key].as_f64().with_context(|| format!("a training without `{key}`"));
    for (truth, area) in TRUTHS.iter().zip(root.split_evenly((2, 2))) {
        let mut lines: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
        for one in done.iter().filter(|one| one["truth"] == *truth) {
            let model = MODELS.iter().position(|model| one["model"] == *model).context("a model that is none of mine")?;
            lines.entry(model).or_default().push((number(one, "rows")? / 1e6, number(one, "gap")?));
        }
        let points = || lines.values().flatten();
        let (low, high) = points().fold((f64::MAX, 0f64), |(low, high), point| (low.min(point.0), high.max(point.0)));
        let most = points().fold(0.001f64, |most, point| most.max(point.1));
        if lines.is_empty() {
            continue;
        }
        let mut chart = ChartBuilder::on(&area)
            .caption(*truth, ("sans-serif", 18))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((low / 1.2..high * 1.2).log_scale(), 0.0..most * 1.1)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("million rows").y_desc("best AUC − AUC").draw()?;
        for (model, mut points) in lines {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let colour = Palette99::pick(model).to_rgba();
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(MODELS[model])
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
        chart.configure_series_labels().border_style(TRANSPARENT).draw()?;
    }
    root.present()?;
    Ok(())
}

/// The largest resident set so far.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the largest resident set is known on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
