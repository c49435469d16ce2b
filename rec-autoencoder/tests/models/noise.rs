//! Models that draw, with the draws known: libtorch's generator is seeded, asked for the same numbers, and the formulas written down
//! again in f64 with them.

use rec_autoencoder::autoencoder::DenoisingAutoencoderConfig;
use rec_autoencoder::cdae::CdaeConfig;
use rec_autoencoder::mult_dae::MultDaeConfig;
use rec_autoencoder::mult_vae::MultVaeConfig;
use rec_autoencoder::noise::Noise;
use rec_autoencoder::{Activation, Cdae, DenoisingAutoencoder, MultDae, MultVae};
use rec_core::loss::LossConfig;
use rec_core::params::slice;
use rec_core::rec_data::batch::{SampledRowsBatch, UserRowsBatch};
use rec_core::tch::{Device, Kind, Tensor, manual_seed, no_grad};
use rec_core::{Init, Model, Params, Score};

use crate::data::{Values, assert_gradients, assert_near, distinct, dot, generator, lists, scores_of, set, values, wide};

const ITEMS: usize = 9;
const ROWS: [&[u32]; 4] = [&[0, 2, 3], &[1, 2, 5, 7], &[0, 6], &[3, 4, 5, 6, 7]];
const BATCH: [u32; 3] = [2, 0, 3];
const SEED: i64 = 7;

fn batch() -> UserRowsBatch {
    let rows = lists(ITEMS, &ROWS).by_user().select(&BATCH);
    UserRowsBatch::new(BATCH.to_vec(), rows)
}

/// Parameters far from 0, biases too.
fn spread(params: &Params) -> Values {
    let mut all = values(params);
    for (at, list) in (0..).zip(all.values_mut()) {
        *list = wide(&Init::Normal { std: 0.6 }.values(3, at, 1, list.len()));
    }
    set(params, &all);
    all
}

/// Wx + b.
fn dense(p: &Values, name: &str, x: &[f64]) -> Vec<f64> {
    let (weights, bias) = (&p[&format!("{name}_weights")], &p[&format!("{name}_bias")]);
    weights.chunks(x.len()).zip(bias).map(|(row, bias)| dot(row, x) + bias).collect()
}

/// Σ value · (the item's row of weights) + b.
fn sparse(p: &Values, items: &[u32], factors: &[f64]) -> Vec<f64> {
    let mut sums = p["input_bias"].clone();
    let width = sums.len();
    for (&item, factor) in items.iter().zip(factors) {
        sums.iter_mut().zip(&p["input_weights"][item as usize * width..]).for_each(|(sum, w)| *sum += factor * w);
    }
    sums
}

fn tanh(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(f64::tanh).collect()
}

/// −Σ x_i ln softmax(r)_i.
fn multinomial(r: &[f64], items: &[u32]) -> f64 {
    let total = r.iter().map(|r| r.exp()).sum::<f64>().ln();
    items.iter().map(|&item| total - r[item as usize]).sum()
}

/// Σ (r − x)².
fn squared(r: &[f64], items: &[u32]) -> f64 {
    (0..).zip(r).map(|(item, r)| (r - f64::from(items.contains(&item))).powi(2)).sum()
}

/// The loss of Mult-VAE with one hidden layer each way, where `epsilon` `[users, latent]` is drawn.
fn vae_loss(p: &Values, epsilon: &[f64], latent: usize, beta: f64, l2: f64) -> f64 {
    let mut total = 0.0;
    for (&user, noise) in BATCH.iter().zip(epsilon.chunks(latent)) {
        let items = ROWS[user as usize];
        let unit = vec![1.0 / (items.len() as f64).sqrt(); items.len()];
        let both = dense(p, "encoder1", &tanh(sparse(p, items, &unit)));
        let (mean, deviation): (&[f64], Vec<f64>) = (&both[..latent], both[latent..].iter().map(|v| (0.5 * v).exp()).collect());
        let z: Vec<f64> = (0..latent).map(|k| mean[k] + deviation[k] * noise[k]).collect();
        let r = dense(p, "decoder2", &tanh(dense(p, "decoder1", &z)));
        // KL(N(m, s²) ‖ N(0, 1)) = −ln s + (s² + m²)/2 − ½.
        let kl: f64 = mean.iter().zip(&deviation).map(|(m, s)| -s.ln() + (s * s + m * m) / 2.0 - 0.5).sum();
        total += multinomial(&r, items) + beta * kl;
    }
    let used = distinct(BATCH.iter().flat_map(|&user| ROWS[user as usize]).copied());
    let width = p["input_bias"].len();
    let row = |&item: &u32| &p["input_weights"][item as usize * width..][..width];
    let mut squares: f64 = used.iter().map(|item| dot(row(item), row(item))).sum();
    squares += ["encoder1_weights", "decoder1_weights", "decoder2_weights"].map(|name| dot(&p[name], &p[name])).iter().sum::<f64>();
    total / BATCH.len() as f64 + l2 / 2.0 * squares
}

