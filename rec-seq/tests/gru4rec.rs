//! GRU4Rec against PyTorch's cells (`reference/gru4rec.json`), against sessions walked through alone, and against itself after a stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::loss::{LossConfig, OutputActivation};
use rec_core::model::{Model, ModelConfig, Score, Users};
use rec_core::optim::{OptimizerConfig, Rows, Rule};
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Params, Scores};
use rec_data::batch::{Batch, BatchOptions, SessionStepBatch};
use rec_data::csr::Csr;
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use rec_data::windows::Windows;
use rec_data::{Interactions, Vocabulary};
use rec_seq::Gru4Rec;
use rec_seq::gru4rec::{Gru4RecConfig, Input};
use rec_seq::recurrent::Cell;
use serde_json::Value;

/// Sessions in time order, one after the other.
fn view(sessions: &[Vec<u32>], items: usize) -> Arc<TrainView> {
    let users: Vec<u32> = sessions.iter().enumerate().flat_map(|(user, s)| vec![user as u32; s.len()]).collect();
    Arc::new(TrainView::of_all(&Interactions {
        times: Some((0..users.len() as i64).collect::<Vec<_>>().into()),
        users: users.into(),
        items: sessions.concat().into(),
        user_ids: Vocabulary::numbers(sessions.len()),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    }))
}

/// Sessions of two to eight random items.
fn random_sessions(sessions: usize, items: u32) -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(8, Stream::Split, 0, 0);
    (0..sessions).map(|_| (0..2 + rng.below(7)).map(|_| rng.below(items)).collect()).collect()
}

fn scores(model: &dyn Score, histories: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let histories = Windows::from(Csr::from_rows(model.num_items(), histories));
    let ids = vec![Users::NEW; histories.num_rows()];
    let Scores::Factors(factors) = model.score(&Users::new(&ids, &histories)).expect("scores histories") else {
        panic!("a recurrent model answers with factors")
    };
    let bias = factors.item_bias.as_deref().expect("items have biases");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let row = |user: &[f32]| factors.items.chunks(factors.dim).zip(bias).map(|(item, &b)| dot(user, item) + f64::from(b)).collect();
    factors.users.chunks(factors.dim).map(row).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|v| v as u32).collect()
}

fn batch(step: &Value, num_lanes: usize) -> SessionStepBatch {
    SessionStepBatch {
        num_lanes,
        lanes: ids(&step["lanes"]),
        begins: step["begins"].as_array().expect("a list").iter().map(|v| v.as_bool().expect("yes or no")).collect(),
        items: ids(&step["items"]),
        targets: ids(&step["targets"]),
        samples: ids(&step["samples"]),
        log_q: numbers(&step["log_q"]).into_iter().map(|v| v as f32).collect(),
    }
}

