//! What a user of SQN and SAC may rely on.

use rec_core::rec_data::Kind;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_core::train::{EpochEnd, GradientTrainer, Trainer};
use rec_core::{Model, ModelConfig, Params};
use rec_seq::encoder::{Backbone, GruBackbone, SasRecBackbone};
use rec_seq::sac::SacConfig;
use rec_seq::sqn::SqnConfig;
use rec_seq::transitions::Reward;
use rec_seq::{Sac, Sqn};

use super::{bits, generator, go_on, how, policy, scores, view};

const ITEMS: u32 = 30;

/// Each user walks round the items, one or two steps at a time: the last step tells the next one.
fn walks() -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let mut one = || {
        let (start, step, length) = (rng.below(ITEMS), 1 + rng.below(2), 5 + rng.below(6));
        (0..length).map(|at| (start + at * step) % ITEMS).collect()
    };
    (0..200).map(|_| one()).collect()
}

fn gru() -> Backbone {
    Backbone::Gru(GruBackbone { embedding_size: 16, hidden_size: 16, dropout: 0.1 })
}

fn blocks() -> Backbone {
    Backbone::Sasrec(SasRecBackbone { embedding_size: 16, num_layers: 2, ..SasRecBackbone::default() })
}

fn sac(backbone: Backbone) -> SacConfig {
    SacConfig { backbone, warm_up_steps: 60, ..SacConfig::default() }
}

fn follows<M: Model>(name: &str, config: &M::Config) {
    let data = view(ITEMS as usize, &walks(), &[]);
    let mut trainer = GradientTrainer::<M>::new(config, &how(16, 0.01), &data, Device::Cpu, 1).expect("made");
    (0..30).for_each(|epoch| assert!(matches!(go_on(&mut trainer, epoch, 0, false), EpochEnd::Done { .. })));
    let histories: Vec<Vec<u32>> =
        (0..ITEMS).flat_map(|i| (1..=2).map(move |step| (0..4).map(|at| (i + at * step) % ITEMS).collect())).collect();
    let first = |scores: &[f64]| (0..ITEMS).max_by(|&a, &b| scores[a as usize].total_cmp(&scores[b as usize]));
    let right = histories.iter().zip(scores(trainer.model(), &histories));
    let right = right.filter(|(history, scores)| first(scores) == Some((2 * history[3] + ITEMS - history[2]) % ITEMS)).count();
    assert!(right * 10 >= histories.len() * 9, "{name}: {right} of {} next items come first", histories.len());
}

#[test]
fn the_next_item_of_a_walk_comes_first() {
    let _held = generator();
    follows::<Sqn>("sqn, gru", &SqnConfig { backbone: gru(), ..SqnConfig::default() });
    follows::<Sqn>("sqn, sasrec", &SqnConfig { backbone: blocks(), ..SqnConfig::default() });
    follows::<Sac>("sac, gru", &sac(gru()));
    follows::<Sac>("sac, sasrec, tied", &SacConfig { tie_embeddings: true, ..sac(blocks()) });
}

/// After item 0, item 1 is taken twice as often as item 2, which is worth three times as much: a prediction follows the first, an actor
/// whose steps weigh their value the second.
#[test]
fn what_is_worth_more_weighs_more_for_the_actor_alone() {
    let _held = generator();
    let sessions: Vec<Vec<u32>> = (0..60).map(|user| vec![0, if user % 3 == 0 { 2 } else { 1 }]).collect();
    let values: Vec<Vec<f32>> = (0..60).map(|user| vec![0.0, if user % 3 == 0 { 3.0 } else { 1.0 }]).collect();
    let data = view(3, &sessions, &values);
    let backbone = Backbone::Gru(GruBackbone { embedding_size: 4, hidden_size: 4, dropout: 0.0 });
    let sqn = SqnConfig { reward: Reward::Value, backbone: backbone.clone(), ..SqnConfig::default() };
    let sac = SacConfig { reward: Reward::Value, warm_up_steps: 100, backbone, ..SacConfig::default() };
    let mut prediction = GradientTrainer::<Sqn>::new(&sqn, &how(60, 0.02), &data, Device::Cpu, 1).expect("made");
    let mut actor = GradientTrainer::<Sac>::new(&sac, &how(60, 0.02), &data, Device::Cpu, 1).expect("made");
    for epoch in 0..600 {
        go_on(&mut prediction, epoch, 0, false);
        go_on(&mut actor, epoch, 0, false);
    }
    let (prediction, actor) = (policy(prediction.model(), &[0]), policy(actor.model(), &[0]));
    // Shares of 2 to 1, and of 2·1 to 1·3.
    assert!((prediction[1] - 0.667).abs() < 0.02 && (prediction[2] - 0.333).abs() < 0.02, "{prediction:?}");
    assert!((actor[1] - 0.4).abs() < 0.02 && (actor[2] - 0.6).abs() < 0.02, "{actor:?}");
}

