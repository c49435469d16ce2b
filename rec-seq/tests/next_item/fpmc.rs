use rec_core::loss::LossConfig;
use rec_core::tch::{Device, no_grad};
use rec_core::train::{GradientTrainer, Trainer};
use rec_core::{Model, Params, Users};
use rec_data::batch::{Batch, BatchOptions, SequencesBatch};
use rec_data::rng::{Rng, Stream};
use rec_seq::Fpmc;
use rec_seq::fpmc::FpmcConfig;
use serde_json::Value;

use crate::support::{bits, check, epochs, generator, how, ids, lists, made, ranked, refused, scores, view};

#[test]
fn losses_gradients_and_scores_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/fpmc.json")).expect("JSON");
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let sequences = lists(&case["sequences"]);
        let data = view(9, &sequences);
        let mut params = Params::new(Device::Cpu, 1);
        let model: Fpmc = made(case, &data, &mut params);
        let mut starts = vec![0];
        sequences[..3].iter().for_each(|s| starts.push(starts[starts.len() - 1] + s.len()));
        let (users, items, negatives) = (vec![0, 1, 2], sequences[..3].concat(), ids(&case["negatives"]));
        check(case, &model, &params, &SequencesBatch { users, starts, items, values: Vec::new(), negatives, keys: vec![5, 6, 7] });
    }
}

const HUBS: u32 = 10;

fn leaf(hub: u32, taste: u32) -> u32 {
    HUBS + 2 * hub + taste
}

/// Users of two tastes go from a hub to the hub's leaf of their taste, and then to any other hub; each knows half of the hubs.
fn tastes() -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let mut one = |user: u32| {
        let mut hubs: Vec<u32> = (0..HUBS).collect();
        rng.shuffle(&mut hubs);
        hubs[..5].iter().flat_map(|&hub| [hub, leaf(hub, user % 2)]).collect()
    };
    (0..60).map(&mut one).collect()
}

fn small(loss: LossConfig) -> FpmcConfig {
    FpmcConfig { embedding_size: 16, loss, ..FpmcConfig::default() }
}

#[test]
fn the_last_item_says_which_leaves_and_the_user_which_of_them() {
    let _held = generator();
    let data = view(30, &tastes());
    let asked: Vec<(u32, u32)> = (0..60).flat_map(|user| (0..HUBS).map(move |hub| (user, hub))).collect();
    let users: Vec<u32> = asked.iter().map(|a| a.0).collect();
    let histories: Vec<Vec<u32>> = asked.iter().map(|a| vec![leaf(9 - a.1, 0), a.1]).collect();
    for (loss, num_negatives) in [(LossConfig::CrossEntropy {}, 0), (LossConfig::Bpr {}, 4)] {
        let shares = [true, false].map(|use_users| {
            let config = FpmcConfig { use_users, ..small(loss) };
            let mut trainer = GradientTrainer::<Fpmc>::new(&config, &how(0.02, 16, num_negatives), &data, Device::Cpu, 1).expect("made");
            epochs(&mut trainer, 0..60);
            let lists: Vec<Vec<u32>> = scores(trainer.model(), &users, &histories).iter().map(|s| ranked(s)).collect();
            let share = |right: &dyn Fn(u32, u32, &[u32]) -> bool| {
                let count = asked.iter().zip(&lists).filter(|((user, hub), list)| right(*user, *hub, list)).count();
                count as f64 / asked.len() as f64
            };
            let leaves = share(&|_, hub, list| list[..2].contains(&leaf(hub, 0)) && list[..2].contains(&leaf(hub, 1)));
            (share(&|user, hub, list| list[0] == leaf(hub, user % 2)), leaves)
        });
        let [(with, _), (without, leaves)] = shares;
        assert!(with > 0.95, "{loss:?}: {with} of the users' own leaves come first");
        assert!(without < 0.6 && leaves > 0.95, "{loss:?}: a chain alone cannot tell users apart: {without}, {leaves}");
    }
}

#[test]
fn a_new_user_is_the_mean_of_those_who_were_learned_from() {
    let _held = generator();
    let mut sequences = tastes();
    sequences.push(vec![4]);
    let data = view(30, &sequences);
    let mut trainer = GradientTrainer::<Fpmc>::new(&small(LossConfig::Bpr {}), &how(0.02, 16, 1), &data, Device::Cpu, 1).expect("made");
    epochs(&mut trainer, 0..2);
    let histories = vec![vec![3]; 62];
    let found = scores(trainer.model(), &(0..61).chain([Users::NEW]).collect::<Vec<_>>(), &histories);
    for item in 0..30 {
        let mean = found[..60].iter().map(|s| s[item]).sum::<f64>() / 60.0;
        assert!((found[60][item] - mean).abs() < 1e-5 && (found[61][item] - mean).abs() < 1e-5);
    }
}

#[test]
fn a_training_repeats_to_the_bit() {
    let _held = generator();
    let data = view(30, &tastes());
    let trained = || {
        let mut trainer = GradientTrainer::<Fpmc>::new(&small(LossConfig::Bpr {}), &how(0.02, 16, 2), &data, Device::Cpu, 1).expect("made");
        epochs(&mut trainer, 0..2);
        bits(&trainer)
    };
    assert_eq!(trained(), trained());
}

#[test]
fn what_cannot_be_learned_is_refused_with_a_sentence_that_names_the_key() {
    let _held = generator();
    refused(&FpmcConfig { embedding_size: 0, ..FpmcConfig::default() }, "`embedding_size` is 0");
    refused(&FpmcConfig { max_len: 0, ..FpmcConfig::default() }, "`max_len` is 0");
    refused(&FpmcConfig { loss: LossConfig::BprMax { score_l2: -1.0 }, ..FpmcConfig::default() }, "`score_l2` is -1");
    let data = view(30, &tastes());
    let model = Fpmc::new(&small(LossConfig::Bpr {}), &data, &mut Params::new(Device::Cpu, 1)).expect("made");
    let batch = SequencesBatch::source(&data, &BatchOptions { num_negatives: 0, max_len: 8, ..BatchOptions::default() }).expect("made");
    let error = no_grad(|| model.loss(&batch.epoch(0).batch(0))).expect_err("nothing to compare with");
    assert!(error.to_string().contains("`num_negatives` is 0"), "{error}");
}