/// Fails where two lists differ by more than `allowed` of the second one's largest number.
fn assert_close(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3, |max: f64, v| max.max(v.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed * largest, "{what}, place {at}: {found} where the reference has {expected}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn losses_gradients_and_scores_are_those_of_pytorchs_cells_and_of_the_authors_losses() {
    let text = include_str!("reference/gru4rec.json");
    let cases: Vec<Value> = serde_json::from_str(text).expect("the reference file");
    for case in &cases {
        let what = case["config"].to_string();
        let config: Gru4RecConfig = serde_json::from_value(case["config"].clone()).expect("a config");
        config.check().expect("a fine config");
        let num_lanes = case["lanes"].as_u64().expect("a number") as usize;
        let num_items = case["items"].as_u64().expect("a number") as usize;
        let data = view(&random_sessions(5, num_items as u32), num_items);
        let mut params = Params::new(Device::Cpu, 1);
        let model = Gru4Rec::new(&config, &data, &mut params).expect("made");
        assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{what}");
        for parameter in params.list() {
            let tensor = parameter.tensor();
            // SAFETY: nothing else looks at the parameters here.
            let values = unsafe { slice_mut(&tensor) };
            let given = numbers(&case["parameters"][parameter.name()]);
            assert_eq!(values.len(), given.len(), "{what}: {}", parameter.name());
            values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
        }
        for step in case["steps"].as_array().expect("a list") {
            params.forget_step();
            let loss = model.loss(&batch(step, num_lanes)).expect("takes this batch");
            loss.backward();
            let expected = step["loss"].as_f64().expect("a number");
            assert_close(&[loss.double_value(&[])], &[expected], 1e-5, &what);
        }
        // Of a table, the gradients of the rows that the step took, in the order in which it first took them.
        let found: BTreeMap<String, Vec<f64>> =
            params.gradients().expect("there").into_iter().map(|(name, g)| (name, wide(slice(&g)))).collect();
        let last = batch(&case["steps"][1], num_lanes);
        let outputs = [&last.targets[..], &last.samples].concat();
        for parameter in params.list() {
            let (name, whole) = (parameter.name(), numbers(&case["gradients"][parameter.name()]));
            let expected = match parameter {
                Parameter::Dense { .. } => whole,
                Parameter::Table(table) => {
                    let taken = match (&name[..], config.input) {
                        ("input_weights" | "input_embedding", _) => last.items.clone(),
                        ("item_embedding", Input::Constrained) => [&last.items[..], &outputs].concat(),
                        _ => outputs.clone(),
                    };
                    let mut rows: Vec<u32> = Vec::new();
                    taken.into_iter().for_each(|id| {
                        if !rows.contains(&id) {
                            rows.push(id);
                        }
                    });
                    rows.iter().flat_map(|&row| whole[row as usize * table.num_columns()..][..table.num_columns()].to_vec()).collect()
                }
            };
            assert_close(&found[&name], &expected, 1e-4, &format!("{what}: gradient of `{name}`"));
        }
        let histories: Vec<Vec<u32>> = case["histories"].as_array().expect("a list").iter().map(ids).collect();
        let expected: Vec<Vec<f64>> = case["scores"].as_array().expect("a list").iter().map(numbers).collect();
        for (found, expected) in scores(&model, &histories).iter().zip(&expected) {
            assert_close(found, expected, 1e-5, &format!("{what}: scores"));
        }
    }
}

/// A parameter's values as rows.
fn rows(params: &Params, name: &str) -> Vec<Vec<f64>> {
    let parameter = params.list().iter().find(|p| p.name() == name).expect("a parameter of that name");
    let tensor = parameter.tensor().detach();
    let columns = tensor.size().last().map_or(1, |&c| c as usize);
    slice(&tensor).chunks(columns).map(wide).collect()
}

/// Row vector × matrix.
fn times(x: &[f64], matrix: &[Vec<f64>]) -> Vec<f64> {
    (0..matrix[0].len()).map(|c| x.iter().zip(matrix).map(|(x, row)| x * row[c]).sum()).collect()
}

/// The states of one session walked through alone by the equations of `torch.nn.GRUCell`, in f64: after each item but the last.
fn alone(params: &Params, session: &[u32], size: usize) -> Vec<Vec<f64>> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (weights, bias) = (rows(params, "layer_1_weights"), rows(params, "layer_1_bias").concat());
    let (own_weights, own_bias) = (rows(params, "layer_1_recurrent_weights"), rows(params, "layer_1_recurrent_bias").concat());
    let vectors = rows(params, "item_embedding");
    let mut h = vec![0.0; size];
    let mut states = Vec::new();
    for &item in &session[..session.len() - 1] {
        let x: Vec<f64> = times(&vectors[item as usize], &weights).iter().zip(&bias).map(|(a, b)| a + b).collect();
        let own: Vec<f64> = times(&h, &own_weights).iter().zip(&own_bias).map(|(a, b)| a + b).collect();
        h = (0..size)
            .map(|k| {
                let (r, z) = (sigmoid(x[k] + own[k]), sigmoid(x[size + k] + own[size + k]));
                let n = (x[2 * size + k] + r * own[2 * size + k]).tanh();
                (1.0 - z) * n + z * h[k]
            })
            .collect();
        states.push(h.clone());
    }
    states
}

