//! Planted truths are recovered by the model of their order and not by those below it.

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
use rec_ctr::ffm::FfmConfig;
use rec_ctr::fm::FmConfig;
use rec_ctr::{Ffm, Fm, Lr};

use super::{auc, generator};

/// 20,000 rows of `truth` with few categories, and the best AUC that their test part allows.
fn planted(truth: Truth) -> (Views, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let clicks = Clicks { truth, rows: 20_000, seed: 3, most_categories: Some(4) };
    let data = clicks.read(folder.path()).expect("made");
    let split = split(&data, &SplitSpec::Published {}, None, 1).expect("splits");
    let asking = Asking { fields: Clicks::fields(1), labels_only: true, ..Asking::default() };
    (views(&data, None, &split, &asking, 1).expect("made"), clicks.bayes_auc(18_000..20_000))
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

#[test]
fn planted_truths_are_recovered_by_the_model_of_their_order_and_not_below_it() {
    let _alone = generator();
    let (linear, bayes) = planted(Truth::Linear);
    let gap = bayes - lr(&linear);
    assert!(gap < 0.02, "linear: LR lacks {gap}");
    // Few rows leave a gap to the best of all; that of the model below is much wider.
    let (shared, bayes) = planted(Truth::Shared);
    let gaps = [bayes - lr(&shared), bayes - fm(&shared)];
    assert!(gaps[0] > 0.06 && gaps[1] < 0.7 * gaps[0], "shared: LR and FM lack {gaps:?}");
    let (by_field, bayes) = planted(Truth::ByField);
    let gaps = [bayes - fm(&by_field), bayes - ffm(&by_field)];
    assert!(gaps[0] > 0.06 && gaps[1] < 0.8 * gaps[0], "by field: FM and FFM lack {gaps:?}");
}
