use std::sync::Arc;

use rec_core::loss::LossConfig;
use rec_core::tch::Device;
use rec_core::train::{GradientConfig, GradientTrainer, Trainer};
use rec_core::{Model, Params, Users};
use rec_data::batch::{Batch, BatchOptions, History, NextItemBatch};
use rec_data::csr::Csr;
use rec_data::features::{Feature, Features};
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use rec_data::{Interactions, Vocabulary};
use rec_seq::YoutubeCandidates;
use rec_seq::youtube_candidates::YoutubeCandidatesConfig;
use serde_json::Value;

use crate::support::{bits, check, epochs, generator, how, ids, interactions, lists, made, numbers, ranked, refused, scores, view};

fn features(case: &Value) -> Features {
    let tags = lists(&case["tags"]);
    let ends = tags.iter().scan(0, |end, tags| {
        *end += tags.len() as u64;
        Some(*end)
    });
    let heights: Vec<f32> = case["height"].as_array().expect("a list").iter().map(|v| v.as_f64().map_or(f32::NAN, |v| v as f32)).collect();
    let columns = vec![
        ("gender".into(), Feature::Token { values: ids(&case["gender"]).into(), vocabulary: Vocabulary::numbers(2) }),
        (
            "tags".into(),
            Feature::Tokens { ends: ends.collect::<Vec<_>>().into(), values: tags.concat().into(), vocabulary: Vocabulary::numbers(4) },
        ),
        ("height".into(), Feature::Number(heights.into())),
        ("name".into(), Feature::Text(Vocabulary::numbers(5))),
    ];
    Features { columns }
}

#[test]
fn losses_gradients_and_scores_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/youtube_candidates.json")).expect("JSON");
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let data = interactions(9, &[vec![0, 1], vec![2], vec![], vec![3, 4], vec![5]]);
        let data = TrainView::of_all(&Interactions { user_features: features(&case["features"]), ..data });
        let mut params = Params::new(Device::Cpu, 1);
        let model: YoutubeCandidates = made(case, &data, &mut params);
        let given = &case["batch"];
        let floats = |value: &Value| numbers(value).into_iter().map(|v| v as f32).collect();
        let batch = NextItemBatch {
            users: ids(&given["users"]),
            targets: ids(&given["targets"]),
            histories: Csr::from_rows(9, lists(&given["histories"])),
            ages: floats(&given["ages"]),
            samples: ids(&given["samples"]),
            log_q: floats(&given["log_q"]),
        };
        check(case, &model, &params, &batch);
    }
}

fn small() -> YoutubeCandidatesConfig {
    YoutubeCandidatesConfig { embedding_size: 16, hidden_sizes: vec![24, 16], ..YoutubeCandidatesConfig::default() }
}

/// The published setting on bags of items: nothing but the mean of the other items, by which the next one is scored too.
fn bag() -> YoutubeCandidatesConfig {
    let loss = LossConfig::SampledSoftmax { log_q: false };
    let config = YoutubeCandidatesConfig { hidden_sizes: Vec::new(), tie_embeddings: true, history: History::Others, loss, ..small() };
    YoutubeCandidatesConfig { init_std: Some(1e-4), ..config }
}

fn trained(config: &YoutubeCandidatesConfig, how: &GradientConfig, data: &Arc<TrainView>, to: u64) -> GradientTrainer<YoutubeCandidates> {
    let mut trainer = GradientTrainer::new(config, how, data, Device::Cpu, 1).expect("made");
    let losses = epochs(&mut trainer, 0..to);
    assert!(losses[losses.len() - 1] < losses[0]);
    trainer
}

/// Bags of seven of the 15 items of one of two tastes, in no order.
fn tastes() -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let mut one = |user: u32| {
        let mut items: Vec<u32> = (0..15).map(|item| 15 * (user % 2) + item).collect();
        rng.shuffle(&mut items);
        items[..7].to_vec()
    };
    (0..80).map(&mut one).collect()
}

