//! GMF, MLP and NeuMF against `tests/reference/neural.json`, and what scoring and starting from trained models promise.

use std::sync::Arc;

use anyhow::Result;
use rec_cf::gmf::GmfConfig;
use rec_cf::mlp::MlpConfig;
use rec_cf::neumf::NeuMfConfig;
use rec_cf::{Gmf, Mlp, NeuMf};
use rec_core::eval::{Metric, evaluate};
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::rec_data::batch::PairwiseBatch;
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::{HeldOut, RatedRows, TrainView};
use rec_core::rec_data::{Interactions, Kind, Vocabulary};
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::{Device, no_grad};
use rec_core::train::{GradientConfig, GradientTrainer, Trainer};
use rec_core::{Model, Params, Score, Scores, Users};
use serde_json::Value;

use crate::data::{Matrix, assert_close, scores};

/// Every user has one item.
fn data(users: usize, items: usize) -> Arc<TrainView> {
    Arc::new(TrainView::of_all(&Interactions {
        users: (0..users as u32).collect::<Vec<_>>().into(),
        items: (0..users as u32).map(|u| u % items as u32).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(users),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    }))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|v| v as u32).collect()
}

/// Loss, gradients and scores of one case of the reference file.
fn check<M: Model<Batch = PairwiseBatch>>(case: &Value) {
    let what = format!("{} {}", case["model"], case["config"]);
    let size = |key: &str| case[key].as_u64().expect("a number") as usize;
    let data = data(size("users"), size("items"));
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    let mut params = Params::new(Device::Cpu, 1);
    let model = M::new(&config, &data, &mut params).expect("made");
    assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{what}");
    for parameter in params.list() {
        let given = numbers(&case["parameters"][parameter.name()]);
        let tensor = parameter.tensor();
        // SAFETY: nothing else looks at the parameters here.
        let values = unsafe { slice_mut(&tensor) };
        assert_eq!(values.len(), given.len(), "{what}: {}", parameter.name());
        values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
    }
    let expected: Matrix = case["scores"].as_array().expect("rows").iter().map(numbers).collect();
    assert_close(&scores(&model, &data), &expected, 1e-5, &what);

    let of = |key: &str| ids(&case["batch"][key]);
    let batch = PairwiseBatch { users: of("users"), positives: of("positives"), negatives: of("negatives") };
    let loss = model.loss(&batch).expect("ids are in range");
    let expected = case["loss"].as_f64().expect("a number");
    let found = loss.double_value(&[]);
    assert!((found / expected - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {expected}");
    loss.backward();
    let gradients = params.gradients().expect("on the CPU");
    assert_eq!(gradients.len(), params.list().len(), "{what}");
    let each = batch.negatives.len() / batch.users.len();
    let row = |at: usize| [&batch.positives[at..=at], &batch.negatives[at * each..(at + 1) * each]].concat();
    let items = (0..batch.users.len()).flat_map(row);
    let touched = [distinct(batch.users.iter().copied()), distinct(items)];
    for ((name, found), parameter) in gradients.iter().zip(params.list()) {
        let all = numbers(&case["gradients"][name]);
        let largest = all.iter().fold(0.0, |most: f64, v| most.max(v.abs())).max(1e-3);
        let expected: Vec<f64> = match parameter {
            Parameter::Dense { .. } => all,
            Parameter::Table(table) => {
                let rows = &touched[usize::from(name.ends_with("item_embedding"))];
                let columns = table.num_columns();
                let untouched = (0..table.num_rows() as u32).filter(|row| !rows.contains(row));
                untouched.for_each(|row| assert!(all[row as usize * columns..][..columns].iter().all(|&v| v == 0.0)));
                rows.iter().flat_map(|&row| all[row as usize * columns..][..columns].to_vec()).collect()
            }
        };
        let found: Vec<f64> = slice(found).iter().map(|&v| f64::from(v)).collect();
        assert_close(&vec![found], &vec![expected], 1e-4 * largest, &format!("{what}: the gradient of {name}"));
    }
}

/// In the order in which they first come.
fn distinct(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut seen = Vec::new();
    ids.for_each(|id| {
        if !seen.contains(&id) {
            seen.push(id);
        }
    });
    seen
}

#[test]
fn scores_losses_and_gradients_are_those_of_the_papers_equations() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/neural.json")).expect("JSON");
    assert!(cases.len() >= 7);
    for case in &cases {
        match case["model"].as_str().expect("a name") {
            "gmf" => check::<Gmf>(case),
            "mlp" => check::<Mlp>(case),
            _ => check::<NeuMf>(case),
        }
    }
}

fn trainer<M: Model>(config: &M::Config, data: &Arc<TrainView>, seed: u64) -> GradientTrainer<M> {
    let made = GradientTrainer::<M>::new(config, &GradientConfig::default(), data, Device::Cpu, seed).expect("made");
    // Biases start as zeros; here none is.
    for (at, parameter) in made.params().list().iter().enumerate().filter(|(_, p)| p.name().ends_with("bias")) {
        let _ = no_grad(|| parameter.tensor().fill_(0.1 + 0.05 * at as f64));
    }
    made
}

/// Answers like the model, but knows nothing of candidates.
struct AllItems<'m>(&'m dyn Score);

impl Score for AllItems<'_> {
    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.0.score(users)
    }
}

