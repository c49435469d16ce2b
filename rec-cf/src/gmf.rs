//! GMF: generalised matrix factorisation, ŷ = σ(hᵀ(p_u ⊙ q_i) + b). He et al., WWW 2017, arXiv:1708.05031, eq. 9.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users};
use rec_core::scores::{Factors, Scores};
use rec_core::sparse::products;
use rec_core::{Init, Params, Table};
use rec_data::batch::PairwiseBatch;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_embedding_size;
use crate::pairs::{Pairs, Rows};
use crate::tower::{check_init_std, lecun, values};

/// Hyper-parameters. Defaults are the authors'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GmfConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// λ of λ/2·(‖p_u‖² + ‖q_i‖² + Σ_j ‖q_j‖², mean over the positives i of the batch, + ‖h‖²); j are the negatives of i.
    pub l2: f64,
    /// Standard deviation of the embeddings' initial values.
    pub init_std: f64,
    /// What is minimised; `weighted-bce` is the paper's log loss.
    pub loss: LossConfig,
}

impl Default for GmfConfig {
    fn default() -> Self {
        Self { embedding_size: 8, l2: 0.0, init_std: 0.01, loss: LossConfig::WeightedBce { positive_weight: 1.0 } }
    }
}

impl ModelConfig for GmfConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        check_init_std(self.init_std)?;
        self.loss.check()
    }
}

/// score(u, i) = hᵀ(p_u ⊙ q_i) + b.
pub struct Gmf {
    config: GmfConfig,
    users: Table,
    items: Table,
    /// h.
    prediction: Tensor,
    /// b.
    bias: Tensor,
}

impl Model for Gmf {
    type Config = GmfConfig;
    type Batch = PairwiseBatch;

    fn new(config: &GmfConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (k, normal) = (config.embedding_size, Init::Normal { std: config.init_std });
        let users = params.table("user_embedding", data.num_users(), k, normal)?;
        let items = params.table("item_embedding", data.num_items(), k, normal)?;
        let prediction = params.dense("prediction", &[k], lecun(k))?;
        let bias = params.dense("prediction_bias", &[1], Init::Zeros)?;
        Ok(Self { config: config.clone(), users, items, prediction, bias })
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let pairs = Pairs::of(batch, self.num_items());
        let (users, items) = (self.users.rows(&batch.users)?, self.items.rows(&pairs.items)?);
        let scores = products(&pairs.pattern, &users.f_mul(&self.prediction)?, &items)?.f_add(&self.bias)?;
        pairs.loss(&self.config.loss, &scores, self.config.l2, Rows { users: &[&users], items: &[&items] }, &[&self.prediction])
    }
}

impl Score for Gmf {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut factors = Factors::gather(self.config.embedding_size, &self.users.to_slice(), users.known()?, self.items.to_slice());
        let weights = values(&self.prediction);
        for row in factors.users.to_mut().chunks_exact_mut(weights.len()) {
            row.iter_mut().zip(&weights).for_each(|(p, h)| *p *= h);
        }
        Ok(Scores::Factors(factors.with_bias(vec![values(&self.bias)[0]; self.num_items()].into())))
    }
}
