//! Transformer blocks over sequences without padding. Vaswani et al., NeurIPS 2017, arXiv:1706.03762.

use std::sync::Arc;

use anyhow::Result;
use rec_core::attention::Attention;
use rec_core::dropout::{dropout, relu_dropout};
use rec_core::model::Users;
use rec_core::params::slice;
use rec_core::{Init, Params, Table};
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::{check_rate, check_size};

/// Where layers are normalised, and what is added to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// As SASRec's authors' code: q = LN(x), y = q + attention(q, x, x), z = LN(y), x' = z + drop(W₂ drop(relu(W₁ z))); what is added
    /// is what was normalised, there is no product after the heads unless one is asked for, and the last block's output is normalised.
    #[default]
    Sasrec,
    /// y = x + drop(W attention(LN(x))), x' = y + drop(W₂ drop(f(W₁ LN(y)))); the last block's output is normalised.
    PreNorm,
    /// y = LN(x + drop(W attention(x))), x' = LN(y + drop(W₂ f(W₁ y))), as BERT.
    PostNorm,
}

/// The activation between the two layers of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inner {
    /// max(x, 0)
    #[default]
    Relu,
    /// x·Φ(x)
    Gelu,
}

/// What tells a block where in its sequence an item stands: a vector added to the item's, or a number added to its attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Counted from the end: a sequence's last item always has the same vector. As where sequences are padded on the left.
    #[default]
    FromEnd,
    /// Counted from the start: a sequence's first item always has the same vector. As where sequences are padded on the right.
    FromStart,
    /// A number for each head and distance, added to the logits of attention, the same in all layers: as T5, with a number for each distance
    /// in place of its buckets (Raffel et al., JMLR 2020, arXiv:1910.10683).
    Relative,
    /// Nothing. To attention that is not causal a sequence is a set, and to one causal layer what is before an item is.
    None,
}

impl Positions {
    /// Whether it is what a config that says nothing means.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Shape of a stack of blocks.
pub(crate) struct Shape {
    pub(crate) embedding_size: usize,
    pub(crate) inner_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) max_len: usize,
    pub(crate) block: Block,
    /// Whether heads pass through a product of their own before they are added.
    pub(crate) heads_product: bool,
    pub(crate) positions: Positions,
    pub(crate) inner: Inner,
    pub(crate) attention: Attention,
    pub(crate) dropout: f64,
    pub(crate) init: Init,
}

impl Shape {
    pub(crate) fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_size("inner_size", self.inner_size)?;
        check_size("num_layers", self.num_layers)?;
        check_size("max_len", self.max_len)?;
        if let Init::Normal { std } = self.init {
            require!(std > 0.0 && std.is_finite(), Usage, "`init_std` is {std}: it must be above 0");
        }
        let (heads, d) = (self.attention.num_heads, self.embedding_size);
        require!(
            heads > 0 && d.is_multiple_of(heads),
            Usage,
            "`num_heads` is {heads}: it must be at least 1 and divide `embedding_size`, {d}"
        );
        check_rate("dropout", self.dropout)?;
        check_rate("attention_dropout", self.attention.dropout)
    }
}

/// x·Wᵀ + b.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(name: &str, (from, to): (usize, usize), init: Init, params: &mut Params) -> Result<Self> {
        Ok(Self { weight: params.dense(name, &[to, from], init)?, bias: params.dense(&format!("{name}_bias"), &[to], Init::Zeros)? })
    }

    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// (x − mean)/√(variance + 10⁻⁸)·g + b over the columns.
pub(crate) struct Norm {
    scale: Tensor,
    shift: Tensor,
}

impl Norm {
    pub(crate) fn new(name: &str, size: usize, params: &mut Params) -> Result<Self> {
        Ok(Self {
            scale: params.dense(name, &[size], Init::Constant(1.0))?,
            shift: params.dense(&format!("{name}_bias"), &[size], Init::Zeros)?,
        })
    }

    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_layer_norm(self.scale.size(), Some(&self.scale), Some(&self.shift), 1e-8, false)?)
    }
}

