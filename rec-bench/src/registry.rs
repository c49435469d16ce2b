//! Models by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use rec_core::model::{Fit, Model, ModelConfig};
use rec_core::tch::Device;
use rec_core::train::{FitTrainer, GradientConfig, GradientTrainer, Trainer};
use rec_data::problem::did_you_mean;
use rec_data::view::TrainView;
use rec_data::{fail, require};

use crate::section::read_section;

/// Models that the command line knows.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
}

/// One model.
pub struct Entry {
    /// What it is, in a few words.
    pub about: String,
    /// Whether it learns by gradients, and so has `[optimizer]` and `[batch]`.
    pub by_gradients: bool,
    /// Whether one pass is all there is.
    pub one_pass: bool,
    defaults: fn() -> Result<toml::Table>,
    resolve: fn(&toml::Table) -> Result<toml::Table>,
    build: Build,
}

/// Makes a trainer from `[model]`, the gradient sections, data, device and seed.
type Build = fn(&toml::Table, &GradientConfig, &Arc<TrainView>, Device, u64) -> Result<Box<dyn Trainer>>;

impl Registry {
    /// The models of this workspace.
    pub fn of_workspace() -> Self {
        let mut registry = Self::default();
        registry.fit::<rec_cf::Popularity>("popularity", "what most training rows have");
        registry.fit::<rec_cf::ItemKnn>("item-knn", "items like those of the history");
        registry.fit::<rec_cf::UserKnn>("user-knn", "items of the users most alike");
        registry.fit::<rec_cf::Ease>("ease", "item–item linear model in closed form");
        registry.fit::<rec_cf::Ials>("ials", "implicit alternating least squares");
        registry.fit::<rec_cf::BprSgd>("bpr-sgd", "matrix factorisation, pairwise loss, one update a triple");
        registry.fit::<rec_cf::LogisticMf>("logistic-mf", "matrix factorisation, logistic loss, one update a sample");
        registry.fit::<rec_cf::BiasedMf>("biased-mf", "matrix factorisation with biases, for ratings");
        registry.fit::<rec_cf::SvdPp>("svd-pp", "SVD++, for ratings");
        registry.gradient::<rec_cf::Bpr>("bpr", "matrix factorisation, pairwise loss, mini-batches");
        registry.gradient::<rec_cf::Gmf>("gmf", "matrix factorisation, weighted product, log loss");
        registry.gradient::<rec_cf::Mlp>("mlp", "perceptron over a user's and an item's vector");
        registry.gradient::<rec_cf::NeuMf>("neumf", "GMF and MLP joined in one prediction");
        registry.gradient::<rec_autoencoder::Autoencoder>("autoencoder", "autoencoder over users' rows, every item an output");
        registry.gradient::<rec_autoencoder::DenoisingAutoencoder>("denoising-autoencoder", "the same, shown a corrupted row");
        registry.gradient::<rec_autoencoder::ItemAutoRec>("i-autorec", "AutoRec by item, for ratings");
        registry.gradient::<rec_autoencoder::UserAutoRec>("u-autorec", "AutoRec by user, for ratings");
        registry.gradient::<rec_autoencoder::Cdae>("cdae", "denoising autoencoder with a user node, sampled outputs");
        registry.gradient::<rec_autoencoder::MultDae>("mult-dae", "denoising autoencoder, multinomial likelihood");
        registry.gradient::<rec_autoencoder::MultVae>("mult-vae", "variational autoencoder, multinomial likelihood");
        registry.gradient::<rec_seq::Fpmc>("fpmc", "factorised Markov chain of the last item, plus matrix factorisation");
        registry.gradient::<rec_seq::YoutubeCandidates>("youtube-candidates", "layers over the mean of a user's items, sampled softmax");
        registry.gradient::<rec_seq::SasRec>("sasrec", "self-attention over a user's last items");
        registry.gradient::<rec_seq::Cl4SRec>("cl4srec", "SASRec that tells users apart by two augmented views of each");
        registry.gradient::<rec_seq::Bert4Rec>("bert4rec", "bidirectional self-attention that fills in masked items");
        registry.fit::<rec_cf::Slim>("slim", "item–item linear model with few weights, by coordinate descent");
        registry.gradient::<rec_graph::LightGcn>("lightgcn", "vectors that move along the graph's edges as they are");
        registry.gradient::<rec_graph::Gcn>("gcn", "graph convolutions with a transform and an activation");
        registry.gradient::<rec_graph::Ngcf>("ngcf", "messages along edges that hold the product of both ends");
        registry.gradient::<rec_graph::SimGcl>("simgcl", "LightGCN that knows its nodes again under noise");
        registry.gradient::<rec_graph::UltraGcn>("ultragcn", "a weighted loss instead of propagation");
        registry.gradient::<rec_graph::XSimGcl>("xsimgcl", "the same with one noisy pass");
        registry.fit::<rec_seq::SessionPopularity>("session-popularity", "what the session has most often, then what all have");
        registry.fit::<rec_seq::AssociationRules>("association-rules", "what stands in a session with the last item");
        registry.fit::<rec_seq::SequentialRules>("sequential-rules", "what comes after the last item, nearer ones more");
        registry.fit::<rec_seq::MarkovChain>("markov-chain", "what comes right after the last item");
        registry.fit::<rec_seq::ItemKnnLast>("item-knn-last", "items whose sessions are those of the last item");
        registry.fit::<rec_seq::SessionKnn>("session-knn", "items of the sessions most alike");
        registry.fit::<rec_seq::Vsknn>("vsknn", "items of the sessions most alike, late items weighing more");
        registry.gradient::<rec_seq::Gru4Rec>("gru4rec", "recurrent network (GRU, LSTM, RNN) over sessions in parallel");
        registry.gradient::<rec_seq::Narm>("narm", "GRU over a session with attention to its states");
        registry.gradient::<rec_seq::Sqn>("sqn", "next-item prediction with a Q-learning head beside it");
        registry.gradient::<rec_seq::Sac>("sac", "the same, the prediction's loss weighted by the learnt Q-values");
        registry.gradient::<rec_seq::Reinforce>("reinforce", "policy gradient with off-policy and top-K correction");
        registry.fit::<rec_ctr::Rate>("rate", "how often rows with a feature have the label");
        registry.gradient::<rec_ctr::Lr>("lr", "logistic regression over all features of a row");
        registry.gradient::<rec_ctr::Poly2>("poly2", "the same with a weight for every pair of features");
        registry.gradient::<rec_ctr::Fm>("fm", "factorisation machine: products of the fields' vectors");
        registry.gradient::<rec_ctr::FwFm>("fwfm", "the same, each pair of fields weighted");
        registry.gradient::<rec_ctr::Ffm>("ffm", "the same, a vector for each field that a feature meets");
        registry.fit::<rec_ctr::FfmSgd>("ffm-sgd", "FFM by one AdaGrad update a row, as libffm");
        registry.gradient::<rec_ctr::WideDeep>("wide-deep", "linear with declared crosses, beside a perceptron");
        registry.gradient::<rec_ctr::DeepFm>("deepfm", "factorisation machine beside a perceptron, vectors shared");
        registry.gradient::<rec_ctr::Dcn>("dcn", "cross layers beside a perceptron (DCNv2)");
        registry.gradient::<rec_ctr::AutoInt>("autoint", "self-attention among the fields of a row");
        registry.gradient::<rec_ctr::Din>("din", "past items weighted by the item asked about");
        registry.gradient::<rec_ctr::YoutubeRanker>("youtube-ranker", "perceptron whose odds are the expected watch time");
        registry.gradient::<rec_ctr::Bst>("bst", "transformer over past items and the item asked about");
        registry
    }

