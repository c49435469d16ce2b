//! The models against `reference/`, and what a user may rely on: special cases, learning, repeats, refusals.

mod criteo;
mod planted;
mod watches;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::eval::Reliability;
use rec_core::events::{Event, Events, Sink};
use rec_core::model::ModelConfig;
use rec_core::optim::OptimizerConfig;
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::rec_data::batch::{BatchOptions, FieldsBatch};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::features::{Feature, Features};
use rec_core::rec_data::fields::FieldSpec;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::split::{By, SplitSpec, split};
use rec_core::rec_data::view::{Asking, Views, views};
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::{Device, no_grad};
use rec_core::train::{EpochEnd, FitTrainer, GradientConfig, GradientTrainer, Interrupt, Judge, LoopConfig, Pause, Trainer, train};
use rec_core::{Model, Params, Score};
use rec_ctr::rate::RateConfig;
use rec_ctr::{AutoInt, Bst, Dcn, DeepFm, Din, Ffm, Fm, FwFm, Lr, Poly2, Rate, WideDeep, YoutubeRanker};
use serde_json::Value;

/// Libtorch's generator is one for the process: who draws from it holds this.
fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    rec_core::tch::set_num_threads(1);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The views of rows (user, item, label) with the fields user, item, genres and time: 5, 6, 5 and 3 features of three users, four items
/// and three genres.
fn view(rows: &[(u32, u32, f32)]) -> Views {
    view_with(rows, 0)
}

/// The same, with the last `past` positive items as a history; without a field of it where that is 0.
fn view_with(rows: &[(u32, u32, f32)], past: usize) -> Views {
    let data = Interactions {
        users: rows.iter().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows.iter().map(|r| r.1).collect::<Vec<_>>().into(),
        values: Some(rows.iter().map(|r| r.2).collect::<Vec<_>>().into()),
        times: Some((0..rows.len() as i64).collect::<Vec<_>>().into()),
        user_ids: Vocabulary::numbers(3),
        item_ids: Vocabulary::numbers(4),
        item_features: Features {
            columns: vec![(
                "genres".into(),
                Feature::Tokens {
                    ends: vec![2, 3, 4, 5].into(),
                    values: vec![0, 1, 1, 2, 0].into(),
                    vocabulary: ["war", "love", "fun"].into_iter().collect(),
                },
            )],
        },
        ..Interactions::default()
    };
    let field = |name: &str, from: &str, encoding: &str| -> FieldSpec {
        serde_json::from_str(&format!("{{\"name\": \"{name}\", \"from\": \"{from}\", \"encoding\": {{\"kind\": \"{encoding}\"}}}}"))
            .expect("a field")
    };
    let mut fields = vec![
        field("user", "user", "vocabulary"),
        field("item", "item", "vocabulary"),
        field("genres", "item.genres", "vocabulary"),
        field("time", "time", "scaled"),
    ];
    if past > 0 {
        let encoding = format!("{{\"kind\": \"shared\", \"field\": \"item\", \"max_len\": {past}}}");
        let field = format!("{{\"name\": \"past\", \"from\": \"history\", \"encoding\": {encoding}}}");
        fields.push(serde_json::from_str(&field).expect("a field"));
    }
    let spec = SplitSpec::Temporal { by: By::All, ratios: [0.8, 0.0, 0.2] };
    let split = split(&data, &spec, None, 1).expect("splits");
    views(&data, None, &split, &Asking { fields, ..Asking::default() }, 1).expect("made")
}

/// Every user with every item, some 400 rows; a label is 1 where the user's and the item's numbers have the same parity, which no
/// weight of one feature tells.
fn parity() -> Vec<(u32, u32, f32)> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    (0..400).map(|_| (rng.below(3), rng.below(4))).map(|(user, item)| (user, item, f32::from(u8::from((user + item) % 2 == 0)))).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

fn logits(model: &dyn Score, batch: &FieldsBatch) -> Vec<f64> {
    let found = no_grad(|| model.label_score().expect("predicts labels").logits(batch)).expect("logits");
    found.into_iter().map(f64::from).collect()
}