fn repeats_and_resumes<M: Model>(config: &M::Config) {
    let data = view(ITEMS as usize, &walks(), &[]);
    let new = || GradientTrainer::<M>::new(config, &how(16, 0.01), &data, Device::Cpu, 3).expect("made");
    let whole = || {
        let mut trainer = new();
        (0..2).for_each(|epoch| assert!(matches!(go_on(&mut trainer, epoch, 0, false), EpochEnd::Done { .. })));
        bits(&trainer)
    };
    let expected = whole();
    assert_eq!(whole(), expected, "twice the same");
    // Stopped after every single step, and gone on by another trainer.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    let (mut stopped, mut stops) = (new(), 0);
    for epoch in 0..2 {
        let mut step = 0;
        while let EpochEnd::Paused { next } = go_on(&mut stopped, epoch, step, true) {
            step = next;
            stops += 1;
            let mut out = StateWriter::default();
            stopped.save(&mut out).expect("saves");
            out.write(&path).expect("writes");
            stopped = new();
            stopped.load(&StateReader::open(&path).expect("reads")).expect("the same model");
        }
    }
    assert!(stops > 20, "{stops} stops");
    assert_eq!(bits(&stopped), expected, "stopped and gone on");
}

#[test]
fn a_training_repeats_and_resumes_to_the_bit_through_the_warm_up() {
    let _held = generator();
    repeats_and_resumes::<Sqn>(&SqnConfig { backbone: blocks(), ..SqnConfig::default() });
    repeats_and_resumes::<Sac>(&SacConfig { warm_up_steps: 13, ..sac(gru()) });
}

#[test]
fn a_config_out_of_range_is_refused_with_a_sentence_that_names_the_key() {
    let _held = generator();
    let refused = |config: SqnConfig, part: &str| {
        let error = config.check().expect_err("out of range");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    };
    let of = |backbone: Backbone| SqnConfig { backbone, ..SqnConfig::default() };
    refused(SqnConfig { max_len: 0, ..SqnConfig::default() }, "`max_len` is 0");
    refused(SqnConfig { discount: 1.0, ..SqnConfig::default() }, "`discount` is 1");
    refused(of(Backbone::Gru(GruBackbone { hidden_size: 0, ..GruBackbone::default() })), "`hidden_size` is 0");
    refused(of(Backbone::Gru(GruBackbone { dropout: 1.0, ..GruBackbone::default() })), "`dropout` is 1");
    refused(of(Backbone::Sasrec(SasRecBackbone { num_heads: 3, ..SasRecBackbone::default() })), "`num_heads` is 3");
    let wider = Backbone::Gru(GruBackbone { hidden_size: 65, ..GruBackbone::default() });
    refused(SqnConfig { tie_embeddings: true, ..of(wider) }, "`hidden_size` is 65");
    assert!(SacConfig { discount: -0.1, ..SacConfig::default() }.check().is_err());

    let data = view(ITEMS as usize, &walks(), &[]);
    let config = SqnConfig { reward: Reward::Value, ..SqnConfig::default() };
    let error = Sqn::new(&config, &data, &mut Params::new(Device::Cpu, 1)).err().expect("has no values");
    assert!(error.to_string().contains("`reward` is \"value\""), "{error}");
    let misspelt = serde_json::json!({ "backbone": { "name": "gru", "hiden_size": 3 } });
    assert!(serde_json::from_value::<SqnConfig>(misspelt).is_err());
}
