//! NeuMF: a weighted product and a perceptron over vectors of their own, ŷ = σ(hᵀ[p^G_u ⊙ q^G_i; z_L] + b), z₀ = [p^M_u; q^M_i]. He et
//! al., WWW 2017, arXiv:1708.05031, eq. 12.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::sparse::products;
use rec_core::state::StateReader;
use rec_core::{Init, Params, Table};
use rec_data::batch::PairwiseBatch;
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::pairs::{Pairs, Rows};
use crate::tower::{Product, Scorer, Shape, Tower, lecun, values};
use crate::{check_embedding_size, check_size};

/// Hyper-parameters. Defaults are the authors'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeuMfConfig {
    /// Length of p^G_u and q^G_i.
    pub embedding_size: usize,
    /// Length of p^M_u and q^M_i.
    pub mlp_embedding_size: usize,
    /// Sizes of z₁, …, z_L; z₀ is twice the perceptron's embedding size.
    pub hidden_sizes: Vec<usize>,
    /// Share of each z_l that a step sets to 0.
    pub dropout: f64,
    /// λ of λ/2·(‖p_u‖² + ‖q_i‖² + Σ_j ‖q_j‖², of both halves, mean over the positives i of the batch, + ‖h‖² + Σ_l ‖W_l‖²); j are the
    /// negatives of i.
    pub l2: f64,
    /// Standard deviation of the embeddings' initial values.
    pub init_std: f64,
    /// α of h = [α·h^GMF; (1 − α)·h^MLP] where the training starts from a trained GMF and a trained MLP (eq. 13).
    pub alpha: f64,
    /// What is minimised; `weighted-bce` is the paper's log loss.
    pub loss: LossConfig,
}

impl Default for NeuMfConfig {
    fn default() -> Self {
        Self {
            embedding_size: 8,
            mlp_embedding_size: 32,
            hidden_sizes: vec![32, 16, 8],
            dropout: 0.0,
            l2: 0.0,
            init_std: 0.01,
            alpha: 0.5,
            loss: LossConfig::WeightedBce { positive_weight: 1.0 },
        }
    }
}

impl NeuMfConfig {
    fn shape(&self) -> Shape<'_> {
        let Self { mlp_embedding_size, ref hidden_sizes, dropout, init_std, .. } = *self;
        Shape { embedding_size: mlp_embedding_size, hidden_sizes, dropout, init_std }
    }
}

impl ModelConfig for NeuMfConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        check_size("mlp_embedding_size", self.mlp_embedding_size)?;
        self.shape().check()?;
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        require!((0.0..=1.0).contains(&self.alpha), Usage, "`alpha` is {}: it must lie in [0, 1]", self.alpha);
        self.loss.check()
    }
}

/// score(u, i) = hᵀ[p^G_u ⊙ q^G_i; z_L] + b.
pub struct NeuMf {
    config: NeuMfConfig,
    users: Table,
    items: Table,
    tower: Tower,
    /// The part of h before p^G_u ⊙ q^G_i.
    gmf_prediction: Tensor,
    /// The part of h before z_L.
    mlp_prediction: Tensor,
    /// b.
    bias: Tensor,
}

impl Model for NeuMf {
    type Config = NeuMfConfig;
    type Batch = PairwiseBatch;

    fn new(config: &NeuMfConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (k, normal) = (config.embedding_size, Init::Normal { std: config.init_std });
        let users = params.table("gmf_user_embedding", data.num_users(), k, normal)?;
        let items = params.table("gmf_item_embedding", data.num_items(), k, normal)?;
        let tower = Tower::new("mlp_", &config.shape(), data, params)?;
        let last = tower.last_size();
        let gmf_prediction = params.dense("gmf_prediction", &[k], lecun(k + last))?;
        let mlp_prediction = params.dense("mlp_prediction", &[last], lecun(k + last))?;
        let bias = params.dense("prediction_bias", &[1], Init::Zeros)?;
        Ok(Self { config: config.clone(), users, items, tower, gmf_prediction, mlp_prediction, bias })
    }

