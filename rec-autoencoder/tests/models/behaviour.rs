//! What a user may rely on: scores from a history alone, models that learn, refusals in sentences.

use std::sync::Arc;
use std::time::Duration;

use rec_autoencoder::autoencoder::{AutoencoderConfig, DenoisingAutoencoderConfig};
use rec_autoencoder::autorec::AutoRecConfig;
use rec_autoencoder::cdae::CdaeConfig;
use rec_autoencoder::mult_dae::MultDaeConfig;
use rec_autoencoder::mult_vae::MultVaeConfig;
use rec_autoencoder::{Activation, Autoencoder, Cdae, DenoisingAutoencoder, ItemAutoRec, MultDae, MultVae, UserAutoRec};
use rec_core::events::Events;
use rec_core::loss::LossConfig;
use rec_core::optim::OptimizerConfig;
use rec_core::rec_data::Kind;
use rec_core::rec_data::batch::{BatchOptions, SampledRowsBatch};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::TrainView;
use rec_core::tch::{Device, no_grad};
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Init, Model, ModelConfig, Params, Score, Users};

use crate::data::{generator, lists, scores_of, set, values, view, wide};

fn small<M: Model>(config: &M::Config, data: &TrainView) -> Box<dyn Score> {
    config.check().expect("a config that trains");
    let mut params = Params::new(Device::Cpu, 1);
    let model = M::new(config, data, &mut params).expect("made");
    let mut all = values(&params);
    for (at, list) in (0..).zip(all.values_mut()) {
        *list = wide(&Init::Normal { std: 0.6 }.values(5, at, 1, list.len()));
    }
    set(&params, &all);
    Box::new(model)
}

/// Each with parameters far from 0, and whether it learns from ratings.
fn all_models(data: &TrainView) -> Vec<(&'static str, bool, Box<dyn Score>)> {
    let hidden_sizes = vec![5, 4];
    let autorec = AutoRecConfig { hidden_sizes: hidden_sizes.clone(), l2: 0.5, ..AutoRecConfig::default() };
    let sized = hidden_sizes.clone();
    vec![
        ("ae", false, small::<Autoencoder>(&AutoencoderConfig { hidden_sizes: sized.clone(), ..AutoencoderConfig::default() }, data)),
        (
            "dae",
            false,
            small::<DenoisingAutoencoder>(
                &DenoisingAutoencoderConfig { hidden_sizes: sized.clone(), ..DenoisingAutoencoderConfig::default() },
                data,
            ),
        ),
        ("mult-dae", false, small::<MultDae>(&MultDaeConfig { hidden_sizes: sized.clone(), ..MultDaeConfig::default() }, data)),
        ("mult-vae", false, small::<MultVae>(&MultVaeConfig { hidden_sizes: sized, latent_size: 3, ..MultVaeConfig::default() }, data)),
        ("cdae", false, small::<Cdae>(&CdaeConfig { embedding_size: 4, ..CdaeConfig::default() }, data)),
        ("u-autorec", true, small::<UserAutoRec>(&autorec, data)),
        ("i-autorec", true, small::<ItemAutoRec>(&autorec, data)),
    ]
}

/// Five users, of whom the last one has no row.
fn five() -> Arc<TrainView> {
    let rows = [(0, 0, 5.0), (0, 2, 3.0), (0, 3, 1.0), (1, 1, 4.5), (1, 2, 2.0), (1, 4, 3.5), (2, 5, 1.5), (2, 0, 4.0), (3, 3, 2.0)];
    view(5, 6, &rows, true)
}

