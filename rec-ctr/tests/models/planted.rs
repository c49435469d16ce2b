//! Each planted truth is recovered by the model of its order and not by those below it.

use std::time::Duration;

use rec_core::Model;
use rec_core::events::Events;
use rec_core::optim::{OptimizerConfig, Schedule};
use rec_core::rec_data::batch::{BatchOptions, FieldsBatch};
use rec_core::rec_data::generated::{Clicks, Truth};
use rec_core::rec_data::split::{SplitSpec, split};
use rec_core::rec_data::view::{Asking, Views, views};
use rec_core::tch::Device;
use rec_core::train::{GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_ctr::dcn::DcnConfig;
use rec_ctr::ffm::FfmConfig;
use rec_ctr::fm::FmConfig;
use rec_ctr::{Dcn, Ffm, Fm, Lr};

use super::{auc, generator};

/// Rows of `truth` with few categories, and the best AUC that their test part allows; without `all`, models see the fields that interact
/// alone.
fn planted(truth: Truth, rows: u32, all: bool) -> (Views, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let clicks = Clicks { truth, rows, seed: 3, most_categories: Some(4) };
    let data = clicks.read(folder.path()).expect("made");
    let split = split(&data, &SplitSpec::Published {}, None, 1).expect("splits");
    let interacting = ["C1", "C2", "C5", "C6", "C8", "C14", "C17", "C23"];
    let fields = Clicks::fields(1).into_iter().filter(|field| all || interacting.contains(&field.name.as_str())).collect();
    let asking = Asking { fields, labels_only: true, ..Asking::default() };
    (views(&data, None, &split, &asking, 1).expect("made"), clicks.bayes_auc(rows - rows / 10..rows))
}

/// The test AUC after `epochs`, in whose last third steps are a tenth as long.
fn learned<M: Model<Batch = FieldsBatch>>(config: &M::Config, views: &Views, epochs: u64) -> f64 {
    let schedule = Schedule::Step { every: epochs - epochs / 3, factor: 0.1 };
    let how = GradientConfig {
        optimizer: OptimizerConfig { learning_rate: 0.01, schedule, ..OptimizerConfig::default() },
        batch: BatchOptions { batch_size: 500, ..BatchOptions::default() },
    };
    let mut trainer = GradientTrainer::<M>::new(config, &how, &views.train, Device::Cpu, 5).expect("made");
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    (0..epochs).for_each(|epoch| {
        trainer.epoch(epoch, 0, &pause, &mut Events::default()).expect("learns");
    });
    auc(trainer.model(), views)
}

fn lr(views: &Views) -> f64 {
    learned::<Lr>(&Default::default(), views, 3)
}

fn fm(views: &Views) -> f64 {
    learned::<Fm>(&FmConfig { embedding_size: 4, init_std: 0.1, ..FmConfig::default() }, views, 4)
}

fn ffm(views: &Views) -> f64 {
    learned::<Ffm>(&FfmConfig { embedding_size: 2, init_std: 0.1 }, views, 4)
}

fn dcn(views: &Views) -> f64 {
    let config = DcnConfig { embedding_size: 4, num_layers: 2, hidden_sizes: Vec::new(), init_std: 0.3, ..DcnConfig::default() };
    learned::<Dcn>(&config, views, 6)
}

/// A model of the truth's order comes within `near` of the best AUC, and those below it stay `behind` it.
fn assert_order(truth: &str, bayes: f64, own: f64, below: &[f64], near: f64, behind: f64) {
    eprintln!("{truth}: best {bayes:.4}, the model of its order {own:.4}, those below {below:.4?}");
    assert!(own < bayes + 0.005 && own > bayes - near, "{truth}: {own} of {bayes}");
    assert!(below.iter().all(|auc| *auc < own - behind), "{truth}: {below:?} below {own}");
}

#[test]
fn each_planted_truth_is_recovered_by_the_model_of_its_order_and_not_below_it() {
    let _alone = generator();
    let (views, bayes) = planted(Truth::Linear, 40_000, true);
    assert_order("linear", bayes, lr(&views), &[], 0.01, 0.0);
    let (views, bayes) = planted(Truth::Shared, 100_000, false);
    assert_order("shared", bayes, fm(&views), &[lr(&views)], 0.03, 0.06);
    let (views, bayes) = planted(Truth::ByField, 100_000, false);
    assert_order("by field", bayes, ffm(&views), &[fm(&views)], 0.03, 0.015);
    let (views, bayes) = planted(Truth::ThirdOrder, 100_000, false);
    assert_order("third order", bayes, dcn(&views), &[fm(&views), ffm(&views)], 0.045, 0.03);
}