#[test]
fn sessions_in_parallel_have_the_states_and_losses_of_sessions_alone() {
    let (sessions, size, num_items, lanes) = (random_sessions(83, 40), 16, 40, 7);
    let data = view(&sessions, num_items);
    let config = Gru4RecConfig { hidden_sizes: vec![size], ..Gru4RecConfig::default() };
    let mut params = Params::new(Device::Cpu, 4);
    let model = Gru4Rec::new(&config, &data, &mut params).expect("made");
    // Biases start at 0, where a mistake would not be seen.
    for parameter in params.list().iter().filter(|p| p.name().ends_with("bias")) {
        let tensor = parameter.tensor();
        // SAFETY: nothing else looks at the parameters here.
        unsafe { slice_mut(&tensor) }.iter_mut().enumerate().for_each(|(i, v)| *v = 0.3 * (i as f32).sin());
    }
    let states: Vec<Vec<Vec<f64>>> = sessions.iter().map(|session| alone(&params, session, size)).collect();
    let (vectors, biases) = (rows(&params, "item_embedding"), rows(&params, "item_bias").concat());
    let options = BatchOptions { batch_size: lanes, num_negatives: 11, ..BatchOptions::default() };
    let epoch = SessionStepBatch::source(&data, &options).expect("has what it needs").epoch(0);
    let folder = tempfile::tempdir().expect("a folder");
    // Who walks where: the session and the place in it of each lane.
    let mut at: Vec<(usize, usize)> = vec![(usize::MAX, 0); lanes];
    let mut next = 0;
    let mut seen = 0;
    for index in 0..epoch.len() {
        let batch = epoch.batch(index);
        for (row, &lane) in batch.lanes.iter().enumerate() {
            let place = &mut at[lane as usize];
            if batch.begins[row] {
                *place = (next, 0);
                next += 1;
            } else {
                place.1 += 1;
            }
            assert_eq!(sessions[place.0][place.1..place.1 + 2], [batch.items[row], batch.targets[row]]);
        }
        let loss = model.loss(&batch).expect("takes this batch").double_value(&[]);
        params.forget_step();
        let columns = [&batch.targets[..], &batch.samples].concat();
        let mut expected = 0.0;
        for (row, &lane) in batch.lanes.iter().enumerate() {
            let (session, step) = at[lane as usize];
            let h = &states[session][step];
            let score = |&id: &u32| h.iter().zip(&vectors[id as usize]).map(|(a, b)| a * b).sum::<f64>() + biases[id as usize];
            let all: f64 = columns.iter().map(|id| score(id).exp()).sum();
            expected += (all.ln() - score(&columns[row])) / lanes as f64;
        }
        assert!((loss - expected).abs() <= 1e-6 * expected.max(1.0), "step {index}: {loss} where sessions alone give {expected}");
        let path = folder.path().join("state.safetensors");
        let mut out = StateWriter::default();
        model.save_state(&mut out).expect("saves");
        out.write(&path).expect("writes");
        let (shape, found) = StateReader::open(&path).expect("reads").floats("lanes/layer_1_h").expect("there");
        assert_eq!(shape, [lanes, size]);
        for &lane in &batch.lanes {
            let (session, step) = at[lane as usize];
            for (found, expected) in found[lane as usize * size..][..size].iter().zip(&states[session][step]) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "step {index}, lane {lane}: {found} for {expected}");
            }
            seen += 1;
        }
    }
    assert_eq!((seen, next), (sessions.iter().map(|s| s.len() - 1).sum(), sessions.len()), "every session was walked through to its end");
}

/// libtorch has one generator, which each step seeds and dropout draws from: one training at a time.
fn alone_with_the_generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn how(batch_size: usize, num_negatives: usize) -> GradientConfig {
    GradientConfig {
        optimizer: OptimizerConfig {
            rule: Rule::Adagrad { initial: 1e-6, momentum: 0.2, epsilon: 1e-10 },
            learning_rate: 0.1,
            rows: Rows::Touched,
            ..OptimizerConfig::default()
        },
        batch: BatchOptions { batch_size, num_negatives, negative_alpha: 0.5, ..BatchOptions::default() },
    }
}

/// Trains epoch `epoch` from `step` on, for one step or to its end.
fn go_on(trainer: &mut dyn Trainer, epoch: u64, step: u64, one_step: bool) -> EpochEnd {
    let after = if one_step { Duration::ZERO } else { Duration::MAX };
    trainer.epoch(epoch, step, &Pause { interrupt: Interrupt::default(), after }, &mut Events::silent()).expect("converges")
}