#[test]
fn a_user_without_training_rows_is_scored_by_the_history_alone_in_whatever_order_it_comes() {
    let data = five();
    let (history, turned, other) = ([(0, 4.0), (4, 1.5)], [(4, 1.5), (0, 4.0)], [(0, 4.0), (3, 1.5)]);
    for (name, rated, model) in all_models(&data) {
        assert!(model.scores_histories(), "{name}");
        let scores = |user, history: &[(u32, f32)]| scores_of(&*model, user, history, rated);
        let expected = scores(Users::NEW, &history);
        assert!(expected.iter().all(|score| score.is_finite()), "{name}");
        assert_eq!(scores(4, &history), expected, "{name}: a known number without a training row");
        assert_eq!(scores(77, &history), expected, "{name}: a number beyond those of the training");
        assert_eq!(scores(Users::NEW, &turned), expected, "{name}: another order");
        assert_ne!(scores(Users::NEW, &other), expected, "{name}: another history");
        assert!(scores(Users::NEW, &[]).iter().all(|score| score.is_finite()), "{name}: no history");
        // A user's scores do not depend on who is asked about along with it.
        let (items, ratings) = ([3, 0, 4, 5], [1.0, 4.0, 1.5, 2.0]);
        let histories = Csr::from_coordinates(3, 6, &[0, 1, 1, 2], &items, if rated { &ratings } else { &[] }).into();
        let together = crate::data::scores(&*model, &Users::new(&[2, Users::NEW, 1], &histories));
        together[1].iter().zip(&expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{name}: {a} and {b}"));
    }
}

#[test]
fn a_known_user_of_cdae_has_a_node_that_changes_scores_and_only_with_user_node() {
    let data = five();
    let history = [(0, 1.0), (2, 1.0)];
    for user_node in [true, false] {
        let model = small::<Cdae>(&CdaeConfig { embedding_size: 4, user_node, ..CdaeConfig::default() }, &data);
        let of = |user| scores_of(&*model, user, &history, false);
        assert_eq!(of(0) != of(Users::NEW), user_node);
        assert_eq!(of(0) != of(1), user_node);
    }
}

#[test]
fn only_a_user_that_autorec_by_item_knows_is_scored_by_its_own_row_of_weights() {
    let model = small::<ItemAutoRec>(&AutoRecConfig { hidden_sizes: vec![4], l2: 0.5, ..AutoRecConfig::default() }, &five());
    let of = |user, history: &[(u32, f32)]| scores_of(&*model, user, history, true);
    assert_eq!(of(1, &[(0, 4.0)]), of(1, &[(5, 1.0), (2, 2.0)]));
    assert_ne!(of(1, &[(0, 4.0)]), of(Users::NEW, &[(0, 4.0)]));
}

#[test]
fn item_vectors_are_one_for_each_item() {
    for (name, _, model) in all_models(&five()) {
        let vectors = model.item_vectors().expect(name);
        assert_eq!(vectors.values.len(), model.num_items() * vectors.dim, "{name}");
        assert_eq!(model.num_items(), 6, "{name}");
    }
}

const USERS: u32 = 60;
const ITEMS: u32 = 16;

/// Two groups of users and of items, even and odd; every user has five of the eight items of the own group.
fn blocks() -> Arc<TrainView> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let rows: Vec<Vec<u32>> = (0..USERS)
        .map(|user| {
            let mut items: Vec<u32> = (0..ITEMS).filter(|item| item % 2 == user % 2).collect();
            rng.shuffle(&mut items);
            items.truncate(5);
            items
        })
        .collect();
    lists(ITEMS as usize, &rows.iter().map(|row| &row[..]).collect::<Vec<_>>())
}

/// The losses of the first and of the last epoch.
fn train<M: Model>(trainer: &mut GradientTrainer<M>, epochs: u64) -> (f64, f64) {
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    let mut losses = (0..epochs).map(|epoch| match trainer.epoch(epoch, 0, &pause, &mut Events::silent()).expect("converges") {
        EpochEnd::Done { loss, .. } => loss.expect("on the CPU every step is looked at"),
        EpochEnd::Paused { .. } => panic!("nobody asked for a pause"),
    });
    let first = losses.next().expect("an epoch");
    (first, losses.last().expect("two epochs"))
}

fn how(batch_size: usize, num_negatives: usize, learning_rate: f64) -> GradientConfig {
    let optimizer = OptimizerConfig { learning_rate, ..OptimizerConfig::default() };
    GradientConfig { optimizer, batch: BatchOptions { batch_size, num_negatives, ..BatchOptions::default() } }
}

