//! DCNv2: cross layers x_{l+1} = x₀ ⊙ (W_l x_l + b_l) + x_l beside a perceptron, or before it. Wang et al., WWW 2021, arXiv:2008.13535,
//! eq. 1.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::{Embedding, Taken};
use crate::layers::{Dense, Perceptron, check_hidden_sizes};
use crate::{Clicks, Network, check_above_0, check_rate, check_size};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DcnConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// The number of cross layers.
    pub num_layers: usize,
    /// Units of the perceptron's hidden layers; without any there is none.
    pub hidden_sizes: Vec<usize>,
    /// Whether the perceptron stands beside the cross layers or looks at what comes out of them.
    pub structure: Structure,
    /// Share of each hidden layer that a step sets to 0.
    pub dropout: f64,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

/// How cross layers and perceptron are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// Both look at the fields' vectors; the output at both.
    Parallel,
    /// The perceptron looks at what comes out of the cross layers; the output at the perceptron.
    Stacked,
}

impl Default for DcnConfig {
    fn default() -> Self {
        Self {
            embedding_size: 16,
            num_layers: 3,
            hidden_sizes: vec![400, 400, 400],
            structure: Structure::Parallel,
            dropout: 0.0,
            init_std: 0.01,
        }
    }
}

impl ModelConfig for DcnConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        require!((1..=64).contains(&self.num_layers), Usage, "`num_layers` is {}: it must lie in 1 to 64", self.num_layers);
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_above_0("init_std", self.init_std)
    }
}

/// DCNv2.
pub type Dcn = Clicks<DcnNetwork>;

/// Its parameters.
pub struct DcnNetwork {
    vectors: Embedding,
    cross: Vec<Dense>,
    deep: Perceptron,
    structure: Structure,
    output: Dense,
}

impl Network for DcnNetwork {
    type Config = DcnConfig;

    fn new(config: &DcnConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let size = fields.fields().len() * config.embedding_size;
        let vectors = Embedding::new("vectors", fields, config.embedding_size, Init::Normal { std: config.init_std }, params)?;
        let cross = (1..=config.num_layers).map(|at| Dense::new(&format!("cross_{at}"), size, size, params)).collect::<Result<Vec<_>>>()?;
        let deep = Perceptron::new("deep", size, &config.hidden_sizes, config.dropout, params)?;
        let seen = match (config.structure, config.hidden_sizes.last()) {
            (Structure::Parallel, Some(last)) => size + last,
            (Structure::Stacked, Some(&last)) => last,
            (_, None) => size,
        };
        let structure = if config.hidden_sizes.is_empty() { Structure::Stacked } else { config.structure };
        Ok(Self { vectors, cross, deep, structure, output: Dense::new("output", seen, 1, params)? })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let first = self.vectors.of(rows)?.f_flatten(1, -1)?;
        let mut x = first.shallow_clone();
        for layer in &self.cross {
            x = layer.of(&x)?.f_mul(&first)?.f_add(&x)?;
        }
        let seen = match self.structure {
            Structure::Parallel => Tensor::f_cat(&[x, self.deep.of(&first)?], 1)?,
            Structure::Stacked => self.deep.of(&x)?,
        };
        Ok(self.output.of(&seen)?.f_squeeze_dim(1)?)
    }
}
