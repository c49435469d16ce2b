//! The evaluator: scores of tiles of users, masked, cut to the best, measured, in one pass within a bounded memory.

use anyhow::Result;
use rayon::prelude::*;
use rec_data::csr::Csr;
use rec_data::view::{HeldOut, TrainView};
use rec_data::{fail, problem, require};

use super::exposure::{exposure, surprise};
use super::metric::{Metric, MetricKind};
use super::product::ItemPanels;
use super::ranking::RankedList;
use super::top_k::TopK;
use super::{labelled, rating};
use crate::model::{Score, Users};
use crate::scores::{Factors, Scores};

/// Dense scores held at once: 64 MiB.
const DENSE_BUDGET: usize = 16 << 20;
/// Users of one unit of parallel work over factors.
const BLOCK_USERS: usize = 24;
/// Panels (of 16 items) scored at once: with 24 users, 48 KiB of scores and, at 64 factors, 128 KiB of items.
const BLOCK_PANELS: usize = 32;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The evaluated users.
    pub users: Vec<u32>,
    /// For each metric that is a mean over users, each user's value; NaN where the user does not count.
    pub per_user: Vec<(Metric, Vec<f64>)>,
    /// Every metric's value, in the order asked for.
    pub values: Vec<(Metric, f64)>,
}

impl Evaluation {
    /// The value of `metric`.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values.iter().find(|v| v.0 == metric).map(|v| v.1)
    }

    /// Each user's value of `metric`, where it is a mean over users.
    pub fn users_of(&self, metric: Metric) -> Option<&[f64]> {
        self.per_user.iter().find(|v| v.0 == metric).map(|v| &v.1[..])
    }
}

/// What one user's list yields.
struct UserResult {
    metrics: Vec<f64>,
    top: Vec<u32>,
}

/// Measures `model` on held-out rows. `train` is what it learned from: popularity for novelty.
///
/// # Errors
/// a numeric problem that names user and item where a score is NaN or infinite; a usage problem where a metric needs what the model
/// or the data has not.
pub fn evaluate(model: &dyn Score, held: &HeldOut, train: &TrainView, metrics: &[Metric]) -> Result<Evaluation> {
    let ranked: Vec<Metric> = metrics.iter().copied().filter(Metric::is_ranking).collect();
    let mut evaluation = Evaluation { users: held.users().to_vec(), ..Evaluation::default() };
    if !ranked.is_empty() {
        require!(!held.users().is_empty(), Usage, "no user has a relevant held-out row: there is nothing to rank");
        require!(
            model.num_items() == held.targets().num_columns(),
            Usage,
            "the model knows {} items, the data has {}",
            model.num_items(),
            held.targets().num_columns()
        );
        evaluate_rankings(model, held, train, &ranked, &mut evaluation)?;
    }
    evaluate_ratings(model, held, metrics, &mut evaluation)?;
    labelled::evaluate(model, held, metrics, &mut evaluation)?;
    evaluation.values.sort_by_key(|(m, _)| metrics.iter().position(|asked| asked == m));
    Ok(evaluation)
}

fn evaluate_rankings(model: &dyn Score, held: &HeldOut, train: &TrainView, metrics: &[Metric], evaluation: &mut Evaluation) -> Result<()> {
    let plan = Plan::new(metrics, train);
    let results = rank_all(model, held, &plan)?;
    for (at, &metric) in plan.listed.iter().enumerate() {
        let values: Vec<f64> = results.iter().map(|r| r.metrics[at]).collect();
        let (sum, count) = values.iter().filter(|v| !v.is_nan()).fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
        evaluation.values.push((metric, sum / count as f64));
        evaluation.per_user.push((metric, values));
    }
    for &metric in metrics.iter().filter(|m| matches!(m.kind, MetricKind::Coverage | MetricKind::Gini)) {
        let mut counts = vec![0u64; model.num_items()];
        for result in results.iter().filter(|r| !r.top.is_empty()) {
            result.top.iter().take(metric.cutoff).for_each(|&i| counts[i as usize] += 1);
        }
        evaluation.values.push((metric, exposure(metric.kind, &counts)));
    }
    Ok(())
}

