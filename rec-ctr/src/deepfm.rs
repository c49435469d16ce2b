//! DeepFM: a factorisation machine and a perceptron over the same vectors. Guo et al., IJCAI 2017, arXiv:1703.04247, eq. 1.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::{Embedding, FirstOrder, Taken};
use crate::fm::second_order;
use crate::layers::{Tower, check_hidden_sizes};
use crate::{Clicks, Network, check_above_0, check_rate, check_size};

/// Hyper-parameters. Defaults are the paper's for Criteo but for the length of a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepFmConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Units of the hidden layers.
    pub hidden_sizes: Vec<usize>,
    /// Share of each hidden layer that a step sets to 0.
    pub dropout: f64,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for DeepFmConfig {
    fn default() -> Self {
        Self { embedding_size: 16, hidden_sizes: vec![400, 400, 400], dropout: 0.5, init_std: 0.01 }
    }
}

impl ModelConfig for DeepFmConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_above_0("init_std", self.init_std)
    }
}

/// DeepFM.
pub type DeepFm = Clicks<DeepFmNetwork>;

/// Its parameters.
pub struct DeepFmNetwork {
    first_order: FirstOrder,
    vectors: Embedding,
    deep: Tower,
}

impl Network for DeepFmNetwork {
    type Config = DeepFmConfig;

    fn new(config: &DeepFmConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let (n, d) = (fields.fields().len(), config.embedding_size);
        Ok(Self {
            first_order: FirstOrder::new(fields, params)?,
            vectors: Embedding::new("vectors", fields, d, Init::Normal { std: config.init_std }, params)?,
            deep: Tower::new("deep", n * d, &config.hidden_sizes, config.dropout, params)?,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?;
        Ok(self.first_order.of(rows)? + second_order(&vectors)? + self.deep.of(&vectors)?)
    }
}
