//! NARM against `../reference/narm.json`, and what a user may rely on: what is far back counts, repeats, refusals.

use rec_core::tch::Device;
use rec_core::train::{GradientTrainer, Trainer};
use rec_core::{Model, Params, Users};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::rng::{Rng, Stream};
use rec_seq::Narm;
use rec_seq::narm::NarmConfig;
use serde_json::Value;

use crate::support::{bits, check, epochs, generator, how, lists, made, ranked, refused, scores, view};

#[test]
fn losses_gradients_and_scores_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/narm.json")).expect("JSON");
    assert_eq!(cases.len(), 2);
    for case in &cases {
        let sequences = lists(&case["sequences"]);
        let data = view(9, &sequences);
        let mut params = Params::new(Device::Cpu, 1);
        let model: Narm = made(case, &data, &mut params);
        let mut starts = vec![0];
        sequences.iter().for_each(|s| starts.push(starts[starts.len() - 1] + s.len()));
        let (users, items, keys) = (vec![0, 1, 2], sequences.concat(), vec![5, 6, 7]);
        check(case, &model, &params, &SequencesBatch { users, starts, items, values: Vec::new(), negatives: Vec::new(), keys });
    }
}

const HUBS: u32 = 10;

fn hub(at: u32) -> u32 {
    2 + at
}

fn leaf(hub: u32, kind: u32) -> u32 {
    2 + HUBS + 2 * hub + kind
}

/// A session begins with its kind, 0 or 1, and goes on through hubs, each followed by the hub's leaf of that kind.
fn sessions() -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let mut one = |session: u32| {
        let kind = session % 2;
        let hubs: Vec<u32> = (0..1 + rng.below(4)).map(|_| rng.below(HUBS)).collect();
        [vec![kind], hubs.iter().flat_map(|&at| [hub(at), leaf(at, kind)]).collect()].concat()
    };
    (0..160).map(&mut one).collect()
}

fn small() -> NarmConfig {
    NarmConfig { embedding_size: 16, hidden_size: 20, dropout: 0.1, embedding_dropout: 0.1, ..NarmConfig::default() }
}

#[test]
fn a_session_is_known_by_what_is_not_its_last_item() {
    let _held = generator();
    let data = view(2 + 3 * HUBS as usize, &sessions());
    let asked: Vec<(u32, u32)> = (0..2).flat_map(|kind| (0..HUBS).map(move |at| (kind, at))).collect();
    let histories: Vec<Vec<u32>> = asked.iter().map(|&(kind, at)| vec![kind, hub(at)]).collect();
    let share = |config: NarmConfig| {
        let mut trainer = GradientTrainer::<Narm>::new(&config, &how(0.01, 16, 0), &data, Device::Cpu, 1).expect("made");
        epochs(&mut trainer, 0..25);
        let all = scores(trainer.model(), &vec![Users::NEW; histories.len()], &histories);
        let right = asked.iter().zip(&all).filter(|((kind, at), scores)| ranked(scores)[0] == leaf(*at, *kind)).count();
        right as f64 / asked.len() as f64
    };
    for softmax in [false, true] {
        let (whole, last) = (share(NarmConfig { softmax, ..small() }), share(NarmConfig { softmax, max_len: 1, ..small() }));
        assert!(whole >= 0.95, "softmax {softmax}: {whole} of the leaves are found");
        assert!(last <= 0.6, "softmax {softmax}: {last} of the leaves are found by the last item alone, which does not tell the kind");
    }
}

#[test]
fn a_training_repeats_bit_by_bit_and_histories_are_scored_as_if_they_were_alone() {
    let _held = generator();
    let data = view(2 + 3 * HUBS as usize, &sessions());
    let train = || {
        let mut trainer = GradientTrainer::<Narm>::new(&small(), &how(0.01, 16, 0), &data, Device::Cpu, 5).expect("made");
        epochs(&mut trainer, 0..2);
        trainer
    };
    let trainer = train();
    assert_eq!(bits(&trainer), bits(&train()));
    let histories = [vec![1, 4, 13], vec![], vec![5], sessions()[0].repeat(9)];
    let together = scores(trainer.model(), &[Users::NEW; 4], &histories);
    for (history, together) in histories.iter().zip(&together) {
        let alone = &scores(trainer.model(), &[Users::NEW], std::slice::from_ref(history))[0];
        assert!(alone.iter().zip(together).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    assert!(together[1].iter().all(|&score| score == 0.0));
    let last = &histories[3][histories[3].len() - 19..];
    assert_eq!(scores(trainer.model(), &[Users::NEW], &[last.to_vec()]), scores(trainer.model(), &[Users::NEW], &histories[3..]));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let plain = NarmConfig::default;
    refused(&NarmConfig { embedding_size: 0, ..plain() }, "`embedding_size` is 0");
    refused(&NarmConfig { hidden_size: 0, ..plain() }, "`hidden_size` is 0");
    refused(&NarmConfig { max_len: 0, ..plain() }, "`max_len` is 0");
    refused(&NarmConfig { embedding_dropout: 1.0, ..plain() }, "`embedding_dropout` is 1");
    refused(&NarmConfig { dropout: -0.5, ..plain() }, "`dropout` is -0.5");
    let mut options = BatchOptions { num_negatives: 4, ..BatchOptions::default() };
    Narm::shape_batches(&plain(), &mut options);
    assert_eq!((options.max_len, options.num_negatives), (19, 0));
}