    /// Adds a model that learns by gradients.
    pub fn gradient<M: Model>(&mut self, name: &str, about: &str) {
        let entry = Entry {
            about: about.into(),
            by_gradients: true,
            one_pass: false,
            defaults: defaults::<M::Config>,
            resolve: resolve::<M::Config>,
            build: |model, how, data, device, seed| {
                Ok(Box::new(GradientTrainer::<M>::new(&read_section("model", model)?, how, data, device, seed)?))
            },
        };
        self.entries.insert(name.into(), entry);
    }

    /// Adds a model that knows itself how it learns.
    pub fn fit<M: Fit>(&mut self, name: &str, about: &str) {
        let entry = Entry {
            about: about.into(),
            by_gradients: false,
            one_pass: M::ONE_PASS,
            defaults: defaults::<M::Config>,
            resolve: resolve::<M::Config>,
            build: |model, _, data, _, seed| Ok(Box::new(FitTrainer::<M>::new(&read_section("model", model)?, data, seed)?)),
        };
        self.entries.insert(name.into(), entry);
    }

    /// The model called `name`.
    ///
    /// # Errors
    /// a usage problem that names the nearest one.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        match self.entries.get(name) {
            Some(entry) => Ok(entry),
            None => fail!(
                Usage,
                "no model is called `{name}`{}; there are {}",
                did_you_mean(name, self.names()),
                self.names().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Names of all models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// All models by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}

impl Entry {
    /// The hyper-parameters' default values.
    ///
    /// # Errors
    /// where they cannot be written as TOML.
    pub fn defaults(&self) -> Result<toml::Table> {
        (self.defaults)()
    }

    /// `model` with defaults filled in, checked.
    ///
    /// # Errors
    /// a usage problem that names the key.
    pub fn resolve(&self, model: &toml::Table) -> Result<toml::Table> {
        (self.resolve)(model)
    }

    /// A trainer for `data`.
    ///
    /// # Errors
    /// a usage problem of the config, or where the data has not what the model needs.
    pub fn build(
        &self,
        model: &toml::Table,
        how: &GradientConfig,
        data: &Arc<TrainView>,
        device: Device,
        seed: u64,
    ) -> Result<Box<dyn Trainer>> {
        require!(seed <= i64::MAX as u64, Usage, "`seed` is {seed}: it must be at most {}", i64::MAX);
        (self.build)(model, how, data, device, seed)
    }
}

fn defaults<C: ModelConfig>() -> Result<toml::Table> {
    Ok(toml::Table::try_from(C::default())?)
}

fn resolve<C: ModelConfig>(model: &toml::Table) -> Result<toml::Table> {
    let config: C = read_section("model", model)?;
    config.check()?;
    Ok(toml::Table::try_from(config)?)
}