/// What is needed for the metrics asked for.
struct Plan {
    /// Metrics with a value a user.
    listed: Vec<Metric>,
    /// The largest cut-off.
    k: usize,
    wants_auc: bool,
    keeps_top: bool,
    /// Surprise of each item, where novelty is asked for.
    surprise: Vec<f64>,
}

impl Plan {
    fn new(metrics: &[Metric], train: &TrainView) -> Self {
        let any = |kind: MetricKind| metrics.iter().any(|m| m.kind == kind);
        let surprise = if any(MetricKind::Novelty) {
            let users = (0..train.num_users()).filter(|&u| !train.by_user().row(u).is_empty()).count();
            train.popularity().iter().map(|&p| surprise(p, users)).collect()
        } else {
            Vec::new()
        };
        Self {
            listed: metrics.iter().copied().filter(Metric::is_per_user).collect(),
            k: metrics.iter().map(|m| m.cutoff).max().unwrap_or(0).max(1),
            wants_auc: any(MetricKind::AucUser),
            keeps_top: any(MetricKind::Coverage) || any(MetricKind::Gini),
            surprise,
        }
    }
}

/// What a worker needs again and again.
struct Scratch {
    top: TopK,
    scores: Vec<f32>,
    relevant: Vec<u32>,
    values: Vec<f32>,
    auc: AucCounter,
}

impl Scratch {
    fn new(k: usize) -> Self {
        Self { top: TopK::new(k), scores: Vec::new(), relevant: Vec::new(), values: Vec::new(), auc: AucCounter::default() }
    }
}

fn rank_all(model: &dyn Score, held: &HeldOut, plan: &Plan) -> Result<Vec<UserResult>> {
    let users = Users::new(held.known_as(), held.histories());
    if let Some(candidates) = held.candidates()
        && let Some(scores) = tch::no_grad(|| model.score_candidates(&users, candidates))?
    {
        return rank_listed(&scores, candidates, held, plan);
    }
    // Questions that differ in their candidates alone are scored once.
    let times = held.in_a_row();
    let firsts: Vec<u32> = (0..users.len() as u32).step_by(times).collect();
    let (ids, histories);
    let users = if times == 1 {
        users
    } else {
        ids = firsts.iter().map(|&at| held.known_as()[at as usize]).collect::<Vec<_>>();
        histories = held.histories().select(&firsts);
        Users::new(&ids, &histories)
    };
    let n = users.len();
    let mut results = Vec::with_capacity(n * times);
    let tile = (DENSE_BUDGET / (model.num_items() * times).max(1)).clamp(1, n);
    for from in (0..n).step_by(tile) {
        let to = (from + tile).min(n);
        let scores = tch::no_grad(|| model.score(&users.range(from, to)))?.repeated(times, model.num_items());
        results.extend(match scores {
            Scores::Dense(scores) => rank_dense(&scores, model.num_items(), held, from * times, to * times, plan)?,
            Scores::Factors(factors) => rank_factors(&factors, held, from * times, plan)?,
        });
    }
    Ok(results)
}

/// Ranks candidates that alone were scored, row after row.
fn rank_listed(scores: &[f32], candidates: &Csr, held: &HeldOut, plan: &Plan) -> Result<Vec<UserResult>> {
    require!(scores.len() == candidates.len(), Usage, "the model gave {} scores for {} candidates", scores.len(), candidates.len());
    let one = |scratch: &mut Scratch, user: usize| {
        let (items, scores) = (candidates.row(user), &scores[candidates.range(user)]);
        rank_candidates(user, held, plan, scratch, |item| scores[items.binary_search(&item).expect("targets are candidates")])
    };
    (0..held.users().len()).into_par_iter().map_init(|| Scratch::new(plan.k), one).collect()
}

