//! Behaviour sequence transformer: self-attention over what the user did before and the item asked about. Chen et al., DLP-KDD 2019,
//! arXiv:1905.06874.
//!
//! A position is how long ago it was (section 2.1): here one of [`AGES`] vectors, by ⌊log₂(1 + hours)⌋.

use std::sync::Arc;

use anyhow::Result;
use rec_core::attention::Attention;
use rec_core::dropout::dropout;
use rec_core::model::ModelConfig;
use rec_core::shim::is_recording;
use rec_core::sparse::{Pattern, sum_rows};
use rec_core::{Init, Params, Table};
use rec_data::csr::Csr;
use rec_data::fields::{Encoding, LabelledRows};
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::embedding::{Embedding, Taken};
use crate::layers::{Dense, check_hidden_sizes};
use crate::lists::targets;
use crate::{Clicks, Network, check_above_0, check_rate, check_size};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BstConfig {
    /// Length of a vector of a feature, and of one of a position; an element of a sequence is both beside each other.
    pub embedding_size: usize,
    /// Blocks of the transformer.
    pub num_layers: usize,
    /// Divides twice the embedding size.
    pub num_heads: usize,
    /// Share of what the two halves of a block add that a step sets to 0.
    pub dropout: f64,
    /// Units of the hidden layers over all fields.
    pub hidden_sizes: Vec<usize>,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for BstConfig {
    fn default() -> Self {
        Self { embedding_size: 16, num_layers: 1, num_heads: 8, dropout: 0.2, hidden_sizes: vec![1024, 512, 256], init_std: 0.01 }
    }
}

impl ModelConfig for BstConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        let (heads, size) = (self.num_heads, 2 * self.embedding_size);
        require!(heads > 0 && size % heads == 0, Usage, "`num_heads` is {heads}: it must divide twice `embedding_size`, {size}");
        require!((1..=64).contains(&self.num_layers), Usage, "`num_layers` is {}: it must lie in 1 to 64", self.num_layers);
        check_rate("dropout", self.dropout)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        check_above_0("init_std", self.init_std)
    }
}

/// The number of vectors of positions: the item asked about, and ages up to 2²² hours.
pub const AGES: usize = 24;
/// The slope below 0 that the paper's LeakyReLU is given here, libtorch's usual one.
const SLOPE: f64 = 0.01;

/// Behaviour sequence transformer.
pub type Bst = Clicks<BstNetwork>;

/// Its parameters.
pub struct BstNetwork {
    config: BstConfig,
    vectors: Embedding,
    /// For each history the item's place among the fields and the most items.
    sequences: Vec<Sequence>,
    hidden: Vec<Dense>,
    output: Dense,
}

struct Sequence {
    target: usize,
    max_len: usize,
    ages: Table,
    blocks: Vec<Block>,
}

/// x' = LN(x + dropout(MH(x))), out = LN(x' + dropout(LeakyReLU(x' W₁ + b₁) W₂ + b₂)) (eq. 4 and 5).
struct Block {
    queries: Dense,
    keys_values: Dense,
    heads: Dense,
    inner: Dense,
    outer: Dense,
    norms: [(Tensor, Tensor); 2],
}

impl Block {
    fn new(name: &str, size: usize, params: &mut Params) -> Result<Self> {
        let mut dense = |kind: &str, outputs| Dense::new(&format!("{name}_{kind}"), size, outputs, params);
        let (queries, keys_values, heads) = (dense("queries", size)?, dense("keys_values", 2 * size)?, dense("heads", size)?);
        let (inner, outer) = (dense("inner", size)?, dense("outer", size)?);
        let mut norm = |at: usize| -> Result<(Tensor, Tensor)> {
            let scale = params.dense(&format!("{name}_norm_{at}_scale"), &[size], Init::Constant(1.0))?;
            Ok((scale, params.dense(&format!("{name}_norm_{at}_shift"), &[size], Init::Zeros)?))
        };
        Ok(Self { queries, keys_values, heads, inner, outer, norms: [norm(1)?, norm(2)?] })
    }

    /// # Shapes
    /// `[P, size]`, returns the same
    fn of(&self, x: &Tensor, starts: &Arc<Vec<usize>>, num_heads: usize, rate: f64) -> Result<Tensor> {
        let attention = Attention { num_heads, causal: false, dropout: 0.0 };
        let norm = |x: Tensor, (scale, shift): &(Tensor, Tensor)| x.f_layer_norm(scale.size(), Some(scale), Some(shift), 1e-5, false);
        let dropped = |x: Tensor| if rate > 0.0 { dropout(&x, rate) } else { Ok(x) };
        let seen = attention.apply(&self.queries.of(x)?, &self.keys_values.of(x)?, None, starts)?;
        let x = norm(x + dropped(self.heads.of(&seen)?)?, &self.norms[0])?;
        let out = self.outer.of(&leaky(&self.inner.of(&x)?)?)?;
        Ok(norm(&x + dropped(out)?, &self.norms[1])?)
    }
}

