//! The models against `reference/`, and what a user may rely on: repeats, resumes, noise, refusals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::optim::OptimizerConfig;
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::rec_data::batch::{BatchOptions, PairwiseBatch};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::{Device, no_grad};
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, ModelConfig, Params, Score, Scores, Users};
use rec_graph::gcn::GcnConfig;
use rec_graph::lightgcn::LightGcnConfig;
use rec_graph::ngcf::NgcfConfig;
use rec_graph::simgcl::SimGclConfig;
use rec_graph::ultragcn::UltraGcnConfig;
use rec_graph::xsimgcl::XSimGclConfig;
use rec_graph::{Gcn, LightGcn, Ngcf, SimGcl, UltraGcn, XSimGcl};
use serde_json::Value;

/// Libtorch's generator is one for the process: who draws from it holds this.
fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    rec_core::tch::set_num_threads(1);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn view(users: usize, items: usize, pairs: &[(u32, u32)]) -> Arc<TrainView> {
    Arc::new(TrainView::of_all(&Interactions {
        users: pairs.iter().map(|p| p.0).collect::<Vec<_>>().into(),
        items: pairs.iter().map(|p| p.1).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(users),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    }))
}

/// Scores of all items for all users.
fn scores(model: &dyn Score, users: usize) -> Vec<f64> {
    let ids: Vec<u32> = (0..users as u32).collect();
    let histories = Csr::from_rows(model.num_items(), vec![Vec::new(); users]).into();
    let Scores::Factors(factors) = model.score(&Users::new(&ids, &histories)).expect("known users") else { panic!("factors") };
    let row = |user: &[f32]| {
        let dot = |item: &[f32]| user.iter().zip(item).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        factors.items.chunks(factors.dim).map(dot).collect::<Vec<_>>()
    };
    factors.users.chunks(factors.dim).flat_map(row).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|v| v as u32).collect()
}

fn near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

fn follows<M: Model<Batch = PairwiseBatch>>(reference: &Value, case: &Value) {
    let what = case["name"].as_str().expect("a name");
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("fine");
    let (users, items) = (reference["users"].as_u64().expect("a number") as usize, reference["items"].as_u64().expect("a number") as usize);
    let pairs: Vec<(u32, u32)> = reference["pairs"].as_array().expect("pairs").iter().map(ids).map(|p| (p[0], p[1])).collect();
    let data = view(users, items, &pairs);
    let mut params = Params::new(Device::Cpu, 1);
    let model = M::new(&config, &data, &mut params).expect("made");
    assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{what}");
    for parameter in params.list() {
        let (tensor, given) = (parameter.tensor(), numbers(&case["parameters"][parameter.name()]));
        no_grad(|| {
            // SAFETY: nothing else looks at the parameters here.
            let values = unsafe { slice_mut(&tensor) };
            assert_eq!(values.len(), given.len(), "{what}: {}", parameter.name());
            values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
        });
    }
    let mut options = BatchOptions { num_negatives: 2, ..BatchOptions::default() };
    M::shape_batches(&config, &mut options);
    let batch = &reference["batch"];
    let negatives = if options.num_negatives == 0 { Vec::new() } else { ids(&batch["negatives"]) };
    let batch = PairwiseBatch { users: ids(&batch["users"]), positives: ids(&batch["positives"]), negatives };
    let loss = model.loss(&batch).expect("a loss");
    near(&[loss.double_value(&[])], &[case["loss"].as_f64().expect("a number")], 1e-5, what);
    loss.backward();
    for parameter in params.list() {
        let name = parameter.name();
        let expected = numbers(&case["gradients"][&name]);
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        let mut found = vec![0.0; expected.len()];
        match parameter {
            Parameter::Dense { tensor, .. } => {
                found.iter_mut().zip(slice(&tensor.grad().contiguous())).for_each(|(to, &v)| *to = f64::from(v));
            }
            // Of a table, the rows that were taken.
            Parameter::Table(table) => {
                let (ids, rows) = table.row_gradients().expect("gradients").expect("rows were taken");
                for (&id, row) in ids.iter().zip(slice(&rows.contiguous()).chunks_exact(table.num_columns())) {
                    found[id as usize * table.num_columns()..].iter_mut().zip(row).for_each(|(to, &v)| *to = f64::from(v));
                }
            }
        }
        near(&found, &expected, 1e-4 * largest.max(0.01), &format!("{what}, gradient of {name}"));
    }
    near(&scores(&model, users), &numbers(&case["scores"]), 1e-4, &format!("{what}, scores"));
}