fn rank_dense(scores: &[f32], num_items: usize, held: &HeldOut, from: usize, to: usize, plan: &Plan) -> Result<Vec<UserResult>> {
    require!(
        scores.len() == (to - from) * num_items,
        Usage,
        "the model gave {} scores for {} users and {num_items} items",
        scores.len(),
        to - from
    );
    let one = |scratch: &mut Scratch, (at, row): (usize, &[f32])| {
        let user = from + at;
        if held.candidates().is_some() {
            return rank_candidates(user, held, plan, scratch, |item| row[item as usize]);
        }
        scratch.scores.clear();
        scratch.scores.extend_from_slice(row);
        begin(user, held, plan, scratch, |item| row[item as usize]);
        let mut scores = std::mem::take(&mut scratch.scores);
        mask(&mut scores, 0, held.masked().row(user));
        mask(&mut scores, 0, held.blocked());
        let shown = show(&scores, 0, plan, scratch);
        scratch.scores = scores;
        shown.map_err(|item| not_finite(held, user, item))?;
        Ok(finish(plan, scratch))
    };
    scores.par_chunks(num_items).enumerate().map_init(|| Scratch::new(plan.k), one).collect()
}

fn rank_factors(factors: &Factors, held: &HeldOut, from: usize, plan: &Plan) -> Result<Vec<UserResult>> {
    let dim = factors.dim;
    let panels = ItemPanels::new(&factors.items, dim, factors.item_bias.as_deref());
    let block = |pool: &mut (Vec<Scratch>, Vec<f32>), (index, users): (usize, &[f32])| -> Result<Vec<UserResult>> {
        let first = from + index * BLOCK_USERS;
        let count = users.len() / dim;
        let (scratches, buffer) = pool;
        if held.candidates().is_some() {
            let one =
                |(at, user): (usize, &[f32])| rank_candidates(first + at, held, plan, &mut scratches[at], |item| panels.one(user, item));
            return users.chunks(dim).enumerate().map(one).collect();
        }
        for (at, user) in users.chunks(dim).enumerate() {
            begin(first + at, held, plan, &mut scratches[at], |item| panels.one(user, item));
        }
        let mut masked_from = [0usize; BLOCK_USERS];
        let mut blocked = held.blocked();
        for start in (0..panels.num_panels()).step_by(BLOCK_PANELS) {
            let end = (start + BLOCK_PANELS).min(panels.num_panels());
            let items = panels.items_of(start, end);
            let width = (end - start) * 16;
            buffer.resize(count * width, 0.0);
            panels.scores(users, start, end, buffer);
            let (blocked_here, later) = blocked.split_at(blocked.partition_point(|&item| (item as usize) < items.end));
            blocked = later;
            for (at, row) in buffer.chunks_mut(width).enumerate() {
                let row = &mut row[..items.len()];
                let masked = &held.masked().row(first + at)[masked_from[at]..];
                masked_from[at] += mask(row, items.start as u32, masked);
                mask(row, items.start as u32, blocked_here);
                show(row, items.start as u32, plan, &mut scratches[at]).map_err(|item| not_finite(held, first + at, item))?;
            }
        }
        Ok((0..count).map(|at| finish(plan, &mut scratches[at])).collect())
    };
    let pool = || ((0..BLOCK_USERS).map(|_| Scratch::new(plan.k)).collect(), Vec::new());
    let blocks: Vec<Vec<UserResult>> =
        factors.users.par_chunks(BLOCK_USERS * dim).enumerate().map_init(pool, block).collect::<Result<_>>()?;
    Ok(blocks.into_iter().flatten().collect())
}

