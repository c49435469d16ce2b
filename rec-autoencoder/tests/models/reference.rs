//! Losses, gradients, scores and predictions against `tests/reference/models.json`.

use std::sync::Arc;

use rec_autoencoder::{Autoencoder, Cdae, DenoisingAutoencoder, ItemAutoRec, MultDae, MultVae, UserAutoRec};
use rec_core::rec_data::batch::{Batch, RowsBatch, SampledRowsBatch, Side};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::view::TrainView;
use rec_core::tch::{Device, no_grad};
use rec_core::{Model, ModelConfig, Params, Users};
use serde_json::Value;

use crate::data::{Values, assert_gradients, assert_near, distinct, generator, lists, scores, set, view, wide};

/// A batch as the reference file states it.
trait Stated: Batch {
    fn of(data: &TrainView, batch: &Value) -> Self;

    /// The rows of a table that the loss takes, in order of first appearance.
    fn touched(&self, table: &str) -> Vec<u32>;
}

impl<S: Side> Stated for RowsBatch<S> {
    fn of(data: &TrainView, batch: &Value) -> Self {
        let ids = ids(&batch["ids"]);
        let rows = S::rows(data).select(&ids);
        RowsBatch::new(ids, rows)
    }

    fn touched(&self, _: &str) -> Vec<u32> {
        distinct(self.rows.columns().iter().copied())
    }
}

impl Stated for SampledRowsBatch {
    fn of(data: &TrainView, batch: &Value) -> Self {
        let users = ids(&batch["ids"]);
        let rows = data.by_user().select(&users);
        Self { users, rows, negatives: ids(&batch["negatives"]) }
    }

    fn touched(&self, table: &str) -> Vec<u32> {
        let items = self.rows.columns();
        match table {
            "user_node" => self.users.clone(),
            "input_weights" => distinct(items.iter().copied()),
            _ if self.negatives.is_empty() => (0..self.rows.num_columns() as u32).collect(),
            // Each item, followed by its negatives.
            _ => {
                let each = self.negatives.len() / items.len();
                distinct(items.iter().zip(self.negatives.chunks(each)).flat_map(|(&item, others)| [&[item], others].concat()))
            }
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// `null` is a new user.
fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|v| v.as_u64().map_or(Users::NEW, |id| id as u32)).collect()
}

fn by_name(value: &Value) -> Values {
    value.as_object().expect("by name").iter().map(|(name, list)| (name.clone(), numbers(list))).collect()
}

fn data_of(case: &Value) -> Arc<TrainView> {
    let about = &case["data"];
    let size = |key: &str| about[key].as_u64().expect("a number") as usize;
    if about["ratings"].is_null() {
        let rows: Vec<Vec<u32>> = about["rows"].as_array().expect("a list").iter().map(ids).collect();
        return lists(size("items"), &rows.iter().map(|row| &row[..]).collect::<Vec<_>>());
    }
    let ratings: Vec<_> = about["ratings"].as_array().expect("a list").iter().map(numbers).collect();
    let ratings: Vec<_> = ratings.iter().map(|r| (r[0] as u32, r[1] as u32, r[2] as f32)).collect();
    view(size("users"), size("items"), &ratings, true)
}

fn check<M: Model>(case: &Value)
where
    M::Batch: Stated,
{
    let what = format!("{} {}", case["model"], case["config"]);
    let data = data_of(case);
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("a config that trains");
    let mut params = Params::new(Device::Cpu, 1);
    let mut model = M::new(&config, &data, &mut params).expect("made");
    set(&params, &by_name(&case["parameters"]));

    model.begin_step(case["step"].as_u64().expect("a number"));
    let batch = M::Batch::of(&data, &case["batch"]);
    let loss = model.loss(&batch).expect("ids are in range");
    let (found, expected) = (loss.double_value(&[]), case["loss"].as_f64().expect("a number"));
    assert!((found / expected - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {expected}");
    loss.backward();
    assert_gradients(&params, &by_name(&case["gradients"]), |table| batch.touched(table), &what);

    let asked = &case["asked"];
    let histories: Vec<Vec<u32>> = asked["histories"].as_array().expect("a list").iter().map(ids).collect();
    let rows: Vec<u32> = (0..).zip(&histories).flat_map(|(row, items)| vec![row; items.len()]).collect();
    let ratings: Vec<f32> = asked["values"].as_array().into_iter().flatten().flat_map(numbers).map(|v| v as f32).collect();
    let histories = Csr::from_coordinates(histories.len(), data.num_items(), &rows, &histories.concat(), &ratings).into();
    let found = scores(&model, &Users::new(&ids(&asked["ids"]), &histories));
    let expected: Vec<Vec<f64>> = case["scores"].as_array().expect("rows").iter().map(numbers).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_near(found, expected, 1e-4, &format!("{what}: scores of the user at {at}"));
    }

    assert_eq!(model.pair_score().is_some(), !case["predictions"].is_null(), "{what}");
    if let Some(predictor) = model.pair_score() {
        let pairs = (0..data.num_users() as u32).flat_map(|user| (0..data.num_items() as u32).map(move |item| (user, item)));
        let (users, items): (Vec<u32>, Vec<u32>) = pairs.unzip();
        let found = no_grad(|| predictor.predict(&users, &items)).expect("known pairs");
        let expected: Vec<f64> = case["predictions"].as_array().expect("rows").iter().flat_map(numbers).collect();
        assert_near(&wide(&found), &expected, 1e-5, &format!("{what}: predictions"));
    }
}

#[test]
fn losses_gradients_scores_and_predictions_are_those_of_the_papers_equations() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/models.json")).expect("JSON");
    assert_eq!(cases.len(), 22);
    for case in &cases {
        match case["model"].as_str().expect("a name") {
            "autoencoder" => check::<Autoencoder>(case),
            "denoising-autoencoder" => check::<DenoisingAutoencoder>(case),
            "mult-dae" => check::<MultDae>(case),
            "mult-vae" => check::<MultVae>(case),
            "i-autorec" => check::<ItemAutoRec>(case),
            "u-autorec" => check::<UserAutoRec>(case),
            "cdae" => check::<Cdae>(case),
            other => panic!("which model is {other}?"),
        }
    }
}

#[test]
fn a_part_of_the_clipped_predictions_lies_at_either_end_of_the_range() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/models.json")).expect("JSON");
    let all: Vec<f64> = cases.iter().filter_map(|c| c["predictions"].as_array()).flatten().flat_map(numbers).collect();
    assert!([1.0, 3.0, 5.0].iter().all(|end| all.iter().filter(|&v| v == end).count() >= 5));
}

