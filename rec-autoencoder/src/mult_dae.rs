//! Mult-DAE: a denoising autoencoder with a multinomial likelihood. Liang, Krishnan, Hoffman, Jebara, WWW 2018, arXiv:1802.05814.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::{Init, Params};
use rec_data::batch::UserRowsBatch;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::layers::unit_values;
use crate::network::{Network, Objective};
use crate::noise::Noise;
use crate::{Activation, check_l2, check_rate, check_sizes};

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
    network: Network,
    dropout: f64,
}

impl Model for MultDae {
    type Config = MultDaeConfig;
    type Batch = UserRowsBatch;

    fn new(config: &MultDaeConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let objective = Objective { activation: Activation::Tanh, loss: LossConfig::CrossEntropy {}, l2: config.l2 };
        let network = Network::new(&config.hidden_sizes, objective, Init::Normal { std: 0.001 }, data, params)?;
        Ok(Self { network, dropout: config.dropout })
    }

    fn loss(&self, batch: &UserRowsBatch) -> Result<Tensor> {
        let mut values = unit_values(&batch.rows, self.network.device())?;
        if let Some(noise) = Noise::Dropout.factors(self.dropout, batch.rows.len(), self.network.device())? {
            values *= noise;
        }
        self.network.loss(&batch.rows, Some(&values))
    }
}

impl Score for MultDae {
    fn num_items(&self) -> usize {
        self.network.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.network.score(users, Some(unit_values))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.network.item_vectors()
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
