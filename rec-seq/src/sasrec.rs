//! SASRec: self-attentive sequential recommendation. Kang, McAuley, ICDM 2018, arXiv:1808.09781; with a softmax over all items as in
//! Klenitskiy, Vasilev, RecSys 2023, arXiv:2309.07602, and with calibrated negatives as gSASRec (Petrov, Macdonald, RecSys 2023,
//! arXiv:2308.07192).

use std::sync::Arc;

use anyhow::Result;
use rec_core::attention::Attention;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_share;
use crate::next_item::{asked, next_item_loss};
use crate::transformer::{Block, Inner, Positions, Shape, Transformer, after_histories, last_rows};

/// Hyper-parameters. Defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SasRecConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Units between the two layers of a block; 0 is `embedding_size`.
    pub inner_size: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Heads; divides `embedding_size`.
    pub num_heads: usize,
    /// The last so many items are seen.
    pub max_len: usize,
    /// Where layers are normalised.
    pub block: Block,
    /// Whether blocks of kind `sasrec` have a product after the heads, as `torch.nn.MultiheadAttention` brings it; the others always do.
    pub heads_product: bool,
    /// What tells positions.
    pub positions: Positions,
    /// Standard deviation of normal initial values of all vectors and matrices; absent draws uniform ones (Glorot and Bengio 2010).
    pub init_std: Option<f64>,
    /// The activation within a block.
    pub activation: Inner,
    /// Dropout of inputs and layers.
    pub dropout: f64,
    /// Dropout of attention weights; absent is `dropout`.
    pub attention_dropout: Option<f64>,
    /// What is minimised: `cross-entropy` is over all items, the others judge each position's next item against its drawn negatives.
    pub loss: LossConfig,
    /// t of gSASRec: 0 trusts scores as drawn negatives make them, 1 makes them as if all items had been negatives. For `weighted-bce`.
    pub calibration: f64,
}

impl Default for SasRecConfig {
    fn default() -> Self {
        Self {
            embedding_size: 50,
            inner_size: 0,
            num_layers: 2,
            num_heads: 1,
            max_len: 50,
            block: Block::Sasrec,
            heads_product: false,
            positions: Positions::FromEnd,
            init_std: None,
            activation: Inner::Relu,
            dropout: 0.5,
            attention_dropout: None,
            loss: LossConfig::WeightedBce { positive_weight: 1.0 },
            calibration: 0.0,
        }
    }
}

impl SasRecConfig {
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            embedding_size: self.embedding_size,
            inner_size: if self.inner_size == 0 { self.embedding_size } else { self.inner_size },
            num_layers: self.num_layers,
            max_len: self.max_len,
            block: self.block,
            heads_product: self.heads_product || self.block != Block::Sasrec,
            positions: self.positions,
            inner: self.activation,
            attention: Attention { num_heads: self.num_heads, causal: true, dropout: self.attention_dropout.unwrap_or(self.dropout) },
            dropout: self.dropout,
            init: self.init_std.map_or(Init::XavierUniform, |std| Init::Normal { std }),
        }
    }
}

impl ModelConfig for SasRecConfig {
    fn check(&self) -> Result<()> {
        self.shape().check()?;
        self.loss.check()?;
        let t = self.calibration;
        check_share("calibration", t)?;
        let plain = matches!(self.loss, LossConfig::WeightedBce { positive_weight: 1.0 });
        require!(t == 0.0 || plain, Usage, "`calibration` is {t}: it needs the loss `weighted-bce` with a `positive_weight` of 1");
        Ok(())
    }
}

/// score(u, i) = h·e_i, with h the last position's output of causal blocks over √d·e + position.
pub struct SasRec {
    config: SasRecConfig,
    items: Table,
    blocks: Transformer,
}

impl Model for SasRec {
    type Config = SasRecConfig;
    type Batch = SequencesBatch;

    fn new(config: &SasRecConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let shape = config.shape();
        let items = params.table("item_embedding", data.num_items(), config.embedding_size, shape.init)?;
        Ok(Self { config: config.clone(), items, blocks: Transformer::new(shape, params)? })
    }

    fn shape_batches(config: &SasRecConfig, options: &mut BatchOptions) {
        options.max_len = config.max_len;
        if matches!(config.loss, LossConfig::CrossEntropy {}) {
            options.num_negatives = 0;
        }
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let inputs: Vec<u32> = asked(batch).map(|at| batch.items[at]).collect();
        let starts = Arc::new(batch.starts.iter().enumerate().map(|(s, start)| start - s).collect::<Vec<_>>());
        let hidden = self.hidden(&inputs, &starts, true)?;
        let mut loss = self.config.loss;
        if self.config.calibration > 0.0 {
            let num_negatives = batch.negatives.len() / batch.items.len();
            loss = LossConfig::WeightedBce { positive_weight: self.positive_weight(num_negatives) };
        }
        next_item_loss(&loss, &hidden, &self.items, batch)
    }
}

impl SasRec {
    /// β = α(t(1 − 1/α) + 1/α) with α = N/(items − 1): the power of σ(positive) that makes up for the negatives that were not drawn.
    fn positive_weight(&self, num_negatives: usize) -> f64 {
        let alpha = num_negatives as f64 / (self.items.num_rows() as f64 - 1.0).max(1.0);
        self.config.calibration * (alpha - 1.0) + 1.0
    }

    fn hidden(&self, inputs: &[u32], starts: &Arc<Vec<usize>>, training: bool) -> Result<Tensor> {
        self.encode(self.items.rows(inputs)?, starts, training)
    }

    /// What the blocks make of sequences of vectors, as they make it of items' vectors.
    ///
    /// # Shapes
    /// `vectors` `[P, d]`, sequence s at rows `starts[s]..starts[s + 1]`; returns `[P, d]`
    pub(crate) fn encode(&self, vectors: Tensor, starts: &Arc<Vec<usize>>, training: bool) -> Result<Tensor> {
        self.blocks.forward(vectors * (self.config.embedding_size as f64).sqrt(), starts, training)
    }

    /// Items' vectors.
    pub(crate) fn items(&self) -> &Table {
        &self.items
    }
}

impl Score for SasRec {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    /// A user without a history gets 0 for every item.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let d = self.config.embedding_size;
        let hidden =
            after_histories(users, self.config.max_len, d, None, |items, starts| last_rows(&self.hidden(items, starts, false)?, starts))?;
        Ok(Scores::Factors(Factors { dim: d, users: hidden.into(), items: self.items.to_slice(), item_bias: None }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.items.num_columns(), values: self.items.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