fn learns<M: Model>(name: &str, config: &M::Config, num_negatives: usize) {
    let data = blocks();
    let mut trainer = GradientTrainer::<M>::new(config, &how(8, num_negatives, 0.02), &data, Device::Cpu, 1).expect("made");
    let (first, last) = train(&mut trainer, 20);
    assert!(last < 0.85 * first, "{name}: a loss of {first} became {last}");
    let (mut right, mut pairs) = (0, 0);
    for user in 0..USERS {
        let history: Vec<(u32, f32)> = data.by_user().row(user as usize).iter().map(|&item| (item, 1.0)).collect();
        // A stranger with the same history belongs to the same group.
        for id in [user, Users::NEW] {
            let scores = scores_of(trainer.model(), id, &history, false);
            let of = |own: bool| (0..).zip(&scores).filter(move |(item, _)| (item % 2 == user % 2) == own).map(|(_, &score)| score);
            for own in of(true) {
                right += of(false).filter(|other| own > *other).count();
                pairs += of(false).count();
            }
        }
    }
    let share = right as f64 / pairs as f64;
    assert!(share > 0.99, "{name}: {share} of the pairs of an own item and another's are in order");
}

#[test]
fn autoencoders_learn_two_groups_and_rank_a_users_own_group_first() {
    let _held = generator();
    let hidden_sizes = vec![2];
    let sizes = || hidden_sizes.clone();
    for loss in [LossConfig::WeightedBce { positive_weight: 1.0 }, LossConfig::SquaredError {}, LossConfig::CrossEntropy {}] {
        let activation = Activation::Tanh;
        let config = AutoencoderConfig { hidden_sizes: sizes(), activation, loss, l2: 0.01 };
        learns::<Autoencoder>(&format!("ae with {loss:?}"), &config, 1);
    }
    let dae = DenoisingAutoencoderConfig { hidden_sizes: sizes(), l2: 0.01, ..DenoisingAutoencoderConfig::default() };
    learns::<DenoisingAutoencoder>("dae", &dae, 1);
    learns::<MultDae>("mult-dae", &MultDaeConfig { hidden_sizes: sizes(), ..MultDaeConfig::default() }, 1);
    let vae = MultVaeConfig { hidden_sizes: sizes(), latent_size: 2, anneal_steps: 200, ..MultVaeConfig::default() };
    learns::<MultVae>("mult-vae", &vae, 1);
    for (loss, negatives) in [
        (LossConfig::WeightedBce { positive_weight: 1.0 }, 5),
        (LossConfig::SquaredError {}, 5),
        (LossConfig::Bpr {}, 5),
        (LossConfig::WeightedBce { positive_weight: 1.0 }, 0),
        (LossConfig::CrossEntropy {}, 0),
    ] {
        let config = CdaeConfig { embedding_size: 2, loss, l2: 1e-3, ..CdaeConfig::default() };
        learns::<Cdae>(&format!("cdae with {loss:?} and {negatives} negatives"), &config, negatives);
    }
}

/// Three of five pairs: 5 in the own group, 1 in the other.
fn rated_blocks() -> Arc<TrainView> {
    let pairs = (0..USERS).flat_map(|user| (0..ITEMS).map(move |item| (user, item)));
    let rows: Vec<_> =
        pairs.filter(|(u, i)| (7 * u + 3 * i) % 5 < 3).map(|(u, i)| (u, i, if u % 2 == i % 2 { 5.0 } else { 1.0 })).collect();
    view(USERS as usize, ITEMS as usize, &rows, true)
}

