//! Field-weighted factorisation machine: w₀ + Σ wᵢxᵢ + Σ_{f<g} r_fg ⟨v_f, v_g⟩. Pan et al., WWW 2018, arXiv:1806.03514, eq. 4.

use anyhow::Result;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use tch::{Kind, Tensor};

use crate::embedding::{Embedding, FirstOrder, Taken};
use crate::fm::FmConfig;
use crate::{Clicks, Network};

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
    type Config = FmConfig;

    fn new(config: &FmConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
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
