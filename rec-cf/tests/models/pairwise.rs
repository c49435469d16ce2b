//! Models that learn from sampled negatives.

use rec_cf::bpr::BprConfig;
use rec_cf::bpr_sgd::BprSgdConfig;
use rec_cf::logistic_mf::LogisticMfConfig;
use rec_cf::{Bpr, BprSgd, LogisticMf};
use rec_core::optim::{OptimizerConfig, Rule};
use rec_core::params::slice;
use rec_core::rec_data::batch::{Batch, BatchOptions, PairwiseBatch};
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::tch::Device;
use rec_core::train::{GradientConfig, GradientTrainer, Trainer};
use rec_core::{Init, Model, Params};

use crate::data::{Matrix, assert_close, dot, fitted, has, initial, order, rated, rows, run_epoch, scores, sigmoid};

fn products(users: &Matrix, items: &Matrix, bias: &[f64]) -> Matrix {
    users.iter().map(|p| items.iter().zip(bias).map(|(q, b)| dot(p, q) + b).collect()).collect()
}

#[test]
fn bpr_sgd_makes_the_updates_of_its_formulas_for_the_draws_of_its_epochs() {
    let data = rated();
    let (rows, has) = (rows(&data), has(&data));
    for use_bias in [true, false] {
        let config = BprSgdConfig { embedding_size: 5, learning_rate: 0.2, l2: 0.02, use_bias };
        let (eta, l2, seed, epochs) = (config.learning_rate, config.l2, 3, 3);
        let init = Init::Uniform { bound: 0.5 / 5.0 };
        let mut users = initial(init, seed, 0, data.num_users(), 5);
        let mut items = initial(init, seed, 1, data.num_items(), 5);
        let mut bias = vec![0.0; data.num_items()];
        let mut passed_over = 0;
        for epoch in 0..epochs {
            let mut rng = Rng::keyed(seed, Stream::Shuffle, epoch, 1);
            for _ in 0..rows.len() {
                let (u, i, _) = rows[rng.below(rows.len() as u32) as usize];
                let j = rng.below(data.num_items() as u32) as usize;
                if has[u][j] {
                    passed_over += 1;
                    continue;
                }
                let (p, a, b) = (users[u].clone(), items[i].clone(), items[j].clone());
                let z = sigmoid(-(dot(&p, &a) + bias[i] - dot(&p, &b) - bias[j]));
                for k in 0..5 {
                    users[u][k] += eta * (z * (a[k] - b[k]) - l2 * p[k]);
                    items[i][k] += eta * (z * p[k] - l2 * a[k]);
                    items[j][k] += eta * (-z * p[k] - l2 * b[k]);
                }
                if use_bias {
                    bias[i] += eta * (z - l2 * bias[i]);
                    bias[j] += eta * (-z - l2 * bias[j]);
                }
            }
        }
        assert!(passed_over > 0, "some draws are positives");
        let model: BprSgd = fitted(&config, &data, seed, epochs);
        assert_close(&scores(&model, &data), &products(&users, &items, &bias), 1e-4, "scores");
    }
}

#[test]
fn logistic_mf_makes_the_updates_of_its_formulas_for_the_samples_of_its_epochs() {
    let data = rated();
    let rows = rows(&data);
    // More samples than are drawn at a time.
    let config = LogisticMfConfig { embedding_size: 5, learning_rate: 0.05, l2: 0.01, num_negatives: 25, init_std: 0.3 };
    assert!(rows.len() * 26 > 4096);
    let (eta, l2, seed, epochs, n) = (config.learning_rate, config.l2, 5, 2, data.num_items() as u32);
    let init = Init::Normal { std: config.init_std };
    let mut users = initial(init, seed, 0, data.num_users(), 5);
    let mut items = initial(init, seed, 1, data.num_items(), 5);
    let (mut user_bias, mut item_bias, mut bias) = (vec![0.0; users.len()], vec![0.0; items.len()], 0.0);
    for epoch in 0..epochs {
        for sample in order(rows.len() * 26, seed, epoch) {
            // Sample 26r is row r, the 25 after it are its negatives.
            let (u, positive, _) = rows[sample / 26];
            let is_positive = sample % 26 == 0;
            let drawn = || Rng::keyed(seed, Stream::Negatives, epoch, sample as u64).below(n) as usize;
            let i = if is_positive { positive } else { drawn() };
            let score = bias + user_bias[u] + item_bias[i] + dot(&users[u], &items[i]);
            let g = f64::from(is_positive) - sigmoid(score);
            for k in 0..5 {
                users[u][k] += eta * (g * items[i][k] - l2 * users[u][k]);
                items[i][k] += eta * (g * users[u][k] - l2 * items[i][k]);
            }
            user_bias[u] += eta * (g - l2 * user_bias[u]);
            item_bias[i] += eta * (g - l2 * item_bias[i]);
            bias += eta * (g - l2 * bias);
        }
    }
    let model: LogisticMf = fitted(&config, &data, seed, epochs);
    assert_close(&scores(&model, &data), &products(&users, &items, &item_bias), 1e-4, "scores");
}

