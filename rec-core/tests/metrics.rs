//! Every metric against `reference/metrics.json`: values computed by plain Python from the formulas and checked there against
//! trec_eval, ranx, RecBole, scikit-learn and Cornac (`reference/metrics.py` says how).

use std::collections::BTreeMap;

use anyhow::Result;
use rec_core::eval::{self, Evaluation, Metric, evaluate};
use rec_core::model::PairScore;
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::view::{HeldOut, RatedRows, TrainView};
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::{Factors, Score, Scores, Users};
use serde::Deserialize;

/// What the sums of two correct programs may differ by.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Ranking>,
    pointwise: Vec<Pointwise>,
    rating: Vec<Rating>,
}

#[derive(Deserialize)]
struct Ranking {
    name: String,
    num_users: usize,
    num_items: usize,
    scores: Vec<Vec<f32>>,
    masked: Vec<Vec<u32>>,
    /// Items with their gains.
    relevant: Vec<Vec<(u32, f32)>>,
    candidates: Option<Vec<Vec<u32>>>,
    popularity: Vec<usize>,
    num_train_users: usize,
    users_evaluated: usize,
    auc_users: usize,
    per_user: BTreeMap<String, Vec<Option<f64>>>,
    mean: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Pointwise {
    name: String,
    users: Vec<u32>,
    labels: Vec<u8>,
    predictions: Vec<f32>,
    global: BTreeMap<String, Option<f64>>,
    gauc: Option<f64>,
    gauc_users: usize,
    gauc_dropped: usize,
    user_auc: Vec<(u32, Option<f64>)>,
}

#[derive(Deserialize)]
struct Rating {
    name: String,
    users: Vec<u32>,
    items: Vec<u32>,
    ratings: Vec<f32>,
    predictions: Vec<f32>,
    global: Errors,
    mean_user: Errors,
    /// User, RMSE, MAE; users rising.
    per_user: Vec<(u32, f64, f64)>,
}

#[derive(Deserialize)]
struct Errors {
    rmse: f64,
    mae: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/metrics.json")).expect("the file that metrics.py writes")
}

/// Gives the scores of a case, as they are or as products of factors.
struct Given<'a> {
    scores: &'a [Vec<f32>],
    num_items: usize,
    as_factors: bool,
}

impl Score for Given<'_> {
    fn num_items(&self) -> usize {
        self.num_items
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let scores: Vec<f32> = users.ids().iter().flat_map(|&u| self.scores[u as usize].iter().copied()).collect();
        if !self.as_factors {
            return Ok(Scores::Dense(scores.into()));
        }
        // The items' factors are the unit vectors: all terms of a product but one are zero, so the product is the score.
        let n = self.num_items;
        let items: Vec<f32> = (0..n * n).map(|at| f32::from(at / n == at % n)).collect();
        Ok(Scores::Factors(Factors { dim: n, users: scores.into(), items: items.into(), item_bias: None }))
    }
}

impl Ranking {
    fn metrics(&self) -> Vec<Metric> {
        self.mean.keys().map(|name| ranking(name)).collect()
    }

    fn held_out(&self) -> HeldOut {
        let (mut rows, mut items, mut gains) = (Vec::new(), Vec::new(), Vec::new());
        for (user, relevant) in self.relevant.iter().enumerate() {
            for &(item, gain) in relevant {
                rows.push(user as u32);
                items.push(item);
                gains.push(gain);
            }
        }
        let targets = Csr::from_coordinates(self.num_users, self.num_items, &rows, &items, &gains);
        let masked = Csr::from_rows(self.num_items, &self.masked);
        let candidates = self.candidates.as_ref().map(|lists| Csr::from_rows(self.num_items, lists));
        let users = (0..self.num_users as u32).collect();
        HeldOut::new(users, masked.clone(), &masked, &targets, candidates.as_ref(), RatedRows::default())
    }

    /// Training rows with the case's popularity: the first p users have an item of popularity p. In every case one item is everyone's,
    /// so the training users are as many as the case says.
    fn train(&self) -> TrainView {
        assert_eq!(self.popularity.iter().max(), Some(&self.num_train_users), "{}: an item that everyone has", self.name);
        let rows = || self.popularity.iter().enumerate().flat_map(|(item, &p)| (0..p as u32).map(move |user| (user, item as u32)));
        let train = TrainView::of_all(&Interactions {
            users: rows().map(|r| r.0).collect::<Vec<_>>().into(),
            items: rows().map(|r| r.1).collect::<Vec<_>>().into(),
            user_ids: Vocabulary::numbers(self.num_train_users),
            item_ids: Vocabulary::numbers(self.num_items),
            ..Interactions::default()
        });
        assert!(train.popularity().iter().map(|&p| p as usize).eq(self.popularity.iter().copied()), "{}", self.name);
        train
    }