fn parameters(trainer: &GradientTrainer<Gru4Rec>) -> Vec<Vec<u32>> {
    trainer.params().list().iter().map(|p| slice(&p.tensor().detach()).iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn a_training_stopped_within_an_epoch_goes_on_to_the_same_bits() {
    let _alone = alone_with_the_generator();
    let data = view(&random_sessions(40, 25), 25);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("last.safetensors");
    for cell in [Cell::Rnn, Cell::Lstm, Cell::Gru, Cell::GruResetBefore] {
        let config = Gru4RecConfig { cell, hidden_sizes: vec![6, 5], dropout: 0.3, embedding_dropout: 0.2, ..Gru4RecConfig::default() };
        let new = || GradientTrainer::<Gru4Rec>::new(&config, &how(6, 9), &data, Device::Cpu, 3).expect("made");
        let mut whole = new();
        (0..2).for_each(|epoch| assert!(matches!(go_on(&mut whole, epoch, 0, false), EpochEnd::Done { .. })));
        let mut again = new();
        (0..2).for_each(|epoch| assert!(matches!(go_on(&mut again, epoch, 0, false), EpochEnd::Done { .. })));
        assert_eq!(parameters(&whole), parameters(&again), "{cell:?}: twice the same");
        // Stopped after every single step, and gone on by another trainer.
        let mut stopped = new();
        let mut stops = 0;
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
        assert_eq!(parameters(&whole), parameters(&stopped), "{cell:?}: stopped {stops} times");
    }
}

#[test]
fn every_cell_input_and_loss_learns_what_follows_what() {
    let _alone = alone_with_the_generator();
    // Steps are too small to be shared among threads.
    rec_core::tch::set_num_threads(1);
    // Items follow each other in one of two circles; which one is seen in the session's first item only where they share items.
    let num_items = 12;
    let sessions: Vec<Vec<u32>> = (0..120u32)
        .map(|s| {
            let step = if s % 2 == 0 { 1 } else { 5 };
            (0..5).map(|k| (s / 2 + k * step) % num_items).collect()
        })
        .collect();
    let data = view(&sessions, num_items as usize);
    let elu = OutputActivation::Elu { alpha: 0.5 };
    let plain = Gru4RecConfig { hidden_sizes: vec![24], ..Gru4RecConfig::default() };
    let mut configs: Vec<Gru4RecConfig> =
        [Cell::Rnn, Cell::Lstm, Cell::Gru, Cell::GruResetBefore].into_iter().map(|cell| Gru4RecConfig { cell, ..plain.clone() }).collect();
    configs.extend([Input::OneHot, Input::Embedding].map(|input| Gru4RecConfig { input, ..plain.clone() }));
    configs.extend(
        [LossConfig::Bpr {}, LossConfig::Top1 {}, LossConfig::Top1Max {}, LossConfig::SampledSoftmax { log_q: true }]
            .map(|loss| Gru4RecConfig { loss, ..plain.clone() }),
    );
    configs.push(Gru4RecConfig { loss: LossConfig::BprMax { score_l2: 0.1 }, output_activation: elu, ..plain });
    for config in configs {
        let mut trainer = GradientTrainer::<Gru4Rec>::new(&config, &how(10, 20), &data, Device::Cpu, 3).expect("made");
        (0..15).for_each(|epoch| assert!(matches!(go_on(&mut trainer, epoch, 0, false), EpochEnd::Done { .. })));
        // From two items on, the circle is known.
        let (histories, next): (Vec<Vec<u32>>, Vec<u32>) = sessions.iter().map(|s| (s[..3].to_vec(), s[3])).unzip();
        let best = |row: &Vec<f64>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("items") as u32;
        let right = scores(trainer.model(), &histories).iter().zip(&next).filter(|(row, next)| best(row) == **next).count();
        assert!(right * 10 >= sessions.len() * 9, "{config:?}: {right} of {} next items found", sessions.len());
    }
}

#[test]
fn histories_of_all_lengths_are_scored_as_if_they_were_alone() {
    let histories: Vec<Vec<u32>> = [&random_sessions(30, 25)[..], &[Vec::new(), vec![7]]].concat();
    let data = view(&random_sessions(40, 25), 25);
    let config = Gru4RecConfig { cell: Cell::Lstm, hidden_sizes: vec![9, 8], ..Gru4RecConfig::default() };
    let model = Gru4Rec::new(&config, &data, &mut Params::new(Device::Cpu, 4)).expect("made");
    let together = scores(&model, &histories);
    for (found, history) in together.iter().zip(&histories) {
        assert_close(found, &scores(&model, std::slice::from_ref(history))[0], 1e-6, "scores");
    }
    assert!(model.scores_histories());
}

#[test]
fn a_config_that_makes_no_sense_is_refused_with_the_keys_name() {
    let plain = Gru4RecConfig::default;
    for (config, key) in [
        (Gru4RecConfig { hidden_sizes: vec![], ..plain() }, "`hidden_sizes`"),
        (Gru4RecConfig { hidden_sizes: vec![8, 0], ..plain() }, "`hidden_sizes`"),
        (Gru4RecConfig { dropout: 1.0, ..plain() }, "`dropout`"),
        (Gru4RecConfig { embedding_dropout: 0.1, input: Input::OneHot, ..plain() }, "`embedding_dropout`"),
        (Gru4RecConfig { output_activation: OutputActivation::Tanh {}, ..plain() }, "`output_activation`"),
        (Gru4RecConfig { output_activation: OutputActivation::Elu { alpha: 0.0 }, loss: LossConfig::Top1 {}, ..plain() }, "elu's `alpha`"),
    ] {
        let error = config.check().expect_err("makes no sense").to_string();
        assert!(error.starts_with(key), "{error}");
    }
}
