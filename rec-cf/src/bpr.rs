//! BPR-MF in mini-batches: matrix factorisation under a pairwise loss. Rendle et al., UAI 2009, arXiv:1205.2618.

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::PairwiseBatch;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;
use tch::{Kind, Tensor};

/// Hyper-parameters. Defaults are RecBole's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BprConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// λ of λ(‖p_u‖² + ‖q_i‖² + ‖q_j‖²)/2, mean over the batch.
    pub l2: f64,
    /// What is minimised.
    pub loss: LossConfig,
}

impl Default for BprConfig {
    fn default() -> Self {
        Self { embedding_size: 64, l2: 0.0, loss: LossConfig::Bpr {} }
    }
}

impl ModelConfig for BprConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        self.loss.check()
    }
}

/// score(u, i) = p_u · q_i.
pub struct Bpr {
    config: BprConfig,
    users: Table,
    items: Table,
}

impl Model for Bpr {
    type Config = BprConfig;
    type Batch = PairwiseBatch;

    fn new(config: &BprConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let users = params.table("user_embedding", data.num_users(), config.embedding_size, Init::XavierNormal)?;
        let items = params.table("item_embedding", data.num_items(), config.embedding_size, Init::XavierNormal)?;
        Ok(Self { config: config.clone(), users, items })
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let positive = self.users.products(&batch.users, &self.items, &batch.positives)?.f_squeeze_dim(1)?;
        let negatives = self.users.products(&batch.users, &self.items, &batch.negatives)?;
        let loss = self.config.loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })?;
        if self.config.l2 == 0.0 {
            return Ok(loss);
        }
        let square = |table: &Table, ids: &[u32]| -> Result<Tensor> { Ok(table.rows(ids)?.f_square()?.f_sum(None::<Kind>)?) };
        let norm = square(&self.users, &batch.users)? + square(&self.items, &batch.positives)? + square(&self.items, &batch.negatives)?;
        Ok(loss + norm * (0.5 * self.config.l2 / batch.users.len() as f64))
    }
}

impl Score for Bpr {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Factors(Factors::gather(self.config.embedding_size, &self.users.to_slice(), users.known()?, self.items.to_slice())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.config.embedding_size, values: self.items.to_slice() })
    }
}
