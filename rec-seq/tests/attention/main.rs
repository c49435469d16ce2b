//! SASRec, BERT4Rec and CL4SRec against `reference/`, and what a user may rely on: order matters, repeats, resumes, refusals.

mod cl4srec;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::loss::LossConfig;
use rec_core::optim::OptimizerConfig;
use rec_core::params::{Parameter, slice, slice_mut};
use rec_core::rec_data::batch::{Batch, BatchOptions, SequencesBatch};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Kind, Vocabulary};
use rec_core::tch::{Device, no_grad};
use rec_core::train::{EpochEnd, GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_core::{Model, ModelConfig, Params, Score, Scores, Users};
use rec_seq::bert4rec::Bert4RecConfig;
use rec_seq::sasrec::SasRecConfig;
use rec_seq::{Bert4Rec, Positions, SasRec};
use serde_json::Value;

/// Libtorch's generator is one for the process: who draws from it holds this.
fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Steps this small are slower on more.
    rec_core::tch::set_num_threads(1);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A view of users' sequences.
fn view(items: usize, sequences: &[Vec<u32>]) -> Arc<TrainView> {
    let rows = || (0u32..).zip(sequences).flat_map(|(user, items)| items.iter().map(move |&item| (user, item)));
    let data = Interactions {
        users: rows().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows().map(|r| r.1).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(sequences.len()),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    };
    data.check("the test's data").expect("sound");
    Arc::new(TrainView::of_all(&data))
}

fn scores(model: &dyn Score, histories: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let histories_of = Csr::from_rows(model.num_items(), histories).into();
    let ids = vec![Users::NEW; histories.len()];
    let Scores::Factors(factors) = model.score(&Users::new(&ids, &histories_of)).expect("scores histories") else {
        panic!("both models give factors")
    };
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let bias = factors.item_bias.as_deref().map_or(vec![0.0; model.num_items()], wide);
    let one = |user: &[f32]| -> Vec<f64> {
        let items = factors.items.chunks(factors.dim).zip(&bias);
        items.map(|(item, bias)| wide(user).iter().zip(wide(item)).map(|(a, b)| a * b).sum::<f64>() + bias).collect()
    };
    factors.users.chunks(factors.dim).map(one).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a number") as u32).collect()
}

fn lists(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().expect("lists").iter().map(ids).collect()
}

fn near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

/// Gives the parameters the case's values.
fn fill(params: &Params, case: &Value, what: &str) {
    for parameter in params.list() {
        let (tensor, given) = (parameter.tensor(), numbers(&case["parameters"][parameter.name()]));
        // SAFETY: nothing else looks at the parameters here.
        let values = unsafe { slice_mut(&tensor) };
        assert_eq!(values.len(), given.len(), "{what}: {}", parameter.name());
        values.iter_mut().zip(given).for_each(|(to, from)| *to = from as f32);
    }
    assert_eq!(params.list().len(), case["parameters"].as_object().expect("by name").len(), "{what}");
}

/// Compares what `backward` left with the case's gradients. Of a table, only the rows that a step took have one.
fn check_gradients(params: &Params, case: &Value, what: &str) {
    let gradients = params.gradients().expect("on the CPU");
    for (parameter, (name, found)) in params.list().iter().zip(&gradients) {
        assert_eq!(&parameter.name(), name, "{what}");
        let expected = numbers(&case["gradients"][name]);
        let largest = expected.iter().fold(0.03, |most: f64, v| most.max(v.abs()));
        let mut found: Vec<f64> = slice(found).iter().map(|&v| f64::from(v)).collect();
        let mut expected_rows = expected.clone();
        if let Parameter::Table(table) = parameter {
            // A table's gradient holds the rows that the step took, in an order of its own: rows are compared as sets.
            let sort = |values: &[f64]| {
                let mut rows: Vec<Vec<f64>> = values.chunks(table.num_columns()).map(<[f64]>::to_vec).collect();
                rows.retain(|row| row.iter().any(|v| v.abs() > 1e-7));
                rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
                rows.concat()
            };
            (found, expected_rows) = (sort(&found), sort(&expected));
        }
        near(&found, &expected_rows, 1e-4 * largest, &format!("{what}: the gradient of {name}"));
    }
}

fn check<M: Model<Batch = SequencesBatch>>(case: &Value) {
    let what = format!("{} {}", case["model"], case["config"]);
    let sequences = lists(&case["sequences"]);
    let data = view(9, &sequences);
    let config: M::Config = serde_json::from_value(case["config"].clone()).expect("a config");
    config.check().expect("a config that trains");
    let mut params = Params::new(Device::Cpu, 1);
    let model = M::new(&config, &data, &mut params).expect("made");
    fill(&params, case, &what);

    let mut starts = vec![0];
    sequences.iter().for_each(|s| starts.push(starts[starts.len() - 1] + s.len()));
    let (users, keys) = (vec![0, 1, 2], vec![5, 6, 7]);
    let batch = SequencesBatch { users, starts, items: sequences.concat(), values: Vec::new(), negatives: ids(&case["negatives"]), keys };
    let loss = model.loss(&batch).expect("ids are in range");
    let (found, expected) = (loss.double_value(&[]), case["loss"].as_f64().expect("a number"));
    assert!((found / expected - 1.0).abs() < 1e-5, "{what}: the loss is {found} where the formulas give {expected}");
    loss.backward();
    check_gradients(&params, case, &what);

    let expected: Vec<Vec<f64>> = case["scores"].as_array().expect("rows").iter().map(numbers).collect();
    for (at, (found, expected)) in scores(&model, &lists(&case["histories"])).iter().zip(&expected).enumerate() {
        near(found, expected, 1e-4, &format!("{what}: scores of history {at}"));
    }
}

#[test]
fn losses_gradients_and_scores_are_those_of_pytorch_in_f64() {
    let _held = generator();
    let cases: Vec<Value> = serde_json::from_str(include_str!("../reference/attention.json")).expect("JSON");
    assert_eq!(cases.len(), 12);
    for case in &cases {
        match case["model"].as_str().expect("a name") {
            "sasrec" => check::<SasRec>(case),
            "bert4rec" => check::<Bert4Rec>(case),
            other => panic!("which model is {other}?"),
        }
    }
}

const ITEMS: u32 = 30;

/// Each user walks round the items, up to `longest` steps at a time: the last step tells the next one.
fn walks(longest: u32) -> Vec<Vec<u32>> {
    let mut rng = Rng::keyed(3, Stream::Split, 0, 0);
    let mut one = || {
        let (start, step, length) = (rng.below(ITEMS), 1 + rng.below(longest), 5 + rng.below(6));
        (0..length).map(|at| (start + at * step) % ITEMS).collect()
    };
    (0..200).map(|_| one()).collect()
}

fn how(num_negatives: usize) -> GradientConfig {
    let optimizer = OptimizerConfig { learning_rate: 0.01, ..OptimizerConfig::default() };
    GradientConfig { optimizer, batch: BatchOptions { batch_size: 16, num_negatives, ..BatchOptions::default() } }
}

fn epochs<M: Model>(trainer: &mut GradientTrainer<M>, range: std::ops::Range<u64>) -> Vec<f64> {
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    let one = |epoch| match trainer.epoch(epoch, 0, &pause, &mut Events::silent()).expect("converges") {
        EpochEnd::Done { loss, .. } => loss.expect("on the CPU every step is looked at"),
        EpochEnd::Paused { .. } => panic!("nobody asked for a pause"),
    };
    range.map(one).collect()
}

/// How hard the walks are, and how long they are learned.
#[derive(Clone, Copy)]
struct Hard {
    longest: u32,
    epochs: u64,
    learning_rate: f64,
}

/// The next item of walks of all kinds is among the `best` first that are not in the history. Negatives are never a user's own items,
/// so losses of pairs do not learn to tell the next item from the one after it.
fn follows<M: Model>(name: &str, config: &M::Config, num_negatives: usize, best: usize, hard: Hard) {
    let data = view(ITEMS as usize, &walks(hard.longest));
    let mut how = how(num_negatives);
    how.optimizer.learning_rate = hard.learning_rate;
    let mut trainer = GradientTrainer::<M>::new(config, &how, &data, Device::Cpu, 1).expect("made");
    let losses = epochs(&mut trainer, 0..hard.epochs);
    assert!(losses[losses.len() - 1] < 0.85 * losses[0], "{name}: {:?} of {:?}", losses.last(), losses[0]);
    let histories: Vec<Vec<u32>> =
        (0..ITEMS).flat_map(|i| (1..=hard.longest).map(move |step| (0..4).map(|at| (i + at * step) % ITEMS).collect())).collect();
    let mut right = 0;
    for (history, scores) in histories.iter().zip(scores(trainer.model(), &histories)) {
        let next = (2 * history[3] + ITEMS - history[2]) % ITEMS;
        let better = |item: &u32| !history.contains(item) && scores[*item as usize] > scores[next as usize];
        right += usize::from((0..ITEMS).filter(better).count() < best);
    }
    let share = right as f64 / histories.len() as f64;
    assert!(share >= 0.9, "{name}: {share} of the next items are among the first {best}");
}

fn small() -> SasRecConfig {
    SasRecConfig { embedding_size: 16, max_len: 8, dropout: 0.1, loss: LossConfig::CrossEntropy {}, ..SasRecConfig::default() }
}

fn small_bert() -> Bert4RecConfig {
    Bert4RecConfig { embedding_size: 16, max_len: 10, last_mask_share: 0.5, dropout: 0.05, ..Bert4RecConfig::default() }
}

#[test]
fn the_next_item_of_a_walk_comes_first() {
    let _held = generator();
    let two = Hard { longest: 2, epochs: 30, learning_rate: 0.01 };
    follows::<SasRec>("all items", &small(), 1, 1, two);
    let bce = LossConfig::WeightedBce { positive_weight: 1.0 };
    follows::<SasRec>("bce", &SasRecConfig { loss: bce, ..small() }, 4, 3, two);
    follows::<SasRec>("gbce", &SasRecConfig { loss: bce, calibration: 0.75, ..small() }, 4, 3, two);
    follows::<SasRec>("relative positions", &SasRecConfig { positions: Positions::Relative, ..small() }, 1, 1, two);
    follows::<SasRec>("sampled softmax", &SasRecConfig { loss: LossConfig::SampledSoftmax { log_q: false }, ..small() }, 4, 3, two);
    follows::<Bert4Rec>("bert4rec", &small_bert(), 1, 1, Hard { longest: 1, epochs: 120, learning_rate: 0.003 });
}

fn trained<M: Model>(config: &M::Config) -> Vec<u32> {
    let data = view(ITEMS as usize, &walks(2));
    let mut trainer = GradientTrainer::<M>::new(config, &how(2), &data, Device::Cpu, 1).expect("made");
    epochs(&mut trainer, 0..2);
    trainer.params().list().iter().flat_map(|p| slice(&p.tensor().detach()).iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
}

#[test]
fn a_training_repeats_to_the_bit_with_dropout_and_masks() {
    let _held = generator();
    assert_eq!(trained::<SasRec>(&small()), trained::<SasRec>(&small()));
    assert_eq!(trained::<Bert4Rec>(&small_bert()), trained::<Bert4Rec>(&small_bert()));
    let relative = Bert4RecConfig { positions: Positions::Relative, ..small_bert() };
    assert_eq!(trained::<Bert4Rec>(&relative), trained::<Bert4Rec>(&relative));
}

/// How much the scores of a history change, as a share of the largest, when its first items come in another order: after ten epochs.
fn change_by_order<M: Model>(config: &M::Config) -> f64 {
    let data = view(ITEMS as usize, &walks(2));
    let mut trainer = GradientTrainer::<M>::new(config, &how(2), &data, Device::Cpu, 1).expect("made");
    epochs(&mut trainer, 0..10);
    let rows = scores(trainer.model(), &[vec![4, 9, 7, 20, 2], vec![20, 4, 7, 9, 2]]);
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most: f64, v| most.max(v.abs()));
    largest(&mut rows[0].iter().zip(&rows[1]).map(|(a, b)| a - b)) / largest(&mut rows[0].iter().copied())
}

#[test]
fn the_order_of_a_history_counts_unless_nothing_tells_positions() {
    let _held = generator();
    let changes = |positions| {
        // In one layer the last item looks at a set; in more, what is between sees an order even where nothing tells positions.
        let sasrec = SasRecConfig { positions, num_layers: 1, ..small() };
        [change_by_order::<SasRec>(&sasrec), change_by_order::<Bert4Rec>(&Bert4RecConfig { positions, ..small_bert() })]
    };
    for positions in [Positions::FromEnd, Positions::FromStart, Positions::Relative] {
        let changes = changes(positions);
        assert!(changes.iter().all(|&change| change > 1e-4), "{positions:?}: {changes:?}");
    }
    let changes = changes(Positions::None);
    assert!(changes.iter().all(|&change| change < 1e-5), "none: {changes:?}");
}

#[test]
fn a_score_does_not_depend_on_who_is_asked_about_along_with_it() {
    let _held = generator();
    let data = view(ITEMS as usize, &walks(2));
    let mut params = Params::new(Device::Cpu, 1);
    let model = SasRec::new(&small(), &data, &mut params).expect("made");
    let histories: Vec<Vec<u32>> = (0..700).map(|i| (0..i % 11).map(|at| (i * 7 + at * 5) % ITEMS).collect()).collect();
    let together = scores(&model, &histories);
    for at in [0, 1, 255, 256, 500, 699] {
        near(&scores(&model, &histories[at..=at])[0], &together[at], 1e-5, "alone");
    }
    assert!(together[0].iter().all(|&s| s == 0.0), "no history, no preference");
}

#[test]
fn sequences_are_the_last_items_in_order_with_negatives_that_are_not_the_users() {
    let sequences = vec![vec![3, 1, 4, 1, 5], vec![2], vec![0, 6, 2, 7]];
    let data = view(9, &sequences);
    let options = BatchOptions { batch_size: 2, num_negatives: 3, max_len: 3, ..BatchOptions::default() };
    let source = SequencesBatch::source(&data, &options).expect("sizes are fine");
    let batch = source.epoch(4).batch(0);
    assert_eq!(batch, source.epoch(4).batch(0));
    assert_ne!(batch.negatives, source.epoch(5).batch(0).negatives);
    let mut users = batch.users.clone();
    users.sort_unstable();
    assert_eq!(users, [0, 2], "one row is no sequence");
    for (at, &user) in batch.users.iter().enumerate() {
        let all = &sequences[user as usize];
        let range = batch.starts[at]..batch.starts[at + 1];
        assert_eq!(batch.items[range.clone()], all[all.len() - 4..]);
        assert!(batch.negatives[3 * range.start..3 * range.end].iter().all(|item| !all.contains(item)));
    }
    for wrong in [BatchOptions { batch_size: 0, ..options.clone() }, BatchOptions { max_len: 0, ..options.clone() }] {
        assert!(SequencesBatch::source(&data, &wrong).is_err());
    }
}

#[test]
fn a_config_out_of_range_is_refused_with_a_sentence_that_names_the_key() {
    let _held = generator();
    let refused = |config: SasRecConfig, part: &str| {
        let error = config.check().expect_err("out of range");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    };
    refused(SasRecConfig { num_heads: 3, ..small() }, "`num_heads` is 3");
    refused(SasRecConfig { max_len: 0, ..small() }, "`max_len` is 0");
    refused(SasRecConfig { dropout: 1.0, ..small() }, "`dropout` is 1");
    refused(SasRecConfig { attention_dropout: Some(-0.1), ..small() }, "`attention_dropout` is -0.1");
    refused(SasRecConfig { calibration: 0.5, ..small() }, "`calibration` is 0.5");
    refused(SasRecConfig { num_layers: 0, ..small() }, "`num_layers` is 0");
    assert!(Bert4RecConfig { mask_share: 1.0, ..small_bert() }.check().is_err());
    assert!(Bert4RecConfig { max_len: 1, ..small_bert() }.check().is_err());
    let data = view(ITEMS as usize, &walks(2));
    let mut params = Params::new(Device::Cpu, 1);
    let config = SasRecConfig { loss: LossConfig::Bpr {}, ..small() };
    let model = SasRec::new(&config, &data, &mut params).expect("made");
    let batch = SequencesBatch::source(&data, &BatchOptions { num_negatives: 0, max_len: 8, ..BatchOptions::default() }).expect("made");
    let error = no_grad(|| model.loss(&batch.epoch(0).batch(0))).expect_err("a loss of pairs has nothing to compare with");
    assert!(error.to_string().contains("`num_negatives` is 0"), "{error}");
}