#[test]
fn the_batches_of_an_epoch_of_autorec_add_up_to_the_objective_of_the_paper() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/models.json")).expect("JSON");
    for case in cases.iter().filter(|c| c["model"] == "u-autorec") {
        let data = data_of(case);
        let mut params = Params::new(Device::Cpu, 1);
        let config = serde_json::from_value(case["config"].clone()).expect("a config");
        let model = UserAutoRec::new(&config, &data, &mut params).expect("made");
        set(&params, &by_name(&case["parameters"]));
        let sum = |ids: &[u32]| {
            let rows = data.by_user().select(ids);
            let ratings = rows.len() as f64;
            no_grad(|| model.loss(&RowsBatch::new(ids.to_vec(), rows))).expect("known users").double_value(&[]) * ratings
        };
        let (parts, whole) = (sum(&[2]) + sum(&[3, 0]) + sum(&[1]), sum(&[0, 1, 2, 3]));
        assert!((parts / whole - 1.0).abs() < 1e-5, "{parts} in parts, {whole} at once");
        // Errors and ½λ of all weights that a rating touches: here all but those of the last item.
        let at = by_name(&case["parameters"]);
        let mut squares = 0.0;
        for (name, values) in at.iter().filter(|(name, _)| name.ends_with("weights")) {
            let kept = if name.starts_with("hidden") { values.len() } else { values.len() / 7 * 6 };
            squares += values[..kept].iter().map(|v| v * v).sum::<f64>();
        }
        let mut without = config.clone();
        without.l2 = 0.0;
        let mut params = Params::new(Device::Cpu, 1);
        let model = UserAutoRec::new(&without, &data, &mut params).expect("made");
        set(&params, &at);
        let rows = data.by_user().select(&[0, 1, 2, 3]);
        let ratings = rows.len() as f64;
        let errors = no_grad(|| model.loss(&RowsBatch::new(vec![0, 1, 2, 3], rows))).expect("known users").double_value(&[]) * ratings;
        assert!((whole / (errors + 0.5 * config.l2 * squares) - 1.0).abs() < 1e-5);
    }
}
