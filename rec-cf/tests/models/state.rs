//! What a saved model is after it is loaded, and what threads change: nothing.

use std::sync::Arc;

use rec_cf::bpr::BprConfig;
use rec_cf::bpr_sgd::BprSgdConfig;
use rec_cf::gmf::GmfConfig;
use rec_cf::ials::{IalsConfig, Solver};
use rec_cf::item2vec::{Item2VecConfig, Method};
use rec_cf::knn::{ItemKnnConfig, UserKnnConfig};
use rec_cf::logistic_mf::LogisticMfConfig;
use rec_cf::mlp::MlpConfig;
use rec_cf::neumf::NeuMfConfig;
use rec_cf::pure_svd::PureSvdConfig;
use rec_cf::rp3_beta::Rp3BetaConfig;
use rec_cf::slim::SlimConfig;
use rec_cf::{
    BiasedMf, Bpr, BprSgd, Ease, Gmf, Ials, Item2Vec, ItemKnn, LogisticMf, Mlp, NeuMf, Popularity, PureSvd, Rp3Beta, Slim, SvdPp, UserKnn,
};
use rec_core::rec_data::Kind;
use rec_core::rec_data::batch::BatchOptions;
use rec_core::rec_data::view::TrainView;
use rec_core::state::{StateReader, StateWriter};
use rec_core::tch::Device;
use rec_core::train::{FitTrainer, GradientConfig, GradientTrainer, Trainer};
use rec_core::{Fit, Model};

use crate::data::{Matrix, predictions, rated, run_epoch, scores, view};

type Make = fn(&Arc<TrainView>) -> Box<dyn Trainer>;

const SEED: u64 = 6;

fn fit<M: Fit>(config: &M::Config, data: &Arc<TrainView>) -> Box<dyn Trainer> {
    Box::new(FitTrainer::<M>::new(config, data, SEED).expect("the data has what the model needs"))
}

fn gradient<M: Model>(config: &M::Config, data: &Arc<TrainView>) -> Box<dyn Trainer> {
    let how = GradientConfig { batch: BatchOptions { batch_size: 40, ..BatchOptions::default() }, ..GradientConfig::default() };
    Box::new(GradientTrainer::<M>::new(config, &how, data, Device::Cpu, SEED).expect("made"))
}

/// Every model of this crate, with a trainer.
const MODELS: [(&str, Make); 19] = [
    ("popularity", |data| fit::<Popularity>(&Default::default(), data)),
    ("rp3-beta", |data| fit::<Rp3Beta>(&Rp3BetaConfig { neighbours: 5, ..Rp3BetaConfig::default() }, data)),
    ("slim", |data| fit::<Slim>(&SlimConfig::default(), data)),
    ("item-knn", |data| fit::<ItemKnn>(&ItemKnnConfig { neighbours: 5, item_means: true, ..ItemKnnConfig::default() }, data)),
    ("user-knn", |data| fit::<UserKnn>(&UserKnnConfig { neighbours: 5, ..UserKnnConfig::default() }, data)),
    ("ease", |data| fit::<Ease>(&Default::default(), data)),
    ("ials", |data| fit::<Ials>(&IalsConfig { embedding_size: 6, ..IalsConfig::default() }, data)),
    ("ials by conjugate gradients", |data| {
        let solver = Solver::ConjugateGradient { steps: 2 };
        fit::<Ials>(&IalsConfig { embedding_size: 18, solver, ..IalsConfig::default() }, data)
    }),
    ("biased-mf", |data| fit::<BiasedMf>(&Default::default(), data)),
    ("svd-pp", |data| fit::<SvdPp>(&Default::default(), data)),
    ("bpr-sgd", |data| fit::<BprSgd>(&BprSgdConfig { learning_rate: 0.05, ..BprSgdConfig::default() }, data)),
    ("logistic-mf", |data| fit::<LogisticMf>(&LogisticMfConfig { embedding_size: 17, ..LogisticMfConfig::default() }, data)),
    ("item2vec", |data| fit::<Item2Vec>(&Item2VecConfig { window: 3, sample: 0.02, ..Item2VecConfig::default() }, data)),
    ("item2vec in blocks", |data| {
        let config = Item2VecConfig { method: Method::Cbow, blocks: 4, block_size: 9, sample: 0.02, ..Item2VecConfig::default() };
        fit::<Item2Vec>(&config, data)
    }),
    ("pure-svd", |data| fit::<PureSvd>(&PureSvdConfig { embedding_size: 6, ..PureSvdConfig::default() }, data)),
    ("bpr", |data| gradient::<Bpr>(&BprConfig { embedding_size: 7, l2: 0.01, ..BprConfig::default() }, data)),
    ("gmf", |data| gradient::<Gmf>(&GmfConfig { embedding_size: 7, init_std: 0.5, ..GmfConfig::default() }, data)),
    ("mlp", |data| gradient::<Mlp>(&MlpConfig { hidden_sizes: vec![17, 5], dropout: 0.3, init_std: 0.5, ..MlpConfig::default() }, data)),
    ("neumf", |data| gradient::<NeuMf>(&NeuMfConfig { dropout: 0.3, init_std: 0.5, l2: 0.01, ..NeuMfConfig::default() }, data)),
];

