//! REINFORCE in the simulations of the paper's section 6.1, of which the best policies are known.

use rec_core::ModelConfig;
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_core::train::{EpochEnd, GradientTrainer, Trainer};
use rec_seq::Reinforce;
use rec_seq::encoder::{Backbone, GruBackbone};
use rec_seq::reinforce::ReinforceConfig;
use rec_seq::transitions::Reward;

use super::{bits, generator, go_on, how, policy, view};

fn small() -> ReinforceConfig {
    let backbone = Backbone::Gru(GruBackbone { embedding_size: 4, hidden_size: 4, dropout: 0.0 });
    ReinforceConfig { reward: Reward::Value, weight_cap: 1e6, top_k: 1, backbone, ..ReinforceConfig::default() }
}

/// A trainer for sessions in which item i follows item 0 `counts[i]` times, for the reward `rewards[i]`.
fn trainer(counts: &[usize], rewards: &[f32], config: &ReinforceConfig) -> GradientTrainer<Reinforce> {
    let taken: Vec<usize> = counts.iter().enumerate().flat_map(|(item, &count)| vec![item; count]).collect();
    let sessions: Vec<Vec<u32>> = taken.iter().map(|&item| vec![0, item as u32]).collect();
    let values: Vec<Vec<f32>> = taken.iter().map(|&item| vec![0.0, rewards[item]]).collect();
    let data = view(counts.len(), &sessions, &values);
    GradientTrainer::new(config, &how(taken.len(), 0.02), &data, Device::Cpu, 1).expect("made")
}

fn epochs(trainer: &mut GradientTrainer<Reinforce>, range: std::ops::Range<u64>) {
    range.for_each(|epoch| assert!(matches!(go_on(trainer, epoch, 0, false), EpochEnd::Done { .. })));
}

/// π after item 0, once it has been learned. β comes first, from the same log without rewards: as long as it is unknown, π/β is wrong,
/// and a policy that has become sure of an item by then hardly ever leaves it.
fn learned(counts: &[usize], rewards: &[f32], config: &ReinforceConfig) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("behaviour.safetensors");
    let mut behaviour = trainer(counts, &vec![0.0; rewards.len()], config);
    epochs(&mut behaviour, 0..300);
    let mut out = StateWriter::default();
    behaviour.save(&mut out).expect("saves");
    out.write(&path).expect("writes");
    let mut trainer = trainer(counts, rewards, config);
    trainer.load(&StateReader::open(&path).expect("reads")).expect("the same model");
    epochs(&mut trainer, 300..1_800);
    policy(trainer.model(), &[0])
}

/// Ten items with the rewards 1 to 10, of which the logged policy takes the worst most often: β(i) = (11 − i)/55.
#[test]
fn without_correction_the_logged_policy_shines_through_and_with_it_the_best_item_is_found() {
    let _held = generator();
    let counts: Vec<usize> = (0..11).map(|item| if item == 0 { 0 } else { 11 - item }).collect();
    let rewards: Vec<f32> = (0..11u8).map(f32::from).collect();
    let as_logged = learned(&counts, &rewards, &ReinforceConfig { off_policy: false, ..small() });
    for (item, &found) in as_logged.iter().enumerate() {
        // Σ i(11 − i) = 220.
        let expected = item as f64 * counts[item] as f64 / 220.0;
        assert!((found - expected).abs() < 0.01, "π({item}) = {found} for β(i)·i, {expected}");
    }
    let corrected = learned(&counts, &rewards, &small());
    assert!(corrected[10] > 0.9, "{corrected:?}");
}

/// Ten items taken alike often, two of them worth 10 and 9, the others 1. Of a set of two, drawn from π with replacement, the expected
/// reward Σ r(1 − (1 − π)²) is largest at π = (10/19, 9/19, 0, …).
#[test]
fn who_recommends_two_items_gives_mass_to_the_two_best() {
    let _held = generator();
    let counts: Vec<usize> = (0..11).map(|item| usize::from(item > 0)).collect();
    let rewards = [&[0.0, 10.0, 9.0][..], &[1.0; 8]].concat();
    let one = learned(&counts, &rewards, &small());
    assert!(one[1] > 0.9, "{one:?}");
    let two = learned(&counts, &rewards, &ReinforceConfig { top_k: 2, ..small() });
    assert!((two[1] - 10.0 / 19.0).abs() < 0.02 && (two[2] - 9.0 / 19.0).abs() < 0.02, "{two:?}");
}

#[test]
fn it_repeats_to_the_bit_and_refuses_what_is_out_of_range() {
    let _held = generator();
    let twice = [(); 2].map(|()| {
        let mut trainer = trainer(&[0, 3, 2], &[0.0, 1.0, 2.0], &small());
        epochs(&mut trainer, 0..20);
        bits(&trainer)
    });
    assert_eq!(twice[0], twice[1]);
    let refused = |config: ReinforceConfig, part: &str| {
        let error = config.check().expect_err("out of range");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(ReinforceConfig { discount: 1.1, ..small() }, "`discount` is 1.1");
    refused(ReinforceConfig { weight_cap: 0.0, ..small() }, "`weight_cap` is 0");
    refused(ReinforceConfig { top_k: 0, ..small() }, "`top_k` is 0");
}
