//! Autoencoders and denoising autoencoders as top-N recommenders. Vincent et al., JMLR 11 (2010).

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::sparse::Pattern;
use rec_core::{Init, Params};
use rec_data::batch::UserRowsBatch;
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::layers::{Linear, SparseLayer, numbers, square_sum};
use crate::{Activation, check_l2, check_rate, check_sizes, history, noise::Noise};

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

/// h₁ = g(W₁x + b₁), hₗ = g(Wₗhₗ₋₁ + bₗ), r = Vh + c, where x is the user's row of ones and the loss compares r with it.
struct Network {
    first: SparseLayer,
    hidden: Vec<Linear>,
    output: Linear,
    activation: Activation,
    loss: LossConfig,
    l2: f64,
}

impl Network {
    fn new(config: &AutoencoderConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let items = data.num_items();
        let sizes = &config.hidden_sizes;
        let first = SparseLayer::new(params, "input", items, sizes[0], Init::XavierUniform, Init::Zeros)?;
        let hidden = sizes.windows(2).enumerate();
        let hidden =
            hidden.map(|(at, pair)| Linear::new(params, &format!("hidden{}", at + 1), pair[0], pair[1], Init::XavierUniform, Init::Zeros));
        let hidden = hidden.collect::<Result<Vec<_>>>()?;
        let last = sizes[sizes.len() - 1];
        let output = Linear::new(params, "output", last, items, Init::XavierUniform, Init::Zeros)?;
        Ok(Self { first, hidden, output, activation: config.activation, loss: config.loss, l2: config.l2 })
    }

    /// The hidden layers after the first one's sums.
    fn rest(&self, sums: &Tensor) -> Result<Tensor> {
        let mut hidden = self.activation.apply(sums)?;
        for layer in &self.hidden {
            hidden = self.activation.apply(&layer.forward(&hidden)?)?;
        }
        Ok(hidden)
    }

    fn loss(&self, rows: &Csr, noise: Option<&Tensor>) -> Result<Tensor> {
        let entries = Arc::new(Pattern::of(rows));
        let encoded = self.first.forward(rows, noise)?;
        let scores = self.output.forward(&self.rest(&encoded.sums)?)?;
        let loss = self.loss.loss(&LossInput::Rows { scores: &scores, entries: &entries, values: None })?;
        if self.l2 == 0.0 {
            return Ok(loss);
        }
        let mut squares = square_sum(&encoded.taken)? + square_sum(&self.output.weights)?;
        for layer in &self.hidden {
            squares += square_sum(&layer.weights)?;
        }
        Ok(loss + squares * (0.5 * self.l2))
    }

    fn num_items(&self) -> usize {
        self.output.bias.numel()
    }

    fn score(&self, users: &Users) -> Result<Scores<'static>> {
        let rows = history::rows(users, self.num_items());
        let hidden = self.rest(&self.first.forward(&rows, None)?.sums)?;
        Ok(Scores::Factors(self.output.factors(&hidden)?))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        let dim = self.output.weights.size()[1] as usize;
        Some(Vectors { dim, values: numbers(&self.output.weights).ok()?.into() })
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
        Ok(Self(Network::new(config, data, params)?))
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
        let network = Network::new(&AutoencoderConfig { hidden_sizes, activation, loss, l2 }, data, params)?;
        Ok(Self { network, noise, corruption })
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        let noise = self.noise.factors(self.corruption, batch.rows.len(), self.network.first.device())?;
        self.network.loss(&batch.rows, noise.as_ref())
    }
}

impl Score for Autoencoder {
    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.0.score(users)
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
        self.network.score(users)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.network.item_vectors()
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