#[test]
fn candidates_alone_have_the_scores_and_metrics_that_they_have_among_all_items() {
    // Neither users nor items fill whole blocks.
    let (users, items) = (21, 131);
    let data = data(users, items);
    let mlp = MlpConfig { embedding_size: 5, hidden_sizes: vec![19, 7], init_std: 1.0, ..MlpConfig::default() };
    let neumf = NeuMfConfig { mlp_embedding_size: 6, hidden_sizes: vec![33], init_std: 1.0, embedding_size: 17, ..NeuMfConfig::default() };
    let trainers: [Box<dyn Trainer>; 2] = [Box::new(trainer::<Mlp>(&mlp, &data, 3)), Box::new(trainer::<NeuMf>(&neumf, &data, 3))];
    let mut rng = Rng::keyed(5, Stream::Split, 0, 0);
    let mut some = |most: u32| -> Vec<u32> { (0..rng.below(most)).map(|_| rng.below(items as u32)).collect() };
    let mut lists = |most: u32| Csr::from_rows(items, (0..users).map(|_| some(most)).collect::<Vec<_>>());
    let (histories, masked, targets, candidates) = (lists(9), lists(9), lists(6), lists(120));
    let all: Vec<u32> = (0..users as u32).collect();
    let held = HeldOut::new(all.clone(), histories, &masked, &targets, Some(&candidates), RatedRows::default());
    let metrics: Vec<Metric> = ["ndcg@10", "hit@3", "auc_user", "novelty@10"].map(|m| m.parse().expect("a metric")).into();
    for trainer in &trainers {
        let model = trainer.model();
        let asked = Users::new(&all, held.histories()).range(3, 20);
        let Scores::Dense(dense) = model.score(&asked).expect("known users") else { panic!("dense scores") };
        let some = Csr::from_rows(items, (3..20).map(|u| candidates.row(u)));
        let listed = model.score_candidates(&asked, &some).expect("known users").expect("it can");
        let expected = (0..17).flat_map(|u| some.row(u).iter().map(move |&i| (u, i)));
        let expected: Vec<u32> = expected.map(|(u, i)| dense[u * items + i as usize].to_bits()).collect();
        assert_eq!(listed.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);

        let fast = evaluate(model, &held, &data, &metrics).expect("finite");
        let slow = evaluate(&AllItems(model), &held, &data, &metrics).expect("finite");
        assert_eq!(fast.values, slow.values);
        let bits = |e: &[(Metric, Vec<f64>)]| e.iter().flat_map(|m| m.1.iter().map(|v| v.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&fast.per_user), bits(&slow.per_user));
    }
}

fn saved(trainer: &dyn Trainer) -> StateReader {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.safetensors");
    let mut state = StateWriter::default();
    trainer.save(&mut state).expect("copied");
    state.write(&path).expect("written");
    StateReader::open(&path).expect("read")
}

#[test]
fn neumf_starts_from_gmf_and_mlp_with_the_mix_of_their_scores_and_from_nothing_else() {
    let data = data(9, 14);
    let gmf_config = GmfConfig { embedding_size: 6, init_std: 1.0, ..GmfConfig::default() };
    let mlp_config = MlpConfig { embedding_size: 5, hidden_sizes: vec![8, 4], init_std: 1.0, ..MlpConfig::default() };
    let (gmf, mlp) = (trainer::<Gmf>(&gmf_config, &data, 1), trainer::<Mlp>(&mlp_config, &data, 2));
    let config =
        |alpha| NeuMfConfig { embedding_size: 6, mlp_embedding_size: 5, hidden_sizes: vec![8, 4], alpha, ..NeuMfConfig::default() };
    for (alpha, turned) in [(0.5, false), (0.2, true), (1.0, false), (0.0, true)] {
        let neumf = trainer::<NeuMf>(&config(alpha), &data, 3);
        let sources = if turned { [saved(&mlp), saved(&gmf)] } else { [saved(&gmf), saved(&mlp)] };
        neumf.start_from(&sources).expect("of the right sizes");
        let mix = |(a, b): (&f64, &f64)| alpha * a + (1.0 - alpha) * b;
        let (a, b) = (scores(gmf.model(), &data), scores(mlp.model(), &data));
        let expected: Matrix = a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(mix).collect()).collect();
        assert_close(&scores(neumf.model(), &data), &expected, 1e-5, &format!("α = {alpha}"));
    }
    let neumf = trainer::<NeuMf>(&config(0.5), &data, 3);
    let refused = |sources: &[StateReader], kind: Kind, part: &str| {
        let error = neumf.start_from(sources).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Kind::exit_code_of(&error), kind.exit_code());
    };
    refused(&[saved(&gmf)], Kind::Usage, "names 1, of which 1 are of `gmf` and 0 of `mlp`");
    refused(&[saved(&mlp), saved(&mlp)], Kind::Usage, "of which 0 are of `gmf` and 2 of `mlp`");
    refused(&[saved(&gmf), saved(&neumf)], Kind::Usage, "of which 1 are of `gmf` and 0 of `mlp`");
    let deeper = trainer::<Mlp>(&MlpConfig { hidden_sizes: vec![8, 4, 4], ..mlp_config.clone() }, &data, 2);
    refused(&[saved(&gmf), saved(&deeper)], Kind::Data, "more hidden layers than this model, which has 2");
    let wider = trainer::<Gmf>(&GmfConfig { embedding_size: 7, ..gmf_config.clone() }, &data, 2);
    refused(&[saved(&wider), saved(&mlp)], Kind::Data, "`parameters/user_embedding` has the shape [9, 7], this model needs [9, 6]");
    let error = gmf.start_from(&[saved(&gmf)]).expect_err("it starts from nothing");
    assert!(error.to_string().contains("does not start from other runs"), "{error}");
}