/// Ranks a fixed candidate list (as a set), masked and blocked items left out.
fn rank_candidates(user: usize, held: &HeldOut, plan: &Plan, scratch: &mut Scratch, score: impl Fn(u32) -> f32) -> Result<UserResult> {
    begin(user, held, plan, scratch, &score);
    let candidates = held.candidates().map_or(&[][..], |c| c.row(user));
    for &item in candidates {
        if !held.masked().contains(user, item) && !is_blocked(held, item) {
            let score = score(item);
            scratch.top.show_one(item, score, &scratch.relevant).map_err(|item| not_finite(held, user, item))?;
            if plan.wants_auc {
                scratch.auc.count(&[score]);
            }
        }
    }
    Ok(finish(plan, scratch))
}

/// Gets ready for a user: the relevant items that are not masked, and their scores where the AUC needs them. A blocked item stays
/// relevant, at −∞.
fn begin(user: usize, held: &HeldOut, plan: &Plan, scratch: &mut Scratch, score: impl Fn(u32) -> f32) {
    scratch.top.clear();
    scratch.relevant.clear();
    scratch.values.clear();
    let values = held.targets().row_values(user);
    for (at, &item) in held.targets().row(user).iter().enumerate() {
        if !held.masked().contains(user, item) {
            scratch.relevant.push(item);
            scratch.values.extend(values.get(at));
        }
    }
    if plan.wants_auc {
        let score = |&item: &u32| if is_blocked(held, item) { f32::NEG_INFINITY } else { score(item) };
        scratch.auc.start(scratch.relevant.iter().map(score));
    }
}

fn is_blocked(held: &HeldOut, item: u32) -> bool {
    held.blocked().binary_search(&item).is_ok()
}

/// Sets masked items of a tile that starts at item `first` to −∞; returns how many there were.
fn mask(scores: &mut [f32], first: u32, masked: &[u32]) -> usize {
    let end = first as usize + scores.len();
    let here = masked.iter().take_while(|&&item| (item as usize) < end).count();
    for &item in &masked[..here] {
        scores[(item - first) as usize] = f32::NEG_INFINITY;
    }
    here
}

fn show(scores: &[f32], first: u32, plan: &Plan, scratch: &mut Scratch) -> Result<(), u32> {
    scratch.top.show(first, scores, &scratch.relevant)?;
    if plan.wants_auc {
        scratch.auc.count(scores);
    }
    Ok(())
}

fn finish(plan: &Plan, scratch: &mut Scratch) -> UserResult {
    let items = scratch.top.best(&scratch.relevant);
    let list = RankedList { items, relevant: &scratch.relevant, values: &scratch.values };
    let counts = !scratch.relevant.is_empty();
    let metric = |&metric: &Metric| match metric.kind {
        MetricKind::AucUser => scratch.auc.value(),
        MetricKind::Novelty if counts => {
            let shown = &items[..metric.cutoff.min(items.len())];
            Some(shown.iter().map(|e| plan.surprise[e.1 as usize]).sum::<f64>() / shown.len() as f64)
        }
        MetricKind::Novelty => None,
        _ => list.metric(metric),
    };
    let metrics = plan.listed.iter().map(|m| metric(m).unwrap_or(f64::NAN)).collect();
    let top = if plan.keeps_top && counts { items.iter().map(|e| e.1).collect() } else { Vec::new() };
    UserResult { metrics, top }
}

fn not_finite(held: &HeldOut, user: usize, item: u32) -> anyhow::Error {
    problem!(Numeric, "the score of user number {} and item number {item} is not finite", held.users()[user])
}

/// Counts pairs for one user's AUC while scores stream by.
#[derive(Default)]
struct AucCounter {
    /// Scores of the relevant items, rising.
    positives: Vec<f32>,
    /// Twice the pairs in the right order, positives among themselves counted too.
    twice: u64,
    seen: u64,
}

impl AucCounter {
    fn start(&mut self, positives: impl Iterator<Item = f32>) {
        self.positives.clear();
        self.positives.extend(positives);
        self.positives.sort_unstable_by(f32::total_cmp);
        (self.twice, self.seen) = (0, 0);
    }