/// All that the model answers. From f32 to f64 nothing is lost, so equal answers are equal bits.
fn answers(trainer: &dyn Trainer, data: &TrainView) -> (Matrix, Option<Matrix>, Option<Vec<f32>>) {
    let model = trainer.model();
    let rated = model.pair_score().map(|_| predictions(model, data));
    (scores(model, data), rated, model.item_vectors().map(|v| v.values.into_owned()))
}

#[test]
fn a_model_that_was_saved_and_loaded_answers_the_same_and_goes_on_the_same() {
    let data = rated();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, make) in MODELS {
        let path = folder.path().join(format!("{name}.safetensors"));
        let mut trainer = make(&data);
        let epochs = trainer.epochs().unwrap_or(2);
        (0..epochs).for_each(|epoch| run_epoch(&mut *trainer, epoch));
        let mut out = StateWriter::default();
        trainer.save(&mut out).expect("saves");
        out.write(&path).expect("written");
        let trained = answers(&*trainer, &data);

        let mut loaded = make(&data);
        loaded.load(&StateReader::open(&path).expect("read")).expect("the same model's state");
        assert_eq!(answers(&*loaded, &data), trained, "{name}");
        if trainer.epochs().is_none() {
            assert_ne!(answers(&*make(&data), &data), trained, "{name}: two epochs change something");
            run_epoch(&mut *trainer, epochs);
            run_epoch(&mut *loaded, epochs);
            assert_ne!(answers(&*trainer, &data), trained, "{name}: a third epoch changes something");
            assert_eq!(answers(&*loaded, &data), answers(&*trainer, &data), "{name}, one epoch later");
        }
    }
}

#[test]
fn the_state_of_another_model_is_refused() {
    let data = rated();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("popularity.safetensors");
    let mut out = StateWriter::default();
    MODELS[0].1(&data).save(&mut out).expect("saves");
    out.write(&path).expect("written");
    let state = StateReader::open(&path).expect("read");
    // User-kNN keeps nothing but its data.
    for (name, make) in MODELS.iter().filter(|m| !["popularity", "user-knn"].contains(&m.0)) {
        let Err(error) = make(&data).load(&state) else { panic!("{name} took the state of popularity") };
        assert_eq!(Kind::exit_code_of(&error), Kind::Data.exit_code(), "{name}: {error}");
    }
}

#[test]
fn training_is_the_same_bits_every_time_and_on_one_two_and_three_threads() {
    let data = rated();
    for (name, make) in MODELS {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| {
                let mut trainer = make(&data);
                (0..trainer.epochs().unwrap_or(2)).for_each(|epoch| run_epoch(&mut *trainer, epoch));
                answers(&*trainer, &data)
            })
        };
        let one = on(1);
        for threads in [1, 2, 3] {
            assert_eq!(on(threads), one, "{name} on {threads} threads");
        }
    }
}

#[test]
fn models_of_ratings_refuse_data_without_ratings() {
    let data = view(vec![(0, 1), (1, 2)], None);
    let error = FitTrainer::<BiasedMf>::new(&Default::default(), &data, 1).err().expect("there are no ratings");
    assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    let error = FitTrainer::<SvdPp>::new(&Default::default(), &data, 1).err().expect("there are no ratings");
    assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
    let config = ItemKnnConfig { use_values: true, ..ItemKnnConfig::default() };
    let error = FitTrainer::<ItemKnn>::new(&config, &data, 1).err().expect("there are no ratings");
    assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code());
}
