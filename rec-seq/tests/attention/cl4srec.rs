//! CL4SRec: its contrastive loss, and that it is SASRec without it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rec_core::events::{Event, Events, Sink};
use rec_core::loss::LossConfig;
use rec_core::params::slice;
use rec_core::rec_data::batch::{Batch, BatchOptions, SequencesBatch};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_core::train::{EpochEnd, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, ModelConfig, Params};
use rec_seq::augment::Augmentation;
use rec_seq::cl4srec::Cl4SRecConfig;
use rec_seq::sasrec::SasRecConfig;
use rec_seq::{Cl4SRec, SasRec};
use serde_json::Value;

use super::{Hard, ITEMS, check_gradients, fill, follows, generator, how, small, view, walks};

/// Keeps the numbers called `train/alignment` and `train/uniformity`.
#[derive(Clone, Default)]
struct Watched(Rc<RefCell<Vec<(String, f64)>>>);

impl Sink for Watched {
    fn take(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        if let Event::Scalar { tag, value, .. } = event
            && (tag.ends_with("alignment") || tag.ends_with("uniformity"))
        {
            self.0.borrow_mut().push(((*tag).to_owned(), *value));
        }
        Ok(())
    }
}

fn config() -> Cl4SRecConfig {
    Cl4SRecConfig { backbone: small(), ..Cl4SRecConfig::default() }
}

fn go_on(trainer: &mut GradientTrainer<Cl4SRec>, epoch: u64, step: u64, stops: bool, watched: &Watched) -> EpochEnd {
    let pause = Pause { interrupt: Interrupt::default(), after: if stops { Duration::ZERO } else { Duration::MAX } };
    let mut events = Events::silent();
    events.add(Box::new(watched.clone()));
    trainer.epoch(epoch, step, &pause, &mut events).expect("converges")
}

#[test]
fn contrastive_losses_gradients_and_what_is_watched_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/cl4srec.json")).expect("JSON");
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let what = case["config"]["contrastive"].to_string();
        let config: Cl4SRecConfig = serde_json::from_value(case["config"].clone()).expect("a config");
        config.check().expect("a config that trains");
        let mut params = Params::new(Device::Cpu, 1);
        let model = Cl4SRec::new(&config, &view(9, &[vec![0, 1]]), &mut params).expect("made");
        fill(&params, case, &what);
        let views: Vec<Vec<Option<u32>>> = serde_json::from_value(case["views"].clone()).expect("views");
        let loss = model.contrastive_loss(&views).expect("ids are in range");
        let (found, expected) = (loss.double_value(&[]), case["loss"].as_f64().expect("a number"));
        assert!((found / expected - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {expected}");
        loss.backward();
        check_gradients(&params, case, &what);
        for (found, name) in model.watched().into_iter().zip(["alignment", "uniformity"]) {
            let expected = case[name].as_f64().expect("a number");
            assert!((found.expect("a step was made") - expected).abs() < 1e-5, "{what}: {name} is {found:?}, not {expected}");
        }
    }
}

#[test]
fn without_weight_it_is_sasrec_and_with_it_the_mask_learns_and_next_items_too() {
    let _held = generator();
    let data = view(ITEMS as usize, &walks(2));
    let options = BatchOptions { batch_size: 16, num_negatives: 1, max_len: 8, ..BatchOptions::default() };
    let batch = SequencesBatch::source(&data, &options).expect("made").epoch(0).batch(0);
    let loss_of = |weight: Option<f64>| {
        let mut params = Params::new(Device::Cpu, 1);
        rec_core::tch::manual_seed(4);
        let loss = match weight {
            None => SasRec::new(&small(), &data, &mut params).expect("made").loss(&batch),
            Some(contrastive_weight) => {
                let config = Cl4SRecConfig { contrastive_weight, augmentations: vec![Augmentation::Mask], ..config() };
                Cl4SRec::new(&config, &data, &mut params).expect("made").loss(&batch)
            }
        };
        let loss = loss.expect("ids are in range");
        loss.backward();
        let learns = params.gradients().expect("on the CPU").iter().any(|(name, _)| name == "mask_embedding");
        (loss.double_value(&[]).to_bits(), learns)
    };
    assert_eq!(loss_of(Some(0.0)), loss_of(None));
    let (with, learns) = loss_of(Some(0.5));
    assert!(learns && f64::from_bits(with) > f64::from_bits(loss_of(None).0));
    follows::<Cl4SRec>("cl4srec", &config(), 1, 1, Hard { longest: 2, epochs: 30, learning_rate: 0.01 });
}