fn predicts<M: Model>(name: &str, config: &M::Config, epochs: u64) {
    let data = rated_blocks();
    let mut trainer = GradientTrainer::<M>::new(config, &how(8, 1, 0.05), &data, Device::Cpu, 1).expect("made");
    let (first, last) = train(&mut trainer, epochs);
    assert!(last < 0.2 * first, "{name}: a loss of {first} became {last}");
    let hidden = (0..USERS).flat_map(|u| (0..ITEMS).map(move |i| (u, i))).filter(|&(u, i)| !data.has(u, i));
    let (users, items): (Vec<u32>, Vec<u32>) = hidden.unzip();
    let predictor = trainer.model().pair_score().expect("predicts ratings");
    let predicted = no_grad(|| predictor.predict(&users, &items)).expect("known pairs");
    for ((u, i), rating) in users.iter().zip(&items).zip(predicted) {
        let truth = if u % 2 == i % 2 { 5.0 } else { 1.0 };
        assert!((rating - truth).abs() < 1.0, "{name}: user {u} gives item {i} {truth}, the model says {rating}");
    }
    // So does a stranger of the first group, given three ratings.
    let scores = scores_of(trainer.model(), Users::NEW, &[(0, 5.0), (1, 1.0), (2, 5.0), (3, 1.0)], true);
    let of = |rest: usize| scores.iter().skip(rest).step_by(2).copied();
    assert!(of(0).fold(f64::INFINITY, f64::min) > of(1).fold(f64::NEG_INFINITY, f64::max), "{name}: {scores:?}");
}

#[test]
fn autorec_predicts_ratings_that_it_has_not_seen() {
    let _held = generator();
    for output_activation in [Activation::Identity, Activation::Sigmoid] {
        let config = AutoRecConfig { hidden_sizes: vec![8], output_activation, l2: 0.1, init_std: 0.1, ..AutoRecConfig::default() };
        predicts::<UserAutoRec>(&format!("u-autorec, {output_activation:?}"), &config, 80);
        // A quarter as many rows make a quarter as many steps.
        predicts::<ItemAutoRec>(&format!("i-autorec, {output_activation:?}"), &config, 320);
    }
}

fn refused<C: ModelConfig>(config: &C, parts: &[&str]) {
    let error = config.check().expect_err("out of range");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} does not say {parts:?}");
    assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code(), "{text}");
}

#[test]
fn a_config_out_of_range_is_refused_with_a_sentence_that_names_the_key() {
    let ae = AutoencoderConfig::default();
    refused(&AutoencoderConfig { hidden_sizes: vec![], ..ae.clone() }, &["`hidden_sizes` is empty", "at least one layer"]);
    refused(&AutoencoderConfig { hidden_sizes: vec![8, 0], ..ae.clone() }, &["`hidden_sizes` holds 0", "at least 1"]);
    refused(&AutoencoderConfig { hidden_sizes: vec![70_000], ..ae.clone() }, &["`hidden_sizes` holds 70000", "at most 65536"]);
    refused(&AutoencoderConfig { l2: -0.1, ..ae.clone() }, &["`l2` is -0.1", "at least 0"]);
    refused(&AutoencoderConfig { l2: f64::NAN, ..ae.clone() }, &["`l2`"]);
    refused(&AutoencoderConfig { loss: LossConfig::WeightedBce { positive_weight: 0.0 }, ..ae }, &["`positive_weight` is 0"]);
    let dae = DenoisingAutoencoderConfig::default();
    refused(&DenoisingAutoencoderConfig { corruption: 1.0, ..dae.clone() }, &["`corruption` is 1", "[0, 1)"]);
    refused(&DenoisingAutoencoderConfig { corruption: -0.2, ..dae.clone() }, &["`corruption` is -0.2"]);
    refused(&DenoisingAutoencoderConfig { hidden_sizes: vec![], ..dae }, &["`hidden_sizes`"]);
    let cdae = CdaeConfig::default();
    refused(&CdaeConfig { embedding_size: 0, ..cdae.clone() }, &["`embedding_size` holds 0"]);
    refused(&CdaeConfig { corruption: 1.5, ..cdae.clone() }, &["`corruption` is 1.5"]);
    refused(&CdaeConfig { l2: f64::INFINITY, ..cdae }, &["`l2`"]);
    refused(&MultDaeConfig { dropout: 1.0, ..MultDaeConfig::default() }, &["`dropout` is 1"]);
    let vae = MultVaeConfig::default();
    refused(&MultVaeConfig { latent_size: 0, ..vae.clone() }, &["`latent_size`"]);
    refused(&MultVaeConfig { anneal_cap: -1.0, ..vae.clone() }, &["`anneal_cap` is -1", "at least 0"]);
    refused(&MultVaeConfig { anneal_steps: 0, ..vae.clone() }, &["`anneal_steps` is 0", "at least 1"]);
    refused(&MultVaeConfig { hidden_sizes: vec![0], ..vae.clone() }, &["`hidden_sizes` holds 0"]);
    MultVaeConfig { hidden_sizes: vec![], ..vae }.check().expect("one layer each way");
    let autorec = AutoRecConfig::default();
    refused(&AutoRecConfig { output_activation: Activation::Relu, ..autorec.clone() }, &["`output_activation`", "`identity` or `sigmoid`"]);
    refused(&AutoRecConfig { init_std: 0.0, ..autorec.clone() }, &["`init_std` is 0", "above 0"]);
    refused(&AutoRecConfig { hidden_sizes: vec![], ..autorec }, &["`hidden_sizes`"]);
}

