//! Field-aware factorisation machine: w₀ + Σ wᵢxᵢ + Σ_{f<g} ⟨v_{f→g}, v_{g→f}⟩. Juan et al., RecSys 2016, eq. 4.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::embedding::{Embedding, FirstOrder, Taken};
use crate::{Clicks, Network, check_above_0, check_size};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FfmConfig {
    /// Length of the vector that a feature has for each other field.
    pub embedding_size: usize,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for FfmConfig {
    fn default() -> Self {
        Self { embedding_size: 4, init_std: 0.01 }
    }
}

impl ModelConfig for FfmConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_above_0("init_std", self.init_std)
    }
}

/// Field-aware factorisation machine.
pub type Ffm = Clicks<FfmNetwork>;

/// Its parameters.
pub struct FfmNetwork {
    first_order: FirstOrder,
    /// F vectors a feature, one for each field that it meets.
    vectors: Embedding,
    fields: i64,
}

impl Network for FfmNetwork {
    type Config = FfmConfig;

    fn new(config: &FfmConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let n = fields.fields().len();
        let init = Init::Normal { std: config.init_std };
        Ok(Self {
            first_order: FirstOrder::new(fields, params)?,
            vectors: Embedding::new("vectors", fields, n * config.embedding_size, init, params)?,
            fields: n as i64,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?.f_view([rows.len(), self.fields, self.fields, -1])?;
        // Every pair is there twice, as (f, g) and as (g, f), and each field once with itself. Whole tensors: the gradient of a part of one
        // is as large as the whole, and there would be as many parts as fields.
        let all = vectors.f_mul(&vectors.f_transpose(1, 2)?)?.f_sum_dim_intlist([1i64, 2, 3].as_slice(), false, None::<Kind>)?;
        let own = vectors.f_diagonal(0, 1, 2)?.f_square()?.f_sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)?;
        Ok(self.first_order.of(rows)? + (all - own) * 0.5)
    }
}
