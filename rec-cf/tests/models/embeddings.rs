//! Item2Vec and PureSVD.

use std::sync::Arc;

use rec_cf::item_vectors::Closeness;
use rec_cf::item2vec::{Histories, Item2VecConfig, Method};
use rec_cf::pure_svd::{PureSvdConfig, SvdMatrix};
use rec_cf::{Item2Vec, PureSvd};
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::sampler::Sampler;
use rec_core::rec_data::view::TrainView;
use rec_core::{Init, Score};
use serde_json::Value;

use crate::data::{ITEMS, Matrix, USERS, assert_close, dot, fitted, has, initial, order, rated, scores, scores_of_new, sigmoid, view};

const DIM: usize = 5;

/// Items with training rows, in f64.
struct Reference {
    inputs: Matrix,
    outputs: Matrix,
}

impl Reference {
    /// h predicts the first of `items` and not the others; returns the change of h.
    fn step(&mut self, h: &[f64], items: &[usize], rate: f64) -> Vec<f64> {
        let slope = |(place, &item): (usize, &usize)| f64::from(u8::from(place == 0)) - sigmoid(dot(h, &self.outputs[item]));
        let slopes: Vec<f64> = items.iter().enumerate().map(slope).collect();
        let change = (0..DIM).map(|k| rate * items.iter().zip(&slopes).map(|(&item, g)| g * self.outputs[item][k]).sum::<f64>()).collect();
        for (&item, g) in items.iter().zip(&slopes) {
            self.outputs[item].iter_mut().zip(h).for_each(|(u, h)| *u += rate * g * h);
        }
        change
    }

    fn add(&mut self, item: usize, change: &[f64], share: f64) {
        self.inputs[item].iter_mut().zip(change).for_each(|(v, c)| *v += share * c);
    }

    /// All of an epoch, in one block with one step size.
    fn epoch(&mut self, config: &Item2VecConfig, data: &TrainView, seed: u64, epoch: u64) {
        let fallen = epoch as f64 / config.decay_epochs as f64;
        let rate = config.learning_rate - (config.learning_rate - config.min_learning_rate) * fallen;
        let counts = data.popularity();
        let sampler = Sampler::of_trained(config.negative_alpha, counts.clone());
        let mut rng = Rng::keyed(seed, Stream::Negatives, epoch, 0);
        for user in order(data.num_users(), seed, epoch) {
            let mut draws = Rng::keyed(seed, Stream::Shuffle, epoch, 1 + user as u64);
            let row = if config.histories == Histories::Sets { data.by_user().row(user) } else { data.sequences().row(user) };
            let kept = |item: &u32| {
                let times = f64::from(counts[*item as usize]) / data.len() as f64 / config.sample;
                let keep = (times.sqrt() + 1.0) / times;
                keep >= 1.0 || draws.unit() < keep
            };
            let mut list: Vec<u32> = row.iter().copied().filter(kept).collect();
            if config.histories == Histories::Sets && config.window > 0 {
                draws.shuffle(&mut list);
            }
            for centre in 0..list.len() {
                let reach = match config.window {
                    0 => list.len(),
                    window if config.reduce_window => 1 + rng.below(window as u32) as usize,
                    window => window,
                };
                let near = |&at: &usize| at != centre && at.abs_diff(centre) <= reach;
                let contexts: Vec<usize> = (0..list.len()).filter(near).map(|at| list[at] as usize).collect();
                if !contexts.is_empty() {
                    self.place(config, rate, list[centre], &contexts, || sampler.draw(&mut rng));
                }
            }
        }
    }