#[test]
fn the_two_views_are_drawn_apart_and_the_weight_is_that_of_the_contrastive_loss() {
    let _held = generator();
    let data = view(ITEMS as usize, &walks(2));
    let options = BatchOptions { batch_size: 16, num_negatives: 1, max_len: 8, ..BatchOptions::default() };
    let mut batch = SequencesBatch::source(&data, &options).expect("made").epoch(0).batch(0);
    // Sequences of one length look the same where all is hidden: every row of the softmax is uniform over 2B − 1.
    let (users, length) = (batch.users.len(), 4);
    batch.items = (0..users * length).map(|at| at as u32 % ITEMS).collect();
    batch.starts = (0..=users).map(|b| b * length).collect();
    batch.negatives = vec![0; users * length];
    let backbone = SasRecConfig { dropout: 0.0, ..small() };
    let of = |augmentation, mask_ratio| {
        let config = Cl4SRecConfig { backbone: backbone.clone(), augmentations: vec![augmentation], mask_ratio, ..config() };
        let model = Cl4SRec::new(&config, &data, &mut Params::new(Device::Cpu, 1)).expect("made");
        let loss = model.loss(&batch).expect("ids are in range").double_value(&[]);
        (loss, model.watched()[0].expect("a step was made"))
    };
    let sasrec = SasRec::new(&backbone, &data, &mut Params::new(Device::Cpu, 1)).expect("made");
    let next_item = sasrec.loss(&batch).expect("ids are in range").double_value(&[]);
    assert!((of(Augmentation::Mask, 1.0).0 - next_item - 0.1 * (2.0 * users as f64 - 1.0).ln()).abs() < 1e-5);
    assert_eq!(of(Augmentation::Mask, 0.0).1, 0.0);
    assert!(of(Augmentation::Crop, 0.0).1 > 0.0);
}

#[test]
fn a_training_that_stops_after_every_step_ends_with_the_same_bits_and_the_same_watched_numbers() {
    let _held = generator();
    let data = view(ITEMS as usize, &walks(2));
    let new = || GradientTrainer::<Cl4SRec>::new(&config(), &how(1), &data, Device::Cpu, 1).expect("made");
    let bits = |trainer: &GradientTrainer<Cl4SRec>| -> Vec<u32> {
        trainer.params().list().iter().flat_map(|p| slice(&p.tensor().detach()).iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
    };
    let (whole_watched, stopped_watched) = (Watched::default(), Watched::default());
    let (mut whole, mut stopped) = (new(), new());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.safetensors");
    let mut stops = 0;
    for epoch in 0..2 {
        go_on(&mut whole, epoch, 0, false, &whole_watched);
        let mut step = 0;
        while let EpochEnd::Paused { next } = go_on(&mut stopped, epoch, step, true, &stopped_watched) {
            (step, stops) = (next, stops + 1);
            let mut out = StateWriter::default();
            stopped.save(&mut out).expect("saves");
            out.write(&path).expect("writes");
            stopped = new();
            stopped.load(&StateReader::open(&path).expect("reads")).expect("the same model");
        }
    }
    assert!(stops > 10, "{stops} stops");
    assert_eq!(bits(&whole), bits(&stopped));
    assert_eq!(*whole_watched.0.borrow(), *stopped_watched.0.borrow());
    let watched = whole_watched.0.borrow();
    assert_eq!(watched.len(), 4, "two numbers an epoch");
    assert!(watched.iter().all(|(name, value)| if name.ends_with("alignment") { *value > 0.0 } else { *value < 0.0 }), "{watched:?}");
}

#[test]
fn a_config_that_cannot_be_is_refused_by_its_key() {
    let refused = |config: Cl4SRecConfig, part: &str| {
        let error = config.check().expect_err("out of range");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(Cl4SRecConfig { augmentations: Vec::new(), ..config() }, "`augmentations` is empty");
    refused(Cl4SRecConfig { crop_ratio: 1.5, ..config() }, "`crop_ratio` is 1.5");
    refused(Cl4SRecConfig { contrastive_weight: -1.0, ..config() }, "`contrastive_weight` is -1");
    refused(Cl4SRecConfig { contrastive: LossConfig::Bpr {}, ..config() }, "`contrastive` must be");
}
