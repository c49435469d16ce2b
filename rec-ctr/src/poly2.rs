//! Degree-2 polynomial: w₀ + Σ wᵢxᵢ + Σ w_{h(i,j)} xᵢxⱼ over the features of two different fields, h being a hash. Chang et al., JMLR
//! 2010; as in Juan et al., RecSys 2016, eq. 2.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params, Table};
use rec_data::fields::LabelledRows;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::crosses::crosses;
use crate::embedding::{FirstOrder, Taken};
use crate::{Clicks, Network};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Poly2Config {
    /// Weights that all pairs of features share.
    pub buckets: u32,
}

impl Default for Poly2Config {
    fn default() -> Self {
        Self { buckets: 1_000_000 }
    }
}

impl ModelConfig for Poly2Config {
    fn check(&self) -> Result<()> {
        require!(self.buckets > 0, Usage, "`buckets` is 0: it must be at least 1");
        Ok(())
    }
}

/// Degree-2 polynomial.
pub type Poly2 = Clicks<Poly2Network>;

/// Its weights.
pub struct Poly2Network {
    first_order: FirstOrder,
    weights: Table,
    /// Every two fields.
    pairs: Vec<(usize, usize)>,
    buckets: u32,
}

impl Network for Poly2Network {
    type Config = Poly2Config;

    fn new(config: &Poly2Config, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let n = fields.fields().len();
        Ok(Self {
            first_order: FirstOrder::new(fields, params)?,
            weights: params.table("pairs", config.buckets as usize, 1, Init::Zeros)?,
            pairs: (0..n).flat_map(|left| (left + 1..n).map(move |right| (left, right))).collect(),
            buckets: config.buckets,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let crossed = crosses(&rows.batch.entries, rows.batch.rows, &self.pairs, self.buckets);
        Ok(self.first_order.of(rows)? + rows.sums(&crossed, &self.weights)?.f_squeeze_dim(1)?)
    }
}
