//! What a pipeline loses and what it costs: recall of each stage, final metrics beside exact scoring, latency by stage.

use anyhow::Result;
use rec_ann::{Flat, Metric as Distance, Neighbour};
use rec_core::eval::{Metric, evaluate};
use rec_core::model::{Score, Users};
use rec_core::train::Interrupt;
use rec_data::{problem, require};
use serde::Serialize;

use super::{Pipeline, Spent, Stages};
use crate::page::{escape, page as whole_page};
use crate::runner::learned_from;
use crate::vectors::RunVectors;

/// Single requests that are timed.
const TIMED: usize = 1000;

/// What was measured of a pipeline on the test rows.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The number of items that are ranked.
    pub num_candidates: usize,
    /// The number of items in all.
    pub items: usize,
    /// What the first stage finds.
    pub recall: Recall,
    /// Metrics of: the first stage alone, the ranker over all items, the ranker over exact candidates, the pipeline.
    pub metrics: Vec<(Metric, [f64; 4])>,
    /// Seconds of single requests.
    pub timed: Timed,
}

/// Of the first stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recall {
    /// The share of the exact candidates that the index finds.
    pub of_exact: f64,
    /// The share of the held-out items among the exact candidates, mean over users.
    pub held_out_exact: f64,
    /// The same among those that the index finds.
    pub held_out: f64,
}

/// Half of the single requests, and 99 of 100, took at most so many seconds in each stage.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timed {
    /// The number of requests.
    pub requests: usize,
    /// The median.
    pub p50: Spent,
    /// The 99th of 100.
    pub p99: Spent,
    /// The median of an exact search for the candidates.
    pub exact_search_p50: f64,
}

/// Measures `pipeline` on its test rows.
///
/// # Errors
/// those of the models; where it was interrupted.
pub fn measure(pipeline: &Pipeline, interrupt: &Interrupt) -> Result<Measured> {
    let (test, run) = (&pipeline.prepared.views.test, &pipeline.run);
    let train = learned_from(run, &pipeline.prepared);
    let metrics: Vec<Metric> = run.protocol.metrics.iter().filter(|m| m.is_ranking()).copied().collect();
    let items = RunVectors::new(&run.name, pipeline.candidates.model(), train)?.items;
    let flat = Flat::new(&items.values, items.dim, Distance::InnerProduct).map_err(|e| problem!(Data, "{e:#}"))?;
    let stages = pipeline.stages();
    let exact = Stages { index: &flat, ..pipeline.stages() };

    let models: [&dyn Score; 4] = [pipeline.candidates.model(), pipeline.ranker.model(), &exact, &stages];
    let mut values = Vec::new();
    for model in models {
        require!(!interrupt.is_set(), Interrupted, "stopped before all was measured: give the same command again");
        values.push(evaluate(model, test, train, &metrics)?);
    }
    let of = |metric: Metric| std::array::from_fn(|at| values[at].get(metric).unwrap_or(f64::NAN));
    let metrics = metrics.iter().map(|&metric| (metric, of(metric))).collect();

    let users = Users::new(test.known_as(), test.histories());
    let (found, all) = (stages.found(&users)?, exact.found(&users)?);
    let recall = Recall {
        of_exact: share(&all, |i, near| found[i].iter().any(|other| other.id == near.id)),
        held_out_exact: held_out(test, &all),
        held_out: held_out(test, &found),
    };

    let each = users.len().div_ceil(TIMED).max(1);
    let (mut spent, mut exact_search) = (Vec::new(), Vec::new());
    for i in (0..users.len()).step_by(each) {
        let one = users.range(i, i + 1);
        spent.push(stages.best(&one, 10)?.1);
        exact_search.push(Stages { ranker: None, ..exact }.best(&one, 10)?.1.search);
    }
    let at = |share: f64| Spent {
        vectors: quantile(spent.iter().map(|s| s.vectors), share),
        search: quantile(spent.iter().map(|s| s.search), share),
        ranking: quantile(spent.iter().map(|s| s.ranking), share),
    };
    let timed = Timed { requests: spent.len(), p50: at(0.5), p99: at(0.99), exact_search_p50: quantile(exact_search.into_iter(), 0.5) };
    Ok(Measured { num_candidates: stages.num_candidates, items: items.ids.len(), recall, metrics, timed })
}

/// The share of all neighbours of which `holds` is true.
fn share(all: &[Vec<Neighbour>], holds: impl Fn(usize, &Neighbour) -> bool) -> f64 {
    let total: usize = all.iter().map(Vec::len).sum();
    let hits: usize = all.iter().enumerate().map(|(i, row)| row.iter().filter(|near| holds(i, near)).count()).sum();
    hits as f64 / total.max(1) as f64
}

/// The share of a user's held-out items among the candidates, mean over users that have some.
fn held_out(test: &rec_data::view::HeldOut, found: &[Vec<Neighbour>]) -> f64 {
    let of = |i: usize| {
        let targets = test.targets().row(i);
        let hits = found[i].iter().filter(|near| targets.contains(&near.id)).count();
        (!targets.is_empty()).then(|| hits as f64 / targets.len() as f64)
    };
    let shares: Vec<f64> = (0..found.len()).filter_map(of).collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = (share * values.len() as f64).ceil() as usize;
    values.get(at.max(1) - 1).copied().unwrap_or(f64::NAN)
}

const COLUMNS: [&str; 4] = ["first stage alone", "ranker over all items", "ranker over exact candidates", "pipeline"];

fn recall_line(m: &Measured) -> String {
    format!(
        "{} candidates of {} items: the index finds {:.2} % of the exact ones; of the held-out items {:.4} are among them, {:.4} among the exact ones",
        m.num_candidates,
        m.items,
        100.0 * m.recall.of_exact,
        m.recall.held_out,
        m.recall.held_out_exact
    )
}

fn time_line(m: &Measured) -> String {
    let line = |s: &Spent| format!("vector {:.3}, search {:.3}, ranking {:.3}", s.vectors * 1e3, s.search * 1e3, s.ranking * 1e3);
    format!(
        "milliseconds of {} single requests: half took at most {}; 99 of 100 at most {}; an exact search takes {:.3}",
        m.timed.requests,
        line(&m.timed.p50),
        line(&m.timed.p99),
        m.timed.exact_search_p50 * 1e3
    )
}

/// The measurements for a terminal.
pub fn text(m: &Measured) -> String {
    let mut out = String::new();
    for (metric, values) in &m.metrics {
        for (column, value) in COLUMNS.iter().zip(values) {
            out += &format!("{:12} {value:.4}  {column}\n", metric.to_string());
        }
    }
    format!("{out}{}\n{}\n", recall_line(m), time_line(m))
}

/// The measurements as a page.
pub fn page(m: &Measured) -> String {
    let head: String = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
    let row = |(metric, values): &(Metric, [f64; 4])| {
        let cells: String = values.iter().map(|value| format!("<td class=n>{value:.4}</td>")).collect();
        format!("<tr><td>{metric}</td>{cells}</tr>")
    };
    let rows: String = m.metrics.iter().map(row).collect();
    let body = format!("<table><tr><th></th>{head}</tr>{rows}</table><p>{}.</p><p>{}.</p>", escape(&recall_line(m)), escape(&time_line(m)));
    whole_page("Two stages: candidates, then a ranker", &body)
}