#[test]
fn two_items_of_a_taste_call_for_the_others_of_it() {
    let _held = generator();
    let data = view(30, &tastes());
    let histories: Vec<Vec<u32>> = (0..30).map(|item| vec![item, item / 15 * 15 + (item + 4) % 15]).collect();
    let layers = YoutubeCandidatesConfig { history: History::Others, ..small() };
    let all = YoutubeCandidatesConfig { loss: LossConfig::CrossEntropy {}, ..layers.clone() };
    // Layers soon know each user by heart: the other items of the taste that the user has not become what is not asked for.
    for (config, epochs) in [(bag(), 20), (layers, 5), (all, 5)] {
        let trainer = trained(&config, &how(0.01, 32, 20), &data, epochs);
        for (history, scores) in histories.iter().zip(scores(trainer.model(), &[Users::NEW; 30], &histories)) {
            let best = ranked(&scores).into_iter().filter(|item| !history.contains(item)).take(8);
            let wrong = best.filter(|item| item / 15 != history[0] / 15).count();
            assert_eq!(wrong, 0, "{config:?}: {history:?}");
        }
    }
}

#[test]
fn a_feature_tells_what_the_history_cannot() {
    let _held = generator();
    // All begin with the same item; the next one is of the user's kind.
    let sequences: Vec<Vec<u32>> = (0..60).map(|user| vec![0, 1 + 5 * (user % 2) + user / 2 % 5]).collect();
    let kinds = Feature::Token { values: (0..60).map(|user| user % 2).collect::<Vec<_>>().into(), vocabulary: Vocabulary::numbers(2) };
    let user_features = Features { columns: vec![("kind".into(), kinds)] };
    let data = Arc::new(TrainView::of_all(&Interactions { user_features, ..interactions(11, &sequences) }));
    let config = YoutubeCandidatesConfig { user_features: vec!["kind".into()], loss: LossConfig::CrossEntropy {}, ..small() };
    let trainer = trained(&config, &how(0.01, 16, 0), &data, 40);
    for (user, scores) in scores(trainer.model(), &[6, 7], &[vec![0], vec![0]]).iter().enumerate() {
        assert!(ranked(scores)[..5].iter().all(|&item| (item - 1) / 5 == user as u32), "{user}: {scores:?}");
    }
}

/// Each user has a common item and soon after it one of five that everybody had long ago, or one of five that everybody has today.
fn drift() -> Arc<TrainView> {
    let mut rng = Rng::keyed(4, Stream::Split, 0, 0);
    let (mut sequences, mut times) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let time = i64::from(rng.below(1_000));
        let is_late = i64::from(rng.below(1_000)) < time;
        sequences.push(vec![0, 1 + 5 * u32::from(is_late) + rng.below(5)]);
        times.extend([time, time + 1]);
    }
    Arc::new(TrainView::of_all(&Interactions { times: Some(times.into()), ..interactions(11, &sequences) }))
}

#[test]
fn the_age_of_examples_lets_what_is_popular_now_come_first() {
    let _held = generator();
    let data = drift();
    let late = |example_age| {
        let config = YoutubeCandidatesConfig { example_age, ..small() };
        let trainer = trained(&config, &how(0.005, 32, 30), &data, 40);
        let scores = scores(trainer.model(), &[Users::NEW], &[vec![0]]).swap_remove(0);
        let sum = |items: &[f64]| items.iter().map(|s| s.exp()).sum::<f64>();
        sum(&scores[6..]) / sum(&scores[1..])
    };
    let (with, without) = (late(true), late(false));
    assert!(with > 0.85, "the late items have {with} of what is next");
    assert!((0.35..0.65).contains(&without), "all times together they have {without}");
}

#[test]
fn the_correction_undoes_how_samples_were_drawn() {
    let _held = generator();
    // Item 1 comes next eight times as often as items 2 to 9, and samples are drawn like that too.
    let sequences: Vec<Vec<u32>> = (0..160).map(|user| vec![0, if user % 2 == 0 { 1 } else { 2 + user / 2 % 8 }]).collect();
    let data = view(10, &sequences);
    let lead = |log_q| {
        let config = YoutubeCandidatesConfig { loss: LossConfig::SampledSoftmax { log_q }, ..small() };
        let mut how = how(0.005, 32, 40);
        how.batch.negative_alpha = 1.0;
        let mut trainer = GradientTrainer::<YoutubeCandidates>::new(&config, &how, &data, Device::Cpu, 1).expect("made");
        epochs(&mut trainer, 0..60);
        let scores = scores(trainer.model(), &[Users::NEW], &[vec![0]]).swap_remove(0);
        scores[1] - scores[2..].iter().sum::<f64>() / 8.0
    };
    let (with, without) = (lead(true), lead(false));
    assert!((with - 8f64.ln()).abs() < 0.5, "{with} is far from ln 8");
    assert!(without.abs() < 1.0, "uncorrected, scores are relative to popularity: {without}");
}

