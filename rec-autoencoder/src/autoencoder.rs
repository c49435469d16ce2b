//! Autoencoders and denoising autoencoders as top-N recommenders. Vincent et al., JMLR 11 (2010).

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::{Init, Params};
use rec_data::batch::UserRowsBatch;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::network::{Network, Objective};
use crate::{Activation, check_l2, check_rate, check_sizes, noise::Noise};

/// Hyper-parameters of an autoencoder. Defaults are those of NCE-PLRec's `AutoRec` on MovieLens-1M, where they are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderConfig {
    /// Units of the hidden layers, from the input on.
    pub hidden_sizes: Vec<usize>,
    /// What hidden sums go through.
    pub activation: Activation,
    /// What is minimised over all items.
    pub loss: LossConfig,
    /// λ of λ(Σ‖W‖²)/2, weights that the batch touches, beside the loss of a mean row.
    pub l2: f64,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self { hidden_sizes: vec![200], activation: Activation::Relu, loss: bce(), l2: 0.035 }
    }
}

/// Hyper-parameters of a denoising autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenoisingAutoencoderConfig {
    /// Units of the hidden layers, from the input on.
    pub hidden_sizes: Vec<usize>,
    /// What hidden sums go through.
    pub activation: Activation,
    /// What is minimised over all items.
    pub loss: LossConfig,
    /// λ, as of [`AutoencoderConfig`].
    pub l2: f64,
    /// How the input is corrupted.
    pub noise: Noise,
    /// q, the share of input entries that is corrupted.
    pub corruption: f64,
}

impl Default for DenoisingAutoencoderConfig {
    fn default() -> Self {
        let AutoencoderConfig { hidden_sizes, activation, loss, l2 } = AutoencoderConfig::default();
        Self { hidden_sizes, activation, loss, l2, noise: Noise::Dropout, corruption: 0.5 }
    }
}

fn bce() -> LossConfig {
    LossConfig::WeightedBce { positive_weight: 1.0 }
}

impl AutoencoderConfig {
    fn network(&self, data: &TrainView, params: &mut Params) -> Result<Network> {
        let objective = Objective { activation: self.activation, loss: self.loss, l2: self.l2 };
        Network::new(&self.hidden_sizes, objective, Init::Zeros, data, params)
    }
}

impl ModelConfig for AutoencoderConfig {
    fn check(&self) -> Result<()> {
        check_sizes("hidden_sizes", &self.hidden_sizes)?;
        check_l2(self.l2)?;
        self.loss.check()
    }
}

impl ModelConfig for DenoisingAutoencoderConfig {
    fn check(&self) -> Result<()> {
        check_sizes("hidden_sizes", &self.hidden_sizes)?;
        check_l2(self.l2)?;
        check_rate("corruption", self.corruption)?;
        self.loss.check()
    }
}

/// An autoencoder over users' rows: every item is an output.
pub struct Autoencoder(Network);

/// An autoencoder that is shown a corrupted row and is to give back the whole one.
pub struct DenoisingAutoencoder {
    network: Network,
    noise: Noise,
    corruption: f64,
}

impl Model for Autoencoder {
    type Config = AutoencoderConfig;
    type Batch = UserRowsBatch;

    fn new(config: &AutoencoderConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        Ok(Self(config.network(data, params)?))
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        self.0.loss(&batch.rows, None)
    }
}

impl Model for DenoisingAutoencoder {
    type Config = DenoisingAutoencoderConfig;
    type Batch = UserRowsBatch;

    fn new(config: &DenoisingAutoencoderConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let DenoisingAutoencoderConfig { hidden_sizes, activation, loss, l2, noise, corruption } = config.clone();
        let network = AutoencoderConfig { hidden_sizes, activation, loss, l2 }.network(data, params)?;
        Ok(Self { network, noise, corruption })
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        let noise = self.noise.factors(self.corruption, batch.rows.len(), self.network.device())?;
        self.network.loss(&batch.rows, noise.as_ref())
    }
}

impl Score for Autoencoder {
    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.0.score(users, None)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.0.item_vectors()
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

impl Score for DenoisingAutoencoder {
    fn num_items(&self) -> usize {
        self.network.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.network.score(users, None)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.network.item_vectors()
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
