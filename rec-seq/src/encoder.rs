//! What a history becomes before anything is predicted from it: the states of a GRU (Cho et al., EMNLP 2014, arXiv:1406.1078) or the
//! outputs of SASRec's blocks (Kang, McAuley, ICDM 2018, arXiv:1808.09781).

use std::sync::Arc;

use anyhow::Result;
use rec_core::dropout::dropout;
use rec_core::gru_sequence::gru_sequence;
use rec_core::model::Users;
use rec_core::{Init, Params, Table};
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::recurrent::part_init;
use crate::sasrec::SasRecConfig;
use crate::transformer::{Block, Inner, Positions, Transformer, after_histories, last_rows};
use crate::{check_rate, check_size};

/// Which network looks at the history. Defaults are those of Xin et al., SIGIR 2020.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Backbone {
    /// A GRU over the items' vectors.
    Gru(GruBackbone),
    /// SASRec's blocks.
    Sasrec(SasRecBackbone),
}

impl Default for Backbone {
    fn default() -> Self {
        Backbone::Gru(GruBackbone::default())
    }
}

/// Shape of a GRU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GruBackbone {
    /// Length of an item's vector.
    pub embedding_size: usize,
    /// Units, the length of a state.
    pub hidden_size: usize,
    /// Dropout of the items' vectors.
    pub dropout: f64,
}

impl Default for GruBackbone {
    fn default() -> Self {
        Self { embedding_size: 64, hidden_size: 64, dropout: 0.0 }
    }
}

/// Shape of SASRec's blocks; the keys are those of [`SasRecConfig`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SasRecBackbone {
    /// Length of an item's vector and of a state.
    pub embedding_size: usize,
    /// Units between the two layers of a block; 0 is `embedding_size`.
    pub inner_size: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Heads; divides `embedding_size`.
    pub num_heads: usize,
    /// Where layers are normalised.
    pub block: Block,
    /// Whether blocks of kind `sasrec` have a product after the heads.
    pub heads_product: bool,
    /// What tells positions.
    pub positions: Positions,
    /// Standard deviation of normal initial values of the blocks; absent draws uniform ones.
    pub init_std: Option<f64>,
    /// The activation within a block.
    pub activation: Inner,
    /// Dropout of inputs and layers.
    pub dropout: f64,
    /// Dropout of attention weights; absent is `dropout`.
    pub attention_dropout: Option<f64>,
}

impl Default for SasRecBackbone {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            inner_size: 0,
            num_layers: 1,
            num_heads: 1,
            block: Block::Sasrec,
            heads_product: false,
            positions: Positions::FromEnd,
            init_std: None,
            activation: Inner::Relu,
            dropout: 0.1,
            attention_dropout: None,
        }
    }
}

impl SasRecBackbone {
    fn config(&self, max_len: usize) -> SasRecConfig {
        SasRecConfig {
            embedding_size: self.embedding_size,
            inner_size: self.inner_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            max_len,
            block: self.block,
            heads_product: self.heads_product,
            positions: self.positions,
            init_std: self.init_std,
            activation: self.activation,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
            ..SasRecConfig::default()
        }
    }
}

impl Backbone {
    /// # Errors
    /// a usage problem that names the key and its range.
    pub(crate) fn check(&self, max_len: usize, tie_embeddings: bool) -> Result<()> {
        check_size("max_len", max_len)?;
        match self {
            Backbone::Gru(gru) => {
                check_size("embedding_size", gru.embedding_size)?;
                check_size("hidden_size", gru.hidden_size)?;
                let (d, units) = (gru.embedding_size, gru.hidden_size);
                require!(
                    !tie_embeddings || d == units,
                    Usage,
                    "`hidden_size` is {units}: with `tie_embeddings` it must be `embedding_size`, {d}"
                );
                check_rate("dropout", gru.dropout)
            }
            Backbone::Sasrec(blocks) => blocks.config(max_len).shape().check(),
        }
    }
}

/// A history's items → its state.
pub(crate) struct Encoder {
    items: Table,
    max_len: usize,
    network: Network,
}

enum Network {
    Gru(Gru),
    Sasrec(Transformer),
}

impl Encoder {
    pub(crate) fn new(backbone: &Backbone, max_len: usize, num_items: usize, params: &mut Params) -> Result<Self> {
        let items = |size: usize, params: &mut Params| params.table("item_embedding", num_items, size, Init::XavierUniform);
        Ok(match backbone {
            Backbone::Gru(gru) => {
                Self { items: items(gru.embedding_size, params)?, max_len, network: Network::Gru(Gru::new(gru, params)?) }
            }
            Backbone::Sasrec(blocks) => {
                let items = items(blocks.embedding_size, params)?;
                Self { items, max_len, network: Network::Sasrec(Transformer::new(blocks.config(max_len).shape(), params)?) }
            }
        })
    }

    /// The vectors of the items that it is shown.
    pub(crate) fn items(&self) -> &Table {
        &self.items
    }

    /// The length of a state.
    pub(crate) fn size(&self) -> usize {
        match &self.network {
            Network::Gru(gru) => gru.units,
            Network::Sasrec(_) => self.items.num_columns(),
        }
    }

    /// The states after each item of each sequence: a state has seen the items up to its own.
    ///
    /// # Shapes
    /// sequence s is `items[starts[s]..starts[s + 1]]`; returns `[items.len(), size]`
    ///
    /// # Errors
    /// where a sequence is longer than `max_len`; libtorch's own.
    pub(crate) fn states(&self, items: &[u32], starts: &Arc<Vec<usize>>, training: bool) -> Result<Tensor> {
        let x = self.items.rows(items)?;
        match &self.network {
            Network::Gru(gru) => gru.forward(&x, starts, training),
            Network::Sasrec(blocks) => blocks.forward(x * (self.items.num_columns() as f64).sqrt(), starts, training),
        }
    }

    /// The states after the last `max_len` items of each history, one a user; zeros where there is no history.
    ///
    /// # Errors
    /// libtorch's own.
    pub(crate) fn after(&self, users: &Users) -> Result<Vec<f32>> {
        after_histories(users, self.max_len, self.size(), None, |items, starts| last_rows(&self.states(items, starts, false)?, starts))
    }
}

struct Gru {
    units: usize,
    rate: f64,
    /// Wᵀ, `[embedding_size, 3 units]`, and w.
    weights: Tensor,
    bias: Tensor,
    /// Vᵀ, `[units, 3 units]`, and v.
    recurrent_weights: Tensor,
    recurrent_bias: Tensor,
}

impl Gru {
    fn new(config: &GruBackbone, params: &mut Params) -> Result<Self> {
        let (d, units) = (config.embedding_size, config.hidden_size);
        Ok(Self {
            units,
            rate: config.dropout,
            weights: params.dense("gru_weights", &[d, 3 * units], part_init(d, units))?,
            bias: params.dense("gru_bias", &[3 * units], Init::Zeros)?,
            recurrent_weights: params.dense("gru_recurrent_weights", &[units, 3 * units], part_init(units, units))?,
            recurrent_bias: params.dense("gru_recurrent_bias", &[3 * units], Init::Zeros)?,
        })
    }

    fn forward(&self, x: &Tensor, starts: &[usize], training: bool) -> Result<Tensor> {
        let x = dropout(x, if training { self.rate } else { 0.0 })?;
        let inputs = self.bias.f_addmm(&x, &self.weights)?;
        gru_sequence(&inputs, &Tensor::f_cat(&[&self.recurrent_weights, &self.recurrent_bias.f_unsqueeze(0)?], 0)?, starts)
    }
}
