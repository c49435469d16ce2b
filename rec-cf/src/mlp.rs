//! MLP: a perceptron over both vectors, z₀ = [p_u; q_i], z_l = ReLU(W_l z_{l−1} + b_l), ŷ = σ(hᵀz_L + b). He et al., WWW 2017,
//! arXiv:1708.05031, eq. 10.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::{Init, Params};
use rec_data::batch::PairwiseBatch;
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_embedding_size;
use crate::pairs::{Pairs, Rows};
use crate::tower::{Product, Scorer, Shape, Tower, lecun};

/// Hyper-parameters. Defaults are the authors'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Length of a user's and of an item's vector.
    pub embedding_size: usize,
    /// Sizes of z₁, …, z_L; z₀ is twice the embedding size.
    pub hidden_sizes: Vec<usize>,
    /// Share of each z_l that a step sets to 0.
    pub dropout: f64,
    /// λ of λ/2·(‖p_u‖² + ‖q_i‖² + Σ_j ‖q_j‖², mean over the positives i of the batch, + ‖h‖² + Σ_l ‖W_l‖²); j are the negatives of i.
    pub l2: f64,
    /// Standard deviation of the embeddings' initial values.
    pub init_std: f64,
    /// What is minimised; `weighted-bce` is the paper's log loss.
    pub loss: LossConfig,
}

impl Default for MlpConfig {
    fn default() -> Self {
        let loss = LossConfig::WeightedBce { positive_weight: 1.0 };
        Self { embedding_size: 32, hidden_sizes: vec![32, 16, 8], dropout: 0.0, l2: 0.0, init_std: 0.01, loss }
    }
}

impl MlpConfig {
    fn shape(&self) -> Shape<'_> {
        let Self { embedding_size, ref hidden_sizes, dropout, init_std, .. } = *self;
        Shape { embedding_size, hidden_sizes, dropout, init_std }
    }
}

impl ModelConfig for MlpConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        self.shape().check()?;
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        self.loss.check()
    }
}

/// score(u, i) = hᵀz_L + b.
pub struct Mlp {
    config: MlpConfig,
    tower: Tower,
    /// h.
    prediction: Tensor,
    /// b.
    bias: Tensor,
}

impl Model for Mlp {
    type Config = MlpConfig;
    type Batch = PairwiseBatch;

    fn new(config: &MlpConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let tower = Tower::new("", &config.shape(), data, params)?;
        let last = tower.last_size();
        let prediction = params.dense("prediction", &[last], lecun(last))?;
        let bias = params.dense("prediction_bias", &[1], Init::Zeros)?;
        Ok(Self { config: config.clone(), tower, prediction, bias })
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let pairs = Pairs::of(batch, self.num_items());
        let (users, items) = (self.tower.users.rows(&batch.users)?, self.tower.items.rows(&pairs.items)?);
        let scores = self.bias.f_addmv(&self.tower.forward(&users, &items, &pairs.pattern)?, &self.prediction)?;
        let weights = [self.tower.weights(), vec![&self.prediction]].concat();
        pairs.loss(&self.config.loss, &scores, self.config.l2, Rows { users: &[&users], items: &[&items] }, &weights)
    }
}

impl Mlp {
    fn scorer<'a>(&'a self, users: &Users<'a>) -> Result<Scorer<'a>> {
        Ok(Scorer::new(&self.tower, users.known()?, &self.prediction, &self.bias, Product::default()))
    }
}

impl Score for Mlp {
    fn num_items(&self) -> usize {
        self.tower.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Dense(self.scorer(users)?.all().into()))
    }

    fn score_candidates(&self, users: &Users, candidates: &Csr) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.scorer(users)?.listed(candidates)))
    }
}
