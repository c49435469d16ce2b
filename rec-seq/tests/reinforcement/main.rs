//! SQN, SAC and REINFORCE against `reference/reinforcement.json`, and what a user may rely on: they learn what comes next and what is
//! worth most, repeat, resume, refuse.

mod q_learning;
mod reinforce;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::optim::OptimizerConfig;
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::rec_data::batch::{Batch, BatchOptions, SequencesBatch};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::tch::{self, Device, Tensor};
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, ModelConfig, Params, Score, Scores, Users};
use rec_seq::{Reinforce, Sac, Sqn};
use serde_json::Value;

/// Libtorch's generator is one for the process: who draws from it holds this.
fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Steps this small are slower on more.
    tch::set_num_threads(1);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A view of users' sequences; `values` may be empty.
fn view(num_items: usize, sequences: &[Vec<u32>], values: &[Vec<f32>]) -> Arc<TrainView> {
    let users: Vec<u32> = (0u32..).zip(sequences).flat_map(|(user, items)| vec![user; items.len()]).collect();
    let data = Interactions {
        users: users.into(),
        items: sequences.concat().into(),
        values: (!values.is_empty()).then(|| values.concat().into()),
        user_ids: Vocabulary::numbers(sequences.len()),
        item_ids: Vocabulary::numbers(num_items),
        ..Interactions::default()
    };
    data.check("the test's data").expect("sound");
    Arc::new(TrainView::of_all(&data))
}

fn how(batch_size: usize, learning_rate: f64) -> GradientConfig {
    let optimizer = OptimizerConfig { learning_rate, ..OptimizerConfig::default() };
    GradientConfig { optimizer, batch: BatchOptions { batch_size, ..BatchOptions::default() } }
}

/// Goes on from step `step` of `epoch`, for one step only where it is `stopped`.
fn go_on<M: Model>(trainer: &mut GradientTrainer<M>, epoch: u64, step: u64, stopped: bool) -> EpochEnd {
    let pause = Pause { interrupt: Interrupt::default(), after: if stopped { Duration::ZERO } else { Duration::MAX } };
    trainer.epoch(epoch, step, &pause, &mut Events::silent()).expect("converges")
}