    /// A trained GMF and a trained MLP, in any order: their vectors and layers, h = [α·h^GMF; (1 − α)·h^MLP], and the bias mixed alike.
    fn start_from(&self, sources: &[StateReader]) -> Result<()> {
        let is_gmf = |s: &StateReader| s.has("parameters/user_embedding") && s.has("parameters/prediction") && !Tower::is_in(s);
        let (gmf, mlp) = match sources {
            [gmf, mlp] if is_gmf(gmf) && Tower::is_in(mlp) => (gmf, mlp),
            [mlp, gmf] if is_gmf(gmf) && Tower::is_in(mlp) => (gmf, mlp),
            _ => fail!(
                Usage,
                "`neumf` starts from two runs, one of `gmf` and one of `mlp`, but `start` names {}, of which {} are of `gmf` and {} of `mlp`",
                sources.len(),
                sources.iter().filter(|s| is_gmf(s)).count(),
                sources.iter().filter(|s| Tower::is_in(s)).count()
            ),
        };
        self.tower.start_from(mlp)?;
        gmf.tensor_into("parameters/user_embedding", &mut self.users.all())?;
        gmf.tensor_into("parameters/item_embedding", &mut self.items.all())?;
        let alpha = self.config.alpha;
        let read = |from: &StateReader, name: &str, like: &Tensor, share: f64| -> Result<Tensor> {
            let mut value = like.f_detach()?.copy();
            from.tensor_into(name, &mut value)?;
            Ok(value * share)
        };
        let put = |to: &Tensor, value: &Tensor| -> Result<()> { Ok(tch::no_grad(|| to.shallow_clone().f_copy_(value))?) };
        put(&self.gmf_prediction, &read(gmf, "parameters/prediction", &self.gmf_prediction, alpha)?)?;
        put(&self.mlp_prediction, &read(mlp, "parameters/prediction", &self.mlp_prediction, 1.0 - alpha)?)?;
        let bias = |from: &StateReader, share: f64| read(from, "parameters/prediction_bias", &self.bias, share);
        put(&self.bias, &(bias(gmf, alpha)? + bias(mlp, 1.0 - alpha)?))
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let pairs = Pairs::of(batch, self.num_items());
        let (gmf_users, gmf_items) = (self.users.rows(&batch.users)?, self.items.rows(&pairs.items)?);
        let (mlp_users, mlp_items) = (self.tower.users.rows(&batch.users)?, self.tower.items.rows(&pairs.items)?);
        let gmf = products(&pairs.pattern, &gmf_users.f_mul(&self.gmf_prediction)?, &gmf_items)?.f_add(&self.bias)?;
        let scores = gmf.f_addmv(&self.tower.forward(&mlp_users, &mlp_items, &pairs.pattern)?, &self.mlp_prediction)?;
        let weights = [self.tower.weights(), vec![&self.gmf_prediction, &self.mlp_prediction]].concat();
        let rows = Rows { users: &[&gmf_users, &mlp_users], items: &[&gmf_items, &mlp_items] };
        pairs.loss(&self.config.loss, &scores, self.config.l2, rows, &weights)
    }
}

impl NeuMf {
    fn scorer<'a>(&'a self, users: &Users<'a>) -> Result<Scorer<'a>> {
        let gmf = Product { users: self.users.to_slice(), items: self.items.to_slice(), weights: values(&self.gmf_prediction) };
        Ok(Scorer::new(&self.tower, users.known()?, &self.mlp_prediction, &self.bias, gmf))
    }
}

impl Score for NeuMf {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Dense(self.scorer(users)?.all().into()))
    }

    fn score_candidates(&self, users: &Users, candidates: &Csr) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.scorer(users)?.listed(candidates)))
    }
}
