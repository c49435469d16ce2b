//! Mult-VAE: a variational autoencoder with a multinomial likelihood and a partly annealed prior. Liang, Krishnan, Hoffman, Jebara,
//! WWW 2018, arXiv:1802.05814.

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{CrossEntropy, Loss, LossInput};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::sparse::Pattern;
use rec_core::{Init, Params};
use rec_data::batch::UserRowsBatch;
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::layers::{Linear, SparseLayer, numbers, square_sum, unit_values};
use crate::noise::Noise;
use crate::{check_l2, check_rate, check_sizes, history};

/// Hyper-parameters. Defaults are those of the authors' notebook for MovieLens-20M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultVaeConfig {
    /// Units of the encoder's hidden layers; the decoder has the same in reverse. Empty: one layer each way.
    pub hidden_sizes: Vec<usize>,
    /// The length of z.
    pub latent_size: usize,
    /// q, the share of input entries that is dropped.
    pub dropout: f64,
    /// β's largest value.
    pub anneal_cap: f64,
    /// β grows by 1/`anneal_steps` a step, from 0.
    pub anneal_steps: u64,
    /// λ of λ(Σ‖W‖²)/2, weights that the batch touches.
    pub l2: f64,
}

impl Default for MultVaeConfig {
    fn default() -> Self {
        Self { hidden_sizes: vec![600], latent_size: 200, dropout: 0.5, anneal_cap: 0.2, anneal_steps: 200_000, l2: 0.0 }
    }
}

impl ModelConfig for MultVaeConfig {
    fn check(&self) -> Result<()> {
        if !self.hidden_sizes.is_empty() {
            check_sizes("hidden_sizes", &self.hidden_sizes)?;
        }
        check_sizes("latent_size", &[self.latent_size])?;
        check_rate("dropout", self.dropout)?;
        check_l2(self.l2)?;
        require!(self.anneal_cap >= 0.0, Usage, "`anneal_cap` is {}: it must be at least 0", self.anneal_cap);
        require!(self.anneal_steps > 0, Usage, "`anneal_steps` is 0: it must be at least 1");
        Ok(())
    }
}

/// q(z|x) = N(μ(x), diag σ²(x)), p(x|z) = Mult(softmax(f(z))); minimises the mean over users of −ln p(x|z) + β·KL(q ‖ N(0, 1)) for one
/// z of q, with KL = ½Σ(μ² + σ² − 1 − ln σ²). The row is scaled to length 1 and dropped out; scores are f(μ(x)).
pub struct MultVae {
    config: MultVaeConfig,
    first: SparseLayer,
    /// Dense layers up to z.
    encoder: Vec<Linear>,
    /// Dense layers from z on, the last one to the items.
    decoder: Vec<Linear>,
    step: u64,
}

impl MultVae {
    /// μ and ln σ², and the rows of the first layer's weights that were taken.
    fn encode(&self, rows: &Csr, values: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let encoded = self.first.forward(rows, Some(values))?;
        let mut sums = encoded.sums;
        for layer in &self.encoder {
            sums = layer.forward(&sums.f_tanh()?)?;
        }
        let size = self.config.latent_size as i64;
        Ok((sums.f_narrow(1, 0, size)?, sums.f_narrow(1, size, size)?, encoded.taken))
    }

    /// All but the decoder's last layer.
    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let mut hidden = z.shallow_clone();
        for layer in &self.decoder[..self.decoder.len() - 1] {
            hidden = layer.forward(&hidden)?.f_tanh()?;
        }
        Ok(hidden)
    }

    fn output(&self) -> &Linear {
        &self.decoder[self.decoder.len() - 1]
    }

    fn beta(&self) -> f64 {
        self.config.anneal_cap.min(self.step as f64 / self.config.anneal_steps as f64)
    }
}

impl Model for MultVae {
    type Config = MultVaeConfig;
    type Batch = UserRowsBatch;

    fn new(config: &MultVaeConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (weights, bias) = (Init::XavierUniform, Init::Normal { std: 0.001 });
        let mut up = config.hidden_sizes.clone();
        up.push(2 * config.latent_size);
        let mut down = vec![config.latent_size];
        down.extend(config.hidden_sizes.iter().rev());
        down.push(data.num_items());
        let first = SparseLayer::new(params, "input", data.num_items(), up[0], weights, bias)?;
        let mut layers = |name: &str, sizes: &[usize]| -> Result<Vec<Linear>> {
            let layer = |(at, pair): (usize, &[usize])| Linear::new(params, &format!("{name}{}", at + 1), pair[0], pair[1], weights, bias);
            sizes.windows(2).enumerate().map(layer).collect()
        };
        let (encoder, decoder) = (layers("encoder", &up)?, layers("decoder", &down)?);
        Ok(Self { config: config.clone(), first, encoder, decoder, step: 0 })
    }

    fn begin_step(&mut self, step: u64) {
        self.step = step;
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        let mut values = unit_values(&batch.rows, self.first.device())?;
        if let Some(noise) = Noise::Dropout.factors(self.config.dropout, batch.rows.len(), self.first.device())? {
            values *= noise;
        }
        let (mu, log_variance, taken) = self.encode(&batch.rows, &values)?;
        let z = &mu + (&log_variance * 0.5).f_exp()? * mu.f_randn_like()?;
        let (scores, entries) = (self.output().forward(&self.decode(&z)?)?, Arc::new(Pattern::of(&batch.rows)));
        let mut loss = CrossEntropy.loss(&LossInput::Rows { scores: &scores, entries: &entries, values: None })?;
        let beta = self.beta();
        if beta > 0.0 {
            let twice = (mu.f_square()? + log_variance.f_exp()? - 1.0 - &log_variance).f_sum(None::<Kind>)?;
            loss += twice * (0.5 * beta / batch.ids.len() as f64);
        }
        if self.config.l2 > 0.0 {
            let mut squares = square_sum(&taken)?;
            for layer in self.encoder.iter().chain(&self.decoder) {
                squares += square_sum(&layer.weights)?;
            }
            loss += squares * (0.5 * self.config.l2);
        }
        Ok(loss)
    }
}

impl Score for MultVae {
    fn num_items(&self) -> usize {
        self.output().bias.numel()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let rows = history::rows(users, self.num_items());
        let (mu, ..) = self.encode(&rows, &unit_values(&rows, self.first.device())?)?;
        Ok(Scores::Factors(self.output().factors(&self.decode(&mu)?)?))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        let weights = &self.output().weights;
        Some(Vectors { dim: weights.size()[1] as usize, values: numbers(weights).ok()?.into() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