fn bits<M: Model>(trainer: &GradientTrainer<M>) -> Vec<u32> {
    let list = trainer.params().list();
    list.iter().flat_map(|p| slice(&p.tensor().detach()).iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
}

fn scores(model: &dyn Score, histories: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let histories_of = Csr::from_rows(model.num_items(), histories).into();
    let ids = vec![Users::NEW; histories.len()];
    let Scores::Factors(factors) = model.score(&Users::new(&ids, &histories_of)).expect("scores histories") else {
        panic!("all of them give factors")
    };
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let bias = wide(&factors.item_bias.expect("all of them have biases"));
    let one = |user: &[f32]| -> Vec<f64> {
        let items = factors.items.chunks(factors.dim).zip(&bias);
        items.map(|(item, bias)| wide(user).iter().zip(wide(item)).map(|(a, b)| a * b).sum::<f64>() + bias).collect()
    };
    factors.users.chunks(factors.dim).map(one).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn lists<T>(value: &Value, each: impl Fn(f64) -> T) -> Vec<Vec<T>> {
    value.as_array().expect("lists").iter().map(|list| numbers(list).into_iter().map(&each).collect()).collect()
}

fn near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

/// A table's gradient holds the rows that the step took, in an order of its own: rows are compared as sets.
fn sorted_rows(values: &[f64], columns: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = values.chunks(columns).map(<[f64]>::to_vec).collect();
    rows.retain(|row| row.iter().any(|v| v.abs() > 1e-7));
    rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
    rows.concat()
}

fn check_gradients(params: &Params, case: &Value, what: &str) {
    let gradients = params.gradients().expect("on the CPU");
    for parameter in params.list() {
        let expected = numbers(&case[parameter.name()]);
        let found = gradients.iter().find(|(name, _)| *name == parameter.name());
        let found = found.map_or(vec![0.0; expected.len()], |(_, g)| slice(g).iter().map(|&v| f64::from(v)).collect());
        let largest = expected.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
        let (found, expected) = match parameter {
            Parameter::Table(table) => (sorted_rows(&found, table.num_columns()), sorted_rows(&expected, table.num_columns())),
            Parameter::Dense { .. } => (found, expected),
        };
        near(&found, &expected, 1e-4 * largest, &format!("{what}: the gradient of {}", parameter.name()));
    }
}

/// Which of the cases `losses` a step is: the coin decides which head is moved.
fn moved(params: &Params, num_cases: usize) -> usize {
    let second = || params.gradients().expect("on the CPU").iter().any(|(name, _)| name == "q_2_embedding");
    usize::from(num_cases > 1 && second())
}

fn check<M: Model<Batch = SequencesBatch>>(case: &Value) {
    let what = format!("{} {}", case["model"], case["config"]);
    let (sequences, values) = (lists(&case["sequences"], |v| v as u32), lists(&case["values"], |v| v as f32));
    let data = view(7, &sequences, &values);
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("a config that trains");
    let mut params = Params::new(Device::Cpu, 1);
    let mut model = M::new(&config, &data, &mut params).expect("made");
    for parameter in params.list() {
        let (tensor, given) = (parameter.tensor(), numbers(&case["parameters"][parameter.name()]));
        // SAFETY: nothing else looks at the parameters here.
        let values = unsafe { slice_mut(&tensor) };
        assert_eq!(values.len(), given.len(), "{what}: {}", parameter.name());
        values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
    }
    assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{what}");

    let mut starts = vec![0];
    sequences.iter().for_each(|s| starts.push(starts[starts.len() - 1] + s.len()));
    let (items, values) = (sequences.concat(), values.concat());
    let batch = SequencesBatch { users: vec![0, 1, 2, 3], starts, items, values, negatives: Vec::new(), keys: vec![0; 4] };
    let losses = numbers(&case["losses"]);
    let mut seen = vec![false; losses.len()];
    for seed in 0..20 {
        tch::manual_seed(seed);
        model.begin_step(case["step"].as_u64().expect("a number"));
        let loss = model.loss(&batch).expect("ids are in range");
        loss.backward();
        let at = moved(&params, losses.len());
        let found = loss.double_value(&[]);
        assert!((found / losses[at] - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {}", losses[at]);
        check_gradients(&params, &case["gradients"][at], &what);
        params.forget_step();
        seen[at] = true;
    }
    assert!(seen.iter().all(|&seen| seen), "{what}: the coin has two sides");

    let expected: Vec<Vec<f64>> = case["scores"].as_array().expect("rows").iter().map(numbers).collect();
    for (at, (found, expected)) in scores(&model, &lists(&case["histories"], |v| v as u32)).iter().zip(&expected).enumerate() {
        near(found, expected, 1e-4, &format!("{what}: scores of history {at}"));
    }
}

#[test]
fn losses_gradients_and_scores_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/reinforcement.json")).expect("JSON");
    assert_eq!(cases.len(), 10);
    for case in &cases {
        match case["model"].as_str().expect("a name") {
            "sqn" => check::<Sqn>(case),
            "sac" => check::<Sac>(case),
            "reinforce" => check::<Reinforce>(case),
            other => panic!("which model is {other}?"),
        }
    }
}

/// π(a | s) of a user with this history.
fn policy(model: &dyn Score, history: &[u32]) -> Vec<f64> {
    let scores = scores(model, &[history.to_vec()]).concat();
    let all = Tensor::from_slice(&scores).softmax(-1, None::<tch::Kind>);
    all.try_into().expect("numbers")
}

#[test]
fn values_of_a_batch_are_those_of_its_items_in_the_order_of_time() {
    // One user, the last row of the source being the first in time; a value is ten times its item.
    let data = Interactions {
        users: vec![0; 6].into(),
        items: vec![5, 4, 3, 2, 1, 0].into(),
        values: Some(vec![50.0, 40.0, 30.0, 20.0, 10.0, 0.0].into()),
        times: Some(vec![60, 50, 40, 30, 20, 10].into()),
        user_ids: Vocabulary::numbers(1),
        item_ids: Vocabulary::numbers(6),
        ..Interactions::default()
    };
    let data = Arc::new(TrainView::of_all(&data));
    let options = BatchOptions { max_len: 3, num_negatives: 0, ..BatchOptions::default() };
    let batch = SequencesBatch::source(&data, &options).expect("sizes are fine").epoch(0).batch(0);
    assert_eq!((&batch.items[..], &batch.values[..]), (&[2, 3, 4, 5][..], &[20.0, 30.0, 40.0, 50.0][..]));
}