/// Central differences.
fn differences(p: &Values, loss: impl Fn(&Values) -> f64) -> Values {
    let step = 1e-6;
    let mut moved = p.clone();
    let mut slopes = Values::new();
    for (name, list) in p {
        let slope = |at: usize| {
            let kept = list[at];
            let mut at_value = |value: f64| {
                moved.get_mut(name).expect("the same names")[at] = value;
                loss(&moved)
            };
            let slope = (at_value(kept + step) - at_value(kept - step)) / (2.0 * step);
            at_value(kept);
            slope
        };
        slopes.insert(name.clone(), (0..list.len()).map(slope).collect());
    }
    slopes
}

#[test]
fn mult_vae_draws_z_about_its_mean_and_anneals_the_divergence_up_to_its_cap() {
    let _held = generator();
    let latent = 3;
    let config = MultVaeConfig { hidden_sizes: vec![6], latent_size: latent, dropout: 0.0, anneal_cap: 0.2, anneal_steps: 100, l2: 0.1 };
    let mut params = Params::new(Device::Cpu, 1);
    let mut model = MultVae::new(&config, &lists(ITEMS, &ROWS), &mut params).expect("made");
    let p = spread(&params);
    manual_seed(SEED);
    let epsilon = wide(slice(&Tensor::zeros([BATCH.len() as i64, latent as i64], (Kind::Float, Device::Cpu)).randn_like()));
    assert!(epsilon.iter().any(|e| e.abs() > 0.5));
    // Below the cap, above it, and long after it.
    for (step, beta) in [(0, 0.0), (7, 0.07), (25, 0.2), (1_000_000, 0.2)] {
        model.begin_step(step);
        manual_seed(SEED);
        let loss = model.loss(&batch()).expect("ids are in range");
        let (found, expected) = (loss.double_value(&[]), vae_loss(&p, &epsilon, latent, beta, config.l2));
        assert!((found / expected - 1.0).abs() < 2e-6, "step {step}: {found} where the formulas give {expected}");
        loss.backward();
        let expected = differences(&p, |p| vae_loss(p, &epsilon, latent, beta, config.l2));
        assert_gradients(&params, &expected, |_| distinct(batch().rows.columns().iter().copied()), &format!("step {step}"));
        params.forget_step();
    }
}

/// What an entry of the batch is multiplied by, the same as in a model that draws first thing after the seed.
fn factors(entries: usize, q: f64, noise: Noise) -> Vec<f64> {
    manual_seed(SEED);
    let drawn = wide(slice(&Tensor::rand([entries as i64], (Kind::Float, Device::Cpu))));
    let kept = if noise == Noise::Dropout { 1.0 / (1.0 - q) } else { 1.0 };
    let factors: Vec<f64> = drawn.iter().map(|&u| if u < q { 0.0 } else { kept }).collect();
    assert!(factors.contains(&0.0) && factors.contains(&kept), "some are lost, some are not");
    factors
}

/// The mean over the batch's users, each with its factors of the input.
fn mean_loss(factors: &[f64], of: impl Fn(u32, &[u32], &[f64]) -> f64) -> f64 {
    let (mut rest, mut total) = (factors, 0.0);
    for &user in &BATCH {
        let items = ROWS[user as usize];
        let (here, after) = rest.split_at(items.len());
        total += of(user, items, here);
        rest = after;
    }
    total / BATCH.len() as f64
}

fn assert_loss<M: Model>(model: &M, batch: &M::Batch, expected: f64, what: &str) {
    manual_seed(SEED);
    let found = no_grad(|| model.loss(batch)).expect("ids are in range").double_value(&[]);
    assert!((found / expected - 1.0).abs() < 2e-6, "{what}: {found} where the formulas give {expected}");
}

