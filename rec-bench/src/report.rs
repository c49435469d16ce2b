//! `report.html` of a run: one page without scripts, to be mailed around.

use anyhow::Result;
use rec_core::eval::{Group, Reliability};
use rec_core::model::{Score, Users};
use rec_core::scores::Scores;
use rec_data::view::HeldOut;

use crate::config::RunConfig;
use crate::curves::{Course, LOSS};
use crate::map::{ItemMap, Items, purities};
use crate::page::{escape, page};
use crate::plot::{Line, legend, lines};
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

/// The page; `reliability` is that of predicted labels, `map` that of the model's item vectors, where it has some.
///
/// # Errors
/// an I/O problem where the run's lines cannot be read; plotters' own.
pub fn run_page(
    folder: &RunFolder,
    config: &RunConfig,
    result: &RunResult,
    reliability: Option<&Reliability>,
    map: Option<&(Items, ItemMap)>,
) -> Result<String> {
    let metrics: String = result.metrics.iter().map(|(m, v)| format!("<tr><td>{m}</td><td class=n>{v:.4}</td></tr>")).collect();
    let e = &result.environment;
    let body = format!(
        "<p>Test metrics{peek} after epoch {best} of {epochs}; {seconds:.1} s in all.</p><table>{metrics}</table>{curves}{calibration}{map}\
         <h2>Protocol</h2><p>Hash {hash}</p><pre>{protocol}</pre><h2>Config</h2><pre>{config_text}</pre>\
         <h2>Ran on</h2><p>{hardware}; libtorch {libtorch}; {rustc}; commit {commit}</p>",
        peek = if config.selection.by == rec_core::protocol::JudgedBy::Test { " (the epoch was picked on the test rows)" } else { "" },
        best = result.outcome.best_epoch,
        epochs = result.outcome.epochs,
        seconds = result.seconds,
        curves = curves(folder, config)?,
        calibration = reliability.map_or(Ok(String::new()), calibration)?,
        map = map.map_or(Ok(String::new()), |(items, map)| item_map(&config.name, items, map))?,
        hash = result.protocol_hash,
        protocol = escape(&serde_json::to_string_pretty(&config.protocol)?),
        config_text = escape(&toml::to_string(&config.layout()?)?),
        hardware = escape(&e.hardware()),
        libtorch = escape(&e.libtorch),
        rustc = escape(&e.rustc),
        commit = escape(&e.commit),
    );
    Ok(page(&format!("{} on {}", config.name, config.protocol.dataset), &body))
}

/// Loss and judged metric by epoch; nothing of what has a single value.
fn curves(folder: &RunFolder, config: &RunConfig) -> Result<String> {
    let course = Course::read(folder)?;
    let metric = config.looping.metric.to_string();
    let (part, judged) = course.judged(&metric);
    let mut curves = String::new();
    for (tag, points) in [(LOSS, course.of(LOSS)), (&format!("{part}/{metric}"), judged)] {
        if points.len() > 1 {
            let points = points.iter().map(|point| (point.epoch as f64, point.value)).collect();
            curves += &format!("<h2>{tag}</h2>{}", lines("epoch", &[Line { colour: 0, points }])?);
        }
    }
    Ok(curves)
}

/// Observed against predicted shares of label 1, by bucket as a plot and by the values of each field as a table.
fn calibration(reliability: &Reliability) -> Result<String> {
    let of = |group: &Group| (group.predicted, group.observed);
    let seen: Vec<(f64, f64)> = reliability.buckets.iter().map(of).collect();
    let ideal = seen.iter().map(|point| (point.0, point.0)).collect();
    let plot = lines("predicted", &[Line { colour: 1, points: ideal }, Line { colour: 0, points: seen }])?;
    let legend = legend(&[(Some(0), "observed".into()), (Some(1), "where both are equal".into())]);
    let row = |(value, group): &(String, Group)| {
        let (predicted, observed) = of(group);
        format!(
            "<tr><td>{}</td><td class=n>{}</td><td class=n>{predicted:.4}</td><td class=n>{observed:.4}</td></tr>",
            escape(value),
            group.rows
        )
    };
    let field = |(name, values): &(String, Vec<(String, Group)>)| {
        let rows: String = values.iter().map(row).collect();
        format!(
            "<details><summary>{}</summary><table><tr><td>value</td><td>rows</td><td>predicted</td><td>observed</td></tr>{rows}</table></details>",
            escape(name)
        )
    };
    let fields: String = reliability.fields.iter().map(field).collect();
    Ok(format!("<h2>Calibration</h2>{plot}{legend}<p>By field, the values that most test rows have:</p>{fields}"))
}

/// The same by field as Markdown tables.
pub fn calibration_markdown(reliability: &Reliability) -> String {
    let mut text = String::from("| field | value | rows | predicted | observed |\n|---|---|---|---|---|\n");
    for (field, values) in &reliability.fields {
        for (value, group) in values {
            let value = value.replace('|', "\\|");
            text += &format!("| {field} | {value} | {} | {:.4} | {:.4} |\n", group.rows, group.predicted, group.observed);
        }
    }
    text
}

fn item_map(name: &str, items: &Items, map: &ItemMap) -> Result<String> {
    Ok(format!("<h2>Items</h2>{}{}{}", items.picture(map)?, items.legend(), purities(&[(name, map.purity.as_ref())])))
}