    fn count(&mut self, scores: &[f32]) {
        let n = self.positives.len();
        for &s in scores.iter().filter(|&&s| s != f32::NEG_INFINITY) {
            let below = self.positives.partition_point(|&p| p < s);
            let up_to = below + self.positives[below..].partition_point(|&p| p <= s);
            self.twice += (2 * (n - up_to) + (up_to - below)) as u64;
            self.seen += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        let n = self.positives.len() as u64;
        // Only finite scores stream by; a relevant item at −∞ loses every pair.
        let finite = self.positives.iter().filter(|&&p| p != f32::NEG_INFINITY).count() as u64;
        let others = self.seen - finite;
        // Among themselves the positives that streamed by were counted finite² times in the doubled count.
        (n > 0 && others > 0).then(|| (self.twice - finite * finite) as f64 / (2.0 * n as f64 * others as f64))
    }
}

fn evaluate_ratings(model: &dyn Score, held: &HeldOut, metrics: &[Metric], evaluation: &mut Evaluation) -> Result<()> {
    if !metrics.iter().any(Metric::is_rating) {
        return Ok(());
    }
    let rows = held.rows();
    let Some(predictor) = model.pair_score() else {
        fail!(Usage, "this model ranks, it predicts no ratings: `rmse` and `mae` need one that does, such as `biased-mf`")
    };
    require!(!rows.values.is_empty(), Usage, "`rmse` and `mae` need held-out ratings, and this data has none");
    let predicted = tch::no_grad(|| predictor.predict(&rows.users, &rows.items))?;
    if let Some(at) = predicted.iter().position(|p| !p.is_finite()) {
        fail!(Numeric, "the predicted rating of user number {} and item number {} is not finite", rows.users[at], rows.items[at]);
    }
    for &metric in metrics.iter().filter(|m| m.is_rating()) {
        let per_user = match metric.kind {
            MetricKind::Rmse => {
                evaluation.values.push((metric, rating::root_mean_squared_error(&rows.values, &predicted)));
                continue;
            }
            MetricKind::Mae => {
                evaluation.values.push((metric, rating::mean_absolute_error(&rows.values, &predicted)));
                continue;
            }
            MetricKind::RmseUser => rating::by_user(&rows.users, &rows.values, &predicted, rating::root_mean_squared_error),
            _ => rating::by_user(&rows.users, &rows.values, &predicted, rating::mean_absolute_error),
        };
        evaluation.values.push((metric, per_user.iter().map(|e| e.1).sum::<f64>() / per_user.len() as f64));
        // Users without a relevant row have rating rows all the same: they count in the mean, and have no place in the table by user.
        let of = |u: &u32| per_user.binary_search_by_key(u, |e| e.0).map_or(f64::NAN, |at| per_user[at].1);
        evaluation.per_user.push((metric, evaluation.users.iter().map(of).collect()));
    }
    Ok(())
}

/// The best `k` items of each user with their scores, items of `masked` (one list a user) left out: recommendations.
///
/// # Errors
/// as [`evaluate`].
pub fn top_items(model: &dyn Score, users: &Users, masked: &[Vec<u32>], k: usize) -> Result<Vec<Vec<(u32, f32)>>> {
    let mut all = Vec::with_capacity(users.len());
    for (at, masked) in masked.iter().enumerate().take(users.len()) {
        let mut row: Vec<f32> = match tch::no_grad(|| model.score(&users.range(at, at + 1)))? {
            Scores::Dense(scores) => scores.into_owned(),
            Scores::Factors(factors) => {
                let panels = ItemPanels::new(&factors.items, factors.dim, factors.item_bias.as_deref());
                (0..panels.num_items() as u32).map(|i| panels.one(&factors.users, i)).collect()
            }
        };
        masked.iter().for_each(|&i| row[i as usize] = f32::NEG_INFINITY);
        let mut top = TopK::new(k.max(1));
        top.show(0, &row, &[]).map_err(|item| problem!(Numeric, "the score of item number {item} is not finite"))?;
        all.push(top.best(&[]).iter().take(k).map(|&(score, item)| (item, score)).collect());
    }
    Ok(all)
}
