//! The YouTube ranker on generated watches whose expected time is known.

use std::time::Duration;

use rec_core::events::Events;
use rec_core::optim::{OptimizerConfig, Schedule};
use rec_core::rec_data::batch::BatchOptions;
use rec_core::rec_data::features::{Feature, Features};
use rec_core::rec_data::split::{By, SplitSpec, split};
use rec_core::rec_data::view::{Asking, Views, views};
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::tch::{Device, no_grad};
use rec_core::train::{GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, Params};
use rec_ctr::YoutubeRanker;
use rec_ctr::youtube_ranker::YoutubeRankerConfig;

use super::generator;

const GROUPS: u32 = 3;
const ITEMS: u32 = 5;
/// Training impressions of each item in each group.
const SHOWN: u32 = 200;

/// Of how many hundred impressions of an item in a group one is watched, and how long on average.
fn truth(group: u32, item: u32) -> (u32, f64) {
    (1 + (3 * group + 2 * item) % 9, 20.0 + 35.0 * f64::from((group * item + 2 * item + group) % 6))
}

/// Impressions in turn of every item in every group, one user a group. Watches are as many as their share says, and their times
/// spread evenly from half to three halves of the mean, so that both are exact; the last fifth of the rows is the test part.
fn watches() -> Views {
    let (mut users, mut items, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..SHOWN * 5 / 4 {
        for (group, item) in (0..GROUPS).flat_map(|group| (0..ITEMS).map(move |item| (group, item))) {
            let (percent, mean) = truth(group, item);
            let (before, after) = (at * percent / 100, (at + 1) * percent / 100);
            let of = SHOWN * percent / 100;
            users.push(group);
            items.push(item);
            values.push(if after > before { (mean * (0.5 + (f64::from(before % of) + 0.5) / f64::from(of))) as f32 } else { 0.0 });
        }
    }
    let groups =
        Feature::Token { values: (0..GROUPS).collect::<Vec<_>>().into(), vocabulary: ["old", "new", "away"].into_iter().collect() };
    let data = Interactions {
        times: Some((0..users.len() as i64).collect::<Vec<_>>().into()),
        users: users.into(),
        items: items.into(),
        values: Some(values.into()),
        user_ids: Vocabulary::numbers(GROUPS as usize),
        item_ids: Vocabulary::numbers(ITEMS as usize),
        user_features: Features { columns: vec![("group".into(), groups)] },
        ..Interactions::default()
    };
    let field = |name: &str, from: &str| serde_json::from_value(serde_json::json!({ "name": name, "from": from })).expect("a field");
    let fields = vec![field("group", "user.group"), field("item", "item")];
    let split = split(&data, &SplitSpec::Temporal { by: By::All, ratios: [0.8, 0.0, 0.2] }, None, 1).expect("splits");
    views(&data, None, &split, &Asking { fields, ..Asking::default() }, 1).expect("made")
}

#[test]
fn odds_are_the_expected_watch_time_over_the_share_that_is_not_watched() {
    let _alone = generator();
    let views = watches();
    let rows = views.train.labelled().expect("there are fields");
    assert_eq!(rows.len() as u32, SHOWN * GROUPS * ITEMS);
    let config = YoutubeRankerConfig { embedding_size: 4, hidden_sizes: vec![32], ..YoutubeRankerConfig::default() };
    let how = GradientConfig {
        optimizer: OptimizerConfig {
            learning_rate: 0.02,
            schedule: Schedule::Step { every: 150, factor: 0.2 },
            ..OptimizerConfig::default()
        },
        batch: BatchOptions { batch_size: rows.len(), ..BatchOptions::default() },
    };
    let mut trainer = GradientTrainer::<YoutubeRanker>::new(&config, &how, &views.train, Device::Cpu, 5).expect("made");
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    for epoch in 0..450 {
        trainer.epoch(epoch, 0, &pause, &mut Events::default()).expect("learns");
    }
    let predictor = trainer.model().label_score().expect("predicts labels");
    // The first test rows are one of each item in each group.
    let test = views.test.labelled().expect("there are fields").batch(&(0..GROUPS * ITEMS).collect::<Vec<_>>(), false);
    let odds = no_grad(|| predictor.logits(&test)).expect("logits").into_iter().map(|x| f64::from(x).exp());
    for (at, odds) in (0..).zip(odds) {
        let (percent, mean) = truth(at / ITEMS, at % ITEMS);
        let share = f64::from(percent) / 100.0;
        let expected = share * mean / (1.0 - share);
        assert!((odds / expected - 1.0).abs() < 0.02, "group {}, item {}: {odds} for {expected}", at / ITEMS, at % ITEMS);
        // Where hardly anything is watched, that is the expected watch time itself.
        assert!(percent > 1 || (odds / (share * mean) - 1.0).abs() < 0.03);
    }
}

#[test]
fn rows_are_served_by_the_exponential_of_logits_which_are_no_odds_of_a_label_and_a_watch_has_a_length() {
    let _alone = generator();
    let long = watches();
    let model = YoutubeRanker::new(&YoutubeRankerConfig::default(), &long.train, &mut Params::new(Device::Cpu, 1)).expect("made");
    let rows = long.test.labelled().expect("there are fields").batch(&[0, 7], false);
    let (times, logits) = no_grad(|| (model.watch_times(&rows).expect("times"), super::logits(&model, &rows)));
    assert!(times.iter().zip(logits).all(|(&time, logit)| (f64::from(time) - logit.exp()).abs() < 1e-6));
    let metric = "logloss".parse().expect("a metric's name");
    let error = rec_core::eval::evaluate(&model, &long.test, &long.train, &[metric]).expect_err("no odds of a label");
    assert!(error.to_string().contains("measure `auc`"), "{error}");
    let data = Interactions {
        users: vec![0, 0, 0].into(),
        items: vec![0, 0, 0].into(),
        values: Some(vec![-2.0, -1.0, 3.0].into()),
        times: Some(vec![1, 2, 3].into()),
        user_ids: Vocabulary::numbers(1),
        item_ids: Vocabulary::numbers(1),
        ..Interactions::default()
    };
    let fields = vec![serde_json::from_value(serde_json::json!({ "name": "item", "from": "item" })).expect("a field")];
    let split = split(&data, &SplitSpec::Temporal { by: By::All, ratios: [0.7, 0.0, 0.3] }, None, 1).expect("splits");
    // Above −1.5 is "watched".
    let asking = Asking { fields, relevant_at_least: Some(-1.5), ..Asking::default() };
    let views = views(&data, None, &split, &asking, 1).expect("made");
    let made = YoutubeRanker::new(&YoutubeRankerConfig::default(), &views.train, &mut Params::new(Device::Cpu, 1));
    assert!(made.err().expect("a negative time").to_string().contains("a positive row has -1"));
}
