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
        // Over f < g alone: the pairs of (f, g) and (g, f) are the same product.
        let mut sum = self.first_order.of(rows)?;
        for field in 0..self.fields - 1 {
            let others = self.fields - field - 1;
            let own = vectors.f_select(1, field)?.f_narrow(1, field + 1, others)?;
            let theirs = vectors.f_narrow(1, field + 1, others)?.f_select(2, field)?;
            sum = sum.f_add(&(own * theirs).f_sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)?)?;
        }
        Ok(sum)
    }
}
