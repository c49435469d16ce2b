//! `report.html` of a run: one page without scripts, to be mailed around.

use anyhow::Result;
use rec_core::model::{Score, Users};
use rec_core::scores::Scores;
use rec_data::view::HeldOut;
use serde_json::Value;

use crate::config::RunConfig;
use crate::run_folder::{RunFolder, RunResult};

/// Users whose scores make a precision–recall curve.
const CURVE_USERS: usize = 100;

/// Labels and scores of every unmasked item of the first evaluated users; each user's scores are scaled to [0, 1], the lowest to 0 and
/// the highest to 1. `None` where nobody has a relevant item.
///
/// # Errors
/// the model's own.
pub fn labelled_scores(model: &dyn Score, held: &HeldOut) -> Result<Option<(Vec<bool>, Vec<f32>)>> {
    let users = Users::new(held.known_as(), held.histories());
    let count = users.len().min(CURVE_USERS);
    let (mut labels, mut scores) = (Vec::new(), Vec::new());
    for user in 0..count {
        let row = match rec_core::tch::no_grad(|| model.score(&users.range(user, user + 1)))? {
            Scores::Dense(row) => row.into_owned(),
            Scores::Factors(f) => {
                let item = |i: usize| {
                    rec_core::eval::dot(&f.users, &f.items[i * f.dim..(i + 1) * f.dim]) + f.item_bias.as_ref().map_or(0.0, |b| b[i])
                };
                (0..f.items.len() / f.dim).map(item).collect()
            }
        };
        let kept: Vec<u32> = (0..row.len() as u32).filter(|&i| row[i as usize].is_finite() && !held.masked().contains(user, i)).collect();
        let (low, high) =
            kept.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &i| (l.min(row[i as usize]), h.max(row[i as usize])));
        let width = (high - low).max(f32::MIN_POSITIVE);
        for &item in &kept {
            labels.push(held.targets().contains(user, item));
            scores.push((row[item as usize] - low) / width);
        }
    }
    Ok(labels.contains(&true).then_some((labels, scores)))
}

/// The page.
///
/// # Errors
/// an I/O problem where the run's lines cannot be read.
pub fn run_page(folder: &RunFolder, config: &RunConfig, result: &RunResult) -> Result<String> {
    let metrics: String = result.metrics.iter().map(|(m, v)| format!("<tr><td>{m}</td><td class=n>{v:.4}</td></tr>")).collect();
    let lines = std::fs::read_to_string(folder.file("metrics.jsonl")).unwrap_or_default();
    let values: Vec<Value> = lines.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let mut curves = String::new();
    let judged = [format!("valid/{}", config.looping.metric), format!("test/{}", config.looping.metric)];
    for tag in std::iter::once("train/loss").chain(judged.iter().map(String::as_str)) {
        let points: Vec<(f64, f64)> = values.iter().filter_map(|v| Some((v["epoch"].as_f64()?, v[tag].as_f64()?))).collect();
        if points.len() > 1 {
            curves.push_str(&curve(tag, &points));
        }
    }
    let e = &result.environment;
    Ok(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{name} on {dataset}</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}}\
         table{{border-collapse:collapse}}td{{padding:.15rem .8rem;border-bottom:1px solid #ddd}}.n{{text-align:right;font-variant-numeric:tabular-nums}}\
         pre{{background:#f5f6f8;padding:.8rem;overflow:auto;font-size:13px}}svg{{display:block;margin:.5rem 0}}</style>\
         <h1>{name} on {dataset}</h1><p>Test metrics{peek} after epoch {best} of {epochs}; {seconds:.1} s in all.</p><table>{metrics}</table>{curves}\
         <h2>Protocol</h2><p>Hash {hash}</p><pre>{protocol}</pre><h2>Config</h2><pre>{config_text}</pre>\
         <h2>Ran on</h2><p>{hardware}; libtorch {libtorch}; {rustc}; commit {commit}</p></html>\n",
        name = escape(&config.name),
        dataset = escape(&config.protocol.dataset),
        peek = if config.selection.by == rec_core::protocol::JudgedBy::Test { " (the epoch was picked on the test rows)" } else { "" },
        best = result.outcome.best_epoch,
        epochs = result.outcome.epochs,
        seconds = result.seconds,
        hash = result.protocol_hash,
        protocol = escape(&serde_json::to_string_pretty(&config.protocol)?),
        config_text = escape(&toml::to_string(&config.layout()?)?),
        hardware = escape(&e.hardware()),
        libtorch = escape(&e.libtorch),
        rustc = escape(&e.rustc),
        commit = escape(&e.commit),
    ))
}

/// A line over epochs, with its ends and extremes in words.
fn curve(tag: &str, points: &[(f64, f64)]) -> String {
    let (width, height) = (760.0, 160.0);
    let (x0, x1) = (points[0].0, points[points.len() - 1].0);
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let place = |p: &(f64, f64)| {
        let x = (p.0 - x0) / (x1 - x0).max(1e-12) * width;
        let y = height - (p.1 - low) / (high - low).max(1e-12) * (height - 10.0) - 5.0;
        format!("{x:.1},{y:.1}")
    };
    let line: Vec<String> = points.iter().map(place).collect();
    format!(
        "<h2>{}</h2><svg viewBox='0 0 {width} {height}' width={width} height={height}><polyline fill=none stroke='#0b62c4' stroke-width=1.6 points='{}'/></svg><p>epochs {x0} to {x1}; {low:.4} to {high:.4}</p>",
        escape(tag),
        line.join(" ")
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