fn follows<M: Model<Batch = FieldsBatch>>(reference: &Value, case: &Value, lists: bool) {
    let what = case["name"].as_str().expect("a name");
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("fine");
    let views = view_with(&parity(), if lists { 3 } else { 0 });
    let mut params = Params::new(Device::Cpu, 1);
    let model = M::new(&config, &views.train, &mut params).expect("made");
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
    let matrix = |of: &Value, values: &str| {
        let starts = numbers(&of["starts"]).into_iter().map(|v| v as usize).collect();
        let columns = numbers(&of["columns"]).into_iter().map(|v| v as u32).collect();
        Csr::from_parts(starts, columns, numbers(&of[values]).into_iter().map(|v| v as f32).collect(), 19)
    };
    let column = |name: &str| -> Vec<f32> { numbers(&reference[name]).into_iter().map(|v| v as f32).collect() };
    let (labels, values) = (column("labels"), column("watched"));
    let histories = if lists { vec![matrix(&reference["past"], "ages")] } else { Vec::new() };
    let batch = FieldsBatch { rows: labels.len(), entries: matrix(reference, "values"), histories, labels, values };
    near(&logits(&model, &batch), &numbers(&case["logits"]), 1e-5, &format!("{what}, logits"));
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
            Parameter::Table(table) => {
                let (ids, rows) = table.row_gradients().expect("gradients").expect("rows were taken");
                for (&id, row) in ids.iter().zip(slice(&rows.contiguous()).chunks_exact(table.num_columns())) {
                    found[id as usize * table.num_columns()..].iter_mut().zip(row).for_each(|(to, &v)| *to = f64::from(v));
                }
            }
        }
        near(&found, &expected, 1e-4 * largest.max(0.01), &format!("{what}, gradient of {name}"));
    }
}