    fn evaluate(&self, as_factors: bool, metrics: &[Metric]) -> Evaluation {
        let model = Given { scores: &self.scores, num_items: self.num_items, as_factors };
        evaluate(&model, &self.held_out(), &self.train(), metrics).expect("scores are finite")
    }
}

/// Absent in the file is NaN here.
fn assert_close(found: f64, expected: Option<f64>, what: &str) {
    match expected {
        Some(expected) => assert!((found - expected).abs() <= TOLERANCE, "{what}: {found} where the reference has {expected}"),
        None => assert!(found.is_nan(), "{what}: {found} where the reference has no value"),
    }
}

/// The ranking metric that the reference calls `name`: its `auc` is that of a user's candidates.
fn ranking(name: &str) -> Metric {
    let ours = if name == "auc" { "auc_user" } else { name };
    ours.parse().expect("the file names metrics as we do")
}

fn assert_rankings_agree(as_factors: bool) {
    let cases = reference().cases;
    assert_eq!(cases.len(), 21);
    let (mut values, mut means) = (0, 0);
    for case in &cases {
        let metrics = case.metrics();
        let found = case.evaluate(as_factors, &metrics);
        assert_eq!(found.users.len(), case.num_users);
        assert_eq!(found.values.iter().map(|v| v.0).collect::<Vec<_>>(), metrics, "{}: values in the order asked for", case.name);
        for (name, expected) in &case.mean {
            let metric = ranking(name);
            assert_close(found.get(metric).expect("asked for"), *expected, &format!("{}, {name}", case.name));
            means += 1;
        }
        for (name, expected) in &case.per_user {
            let users = found.users_of(ranking(name)).expect("a value a user");
            assert_eq!(users.len(), expected.len());
            for (user, (&found, &expected)) in users.iter().zip(expected).enumerate() {
                assert_close(found, expected, &format!("{}, {name}, user {user}", case.name));
                values += 1;
            }
        }
        let with_a_value = |name: &str| {
            let users = found.users_of(name.parse().expect("a metric's name")).expect("asked for");
            users.iter().filter(|v| !v.is_nan()).count()
        };
        assert_eq!((with_a_value("recall@10"), with_a_value("auc_user")), (case.users_evaluated, case.auc_users), "{}", case.name);
    }
    assert!(values > 10_000 && means > 1_000, "{values} values and {means} means were compared");
}

#[test]
fn every_ranking_metric_of_every_user_is_the_references_from_dense_scores() {
    assert_rankings_agree(false);
}

#[test]
fn every_ranking_metric_of_every_user_is_the_references_from_factors() {
    assert_rankings_agree(true);
}

#[test]
fn a_metric_asked_for_alone_has_the_bits_that_it_has_among_all() {
    for case in reference().cases {
        for as_factors in [false, true] {
            let all = case.evaluate(as_factors, &case.metrics());
            for name in ["ndcg@5", "map@1", "novelty@10", "coverage@1", "gini@5", "auc_user"] {
                let metric: Metric = name.parse().expect("a metric's name");
                let alone = case.evaluate(as_factors, &[metric]);
                assert_eq!(alone.values.len(), 1);
                let bits = |e: &Evaluation| (e.get(metric).map(f64::to_bits), e.users_of(metric).map(bits_of));
                assert_eq!(bits(&alone), bits(&all), "{}, {name}", case.name);
            }
        }
    }
}