#[test]
fn a_training_repeats_to_the_bit_with_dropout() {
    let _held = generator();
    let data = view(30, &tastes());
    let config = YoutubeCandidatesConfig { dropout: 0.2, ..small() };
    let one = || bits(&trained(&config, &how(0.01, 32, 10), &data, 2));
    assert_eq!(one(), one());
}

#[test]
fn without_a_history_there_is_no_preference_where_there_are_no_layers() {
    let _held = generator();
    let data = view(30, &tastes());
    let trainer = trained(&bag(), &how(0.01, 32, 10), &data, 2);
    let found = scores(trainer.model(), &[Users::NEW, 3], &[vec![], vec![]]);
    assert!(found.iter().flatten().all(|&score| score == 0.0));
}

#[test]
fn what_cannot_be_learned_is_refused_with_a_sentence_that_names_the_key() {
    let _held = generator();
    refused(&YoutubeCandidatesConfig { embedding_size: 0, ..small() }, "`embedding_size` is 0");
    refused(&YoutubeCandidatesConfig { hidden_sizes: vec![16, 0], ..small() }, "`hidden_sizes` is 0");
    refused(&YoutubeCandidatesConfig { max_len: 0, ..small() }, "`max_len` is 0");
    refused(&YoutubeCandidatesConfig { dropout: 1.0, ..small() }, "`dropout` is 1");
    refused(&YoutubeCandidatesConfig { init_std: Some(0.0), ..small() }, "`init_std` is 0");
    refused(&YoutubeCandidatesConfig { feature_size: 0, ..small() }, "`feature_size` is 0");
    refused(&YoutubeCandidatesConfig { tie_embeddings: true, hidden_sizes: vec![16, 8], ..small() }, "`hidden_sizes` ends with 8");
    refused(&YoutubeCandidatesConfig { example_age: true, ..bag() }, "`example_age` is set, and `hidden_sizes` is empty");
    refused(&YoutubeCandidatesConfig { user_features: vec!["age".into()], ..bag() }, "`user_features` is set");
    refused(&YoutubeCandidatesConfig { loss: LossConfig::Bpr {}, ..small() }, "`loss` must be `sampled-softmax` or `cross-entropy`");
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/youtube_candidates.json")).expect("JSON");
    let data = interactions(9, &[vec![0, 1], vec![2], vec![], vec![3, 4], vec![5]]);
    let data = Arc::new(TrainView::of_all(&Interactions { user_features: features(&cases[0]["features"]), ..data }));
    let error = |config: &YoutubeCandidatesConfig, num_negatives| {
        let made = GradientTrainer::<YoutubeCandidates>::new(config, &how(0.01, 2, num_negatives), &data, Device::Cpu, 1);
        made.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let with = |names: &[&str]| YoutubeCandidatesConfig { user_features: names.iter().map(|&n| n.into()).collect(), ..small() };
    let unknown = error(&with(&["gendre"]), 1);
    assert!(unknown.contains("(did you mean `gender`?); there are: gender, tags, height, name"), "{unknown}");
    assert!(error(&with(&["name"]), 1).contains("free text"));
    assert!(error(&with(&["tags", "tags"]), 1).contains("`tags` twice"));
    assert!(error(&YoutubeCandidatesConfig { example_age: true, ..small() }, 1).contains("the data has no times"));
    let model = YoutubeCandidates::new(&small(), &data, &mut Params::new(Device::Cpu, 1)).expect("made");
    let options = BatchOptions { num_negatives: 0, max_len: 8, ..BatchOptions::default() };
    let batch = NextItemBatch::source(&data, &options).expect("made").epoch(0).batch(0);
    assert!(model.loss(&batch).expect_err("no negative").to_string().contains("`num_negatives` is 0"));
}
