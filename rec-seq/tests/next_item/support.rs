//! What the tests share: small data, reference files, short trainings.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::optim::OptimizerConfig;
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, ModelConfig, Params, Score, Scores, Users};
use rec_data::batch::BatchOptions;
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use rec_data::{Interactions, Kind, Vocabulary};
use serde_json::Value;

/// Libtorch's generator is one for the process: who draws from it holds this.
pub fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Steps this small are slower on more.
    rec_core::tch::set_num_threads(1);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows of users' sequences, without times.
pub fn interactions(items: usize, sequences: &[Vec<u32>]) -> Interactions {
    let rows = || (0u32..).zip(sequences).flat_map(|(user, items)| items.iter().map(move |&item| (user, item)));
    Interactions {
        users: rows().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows().map(|r| r.1).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(sequences.len()),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    }
}

/// A view of users' sequences, without times.
pub fn view(items: usize, sequences: &[Vec<u32>]) -> Arc<TrainView> {
    Arc::new(TrainView::of_all(&interactions(items, sequences)))
}

/// Scores of all items for each user after each history.
pub fn scores(model: &dyn Score, users: &[u32], histories: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let histories = Csr::from_rows(model.num_items(), histories).into();
    let Scores::Factors(factors) = model.score(&Users::new(users, &histories)).expect("scores histories") else {
        panic!("these models give factors")
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    factors.users.chunks(factors.dim).map(|user| factors.items.chunks(factors.dim).map(|item| dot(user, item)).collect()).collect()
}

/// Items by falling score.
pub fn ranked(scores: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    order
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|v| v.as_u64().map_or(Users::NEW, |v| v as u32)).collect()
}

pub fn lists(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().expect("lists").iter().map(ids).collect()
}

/// Fails where a number differs by more than `allowed`.
pub fn near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

/// The model with the parameters of a reference case.
pub fn made<M: Model>(case: &Value, data: &TrainView, params: &mut Params) -> M {
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("a config that trains");
    let model = M::new(&config, data, params).expect("made");
    for parameter in params.list() {
        let (tensor, given) = (parameter.tensor(), numbers(&case["parameters"][parameter.name()]));
        // SAFETY: nothing else looks at the parameters here.
        let values = unsafe { slice_mut(&tensor) };
        assert_eq!(values.len(), given.len(), "{}: {}", case["config"], parameter.name());
        values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
    }
    assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{}", case["config"]);
    model
}

/// Loss, gradients and scores are those of the reference case.
pub fn check<M: Model>(case: &Value, model: &M, params: &Params, batch: &M::Batch) {
    let what = case["config"].to_string();
    let loss = model.loss(batch).expect("ids are in range");
    let (found, expected) = (loss.double_value(&[]), case["loss"].as_f64().expect("a number"));
    assert!((found / expected - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {expected}");
    loss.backward();
    let gradients = params.gradients().expect("on the CPU");
    assert_eq!(gradients.len(), params.list().len(), "{what}: all parameters have a gradient");
    for (parameter, (name, found)) in params.list().iter().zip(&gradients) {
        assert_eq!(&parameter.name(), name, "{what}");
        let mut expected = numbers(&case["gradients"][name]);
        let largest = expected.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
        let mut found: Vec<f64> = slice(found).iter().map(|&v| f64::from(v)).collect();
        if let Parameter::Table(table) = parameter {
            // A table's gradient holds the rows that the step took, in an order of its own: rows are compared as sets.
            let sort = |values: &[f64]| {
                let mut rows: Vec<Vec<f64>> = values.chunks(table.num_columns()).map(<[f64]>::to_vec).collect();
                rows.retain(|row| row.iter().any(|v| v.abs() > 1e-7));
                let key = |row: &[f64]| row.iter().zip(1..).map(|(v, column)| v * f64::from(column).sqrt()).sum::<f64>();
                rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
                rows.concat()
            };
            (found, expected) = (sort(&found), sort(&expected));
        }
        near(&found, &expected, 1e-4 * largest, &format!("{what}: the gradient of {name}"));
    }
    let expected: Vec<Vec<f64>> = case["scores"].as_array().expect("rows").iter().map(numbers).collect();
    let found = scores(model, &ids(&case["users"]), &lists(&case["histories"]));
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        near(found, expected, 1e-4, &format!("{what}: scores of history {at}"));
    }
}

pub fn how(learning_rate: f64, batch_size: usize, num_negatives: usize) -> GradientConfig {
    let optimizer = OptimizerConfig { learning_rate, ..OptimizerConfig::default() };
    GradientConfig { optimizer, batch: BatchOptions { batch_size, num_negatives, ..BatchOptions::default() } }
}

/// The losses of some epochs.
pub fn epochs<M: Model>(trainer: &mut GradientTrainer<M>, range: Range<u64>) -> Vec<f64> {
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    let one = |epoch| match trainer.epoch(epoch, 0, &pause, &mut Events::silent()).expect("converges") {
        EpochEnd::Done { loss, .. } => loss.expect("on the CPU every step is looked at"),
        EpochEnd::Paused { .. } => panic!("nobody asked for a pause"),
    };
    range.map(one).collect()
}

/// The bits of all parameters.
pub fn bits<M: Model>(trainer: &GradientTrainer<M>) -> Vec<u32> {
    trainer.params().list().iter().flat_map(|p| slice(&p.tensor().detach()).iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
}

/// A config is refused with a sentence that holds `part`.
pub fn refused<C: ModelConfig>(config: &C, part: &str) {
    let error = config.check().expect_err("out of range");
    assert!(error.to_string().contains(part), "{error}");
    assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
}