fn bits_of(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn auc_gauc_and_log_loss_of_labelled_rows_are_the_references() {
    let cases = reference().pointwise;
    assert_eq!(cases.len(), 11);
    for case in cases {
        let labels: Vec<bool> = case.labels.iter().map(|&l| l == 1).collect();
        let of = |value: Option<f64>| value.unwrap_or(f64::NAN);
        assert_close(of(eval::auc(&labels, &case.predictions)), case.global["auc"], &format!("{}, auc", case.name));
        let probabilities: Vec<f64> = case.predictions.iter().map(|&p| f64::from(p)).collect();
        assert_close(eval::log_loss(&labels, &probabilities), case.global["logloss"], &format!("{}, log loss", case.name));
        let grouped = eval::gauc(&case.users, &labels, &case.predictions);
        assert_close(of(grouped.map(|g| g.value)), case.gauc, &format!("{}, gauc", case.name));
        if let Some(grouped) = grouped {
            assert_eq!((grouped.groups, grouped.dropped), (case.gauc_users, case.gauc_dropped), "{}", case.name);
        }
        for (user, expected) in case.user_auc {
            let rows = || case.users.iter().enumerate().filter(|(_, u)| **u == user).map(|(row, _)| row);
            let (labels, scores): (Vec<bool>, Vec<f32>) = rows().map(|r| (labels[r], case.predictions[r])).unzip();
            assert_close(of(eval::auc(&labels, &scores)), expected, &format!("{}, auc of user {user}", case.name));
        }
    }
}

/// Predicts the ratings of a case.
struct Predicting<'a>(&'a Rating);

impl PairScore for Predicting<'_> {
    fn predict(&self, users: &[u32], items: &[u32]) -> Result<Vec<f32>> {
        let case = self.0;
        let pair = |(&u, &i): (&u32, &u32)| {
            let row = (0..case.users.len()).find(|&r| (case.users[r], case.items[r]) == (u, i)).expect("asks about the case's pairs");
            case.predictions[row]
        };
        Ok(users.iter().zip(items).map(pair).collect())
    }
}

impl Score for Predicting<'_> {
    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Dense(vec![0.0; users.len() * self.num_items()].into()))
    }

    fn pair_score(&self) -> Option<&dyn PairScore> {
        Some(self)
    }
}

impl Rating {
    fn num_items(&self) -> usize {
        self.items.iter().map(|&i| i as usize + 1).max().unwrap_or(0)
    }

    /// All rows are rated; `evaluated` are the users who have a relevant one.
    fn held_out(&self, evaluated: &[u32]) -> HeldOut {
        let targets = Csr::from_rows(self.num_items(), vec![[0u32]; evaluated.len()]);
        let nothing = Csr::from_rows(self.num_items(), vec![[0u32; 0]; evaluated.len()]);
        let rows = RatedRows { users: self.users.clone(), items: self.items.clone(), values: self.ratings.clone() };
        HeldOut::new(evaluated.to_vec(), nothing.clone(), &nothing, &targets, None, rows)
    }

    fn train(&self) -> TrainView {
        TrainView::of_all(&Interactions {
            user_ids: Vocabulary::numbers(1),
            item_ids: Vocabulary::numbers(self.num_items()),
            ..Interactions::default()
        })
    }
}

#[test]
fn errors_of_ratings_over_rows_and_over_users_are_the_references() {
    let cases = reference().rating;
    assert_eq!(cases.len(), 6);
    let metrics = ["rmse", "mae_user", "mae", "rmse_user"].map(|name| name.parse::<Metric>().expect("a metric's name"));
    for case in cases {
        let users: Vec<u32> = case.per_user.iter().map(|u| u.0).collect();
        // The first user may have no relevant row: the rated rows count all the same, and there is one place less by user.
        for evaluated in [&users[..], &users[1..]] {
            let found = evaluate(&Predicting(&case), &case.held_out(evaluated), &case.train(), &metrics).expect("predictions are finite");
            assert_eq!(found.values.iter().map(|v| v.0).collect::<Vec<_>>(), metrics, "values in the order asked for");
            let expected = [case.global.rmse, case.mean_user.mae, case.global.mae, case.mean_user.rmse];
            for (&(metric, value), expected) in found.values.iter().zip(expected) {
                assert_close(value, Some(expected), &format!("{}, {metric}", case.name));
            }
            let (rmse, mae) = (found.users_of(metrics[3]).expect("by user"), found.users_of(metrics[1]).expect("by user"));
            let skipped = users.len() - evaluated.len();
            assert_eq!((rmse.len(), mae.len()), (evaluated.len(), evaluated.len()));
            for (at, &(user, root, absolute)) in case.per_user[skipped..].iter().enumerate() {
                assert_close(rmse[at], Some(root), &format!("{}, rmse of user {user}", case.name));
                assert_close(mae[at], Some(absolute), &format!("{}, mae of user {user}", case.name));
            }
        }
        assert_close(eval::root_mean_squared_error(&case.ratings, &case.predictions), Some(case.global.rmse), &case.name);
        assert_close(eval::mean_absolute_error(&case.ratings, &case.predictions), Some(case.global.mae), &case.name);
    }
}
