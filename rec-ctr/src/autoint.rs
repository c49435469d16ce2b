//! AutoInt: self-attention among the fields of a row. Song et al., CIKM 2019, arXiv:1810.11921, eq. 5–8.
//!
//! Three things of the authors' code for MovieLens are not in the paper and are done where `as_published` is false: queries, keys, values
//! and the residual go through ReLU, logits of attention are divided by the root of their length, and a block ends with a layer norm.

use anyhow::Result;
use rec_core::dropout::dropout;
use rec_core::model::ModelConfig;
use rec_core::shim::is_recording;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::embedding::{Embedding, Taken};
use crate::layers::{Dense, Tower, check_hidden_sizes};
use crate::{Clicks, Network, check_above_0, check_rate, check_size};

/// Hyper-parameters. Defaults are those of the authors' code for MovieLens-1M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoIntConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Length of a field's vector after each block.
    pub attention_sizes: Vec<usize>,
    /// Divides each of `attention_sizes`.
    pub num_heads: usize,
    /// Share of the attention weights that a step sets to 0.
    pub attention_dropout: f64,
    /// Share of the fields' vectors that a step sets to 0.
    pub embedding_dropout: f64,
    /// Units of a perceptron beside the blocks, as AutoInt+ has it; without any there is none.
    pub hidden_sizes: Vec<usize>,
    /// Share of each hidden layer that a step sets to 0.
    pub dropout: f64,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
    /// Whether blocks are the paper's, not its code's.
    pub as_published: bool,
}

impl Default for AutoIntConfig {
    fn default() -> Self {
        Self {
            embedding_size: 16,
            attention_sizes: vec![64, 64, 64],
            num_heads: 2,
            attention_dropout: 0.4,
            embedding_dropout: 0.1,
            hidden_sizes: Vec::new(),
            dropout: 0.0,
            init_std: 0.01,
            as_published: false,
        }
    }
}

impl ModelConfig for AutoIntConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        require!(!self.attention_sizes.is_empty(), Usage, "`attention_sizes` is empty: it must have one number for each block");
        for &size in &self.attention_sizes {
            check_size("attention_sizes", size)?;
            let heads = self.num_heads;
            require!(heads > 0 && size % heads == 0, Usage, "`num_heads` is {heads}: it must divide {size} of `attention_sizes`");
        }
        check_rate("attention_dropout", self.attention_dropout)?;
        check_rate("embedding_dropout", self.embedding_dropout)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_rate("dropout", self.dropout)?;
        check_above_0("init_std", self.init_std)
    }
}

/// AutoInt.
pub type AutoInt = Clicks<AutoIntNetwork>;

/// Its parameters.
pub struct AutoIntNetwork {
    config: AutoIntConfig,
    vectors: Embedding,
    blocks: Vec<Block>,
    output: Dense,
    deep: Option<Tower>,
}

/// One layer of attention.
struct Block {
    queries: Dense,
    keys: Dense,
    values: Dense,
    residual: Dense,
    /// Scale and shift of the layer norm.
    norm: Option<(Tensor, Tensor)>,
}

impl Block {
    fn new(name: &str, inputs: usize, outputs: usize, as_published: bool, params: &mut Params) -> Result<Self> {
        let mut projection = |kind: &str| Dense::new(&format!("{name}_{kind}"), inputs, outputs, params);
        let (queries, keys) = (projection("queries")?, projection("keys")?);
        let (values, residual) = (projection("values")?, projection("residual")?);
        let norm = if as_published {
            None
        } else {
            Some((
                params.dense(&format!("{name}_norm_scale"), &[outputs], Init::Constant(1.0))?,
                params.dense(&format!("{name}_norm_shift"), &[outputs], Init::Zeros)?,
            ))
        };
        Ok(Self { queries, keys, values, residual, norm })
    }

    /// # Shapes
    /// `[B, F, inputs]` to `[B, F, outputs]`
    fn of(&self, x: &Tensor, config: &AutoIntConfig) -> Result<Tensor> {
        let heads = config.num_heads as i64;
        let project = |layer: &Dense| -> Result<Tensor> {
            let projected = layer.of(x)?;
            Ok(if config.as_published { projected } else { projected.f_relu()? })
        };
        // [B, F, H·d] to [B, H, F, d]
        let split = |x: Tensor| -> Result<Tensor> {
            let (b, f, size) = x.size3()?;
            Ok(x.f_view([b, f, heads, size / heads])?.f_transpose(1, 2)?)
        };
        let (queries, keys, values) = (split(project(&self.queries)?)?, split(project(&self.keys)?)?, split(project(&self.values)?)?);
        let mut logits = queries.f_matmul(&keys.f_transpose(2, 3)?)?;
        if !config.as_published {
            logits = logits.f_div_scalar((keys.size()[3] as f64).sqrt())?;
        }
        let weights = logits.f_softmax(-1, None::<Kind>)?;
        let weights = if is_recording() { dropout(&weights, config.attention_dropout)? } else { weights };
        let seen = weights.f_matmul(&values)?.f_transpose(1, 2)?.f_flatten(2, 3)?;
        let out = (seen + project(&self.residual)?).f_relu()?;
        Ok(match &self.norm {
            Some((scale, shift)) => out.f_layer_norm(scale.size(), Some(scale), Some(shift), 1e-8, false)?,
            None => out,
        })
    }
}

impl Network for AutoIntNetwork {
    type Config = AutoIntConfig;

    fn new(config: &AutoIntConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let fields = rows.encoders();
        let (n, d) = (fields.fields().len(), config.embedding_size);
        let vectors = Embedding::new("vectors", fields, d, Init::Normal { std: config.init_std }, params)?;
        let mut blocks = Vec::new();
        let mut size = d;
        for (at, &next) in config.attention_sizes.iter().enumerate() {
            blocks.push(Block::new(&format!("block_{}", at + 1), size, next, config.as_published, params)?);
            size = next;
        }
        let output = Dense::new("output", n * size, 1, params)?;
        let deep = match &config.hidden_sizes[..] {
            [] => None,
            sizes => Some(Tower::new("deep", n * d, sizes, config.dropout, params)?),
        };
        Ok(Self { config: config.clone(), vectors, blocks, output, deep })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?;
        let vectors = if is_recording() { dropout(&vectors, self.config.embedding_dropout)? } else { vectors };
        let mut x = vectors.shallow_clone();
        for block in &self.blocks {
            x = block.of(&x, &self.config)?;
        }
        let logits = self.output.of(&x.f_flatten(1, -1)?)?.f_squeeze_dim(1)?;
        Ok(match &self.deep {
            Some(deep) => logits + deep.of(&vectors)?,
            None => logits,
        })
    }
}
