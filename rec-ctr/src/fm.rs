//! Factorisation machine: w₀ + Σ wᵢxᵢ + Σ_{f<g} ⟨v_f, v_g⟩. Rendle, ICDM 2010, eq. 1 in the linear-time form of its lemma 3.1.
//!
//! v_f is the vector of field f: what its features, or the mean of several, give. So the features of one field do not interact, which they
//! do in the paper, where a sum runs over features: `within_fields` says so.

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
pub struct FmConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Whether the features of one field, a film's genres say, interact as well.
    pub within_fields: bool,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for FmConfig {
    fn default() -> Self {
        Self { embedding_size: 16, within_fields: false, init_std: 0.01 }
    }
}

impl ModelConfig for FmConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_above_0("init_std", self.init_std)
    }
}

/// Factorisation machine.
pub type Fm = Clicks<FmNetwork>;

/// Its parameters.
pub struct FmNetwork {
    first_order: FirstOrder,
    vectors: Embedding,
    within_fields: bool,
}

impl Network for FmNetwork {
    type Config = FmConfig;

    fn new(config: &FmConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let init = Init::Normal { std: config.init_std };
        Ok(Self {
            first_order: FirstOrder::new(fields, params)?,
            vectors: Embedding::new("vectors", fields, config.embedding_size, init, params)?,
            within_fields: config.within_fields,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let first = self.first_order.of(rows)?;
        if !self.within_fields {
            return Ok(first + second_order(&self.vectors.of(rows)?)?);
        }
        // ½(‖Σ vᵢxᵢ‖² − Σ ‖vᵢxᵢ‖²), the second sum over features.
        let (vectors, squares) = self.vectors.with_squares(rows)?;
        let sum = vectors.f_sum_dim_intlist(1, false, None::<Kind>)?.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        Ok(first + (sum - squares) * 0.5)
    }
}

/// Σ_{f<g} ⟨v_f, v_g⟩ = ½ Σ_k ((Σ_f v_fk)² − Σ_f v_fk²).
///
/// # Shapes
/// `[B, F, d]` to `[B]`
pub(crate) fn second_order(vectors: &Tensor) -> Result<Tensor> {
    let square_of_sum = vectors.f_sum_dim_intlist(1, false, None::<Kind>)?.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?;
    let sum_of_squares = vectors.f_square()?.f_sum_dim_intlist([1i64, 2].as_slice(), false, None::<Kind>)?;
    Ok((square_of_sum - sum_of_squares) * 0.5)
}