#[test]
fn loss_gradients_and_scores_are_those_of_the_formulas() {
    let _alone = generator();
    let reference: Value = serde_json::from_str(include_str!("../reference/models.json")).expect("JSON");
    let mut seen = 0;
    for case in reference["cases"].as_array().expect("cases") {
        match case["model"].as_str().expect("a name") {
            "lightgcn" => follows::<LightGcn>(&reference, case),
            "gcn" => follows::<Gcn>(&reference, case),
            "ngcf" => follows::<Ngcf>(&reference, case),
            "simgcl" => follows::<SimGcl>(&reference, case),
            "xsimgcl" => follows::<XSimGcl>(&reference, case),
            "ultragcn" => follows::<UltraGcn>(&reference, case),
            other => panic!("no model is called {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 12);
}

/// Two groups of users, each with items of its own, and some noise.
fn groups() -> Arc<TrainView> {
    let mut rng = Rng::keyed(3, Stream::Init, 0, 0);
    let mut pairs = Vec::new();
    for user in 0..40u32 {
        for item in 0..30u32 {
            let own = (user < 20) == (item < 15);
            if rng.unit() < if own { 0.4 } else { 0.03 } {
                pairs.push((user, item));
            }
        }
    }
    view(40, 30, &pairs)
}

fn trainer<M: Model>(config: &M::Config, data: &Arc<TrainView>) -> GradientTrainer<M> {
    let how = GradientConfig {
        optimizer: OptimizerConfig { learning_rate: 0.02, ..OptimizerConfig::default() },
        batch: BatchOptions { batch_size: 64, ..BatchOptions::default() },
    };
    GradientTrainer::new(config, &how, data, Device::Cpu, 5).expect("made")
}

fn epochs<M: Model>(trainer: &mut GradientTrainer<M>, from: u64, to: u64) -> f64 {
    let interrupt = Interrupt::default();
    let pause = Pause { interrupt: interrupt.clone(), after: Duration::from_secs(1000) };
    let mut last = f64::NAN;
    for epoch in from..to {
        let EpochEnd::Done { loss, .. } = trainer.epoch(epoch, 0, &pause, &mut Events::default()).expect("trains") else {
            panic!("paused")
        };
        last = loss.expect("batches");
    }
    last
}

/// Share of (own item, other group's item) pairs that each user has in the right order.
fn told_apart(model: &dyn Score) -> f64 {
    let scores = scores(model, 40);
    let (mut right, mut all) = (0, 0);
    for (user, row) in scores.chunks(30).enumerate() {
        let (own, other) = if user < 20 { row.split_at(15) } else { (&row[15..], &row[..15]) };
        for a in own {
            right += other.iter().filter(|b| a > b).count();
            all += other.len();
        }
    }
    f64::from(right as u32) / f64::from(all as u32)
}

fn learns_repeats_and_resumes<M: Model>(config: &M::Config, name: &str) {
    let _alone = generator();
    let data = groups();
    let mut whole = trainer::<M>(config, &data);
    epochs(&mut whole, 0, 24);
    let apart = told_apart(whole.model());
    assert!(apart > 0.93, "{name}: {apart}");

    let mut first = trainer::<M>(config, &data);
    epochs(&mut first, 0, 9);
    // Scores that were made before must not be found again after more steps or another state.
    told_apart(first.model());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.safetensors");
    let mut out = StateWriter::default();
    first.save(&mut out).expect("saves");
    out.write(&file).expect("writes");
    let mut second = trainer::<M>(config, &data);
    told_apart(second.model());
    second.load(&StateReader::open(&file).expect("opens")).expect("loads");
    for resumed in [&mut first, &mut second] {
        epochs(resumed, 9, 24);
        assert_eq!(scores(resumed.model(), 40), scores(whole.model(), 40), "{name}");
    }
}

#[test]
fn every_model_tells_groups_apart_and_ends_the_same_after_a_resume() {
    learns_repeats_and_resumes::<LightGcn>(&LightGcnConfig { embedding_size: 8, ..LightGcnConfig::default() }, "lightgcn");
    learns_repeats_and_resumes::<Gcn>(&GcnConfig { embedding_size: 8, hidden_sizes: vec![8], ..GcnConfig::default() }, "gcn");
    learns_repeats_and_resumes::<Ngcf>(&NgcfConfig { embedding_size: 8, hidden_sizes: vec![8, 8], ..NgcfConfig::default() }, "ngcf");
    learns_repeats_and_resumes::<SimGcl>(
        &SimGclConfig { embedding_size: 8, num_layers: 2, contrastive_weight: 0.05, ..SimGclConfig::default() },
        "simgcl",
    );
    learns_repeats_and_resumes::<XSimGcl>(
        &XSimGclConfig { embedding_size: 8, num_layers: 2, contrastive_weight: 0.05, ..XSimGclConfig::default() },
        "xsimgcl",
    );
}

#[test]
fn noise_and_dropped_edges_are_there_in_training_only() {
    let _alone = generator();
    let data = groups();
    let batch = PairwiseBatch { users: vec![0, 1, 25], positives: vec![1, 2, 20], negatives: vec![16, 17, 3] };
    let losses = |config: &XSimGclConfig| {
        let model = XSimGcl::new(config, &data, &mut Params::new(Device::Cpu, 1)).expect("made");
        let of = |_| model.loss(&batch).expect("a loss").double_value(&[]);
        let both: Vec<f64> = (0..2).map(of).collect();
        (both[0] == both[1], scores(&model, 40))
    };
    let plain = XSimGclConfig { embedding_size: 8, noise: 0.0, ..XSimGclConfig::default() };
    let (same, quiet) = losses(&plain);
    let (same_with_noise, loud) = losses(&XSimGclConfig { noise: 0.3, ..plain });
    assert!(same && !same_with_noise);
    assert_eq!(quiet, loud);

    let config = NgcfConfig { embedding_size: 8, hidden_sizes: vec![8], dropout: 0.0, node_dropout: 0.5, ..NgcfConfig::default() };
    let mut model = Ngcf::new(&config, &data, &mut Params::new(Device::Cpu, 1)).expect("made");
    let before = scores(&model, 40);
    let mut at = |step| {
        model.begin_step(step);
        let loss = model.loss(&batch).expect("a loss").double_value(&[]);
        assert_eq!(scores(&model, 40), before);
        loss
    };
    let (one, two, again) = (at(1), at(2), at(1));
    assert!(one == again && one != two);
}

#[test]
fn wrong_hyper_parameters_are_refused_by_name() {
    let refused = |error: anyhow::Result<()>, part: &str| {
        let told = error.expect_err(part).to_string();
        assert!(told.contains(part), "{told}");
    };
    refused(LightGcnConfig { embedding_size: 0, ..LightGcnConfig::default() }.check(), "`embedding_size` is 0");
    refused(LightGcnConfig { num_layers: 99, ..LightGcnConfig::default() }.check(), "`num_layers` is 99");
    refused(LightGcnConfig { layer_weights: vec![1.0], ..LightGcnConfig::default() }.check(), "`layer_weights` has 1 numbers");
    refused(LightGcnConfig { l2: -1.0, ..LightGcnConfig::default() }.check(), "`l2` is -1");
    refused(LightGcnConfig { init_std: 0.0, ..LightGcnConfig::default() }.check(), "`init_std` is 0");
    refused(GcnConfig { hidden_sizes: vec![], ..GcnConfig::default() }.check(), "`hidden_sizes` is empty");
    refused(NgcfConfig { node_dropout: 1.0, ..NgcfConfig::default() }.check(), "`node_dropout` is 1");
    refused(SimGclConfig { temperature: 0.0, ..SimGclConfig::default() }.check(), "`temperature` is 0");
    refused(UltraGcnConfig { item_weight: -1.0, ..UltraGcnConfig::default() }.check(), "`item_weight` is -1");
    refused(XSimGclConfig { contrasted_layer: 4, ..XSimGclConfig::default() }.check(), "`contrasted_layer` is 4");
}