#[test]
fn a_corrupted_row_goes_in_and_the_whole_one_is_compared_with_what_comes_out() {
    let _held = generator();
    let data = lists(ITEMS, &ROWS);
    let (q, entries) = (0.4, batch().rows.len());
    for noise in [Noise::Dropout, Noise::Masking] {
        let what = format!("{noise:?}");
        let drawn = factors(entries, q, noise);
        let (loss, activation) = (LossConfig::SquaredError {}, Activation::Tanh);
        let config = DenoisingAutoencoderConfig { hidden_sizes: vec![5, 4], activation, loss, l2: 0.0, noise, corruption: q };
        let mut params = Params::new(Device::Cpu, 1);
        let model = DenoisingAutoencoder::new(&config, &data, &mut params).expect("made");
        let p = spread(&params);
        let network = |items: &[u32], factors: &[f64]| dense(&p, "output", &tanh(dense(&p, "hidden1", &tanh(sparse(&p, items, factors)))));
        let expected = mean_loss(&drawn, |_, items, factors| squared(&network(items, factors), items));
        assert_loss(&model, &batch(), expected, &what);
        // Scoring corrupts nothing.
        assert_near(&scores_of(&model, 0, &[(0, 1.0), (2, 1.0)], false), &network(&[0, 2], &[1.0; 2]), 1e-5, &what);

        let config = CdaeConfig { embedding_size: 4, corruption: q, noise, activation, user_node: true, loss, l2: 0.0 };
        let mut params = Params::new(Device::Cpu, 1);
        let model = Cdae::new(&config, &data, &mut params).expect("made");
        let p = spread(&params);
        let network = |user: u32, items: &[u32], factors: &[f64]| {
            let node = &p["user_node"][user as usize * 4..][..4];
            dense(&p, "output", &tanh(sparse(&p, items, factors).iter().zip(node).map(|(sum, v)| sum + v).collect()))
        };
        let expected = mean_loss(&drawn, |user, items, factors| squared(&network(user, items, factors), items));
        let sampled = SampledRowsBatch { users: BATCH.to_vec(), rows: batch().rows, negatives: Vec::new() };
        assert_loss(&model, &sampled, expected, &what);
        assert_near(&scores_of(&model, 1, &[(0, 1.0), (2, 1.0)], false), &network(1, &[0, 2], &[1.0; 2]), 1e-5, &what);
    }
}

#[test]
fn mult_dae_drops_entries_of_a_row_of_length_one() {
    let _held = generator();
    let (q, entries) = (0.4, batch().rows.len());
    let drawn = factors(entries, q, Noise::Dropout);
    let mut params = Params::new(Device::Cpu, 1);
    let config = MultDaeConfig { hidden_sizes: vec![5], dropout: q, l2: 0.0 };
    let model = MultDae::new(&config, &lists(ITEMS, &ROWS), &mut params).expect("made");
    let p = spread(&params);
    let network = |items: &[u32], factors: &[f64]| {
        let length = (items.len() as f64).sqrt();
        let values: Vec<f64> = factors.iter().map(|f| f / length).collect();
        dense(&p, "output", &tanh(sparse(&p, items, &values)))
    };
    assert_loss(&model, &batch(), mean_loss(&drawn, |_, items, factors| multinomial(&network(items, factors), items)), "mult-dae");
    assert_near(&scores_of(&model, 0, &[(0, 1.0), (2, 1.0)], false), &network(&[0, 2], &[1.0; 2]), 1e-5, "mult-dae");
}

#[test]
fn mult_vae_drops_entries_before_it_draws_z_and_scores_the_mean_without_noise() {
    let _held = generator();
    let (q, latent, entries) = (0.4, 3, batch().rows.len());
    let config = MultVaeConfig { hidden_sizes: vec![6], latent_size: latent, dropout: q, anneal_cap: 0.5, anneal_steps: 1, l2: 0.0 };
    let mut params = Params::new(Device::Cpu, 1);
    let mut model = MultVae::new(&config, &lists(ITEMS, &ROWS), &mut params).expect("made");
    model.begin_step(1);
    let p = spread(&params);
    let drawn = factors(entries, q, Noise::Dropout);
    // The generator goes on where the factors ended.
    let epsilon = wide(slice(&Tensor::zeros([BATCH.len() as i64, latent as i64], (Kind::Float, Device::Cpu)).randn_like()));
    let code = |items: &[u32], factors: &[f64]| {
        let length = (items.len() as f64).sqrt();
        let values: Vec<f64> = factors.iter().map(|f| f / length).collect();
        dense(&p, "encoder1", &tanh(sparse(&p, items, &values)))
    };
    let decode = |z: &[f64]| dense(&p, "decoder2", &tanh(dense(&p, "decoder1", z)));
    let expected = mean_loss(&drawn, |user, items, factors| {
        let both = code(items, factors);
        let noise = &epsilon[BATCH.iter().position(|&u| u == user).expect("in the batch") * latent..];
        let z: Vec<f64> = (0..latent).map(|k| both[k] + (0.5 * both[latent + k]).exp() * noise[k]).collect();
        let kl = (0..latent).map(|k| 0.5 * (both[k].powi(2) + both[latent + k].exp() - 1.0 - both[latent + k])).sum::<f64>();
        multinomial(&decode(&z), items) + 0.5 * kl
    });
    assert_loss(&model, &batch(), expected, "mult-vae");
    let expected = decode(&code(&[0, 2], &[1.0; 2])[..latent]);
    for _ in 0..2 {
        assert_near(&scores_of(&model, 0, &[(0, 1.0), (2, 1.0)], false), &expected, 1e-5, "mult-vae");
    }
    assert!(model.scores_histories());
}