fn leaky(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_maximum(&(x * SLOPE))?)
}

/// The vector of a position `age` days ago; 0 is the item asked about.
fn position(age: f32) -> u32 {
    let hours = f64::from(age.max(0.0)) * 24.0;
    1 + ((1.0 + hours).log2() as u32).min(AGES as u32 - 2)
}

impl Sequence {
    /// The outputs of the transformer in `max_len` + 1 slots, the item asked about in the last one; empty slots are 0.
    ///
    /// # Shapes
    /// `items` `[B, d]`; returns `[B, (max_len + 1)·2d]`
    fn of(&self, history: &Csr, table: &Table, items: &Tensor, rows: &Taken, config: &BstConfig) -> Result<Tensor> {
        let b = history.num_rows();
        // Past items one after the other and then the items asked about, P + B rows; a sequence takes its own and then its item.
        let p = history.len();
        let (mut starts, mut order, mut ages) = (vec![0], Vec::with_capacity(p + b), Vec::with_capacity(p + b));
        let (mut slot_starts, mut slots) = (vec![0], Vec::with_capacity(p + b));
        for row in 0..b {
            let past = history.range(row);
            order.extend(past.clone().map(|at| at as i64));
            ages.extend(history.row_values(row).iter().map(|&age| position(age)));
            order.push((p + row) as i64);
            ages.push(0);
            for slot in 0..=self.max_len {
                // Slots fill from the end, the last one being the item's.
                if slot + past.len() >= self.max_len {
                    slots.push((starts[row] + slot + past.len() - self.max_len) as u32);
                }
                slot_starts.push(slots.len());
            }
            starts.push(order.len());
        }
        let each = Csr::from_parts((0..=p).collect(), history.columns().to_vec(), Vec::new(), history.num_columns());
        let past = if p == 0 { items.f_narrow(0, 0, 0)? } else { rows.sums(&each, table)? };
        let order = Tensor::from_slice(&order).f_to_device(rows.device())?;
        let elements = Tensor::f_cat(&[&past, items], 0)?.f_index_select(0, &order)?;
        let positions = Csr::from_parts((0..=ages.len()).collect(), ages, Vec::new(), AGES);
        let mut x = Tensor::f_cat(&[elements, rows.sums(&positions, &self.ages)?], 1)?;
        let (starts, rate) = (Arc::new(starts), if is_recording() { config.dropout } else { 0.0 });
        for block in &self.blocks {
            x = block.of(&x, &starts, config.num_heads, rate)?;
        }
        let n = x.size()[0] as usize;
        let slots = Arc::new(Pattern::of(&Csr::from_parts(slot_starts, slots, Vec::new(), n)));
        Ok(sum_rows(&slots, None, &x)?.f_view([b as i64, -1])?)
    }
}

impl Network for BstNetwork {
    type Config = BstConfig;
    const LISTS: bool = true;

    fn new(config: &BstConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let (fields, d) = (rows.encoders(), config.embedding_size);
        let init = Init::Normal { std: config.init_std };
        let vectors = Embedding::beside_lists("vectors", fields, d, init, params)?;
        let mut sequences = Vec::new();
        for (at, (target, field)) in targets("bst", fields)?.into_iter().zip(fields.histories()).enumerate() {
            let max_len = if let Encoding::Shared { max_len, .. } = field.spec.encoding { max_len } else { 0 };
            let name = format!("sequence_{}", at + 1);
            let ages = params.table(&format!("{name}_ages"), AGES, d, init)?;
            let block = |layer| Block::new(&format!("{name}_block_{layer}"), 2 * d, params);
            sequences.push(Sequence { target, max_len, ages, blocks: (1..=config.num_layers).map(block).collect::<Result<_>>()? });
        }
        let slots: usize = sequences.iter().map(|sequence| (sequence.max_len + 1) * 2 * d).sum();
        let mut size = vectors.num_fields() * d + slots;
        let mut hidden = Vec::new();
        for (at, &next) in config.hidden_sizes.iter().enumerate() {
            hidden.push(Dense::new(&format!("deep_{}", at + 1), size, next, params)?);
            size = next;
        }
        Ok(Self { config: config.clone(), vectors, sequences, hidden, output: Dense::new("deep_output", size, 1, params)? })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?;
        let mut seen = vec![vectors.f_flatten(1, -1)?];
        for (sequence, history) in self.sequences.iter().zip(&rows.batch.histories) {
            let items = vectors.f_select(1, sequence.target as i64)?;
            seen.push(sequence.of(history, &self.vectors.table, &items, rows, &self.config)?);
        }
        let mut z = Tensor::f_cat(&seen, 1)?;
        for layer in &self.hidden {
            z = leaky(&layer.of(&z)?)?;
        }
        Ok(self.output.of(&z)?.f_squeeze_dim(1)?)
    }
}