    fn place(&mut self, config: &Item2VecConfig, rate: f64, item: u32, contexts: &[usize], mut draw: impl FnMut() -> u32) {
        let mut predicted = || {
            let negatives: Vec<u32> = (0..config.num_negatives).map(|_| draw()).collect();
            [item].into_iter().chain(negatives.into_iter().filter(|&n| n != item)).map(|i| i as usize).collect::<Vec<_>>()
        };
        if config.method != Method::SkipGram {
            let mean: Vec<f64> =
                (0..DIM).map(|k| contexts.iter().map(|&c| self.inputs[c][k]).sum::<f64>() / contexts.len() as f64).collect();
            let change = self.step(&mean, &predicted(), rate);
            let share = if config.method == Method::Cbow { 1.0 } else { 1.0 / contexts.len() as f64 };
            contexts.iter().for_each(|&c| self.add(c, &change, share));
            return;
        }
        // All negatives are drawn before the first context is learned from.
        let draws: Vec<Vec<usize>> = contexts.chunks(config.contexts_per_draw).map(|_| predicted()).collect();
        for (contexts, predicted) in contexts.chunks(config.contexts_per_draw).zip(&draws) {
            // All from the values before: of each context the change alone, then the sum of them.
            let before = self.outputs.clone();
            let mut after = before.clone();
            let vectors: Matrix = contexts.iter().map(|&c| self.inputs[c].clone()).collect();
            for (&c, h) in contexts.iter().zip(&vectors) {
                self.outputs.clone_from(&before);
                let change = self.step(h, predicted, rate);
                self.add(c, &change, 1.0);
                for ((after, moved), before) in after.iter_mut().zip(&self.outputs).zip(&before) {
                    after.iter_mut().zip(moved).zip(before).for_each(|((after, moved), before)| *after += moved - before);
                }
            }
            self.outputs = after;
        }
    }
}

#[test]
fn item2vec_makes_the_updates_of_its_formulas_for_the_draws_of_its_epochs() {
    let data = rated();
    let whole = Item2VecConfig {
        embedding_size: DIM,
        learning_rate: 0.3,
        decay_epochs: 4,
        // One negative: a second one could be the same item, which then counts as moved by the first.
        num_negatives: 1,
        sample: 0.03,
        score: Closeness::Dot,
        block_size: usize::MAX,
        ..Item2VecConfig::default()
    };
    let sequences = Item2VecConfig { histories: Histories::Sequences, window: 3, ..whole.clone() };
    for (what, config) in [
        ("all pairs", whole.clone()),
        ("shuffled sets", Item2VecConfig { window: 2, ..whole.clone() }),
        ("skip-gram", sequences.clone()),
        ("the whole window", Item2VecConfig { reduce_window: false, ..sequences.clone() }),
        ("shared negatives", Item2VecConfig { contexts_per_draw: 3, ..sequences.clone() }),
        ("CBOW", Item2VecConfig { method: Method::Cbow, ..sequences.clone() }),
        ("corrected CBOW", Item2VecConfig { method: Method::CorrectedCbow, negative_alpha: 0.0, ..sequences }),
    ] {
        let mut inputs = initial(Init::Uniform { bound: 0.5 / DIM as f64 }, 4, 0, ITEMS, DIM);
        inputs[ITEMS - 1] = vec![0.0; DIM];
        let mut reference = Reference { inputs, outputs: vec![vec![0.0; DIM]; ITEMS] };
        (0..3).for_each(|epoch| reference.epoch(&config, &data, 4, epoch));
        let model: Item2Vec = fitted(&config, &data, 4, 3);
        assert_close(&vectors(&model), &reference.inputs, 1e-4, what);
        let largest = reference.inputs.iter().flatten().fold(0f64, |most, v| most.max(v.abs()));
        assert!(largest > 0.15, "{what}: the vectors moved from their start, {largest}");
        // Scores: the mean of the history's vectors.
        let has = has(&data);
        let mean = |u: usize, k: usize| {
            let n = has[u].iter().filter(|&&h| h).count().max(1) as f64;
            (0..ITEMS).filter(|&i| has[u][i]).map(|i| reference.inputs[i][k]).sum::<f64>() / n
        };
        let score = |u: usize, i: usize| (0..DIM).map(|k| mean(u, k) * reference.inputs[i][k]).sum();
        let expected: Matrix = (0..USERS).map(|u| (0..ITEMS).map(|i| score(u, i)).collect()).collect();
        assert_close(&scores(&model, &data), &expected, 1e-3, what);
    }
}

fn vectors(model: &dyn Score) -> Matrix {
    let vectors = model.item_vectors().expect("has vectors");
    vectors.values.chunks(vectors.dim).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
}

/// Of each item's three nearest by cosine, the share that is of its group of four; 3/19 by chance.
fn found_groups(model: &Item2Vec) -> f64 {
    let vectors = vectors(model);
    let cosine =
        |a: usize, b: usize| dot(&vectors[a], &vectors[b]) / (dot(&vectors[a], &vectors[a]) * dot(&vectors[b], &vectors[b])).sqrt();
    let own = |item: usize| {
        let mut others: Vec<usize> = (0..20).filter(|&other| other != item).collect();
        others.sort_by(|&a, &b| cosine(item, b).total_cmp(&cosine(item, a)));
        others[..3].iter().filter(|&other| other / 4 == item / 4).count()
    };
    (0..20).map(own).sum::<usize>() as f64 / 60.0
}