/// λ/2 of the batch's squares and the mean of −ln σ(x) over positives and their negatives, written down pair by pair.
fn bpr_loss(users: &Matrix, items: &Matrix, batch: &PairwiseBatch, l2: f64) -> f64 {
    let (size, each) = (batch.users.len(), batch.negatives.len() / batch.users.len());
    let square = |row: &Vec<f64>| dot(row, row);
    let mut total = 0.0;
    for b in 0..size {
        let (p, q) = (&users[batch.users[b] as usize], &items[batch.positives[b] as usize]);
        total += l2 / 2.0 * (square(p) + square(q)) / size as f64;
        for &negative in &batch.negatives[b * each..(b + 1) * each] {
            let other = &items[negative as usize];
            total += l2 / 2.0 * square(other) / size as f64;
            total -= sigmoid(dot(p, q) - dot(p, other)).ln() / (size * each) as f64;
        }
    }
    total
}

/// The slope of the loss along every parameter, by differences.
fn bpr_gradient(users: &Matrix, items: &Matrix, batch: &PairwiseBatch, l2: f64) -> (Matrix, Matrix) {
    let step = 1e-5;
    let slopes = |of_users: bool| -> Matrix {
        let shape = if of_users { users } else { items };
        let slope = |row: usize, column: usize| {
            let at = |by: f64| {
                let (mut users, mut items) = (users.clone(), items.clone());
                (if of_users { &mut users } else { &mut items })[row][column] += by;
                bpr_loss(&users, &items, batch, l2)
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        (0..shape.len()).map(|r| (0..shape[r].len()).map(|c| slope(r, c)).collect()).collect()
    };
    (slopes(true), slopes(false))
}

/// In the order in which they first come.
fn distinct(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut seen = Vec::new();
    ids.for_each(|id| {
        if !seen.contains(&id) {
            seen.push(id);
        }
    });
    seen
}

#[test]
fn bprs_loss_and_gradients_are_those_of_its_formula() {
    let data = rated();
    // A user twice, an item as positive and as negative, a negative twice.
    let batch = PairwiseBatch { users: vec![3, 0, 3, 9], positives: vec![2, 5, 7, 2], negatives: vec![7, 1, 1, 2, 0, 4, 4, 4] };
    for l2 in [0.0, 0.3] {
        let mut params = Params::new(Device::Cpu, 13);
        let model = Bpr::new(&BprConfig { embedding_size: 6, l2, ..BprConfig::default() }, &data, &mut params).expect("made");
        let table = |at: usize| -> Matrix {
            slice(&params.list()[at].tensor()).chunks(6).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
        };
        let (users, items) = (table(0), table(1));
        let loss = model.loss(&batch).expect("ids are in range");
        let expected = bpr_loss(&users, &items, &batch, l2);
        assert!((loss.double_value(&[]) - expected).abs() < 1e-5, "{} where the formula gives {expected}", loss.double_value(&[]));
        loss.backward();
        let gradients = params.gradients().expect("on the CPU");
        assert_eq!(gradients.iter().map(|g| &g.0[..]).collect::<Vec<_>>(), ["user_embedding", "item_embedding"]);
        let (of_users, of_items) = bpr_gradient(&users, &items, &batch, l2);
        let touched_users = distinct(batch.users.iter().copied());
        let touched_items = distinct(batch.positives.iter().chain(&batch.negatives).copied());
        for ((name, found), (ids, slopes)) in gradients.iter().zip([(touched_users, of_users), (touched_items, of_items)]) {
            let found: Matrix = slice(found).chunks(6).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect();
            let expected: Matrix = ids.iter().map(|&id| slopes[id as usize].clone()).collect();
            assert_close(&found, &expected, 1e-5, &format!("the gradient of {name}, λ = {l2}"));
        }
    }
}

#[test]
fn bprs_trainer_takes_the_steps_of_stochastic_gradient_descent_on_its_batches() {
    let data = rated();
    let (seed, l2, eta) = (19, 0.1, 0.7);
    let config = BprConfig { embedding_size: 4, l2, ..BprConfig::default() };
    let how = GradientConfig {
        optimizer: OptimizerConfig { rule: Rule::Sgd { momentum: 0.0, nesterov: false }, learning_rate: eta, ..OptimizerConfig::default() },
        batch: BatchOptions { batch_size: 50, num_negatives: 2, ..BatchOptions::default() },
    };
    let mut trainer = GradientTrainer::<Bpr>::new(&config, &how, &data, Device::Cpu, seed).expect("made");
    let mut users = initial(Init::XavierNormal, seed, 0, data.num_users(), 4);
    let mut items = initial(Init::XavierNormal, seed, 1, data.num_items(), 4);
    let none = vec![0.0; items.len()];
    assert_close(&scores(trainer.model(), &data), &products(&users, &items, &none), 1e-6, "scores before training");
    let source = PairwiseBatch::source(&data, &BatchOptions { seed, ..how.batch.clone() }).expect("made");
    for epoch in 0..2 {
        let batches = source.epoch(epoch);
        assert!(batches.len() > 2);
        for index in 0..batches.len() {
            let (of_users, of_items) = bpr_gradient(&users, &items, &batches.batch(index), l2);
            for (table, slopes) in [(&mut users, of_users), (&mut items, of_items)] {
                table.iter_mut().flatten().zip(slopes.iter().flatten()).for_each(|(value, slope)| *value -= eta * slope);
            }
        }
        run_epoch(&mut trainer, epoch);
        assert_close(&scores(trainer.model(), &data), &products(&users, &items, &none), 1e-4, "scores");
    }
}
