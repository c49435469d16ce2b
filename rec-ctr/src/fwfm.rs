//! Field-weighted factorisation machine: w₀ + Σ wᵢxᵢ + Σ_{f<g} r_fg ⟨v_f, v_g⟩. Pan et al., WWW 2018, arXiv:1806.03514, eq. 4.

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
pub struct FwFmConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for FwFmConfig {
    fn default() -> Self {
        Self { embedding_size: 16, init_std: 0.01 }
    }
}

impl ModelConfig for FwFmConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_above_0("init_std", self.init_std)
    }
}

/// Field-weighted factorisation machine.
pub type FwFm = Clicks<FwFmNetwork>;

/// Its parameters.
pub struct FwFmNetwork {
    first_order: FirstOrder,
    vectors: Embedding,
    /// `[F, F]`, of which what is above the diagonal counts.
    strengths: Tensor,
}

impl Network for FwFmNetwork {
    type Config = FwFmConfig;

    fn new(config: &FwFmConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let n = fields.fields().len();
        Ok(Self {
            first_order: FirstOrder::new(fields, params)?,
            vectors: Embedding::new("vectors", fields, config.embedding_size, Init::Normal { std: config.init_std }, params)?,
            strengths: params.dense("strengths", &[n, n], Init::Constant(1.0))?,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?;
        // Σ_f ⟨v_f, Σ_{g>f} r_fg v_g⟩: one product for all fields.
        let partners = self.strengths.f_triu(1)?.f_matmul(&vectors)?;
        Ok(self.first_order.of(rows)? + (vectors * partners).f_sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)?)
    }
}