struct Layer {
    attention_norm: Norm,
    queries: Linear,
    keys_values: Linear,
    heads: Option<Linear>,
    inner_norm: Norm,
    inner: Linear,
    outer: Linear,
}

/// What tells positions, and blocks.
pub(crate) struct Transformer {
    positions: Option<Table>,
    /// `[H, distances]`, to be added to attention.
    bias: Option<Tensor>,
    layers: Vec<Layer>,
    last_norm: Option<Norm>,
    input_norm: Option<Norm>,
    shape: Shape,
}

impl Transformer {
    pub(crate) fn new(shape: Shape, params: &mut Params) -> Result<Self> {
        let (d, init) = (shape.embedding_size, shape.init);
        let (mut positions, mut bias) = (None, None);
        match shape.positions {
            Positions::FromEnd | Positions::FromStart => positions = Some(params.table("position_embedding", shape.max_len, d, init)?),
            // At first all distances are alike.
            Positions::Relative => {
                let size = [shape.attention.num_heads, shape.attention.columns(shape.max_len)];
                bias = Some(params.dense("position_bias", &size, Init::Zeros)?);
            }
            Positions::None => {}
        }
        let mut layers = Vec::with_capacity(shape.num_layers);
        for layer in 1..=shape.num_layers {
            let mut linear = |name: &str, sizes| Linear::new(&format!("block_{layer}_{name}"), sizes, init, params);
            let (queries, keys_values) = (linear("queries", (d, d))?, linear("keys_values", (d, 2 * d))?);
            let heads = if shape.heads_product { Some(linear("heads", (d, d))?) } else { None };
            let (inner, outer) = (linear("inner", (d, shape.inner_size))?, linear("outer", (shape.inner_size, d))?);
            let attention_norm = Norm::new(&format!("block_{layer}_attention_norm"), d, params)?;
            let inner_norm = Norm::new(&format!("block_{layer}_inner_norm"), d, params)?;
            layers.push(Layer { attention_norm, queries, keys_values, heads, inner_norm, inner, outer });
        }
        let ends = shape.block != Block::PostNorm;
        let last_norm = if ends { Some(Norm::new("last_norm", d, params)?) } else { None };
        let input_norm = if ends { None } else { Some(Norm::new("input_norm", d, params)?) };
        Ok(Self { positions, bias, layers, last_norm, input_norm, shape })
    }

    /// Hidden vectors of all positions.
    ///
    /// # Shapes
    /// `items` `[P, d]`, scaled as the model wants it, sequence s at rows `starts[s]..starts[s + 1]`; returns `[P, d]`
    ///
    /// # Errors
    /// where a sequence is longer than `max_len`; libtorch's own.
    pub(crate) fn forward(&self, items: Tensor, starts: &Arc<Vec<usize>>, training: bool) -> Result<Tensor> {
        let lengths = || starts.windows(2).map(|pair| pair[1] - pair[0]);
        let (longest, max_len) = (lengths().max().unwrap_or(0), self.shape.max_len);
        anyhow::ensure!(longest <= max_len, "a sequence of {longest} items is longer than `max_len`, {max_len}");
        let rate = if training { self.shape.dropout } else { 0.0 };
        let mut attention = self.shape.attention;
        if !training {
            attention.dropout = 0.0;
        }
        let mut x = match &self.positions {
            Some(positions) => {
                let first = |n: usize| if self.shape.positions == Positions::FromEnd { max_len - n } else { 0 };
                let all: Vec<u32> = lengths().flat_map(|n| first(n) as u32..(first(n) + n) as u32).collect();
                items + positions.rows(&all)?
            }
            None => items,
        };
        if let Some(norm) = &self.input_norm {
            x = norm.apply(&x)?;
        }
        x = dropout(&x, rate)?;
        let attend = |queries: &Tensor, others: &Tensor| attention.apply(queries, others, self.bias.as_ref(), starts);
        for layer in &self.layers {
            x = layer.forward(&x, &self.shape, &attend, rate)?;
        }
        match &self.last_norm {
            Some(norm) => norm.apply(&x),
            None => Ok(x),
        }
    }
}