#[test]
fn logits_loss_and_gradients_are_those_of_the_formulas() {
    let _alone = generator();
    let reference: Value = serde_json::from_str(include_str!("../reference/models.json")).expect("JSON");
    let mut seen = 0;
    for case in reference["cases"].as_array().expect("cases") {
        match case["model"].as_str().expect("a name") {
            "lr" => follows::<Lr>(&reference, case, false),
            "fm" => follows::<Fm>(&reference, case, false),
            "fwfm" => follows::<FwFm>(&reference, case, false),
            "ffm" => follows::<Ffm>(&reference, case, false),
            "wide-deep" => follows::<WideDeep>(&reference, case, false),
            "deepfm" => follows::<DeepFm>(&reference, case, false),
            "dcn" => follows::<Dcn>(&reference, case, false),
            "autoint" => follows::<AutoInt>(&reference, case, false),
            "din" => follows::<Din>(&reference, case, true),
            "bst" => follows::<Bst>(&reference, case, true),
            "youtube-ranker" => follows::<YoutubeRanker>(&reference, case, false),
            other => panic!("no model is called {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 14);
}

fn how(learning_rate: f64) -> GradientConfig {
    GradientConfig {
        optimizer: OptimizerConfig { learning_rate, ..OptimizerConfig::default() },
        batch: BatchOptions { batch_size: 64, ..BatchOptions::default() },
    }
}

fn trained<M: Model<Batch = FieldsBatch>>(config: &M::Config, views: &Views, epochs: u64) -> GradientTrainer<M> {
    let mut trainer = GradientTrainer::<M>::new(config, &how(0.02), &views.train, Device::Cpu, 5).expect("made");
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    for epoch in 0..epochs {
        let end = trainer.epoch(epoch, 0, &pause, &mut Events::default()).expect("learns");
        assert!(matches!(end, EpochEnd::Done { .. }));
    }
    trainer
}

fn auc(model: &dyn Score, views: &Views) -> f64 {
    let metric = "auc".parse().expect("a metric's name");
    rec_core::eval::evaluate(model, &views.test, &views.train, &[metric]).expect("measured").get(metric).expect("asked for")
}

#[test]
fn what_one_feature_cannot_tell_is_learned_by_those_that_join_two() {
    let _alone = generator();
    let views = view(&parity());
    assert!(auc(trained::<Lr>(&Default::default(), &views, 30).model(), &views) < 0.75, "no weights of single features do this");
    let found = [
        auc(trained::<Poly2>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<Fm>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<FwFm>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<Ffm>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<DeepFm>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<Dcn>(&Default::default(), &views, 30).model(), &views),
        auc(trained::<AutoInt>(&Default::default(), &views, 30).model(), &views),
    ];
    assert!(found.iter().all(|&auc| auc > 0.99), "{found:?}");
}

/// A user likes what was liked last time, and nothing else: the label is whether the item is the user's last liked one, or there is none.
fn loyal() -> Vec<(u32, u32, f32)> {
    let mut rng = Rng::keyed(4, Stream::Split, 0, 0);
    let mut last: [Option<u32>; 3] = [None; 3];
    let mut rows = Vec::new();
    for at in 0..1200 {
        let (user, item) = (rng.below(3), rng.below(4));
        // Now and then another one is liked: no model can know those.
        let liked = last[user as usize].is_none_or(|liked| liked == item) || at % 29 == 0;
        if liked {
            last[user as usize] = Some(item);
        }
        rows.push((user, item, f32::from(u8::from(liked))));
    }
    rows
}

#[test]
fn past_items_tell_what_the_fields_cannot() {
    let _alone = generator();
    let views = view_with(&loyal(), 1);
    let blind = auc(trained::<DeepFm>(&Default::default(), &view(&loyal()), 30).model(), &view(&loyal()));
    let found = [
        auc(trained::<Din>(&rec_ctr::din::DinConfig { init_std: 0.3, ..Default::default() }, &views, 30).model(), &views),
        auc(trained::<Bst>(&rec_ctr::bst::BstConfig { hidden_sizes: vec![64], ..Default::default() }, &views, 30).model(), &views),
    ];
    assert!(blind < 0.8 && found.iter().all(|&auc| auc > 0.85), "{found:?} and {blind} without a history");
}

#[test]
fn the_mini_batch_aware_penalty_is_that_of_its_formula() {
    let _alone = generator();
    let views = view_with(&loyal(), 3);
    let config = rec_ctr::din::DinConfig { embedding_l2: 0.3, ..Default::default() };
    let mut params = Params::new(Device::Cpu, 1);
    let model = Din::new(&config, &views.train, &mut params).expect("made");
    let rows = views.train.labelled().expect("there are fields");
    let batch = rows.batch(&[3, 70, 400], true);
    let plain = Din::new(&rec_ctr::din::DinConfig::default(), &views.train, &mut Params::new(Device::Cpu, 1)).expect("made");
    let found = model.loss(&batch).expect("a loss").double_value(&[]) - plain.loss(&batch).expect("a loss").double_value(&[]);
    let table = params.list().iter().find(|p| p.name() == "vectors").expect("a table").tensor().contiguous();
    // How many rows have a feature, in a field or in the history.
    let mut counts = [0u32; 19];
    for at in 0..rows.len() as u32 {
        let one = rows.batch(&[at], true);
        one.entries.columns().iter().chain(one.histories[0].columns()).for_each(|&j| counts[j as usize] += 1);
    }
    let mut seen: Vec<u32> = batch.entries.columns().iter().chain(batch.histories[0].columns()).copied().collect();
    seen.sort_unstable();
    seen.dedup();
    let square = |j: u32| slice(&table)[j as usize * 16..][..16].iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let expected: f64 = seen.iter().map(|&j| 0.15 * square(j) / f64::from(counts[j as usize])).sum();
    near(&[found], &[expected], 1e-6, "the penalty");
    assert!(expected > 0.0);
}

#[test]
fn poly2_is_logistic_regression_over_crossed_features() {
    let _alone = generator();
    let views = view(&parity());
    let trainer = trained::<Poly2>(&Default::default(), &views, 2);
    let table = |name: &str| {
        let found = trainer.params().list().iter().find(|p| p.name() == name).expect("a parameter").tensor();
        slice(&found.contiguous()).to_vec()
    };
    let (first_order, pairs, bias) = (table("first_order"), table("pairs"), table("bias"));
    let rows = views.test.labelled().expect("there are fields");
    let batch = rows.batch(&[0, 5, 9], false);
    let cross = |a: u32, b: u32| {
        let key = (u64::from(a) << 32 | u64::from(b)).to_le_bytes();
        pairs[(xxhash_rust::xxh3::xxh3_64(&key) % 1_000_000) as usize]
    };
    let mut expected = Vec::new();
    for row in 0..3 {
        // All features of the row with their fields and values.
        let all: Vec<(usize, u32, f32)> = (0..4)
            .flat_map(|f| {
                let at = row * 4 + f;
                batch.entries.row(at).iter().zip(batch.entries.row_values(at)).map(move |(&id, &value)| (f, id, value))
            })
            .collect();
        let mut sum = f64::from(bias[0]);
        for &(f, a, x) in &all {
            sum += f64::from(first_order[a as usize] * x);
            sum += all.iter().filter(|other| other.0 > f).map(|&(_, b, y)| f64::from(cross(a, b) * x * y)).sum::<f64>();
        }
        expected.push(sum);
    }
    assert!(pairs.iter().any(|&w| w != 0.0));
    near(&logits(trainer.model(), &batch), &expected, 1e-5, "Poly2");
}

#[test]
fn the_same_seed_gives_the_same_bits_also_after_a_resume() {
    let _alone = generator();
    let views = view(&parity());
    let config = rec_ctr::deepfm::DeepFmConfig { hidden_sizes: vec![8], ..Default::default() };
    let batch = views.test.labelled().expect("there are fields").batch(&(0..40).collect::<Vec<_>>(), false);
    let whole = logits(trained::<DeepFm>(&config, &views, 4).model(), &batch);
    let half = trained::<DeepFm>(&config, &views, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("half.safetensors");
    let mut out = StateWriter::default();
    half.save(&mut out).expect("saves");
    out.write(&file).expect("writes");
    let mut resumed = GradientTrainer::<DeepFm>::new(&config, &how(0.02), &views.train, Device::Cpu, 5).expect("made");
    resumed.load(&StateReader::open(&file).expect("opens")).expect("loads");
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    for epoch in 2..4 {
        resumed.epoch(epoch, 0, &pause, &mut Events::default()).expect("learns");
    }
    assert_eq!(logits(resumed.model(), &batch), whole);
}

#[test]
fn bad_configs_and_missing_fields_are_refused_with_the_key_named() {
    let says = |config: Result<(), anyhow::Error>| config.expect_err("refused").to_string();
    assert!(says(rec_ctr::fm::FmConfig { embedding_size: 0, ..Default::default() }.check()).contains("`embedding_size` is 0"));
    assert!(says(rec_ctr::autoint::AutoIntConfig { num_heads: 3, ..Default::default() }.check()).contains("`num_heads` is 3"));
    assert!(says(rec_ctr::dcn::DcnConfig { num_layers: 0, ..Default::default() }.check()).contains("`num_layers` is 0"));
    let views = view(&parity());
    let crossed = rec_ctr::wide_deep::WideDeepConfig { crosses: vec![["user".into(), "genre".into()]], ..Default::default() };
    let error = WideDeep::new(&crossed, &views.train, &mut Params::new(Device::Cpu, 1)).err().expect("no such field");
    assert!(error.to_string().contains("did you mean `genres`"), "{error}");
    let plain = Interactions {
        users: vec![0].into(),
        items: vec![0].into(),
        user_ids: Vocabulary::numbers(1),
        item_ids: Vocabulary::numbers(1),
        ..Interactions::default()
    };
    let data = Arc::new(rec_core::rec_data::view::TrainView::of_all(&plain));
    let error = Lr::new(&Default::default(), &data, &mut Params::new(Device::Cpu, 1)).err().expect("no fields");
    assert!(error.to_string().contains("names no `fields`"), "{error}");
}

#[test]
fn rates_and_metrics_of_labels_are_those_of_plain_loops() {
    let views = view(&loyal());
    let config = RateConfig { field: "item".into(), smoothing: 2.0 };
    let mut trainer = FitTrainer::<Rate>::new(&config, &views.train, 1).expect("made");
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    trainer.epoch(0, 0, &pause, &mut Events::default()).expect("counts");
    let (train, test) = (&loyal()[..960], &loyal()[960..]);
    let all = train.iter().map(|r| f64::from(r.2)).sum::<f64>() / 960.0;
    let probability = |item: u32| {
        let of_item = || train.iter().filter(move |r| r.1 == item);
        (of_item().map(|r| f64::from(r.2)).sum::<f64>() + 2.0 * all) / (of_item().count() as f64 + 2.0)
    };
    let predicted: Vec<f64> = test.iter().map(|r| probability(r.1)).collect();
    let auc_of = |rows: &[usize]| {
        let (mut right, mut pairs) = (0.0, 0.0);
        for (&a, &b) in rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b))) {
            if test[a].2 > test[b].2 {
                pairs += 1.0;
                right += if predicted[a] > predicted[b] { 1.0 } else { f64::from(u8::from(predicted[a] == predicted[b])) / 2.0 };
            }
        }
        right / pairs
    };
    let everyone: Vec<usize> = (0..test.len()).collect();
    let of_user = |user: u32| everyone.iter().copied().filter(|&at| test[at].0 == user).collect::<Vec<_>>();
    let gauc = (0..3).map(|user| auc_of(&of_user(user)) * of_user(user).len() as f64).sum::<f64>() / test.len() as f64;
    let loss = |p: &dyn Fn(usize) -> f64| {
        let one = |at: usize| if test[at].2 == 1.0 { -p(at).ln() } else { -(1.0 - p(at)).ln() };
        everyone.iter().map(|&at| one(at)).sum::<f64>() / test.len() as f64
    };
    let positives = test.iter().map(|r| f64::from(r.2)).sum::<f64>();
    let share = positives / test.len() as f64;
    let expected = [
        auc_of(&everyone),
        gauc,
        loss(&|at| predicted[at]),
        1.0 - loss(&|at| predicted[at]) / loss(&|_| share),
        predicted.iter().sum::<f64>() / positives,
    ];
    let names = ["auc", "gauc", "logloss", "relative_information", "calibration"];
    let metrics: Vec<_> = names.iter().map(|name| name.parse().expect("a metric's name")).collect();
    let found = rec_core::eval::evaluate(trainer.model(), &views.test, &views.train, &metrics).expect("measured");
    near(&found.values.iter().map(|v| v.1).collect::<Vec<_>>(), &expected, 1e-6, "auc, gauc, logloss, relative information, calibration");
    let reliability = Reliability::new(trainer.model(), &views.test).expect("measured").expect("odds of labels");
    assert!(reliability.buckets.iter().all(|bucket| bucket.rows == 12) && reliability.buckets.len() == 20);
    assert!(reliability.buckets.is_sorted_by(|a, b| a.predicted <= b.predicted));
    let clicked: f64 = reliability.buckets.iter().map(|bucket| bucket.rows as f64 * bucket.observed).sum();
    near(&[clicked], &[positives], 1e-9, "observed in all buckets");
    let names: Vec<&str> = reliability.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["user", "item", "genres"], "a number has no values");
    assert_eq!(reliability.fields[1].1.len(), 4);
    for (item, group) in &reliability.fields[1].1 {
        let item = item.parse().expect("items are numbers");
        let labels: Vec<f64> = test.iter().filter(|r| r.1 == item).map(|r| f64::from(r.2)).collect();
        let (rows, share) = (labels.len() as f64, labels.iter().sum::<f64>() / labels.len() as f64);
        near(&[group.rows as f64, group.predicted, group.observed], &[rows, probability(item), share], 1e-6, "rows, predicted, observed");
    }
    let ranking = "ndcg@10".parse().expect("a metric's name");
    let error = rec_core::eval::evaluate(trainer.model(), &views.test, &views.train, &[ranking]).expect_err("ranks nothing");
    assert!(error.to_string().contains("knows 0 items"), "{error}");
}

