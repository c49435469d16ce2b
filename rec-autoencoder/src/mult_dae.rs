//! Mult-DAE: a denoising autoencoder with a multinomial likelihood. Liang, Krishnan, Hoffman, Jebara, WWW 2018, arXiv:1802.05814.

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{CrossEntropy, Loss, LossInput};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::sparse::Pattern;
use rec_core::{Init, Params};
use rec_data::batch::UserRowsBatch;
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::layers::{Linear, SparseLayer, numbers, square_sum, unit_values};
use crate::noise::Noise;
use crate::{check_l2, check_rate, check_sizes, history};

/// Hyper-parameters. Defaults are those of the authors' notebook for MovieLens-20M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultDaeConfig {
    /// Units of the layers between the two that touch items; the last one's are the latent size.
    pub hidden_sizes: Vec<usize>,
    /// q, the share of input entries that is dropped.
    pub dropout: f64,
    /// λ of λ(Σ‖W‖²)/2, weights that the batch touches (the notebook's 0.01/500 without the half).
    pub l2: f64,
}

impl Default for MultDaeConfig {
    fn default() -> Self {
        Self { hidden_sizes: vec![200], dropout: 0.5, l2: 4e-5 }
    }
}

impl ModelConfig for MultDaeConfig {
    fn check(&self) -> Result<()> {
        check_sizes("hidden_sizes", &self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_l2(self.l2)
    }
}

/// The row is scaled to length 1 and dropped out; every hidden layer is a tanh; the loss is −Σ x_i ln softmax(r)_i, mean over users.
pub struct MultDae {
    config: MultDaeConfig,
    first: SparseLayer,
    hidden: Vec<Linear>,
    output: Linear,
}

impl MultDae {
    /// The last hidden layer, and the rows of the first one's weights that were taken.
    fn encode(&self, rows: &Csr, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let encoded = self.first.forward(rows, Some(values))?;
        let mut hidden = encoded.sums.f_tanh()?;
        for layer in &self.hidden {
            hidden = layer.forward(&hidden)?.f_tanh()?;
        }
        Ok((hidden, encoded.taken))
    }
}

impl Model for MultDae {
    type Config = MultDaeConfig;
    type Batch = UserRowsBatch;

    fn new(config: &MultDaeConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (weights, bias) = (Init::XavierUniform, Init::Normal { std: 0.001 });
        let sizes = &config.hidden_sizes;
        let first = SparseLayer::new(params, "input", data.num_items(), sizes[0], weights, bias)?;
        let layer = |(at, pair): (usize, &[usize])| Linear::new(params, &format!("hidden{}", at + 1), pair[0], pair[1], weights, bias);
        let hidden = sizes.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
        let output = Linear::new(params, "output", sizes[sizes.len() - 1], data.num_items(), weights, bias)?;
        Ok(Self { config: config.clone(), first, hidden, output })
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        let mut values = unit_values(&batch.rows, self.first.device())?;
        if let Some(noise) = Noise::Dropout.factors(self.config.dropout, batch.rows.len(), self.first.device())? {
            values *= noise;
        }
        let (hidden, taken) = self.encode(&batch.rows, &values)?;
        let (scores, entries) = (self.output.forward(&hidden)?, Arc::new(Pattern::of(&batch.rows)));
        let loss = CrossEntropy.loss(&LossInput::Rows { scores: &scores, entries: &entries, values: None })?;
        if self.config.l2 == 0.0 {
            return Ok(loss);
        }
        let mut squares = square_sum(&taken)? + square_sum(&self.output.weights)?;
        for layer in &self.hidden {
            squares += square_sum(&layer.weights)?;
        }
        Ok(loss + squares * (0.5 * self.config.l2))
    }
}

impl Score for MultDae {
    fn num_items(&self) -> usize {
        self.output.bias.numel()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let rows = history::rows(users, self.num_items());
        let (hidden, _) = self.encode(&rows, &unit_values(&rows, self.first.device())?)?;
        Ok(Scores::Factors(self.output.factors(&hidden)?))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        let dim = self.output.weights.size()[1] as usize;
        Some(Vectors { dim, values: numbers(&self.output.weights).ok()?.into() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