impl Layer {
    /// `attention` is that of queries to keys and values.
    fn forward(&self, x: &Tensor, shape: &Shape, attention: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>, rate: f64) -> Result<Tensor> {
        let attend = |queries: &Tensor, others: &Tensor| {
            let out = attention(&self.queries.apply(queries)?, &self.keys_values.apply(others)?)?;
            match &self.heads {
                None => Ok(out),
                // Written for SASRec's blocks by those who take `torch.nn.MultiheadAttention`, which drops nothing after it.
                Some(heads) if shape.block == Block::Sasrec => heads.apply(&out),
                Some(heads) => dropout(&heads.apply(&out)?, rate),
            }
        };
        match shape.block {
            Block::Sasrec => {
                let q = self.attention_norm.apply(x)?;
                let z = self.inner_norm.apply(&(attend(&q, x)? + q))?;
                Ok(dropout(&self.outer.apply(&self.activated(&z, shape.inner, rate)?)?, rate)? + z)
            }
            Block::PreNorm => {
                let normed = self.attention_norm.apply(x)?;
                let y = attend(&normed, &normed)? + x;
                let z = self.inner_norm.apply(&y)?;
                Ok(dropout(&self.outer.apply(&self.activated(&z, shape.inner, rate)?)?, rate)? + y)
            }
            Block::PostNorm => {
                let y = self.attention_norm.apply(&(attend(x, x)? + x))?;
                let out = dropout(&self.outer.apply(&self.activated(&y, shape.inner, 0.0)?)?, rate)?;
                self.inner_norm.apply(&(out + y))
            }
        }
    }

    fn activated(&self, x: &Tensor, inner: Inner, rate: f64) -> Result<Tensor> {
        let x = self.inner.apply(x)?;
        match inner {
            Inner::Relu => relu_dropout(&x, rate),
            Inner::Gelu => dropout(&x.f_gelu("none")?, rate),
        }
    }
}

/// Users whose histories pass through the blocks together.
const TOGETHER: usize = 256;

/// The vectors, one a user, that `vectors` makes of the last `max_len` items of each history, `[sequences, d]` of items and starts; zeros
/// where there is no history. `after` is put behind each history.
///
/// # Errors
/// those of `vectors`; libtorch's own.
pub(crate) fn after_histories(
    users: &Users,
    max_len: usize,
    d: usize,
    after: Option<u32>,
    vectors: impl Fn(&[u32], &Arc<Vec<usize>>) -> Result<Tensor>,
) -> Result<Vec<f32>> {
    let mut out = vec![0f32; users.len() * d];
    for first in (0..users.len()).step_by(TOGETHER) {
        let (mut items, mut starts, mut who) = (Vec::new(), vec![0], Vec::new());
        for at in first..users.len().min(first + TOGETHER) {
            let history = users.history(at);
            if !history.is_empty() {
                items.extend_from_slice(&history[history.len() - history.len().min(max_len)..]);
                items.extend(after);
                starts.push(items.len());
                who.push(at);
            }
        }
        if who.is_empty() {
            continue;
        }
        let rows = tch::no_grad(|| vectors(&items, &Arc::new(starts)))?.f_to_device(Device::Cpu)?.f_contiguous()?;
        for (row, &at) in slice(&rows).chunks_exact(d).zip(&who) {
            out[at * d..][..d].copy_from_slice(row);
        }
    }
    Ok(out)
}

/// The last position's row of each sequence, none of which is empty.
pub(crate) fn last_rows(hidden: &Tensor, starts: &[usize]) -> Result<Tensor> {
    let last: Vec<i64> = starts[1..].iter().map(|&end| end as i64 - 1).collect();
    Ok(hidden.f_index_select(0, &Tensor::from_slice(&last).f_to_device(hidden.device())?)?)
}
