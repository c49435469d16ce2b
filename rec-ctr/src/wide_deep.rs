//! Wide & Deep: a linear model with declared crosses, and a perceptron over the vectors of the fields, trained together. Cheng et al., DLRS
//! 2016, arXiv:1606.07792, eq. 3.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params, Table};
use rec_data::fields::LabelledRows;
use rec_data::problem::did_you_mean;
use rec_data::{problem, require};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::crosses::crosses;
use crate::embedding::{Embedding, FirstOrder, Taken};
use crate::layers::{Tower, check_hidden_sizes};
use crate::{Clicks, Network, check_above_0, check_rate, check_size};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WideDeepConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Units of the hidden layers.
    pub hidden_sizes: Vec<usize>,
    /// Share of each hidden layer that a step sets to 0.
    pub dropout: f64,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
    /// Pairs of fields whose crossed features the wide part has, by name.
    pub crosses: Vec<[String; 2]>,
    /// Weights that all crossed features share.
    pub buckets: u32,
}

impl Default for WideDeepConfig {
    fn default() -> Self {
        Self { embedding_size: 16, hidden_sizes: vec![400, 400, 400], dropout: 0.0, init_std: 0.01, crosses: Vec::new(), buckets: 100_000 }
    }
}

impl ModelConfig for WideDeepConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_above_0("init_std", self.init_std)?;
        require!(self.buckets > 0, Usage, "`buckets` is 0: it must be at least 1");
        Ok(())
    }
}

/// Wide & Deep.
pub type WideDeep = Clicks<WideDeepNetwork>;

/// Its parameters.
pub struct WideDeepNetwork {
    wide: FirstOrder,
    crossed: Option<(Table, Vec<(usize, usize)>)>,
    vectors: Embedding,
    deep: Tower,
}

impl Network for WideDeepNetwork {
    type Config = WideDeepConfig;

    fn new(config: &WideDeepConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let names: Vec<&str> = fields.fields().iter().map(|field| field.spec.name.as_str()).collect();
        let place = |name: &String| {
            names.iter().position(|other| other == name).ok_or_else(|| {
                let near = did_you_mean(name, names.iter().copied());
                problem!(Usage, "`crosses` names the field `{name}`, which there is not{near}; there are {}", names.join(", "))
            })
        };
        let pairs = config.crosses.iter().map(|[left, right]| Ok((place(left)?, place(right)?))).collect::<Result<Vec<_>>>()?;
        let wide = FirstOrder::new(fields, params)?;
        let crossed = match &pairs[..] {
            [] => None,
            _ => Some((params.table("crosses", config.buckets as usize, 1, Init::Zeros)?, pairs)),
        };
        let init = Init::Normal { std: config.init_std };
        Ok(Self {
            wide,
            crossed,
            vectors: Embedding::new("vectors", fields, config.embedding_size, init, params)?,
            deep: Tower::new("deep", names.len() * config.embedding_size, &config.hidden_sizes, config.dropout, params)?,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let mut logits = self.wide.of(rows)? + self.deep.of(&self.vectors.of(rows)?)?;
        if let Some((weights, pairs)) = &self.crossed {
            let crossed = crosses(&rows.batch.entries, rows.batch.rows, pairs, weights.num_rows() as u32);
            logits = logits.f_add(&rows.sums(&crossed, weights)?.f_squeeze_dim(1)?)?;
        }
        Ok(logits)
    }
}