/// Users whose histories are runs of four items of a group, one run after the other. In all histories together each item is as often with
/// any other: only who stands near it tells groups apart.
fn runs(groups_of_a_user: usize) -> Arc<TrainView> {
    let mut rng = Rng::keyed(8, Stream::Split, 0, 0);
    let mut pairs = Vec::new();
    for user in 0..USERS as u32 {
        let mut groups: Vec<u32> = (0..5).map(|group| (user + group) % 5).collect();
        rng.shuffle(&mut groups[1..]);
        for group in &groups[..groups_of_a_user] {
            let mut items: Vec<u32> = (0..4).map(|i| 4 * group + i).collect();
            rng.shuffle(&mut items);
            pairs.extend(items.into_iter().map(|item| (user, item)));
        }
    }
    view(pairs, None)
}

#[test]
fn planted_groups_are_found_by_sets_where_histories_hold_them_and_by_windows_where_only_neighbours_do() {
    let of = |config: &Item2VecConfig, data: &TrainView| found_groups(&fitted(config, data, 1, config.decay_epochs));
    let sets = Item2VecConfig { embedding_size: 16, learning_rate: 0.1, decay_epochs: 60, sample: 0.0, ..Item2VecConfig::default() };
    assert_eq!(of(&sets, &runs(1)), 1.0, "one group a user");
    let all = runs(5);
    assert!(of(&sets, &all) < 0.5, "sets of all items tell nothing");
    // Longer, and 31 users are learned by heart.
    let brief = Item2VecConfig { learning_rate: 0.025, decay_epochs: 30, num_negatives: 5, ..sets };
    let windows = Item2VecConfig { histories: Histories::Sequences, window: 2, ..brief };
    for (what, config) in [
        ("skip-gram", windows.clone()),
        ("CBOW", Item2VecConfig { method: Method::Cbow, ..windows.clone() }),
        ("corrected CBOW", Item2VecConfig { method: Method::CorrectedCbow, learning_rate: 0.05, ..windows.clone() }),
        ("shared negatives", Item2VecConfig { contexts_per_draw: 3, ..windows.clone() }),
        ("three blocks at a time", Item2VecConfig { blocks: 3, block_size: 100, ..windows.clone() }),
    ] {
        let found = of(&config, &all);
        assert!(found > 0.8, "{what}: {found}");
    }
    let far = of(&Item2VecConfig { window: 19, reduce_window: false, ..windows }, &all);
    assert!(far < 0.5, "windows over all of a history tell nothing: {far}");
}

#[test]
fn pure_svd_has_the_singular_vectors_of_numpy() {
    let cases: Value = serde_json::from_str(include_str!("../reference/pure_svd.json")).expect("JSON");
    let matrix = |value: &Value| -> Matrix { serde_json::from_value(value.clone()).expect("rows of numbers") };
    let pairs: Vec<(u32, u32)> = serde_json::from_value(cases["pairs"].clone()).expect("pairs");
    let data = view(pairs, None);
    let products = |vectors: &Matrix| -> Matrix { vectors.iter().map(|a| vectors.iter().map(|b| dot(a, b)).collect()).collect() };

    let config = PureSvdConfig { embedding_size: 4, iterations: 30, ..PureSvdConfig::default() };
    let model: PureSvd = fitted(&config, &data, 1, 1);
    assert_close(&scores(&model, &data), &matrix(&cases["scores"]), 1e-5, "projected rows");
    assert_close(&products(&vectors(&model)), &matrix(&cases["projection"]), 1e-5, "Q Qᵀ");
    // A history that no user has: the mean of the rows of Q Qᵀ.
    let projection = matrix(&cases["projection"]);
    let mean: Vec<f64> = projection[3].iter().zip(&projection[8]).map(|(a, b)| (a + b) / 2.0).collect();
    assert_close(&scores_of_new(&model, &[&[3, 8, 3]]), &vec![mean], 1e-5, "a new user");

    let halves = PureSvdConfig { matrix: SvdMatrix::CoOccurrences, singular_exponent: 0.5, ..config };
    let model: PureSvd = fitted(&halves, &data, 1, 1);
    assert_close(&products(&vectors(&model)), &matrix(&cases["co_occurrences"]), 1e-5, "U Σ Uᵀ of co-occurrences");
}