/// What a training says its step size was, by epoch; stops after `until` of them.
struct StepSizes {
    seen: Arc<Mutex<Vec<f64>>>,
    until: usize,
    interrupt: Interrupt,
}

impl Sink for StepSizes {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Event::Scalar { tag: "train/learning_rate", value, .. } = event {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(*value);
            if seen.len() == self.until {
                self.interrupt.set();
            }
        }
        Ok(())
    }
}

#[test]
fn steps_become_smaller_on_a_plateau_also_after_a_resume() {
    let _alone = generator();
    let views = view(&parity());
    let folder = tempfile::tempdir().expect("a folder");
    // Steps so small that the judge never sees a better value than the first.
    let how = how(1e-12);
    let looping = LoopConfig { epochs: 5, metric: "auc".parse().expect("a metric's name"), plateau_factor: 0.5, ..LoopConfig::default() };
    let seen = Arc::new(Mutex::new(Vec::new()));
    for until in [3, usize::MAX] {
        let mut trainer = GradientTrainer::<Fm>::new(&Default::default(), &how, &views.train, Device::Cpu, 5).expect("made");
        let interrupt = Interrupt::default();
        let mut events = Events::default();
        events.add(Box::new(StepSizes { seen: Arc::clone(&seen), until, interrupt: interrupt.clone() }));
        let judge = Judge { held: &views.test, part: "test" };
        let end = train(&mut trainer, &views.train, Some(judge), &looping, folder.path(), &interrupt, &mut events);
        assert_eq!(end.is_err(), until == 3);
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let expected = [1.0, 1.0, 0.5, 0.25, 0.125].map(|factor| factor * 1e-12);
    near(&seen, &expected, 1e-18, "step sizes");
    let config = RateConfig::default();
    let mut trainer = FitTrainer::<Rate>::new(&config, &views.train, 1).expect("made");
    let end = train(&mut trainer, &views.train, None, &looping, &folder.path().join("rate"), &Interrupt::default(), &mut Events::default());
    assert!(end.expect_err("no steps").to_string().contains("`plateau_factor`"));
}