#[test]
fn defaults_pass_their_own_checks_and_a_misspelt_key_is_an_error() {
    fn sound<C: ModelConfig + PartialEq + std::fmt::Debug>() {
        C::default().check().expect("defaults train");
        let written = serde_json::to_value(C::default()).expect("written");
        assert_eq!(serde_json::from_value::<C>(written).expect("read back"), C::default());
        assert_eq!(serde_json::from_str::<C>("{}").expect("all keys have defaults"), C::default());
        let error = serde_json::from_str::<C>(r#"{"hidden_size": 3}"#).expect_err("no such key");
        assert!(error.to_string().contains("unknown field `hidden_size`"), "{error}");
    }
    sound::<AutoencoderConfig>();
    sound::<DenoisingAutoencoderConfig>();
    sound::<CdaeConfig>();
    sound::<MultDaeConfig>();
    sound::<MultVaeConfig>();
    sound::<AutoRecConfig>();
}

#[test]
fn autorec_refuses_data_and_histories_without_ratings() {
    let unrated = lists(4, &[&[0, 1], &[2]]);
    let mut params = Params::new(Device::Cpu, 1);
    let config = AutoRecConfig { hidden_sizes: vec![3], ..AutoRecConfig::default() };
    for error in [UserAutoRec::new(&config, &unrated, &mut params).err(), ItemAutoRec::new(&config, &unrated, &mut params).err()] {
        let error = error.expect("there are no ratings");
        assert!(error.to_string().contains("learns from ratings, and this data has none"), "{error}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    }
    let histories = Csr::from_rows(6, [[1, 2]]).into();
    let data = five();
    for model in [small::<UserAutoRec>(&config, &data), small::<ItemAutoRec>(&config, &data)] {
        let error = model.score(&Users::new(&[Users::NEW], &histories)).err().expect("the history has no ratings");
        assert!(error.to_string().contains("give each item of the history with one"), "{error}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    }
}

#[test]
fn a_loss_that_does_not_fit_the_outputs_is_refused_by_name() {
    let data = five();
    let batch = |negatives: Vec<u32>| SampledRowsBatch { users: vec![0, 2], rows: data.by_user().select(&[0, 2]), negatives };
    let refuse = |loss: LossConfig, negatives: Vec<u32>, part: &str| {
        let mut params = Params::new(Device::Cpu, 1);
        let model = Cdae::new(&CdaeConfig { embedding_size: 3, loss, ..CdaeConfig::default() }, &data, &mut params).expect("made");
        let error = model.loss(&batch(negatives)).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    };
    refuse(LossConfig::Bpr {}, vec![], "the loss `bpr` judges a positive against negatives, this model brings whole rows");
    refuse(LossConfig::Contrastive { margin: 1.0 }, vec![4; 5], "the loss `contrastive` judges");
}
