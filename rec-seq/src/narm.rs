//! NARM: a GRU that walks through a session, and attention to what it saw on the way. Li et al., Neural Attentive Session-based
//! Recommendation, CIKM 2017, arXiv:1711.04725.
//!
//! The paper takes each prefix of a session as a sample of its own; here one walk through the session asks for the next item at each of
//! its positions, and the loss is the mean over positions. What differs from the authors' code
//! (github.com/lijingsdu/sessionRec_NARM): σ is the logistic function, not its piecewise linear stand-in; the reset gate is applied after
//! the product with V, as in `torch.nn.GRUCell`; of a long session the last items are seen, not the first; V, which is orthogonal there,
//! starts normal with the same variance. Other initial values are those of the code: normal with variance 2 / rows.

use std::sync::Arc;

use anyhow::Result;
use rec_core::additive_attention::additive_attention;
use rec_core::dropout::dropout;
use rec_core::gru_sequence::gru_sequence;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::next_item::{asked, next_item_loss};
use crate::transformer::{after_histories, last_rows};
use crate::{check_rate, check_size};

/// Hyper-parameters. Defaults are the paper's, and the authors' code's `max_len`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NarmConfig {
    /// Length of an item's vector.
    pub embedding_size: usize,
    /// Units of the GRU.
    pub hidden_size: usize,
    /// The last so many items are seen.
    pub max_len: usize,
    /// Dropout of the items' vectors as inputs.
    pub embedding_dropout: f64,
    /// Dropout of c.
    pub dropout: f64,
    /// Whether a session's attention weights are a softmax, as in the authors' code. The paper's formulas take them as they are.
    pub softmax: bool,
}

impl Default for NarmConfig {
    fn default() -> Self {
        Self { embedding_size: 50, hidden_size: 100, max_len: 19, embedding_dropout: 0.25, dropout: 0.5, softmax: false }
    }
}

impl ModelConfig for NarmConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_size("hidden_size", self.hidden_size)?;
        check_size("max_len", self.max_len)?;
        check_rate("embedding_dropout", self.embedding_dropout)?;
        check_rate("dropout", self.dropout)
    }
}

/// score(session, i) = e_i · B c, c = (h_t; Σ_{j ≤ t} α_tj h_j), α_tj = v · σ(A₁ h_t + A₂ h_j), h the states of a GRU over the e of the
/// session's items.
pub struct Narm {
    config: NarmConfig,
    /// e.
    items: Table,
    /// Wᵀ, `[d, 3 u]`.
    input_weights: Tensor,
    /// w, `[3 u]`.
    input_bias: Tensor,
    /// Vᵀ, `[u, 3 u]`.
    recurrent_weights: Tensor,
    /// v of the GRU, `[3 u]`.
    recurrent_bias: Tensor,
    /// A₁ᵀ and A₂ᵀ, `[u, 2 u]`.
    attention_weights: Tensor,
    /// v of the attention, `[u]`.
    attention_vector: Tensor,
    /// B, `[d, 2 u]`.
    output_weights: Tensor,
}

impl Model for Narm {
    type Config = NarmConfig;
    type Batch = SequencesBatch;

    fn new(config: &NarmConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (d, u) = (config.embedding_size, config.hidden_size);
        let normal = |variance: f64| Init::Normal { std: variance.sqrt() };
        let by_rows = |rows: usize| normal(2.0 / rows as f64);
        Ok(Self {
            config: config.clone(),
            items: params.table("item_embedding", data.num_items(), d, by_rows(data.num_items()))?,
            input_weights: params.dense("input_weights", &[d, 3 * u], by_rows(d))?,
            input_bias: params.dense("input_bias", &[3 * u], Init::Zeros)?,
            recurrent_weights: params.dense("recurrent_weights", &[u, 3 * u], normal(1.0 / u as f64))?,
            recurrent_bias: params.dense("recurrent_bias", &[3 * u], Init::Zeros)?,
            attention_weights: params.dense("attention_weights", &[u, 2 * u], by_rows(u))?,
            attention_vector: params.dense("attention_vector", &[u], by_rows(1))?,
            output_weights: params.dense("output_weights", &[d, 2 * u], by_rows(d))?,
        })
    }

    fn shape_batches(config: &NarmConfig, options: &mut BatchOptions) {
        (options.max_len, options.num_negatives) = (config.max_len, 0);
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let inputs: Vec<u32> = asked(batch).map(|at| batch.items[at]).collect();
        let starts = Arc::new(batch.starts.iter().enumerate().map(|(s, start)| start - s).collect::<Vec<_>>());
        let x = dropout(&self.items.rows(&inputs)?, self.config.embedding_dropout)?;
        let c = dropout(&self.encode(&x, &starts)?, self.config.dropout)?;
        next_item_loss(&LossConfig::CrossEntropy {}, &self.decode(&c)?, &self.items, batch)
    }
}

impl Narm {
    /// c of all positions.
    ///
    /// # Shapes
    /// `x` `[P, d]`, sequence s at rows `starts[s]..starts[s + 1]`; returns `[P, 2 u]`
    fn encode(&self, x: &Tensor, starts: &Arc<Vec<usize>>) -> Result<Tensor> {
        let inputs = self.input_bias.f_addmm(x, &self.input_weights)?;
        let recurrent = Tensor::f_cat(&[&self.recurrent_weights, &self.recurrent_bias.f_unsqueeze(0)?], 0)?;
        let h = gru_sequence(&inputs, &recurrent, starts)?;
        let rows = Tensor::f_cat(&[&h.f_mm(&self.attention_weights)?, &h], 1)?;
        let local = additive_attention(&rows, &self.attention_vector, starts, self.config.softmax)?;
        Ok(Tensor::f_cat(&[h, local], 1)?)
    }

    /// B c.
    fn decode(&self, c: &Tensor) -> Result<Tensor> {
        Ok(c.f_mm(&self.output_weights.f_tr()?)?)
    }
}

impl Score for Narm {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    /// A session without a history gets 0 for every item.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let dim = self.config.embedding_size;
        let vectors = |items: &[u32], starts: &Arc<Vec<usize>>| {
            let c = self.encode(&self.items.rows(items)?, starts)?;
            self.decode(&last_rows(&c, starts)?)
        };
        let hidden = after_histories(users, self.config.max_len, dim, None, vectors)?;
        Ok(Scores::Factors(Factors { dim, users: hidden.into(), items: self.items.to_slice(), item_bias: None }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.items.num_columns(), values: self.items.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
