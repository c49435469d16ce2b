//! Logistic regression over all features: w₀ + Σ wᵢxᵢ.

use anyhow::Result;
use rec_core::Params;
use rec_core::model::ModelConfig;
use rec_data::fields::LabelledRows;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::{FirstOrder, Taken};
use crate::{Clicks, Network};

/// There are no hyper-parameters of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrConfig {}

impl ModelConfig for LrConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Logistic regression.
pub type Lr = Clicks<LrNetwork>;

/// Its weights.
pub struct LrNetwork(FirstOrder);

impl Network for LrNetwork {
    type Config = LrConfig;

    fn new(_config: &LrConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        Ok(Self(FirstOrder::new(rows.encoders(), params)?))
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        self.0.of(rows)
    }
}
