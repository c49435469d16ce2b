//! BERT4Rec: bidirectional self-attention trained to fill in masked items. Sun et al., CIKM 2019, arXiv:1904.06690.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use rec_core::attention::Attention;
use rec_core::full_softmax::full_softmax_loss;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::params::slice;
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::require;
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::transformer::{Block, Inner, Norm, Positions, Shape, Transformer, after_histories, last_rows};
use crate::{check_rate, check_share};

/// Hyper-parameters. Defaults are the paper's for MovieLens-1M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bert4RecConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Units between the two layers of a block; 0 is four times `embedding_size`.
    pub inner_size: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Heads; divides `embedding_size`.
    pub num_heads: usize,
    /// The last so many items are seen, the mask at the end among them.
    pub max_len: usize,
    /// What tells positions.
    #[serde(skip_serializing_if = "Positions::is_default")]
    pub positions: Positions,
    /// ρ, the share of items that is masked; at least one of a sequence is.
    pub mask_share: f64,
    /// The share of sequences of which the last item alone is masked, as when recommending.
    pub last_mask_share: f64,
    /// Dropout of inputs and layers.
    pub dropout: f64,
    /// Dropout of attention weights; absent is `dropout`.
    pub attention_dropout: Option<f64>,
}

impl Default for Bert4RecConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            inner_size: 0,
            num_layers: 2,
            num_heads: 2,
            max_len: 200,
            positions: Positions::FromEnd,
            mask_share: 0.2,
            last_mask_share: 0.0,
            dropout: 0.1,
            attention_dropout: None,
        }
    }
}

impl Bert4RecConfig {
    fn shape(&self) -> Shape {
        Shape {
            embedding_size: self.embedding_size,
            inner_size: if self.inner_size == 0 { 4 * self.embedding_size } else { self.inner_size },
            num_layers: self.num_layers,
            max_len: self.max_len,
            block: Block::PostNorm,
            heads_product: true,
            positions: self.positions,
            inner: Inner::Gelu,
            attention: Attention { num_heads: self.num_heads, causal: false, dropout: self.attention_dropout.unwrap_or(self.dropout) },
            dropout: self.dropout,
            init: Init::Normal { std: 0.02 },
        }
    }
}

impl ModelConfig for Bert4RecConfig {
    fn check(&self) -> Result<()> {
        self.shape().check()?;
        require!(self.max_len > 1, Usage, "`max_len` is 1: a masked item needs one beside it");
        check_rate("mask_share", self.mask_share)?;
        check_share("last_mask_share", self.last_mask_share)
    }
}

/// score(u, i) = LN(gelu(W h + b))·e_i + c_i, with h the output of bidirectional blocks at a mask after the history.
pub struct Bert4Rec {
    config: Bert4RecConfig,
    /// The last row stands for a mask.
    items: Table,
    blocks: Transformer,
    head: Tensor,
    head_bias: Tensor,
    head_norm: Norm,
    item_bias: Tensor,
}

impl Model for Bert4Rec {
    type Config = Bert4RecConfig;
    type Batch = SequencesBatch;

    fn new(config: &Bert4RecConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (shape, d) = (config.shape(), config.embedding_size);
        let items = params.table("item_embedding", data.num_items() + 1, d, shape.init)?;
        let head = params.dense("head", &[d, d], shape.init)?;
        let head_bias = params.dense("head_bias", &[d], Init::Zeros)?;
        let head_norm = Norm::new("head_norm", d, params)?;
        let item_bias = params.dense("item_bias", &[data.num_items()], Init::Zeros)?;
        let blocks = Transformer::new(shape, params)?;
        Ok(Self { config: config.clone(), items, blocks, head, head_bias, head_norm, item_bias })
    }

    fn shape_batches(config: &Bert4RecConfig, options: &mut BatchOptions) {
        // A batch brings one item more than `max_len`: here all of them are seen.
        (options.max_len, options.num_negatives) = (config.max_len - 1, 0);
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let mut inputs = batch.items.clone();
        let mask = self.mask();
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        for (pair, &key) in batch.starts.windows(2).zip(&batch.keys) {
            let mut rng = Rng::keyed(key, Stream::Step, 0, 0);
            let first = places.len();
            if rng.unit() >= self.config.last_mask_share {
                places.extend((pair[0]..pair[1]).filter(|_| rng.unit() < self.config.mask_share).map(|at| at as i64));
                if places.len() == first {
                    places.push(pair[0] as i64 + i64::from(rng.below((pair[1] - pair[0]) as u32)));
                }
            } else {
                places.push(pair[1] as i64 - 1);
            }
            for &at in &places[first..] {
                targets.push(std::mem::replace(&mut inputs[at as usize], mask));
            }
        }
        let hidden = self.blocks.forward(self.items.rows(&inputs)?, &Arc::new(batch.starts.clone()), true)?;
        let hidden = self.judged(&hidden.f_index_select(0, &Tensor::from_slice(&places).f_to_device(hidden.device())?)?)?;
        // The bias is one more column, which every position has a 1 for.
        let ones = Tensor::f_ones([targets.len() as i64, 1], (Kind::Float, hidden.device()))?;
        let all: Vec<u32> = (0..mask).collect();
        let items = Tensor::f_cat(&[self.items.rows(&all)?, self.item_bias.f_unsqueeze(1)?], 1)?;
        full_softmax_loss(&Tensor::f_cat(&[hidden, ones], 1)?, &items, &targets)
    }
}

impl Bert4Rec {
    fn mask(&self) -> u32 {
        self.items.num_rows() as u32 - 1
    }

    /// The items' vectors, without that of the mask.
    fn vectors(&self) -> Cow<'_, [f32]> {
        let numbers = self.num_items() * self.items.num_columns();
        match self.items.to_slice() {
            Cow::Borrowed(all) => Cow::Borrowed(&all[..numbers]),
            Cow::Owned(mut all) => {
                all.truncate(numbers);
                Cow::Owned(all)
            }
        }
    }

    /// What meets the items.
    fn judged(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head_norm.apply(&hidden.f_linear(&self.head, Some(&self.head_bias))?.f_gelu("none")?)
    }
}

impl Score for Bert4Rec {
    fn num_items(&self) -> usize {
        self.mask() as usize
    }

    /// A user without a history is scored by the items' biases alone.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let d = self.config.embedding_size;
        let hidden = after_histories(users, self.config.max_len - 1, d, Some(self.mask()), |items, starts| {
            self.judged(&last_rows(&self.blocks.forward(self.items.rows(items)?, starts, false)?, starts)?)
        })?;
        let bias = slice(&self.item_bias.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?).to_vec();
        Ok(Scores::Factors(Factors { dim: d, users: hidden.into(), items: self.vectors(), item_bias: Some(bias.into()) }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.items.num_columns(), values: self.vectors() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
