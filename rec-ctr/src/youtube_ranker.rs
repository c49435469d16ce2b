//! YouTube's ranker: a perceptron whose odds are the expected watch time. Covington, Adams and Sargin, RecSys 2016, section 4.
//!
//! A row's value is how long it was watched, in any unit; a row whose label is 0 was shown and not watched. In the log loss a positive row
//! weighs its value and every other row 1 (section 4.2). Of N impressions of which k are watched, Tᵢ long, the odds eˣ that fit best are
//! Σ Tᵢ / (N − k). With E\[T] = Σ Tᵢ / N, the expected watch time of an impression, and P = k / N, that is exactly E\[T] / (1 − P); the paper
//! writes E\[T] (1 + P), its first terms, and takes P as small enough for eˣ ≈ E\[T]. So eˣ is what rows are served by.
//!
//! The paper concatenates a number's powers to the vectors of the fields; here a field encoded by `powers` has a vector for each of its
//! three features and gives their sum, x̃·a + x̃²·b + √x̃·c, which a layer above sees no less of where a vector has three numbers or more.
//!
//! `auc` and `gauc` say how rows are ordered. Metrics of probabilities, `logloss` say, are refused: these are no odds of the label.

use anyhow::Result;
use rec_core::model::{LabelScore, ModelConfig};
use rec_core::{Init, Params};
use rec_data::batch::FieldsBatch;
use rec_data::fields::LabelledRows;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::{Embedding, Taken};
use crate::layers::{Tower, check_hidden_sizes};
use crate::{Clicks, Network, check_above_0, check_size};

/// Hyper-parameters. Layers are the paper's best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct YoutubeRankerConfig {
    /// Length of a vector; the paper has one for each field, about in proportion to the logarithm of its features.
    pub embedding_size: usize,
    /// Units of the hidden layers.
    pub hidden_sizes: Vec<usize>,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for YoutubeRankerConfig {
    fn default() -> Self {
        Self { embedding_size: 32, hidden_sizes: vec![1024, 512, 256], init_std: 0.01 }
    }
}

impl ModelConfig for YoutubeRankerConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_above_0("init_std", self.init_std)
    }
}

/// YouTube's ranker.
pub type YoutubeRanker = Clicks<YoutubeRankerNetwork>;

/// Its parameters.
pub struct YoutubeRankerNetwork {
    vectors: Embedding,
    deep: Tower,
}

impl Network for YoutubeRankerNetwork {
    type Config = YoutubeRankerConfig;
    const ODDS: bool = false;

    fn new(config: &YoutubeRankerConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let watched = rows.labels().iter().zip(rows.values()).filter(|(label, _)| **label > 0.5);
        for (_, &value) in watched {
            require!(
                value > 0.0,
                Usage,
                "`youtube-ranker` takes values for watch times, and a positive row has {value}: it must be above 0"
            );
        }
        let (fields, d) = (rows.encoders(), config.embedding_size);
        let size = fields.fields().len() * d;
        Ok(Self {
            vectors: Embedding::new("vectors", fields, d, Init::Normal { std: config.init_std }, params)?,
            deep: Tower::new("deep", size, &config.hidden_sizes, 0.0, params)?,
        })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        self.deep.of(&self.vectors.of(rows)?)
    }

    fn weights(batch: &FieldsBatch) -> Option<Vec<f32>> {
        let weight = |(&label, &value): (&f32, &f32)| if label > 0.5 { value } else { 1.0 };
        Some(batch.labels.iter().zip(&batch.values).map(weight).collect())
    }
}

impl YoutubeRanker {
    /// eˣ of each row, about its expected watch time, in the unit of the data's values.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn watch_times(&self, rows: &FieldsBatch) -> Result<Vec<f32>> {
        Ok(self.logits(rows)?.into_iter().map(f32::exp).collect())
    }
}
