//! The candidate generator of YouTube: a user is what layers make of the mean of the watched items' vectors, and the next item one class
//! of a softmax. Covington, Adams, Sargin, RecSys 2016.
//!
//! Search tokens, as all that describes users, are side features of users. The paper's fixed number of examples a user is not here: each
//! training row is one example.

use anyhow::Result;
use rec_core::dropout::{dropout, relu_dropout};
use rec_core::full_softmax::full_softmax_loss;
use rec_core::loss::{Loss, LossConfig, LossInput};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::params::slice;
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::{BatchOptions, History, NextItemBatch};
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::bags::{UserFeatures, means};
use crate::transformer::Linear;
use crate::{check_rate, check_size};

/// Hyper-parameters. The paper's vectors have 256 numbers, and its widest tower layers of 1024, 512 and 256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct YoutubeCandidatesConfig {
    /// Length of the vector of a watched item.
    pub embedding_size: usize,
    /// Units of the layers, the first one first. What the last one gives is the user's vector; without layers that is the mean of the
    /// history.
    pub hidden_sizes: Vec<usize>,
    /// Whether items are scored by the same vectors by which they are watched.
    pub tie_embeddings: bool,
    /// What a training row is predicted from.
    pub history: History,
    /// The last so many items of a history are seen.
    pub max_len: usize,
    /// Side features of users that the first layer is shown beside the history: a category's vector, the mean of several categories'
    /// vectors, or a number, scaled to a mean of 0 and a variance of 1.
    pub user_features: Vec<String>,
    /// Length of a category's vector.
    pub feature_size: usize,
    /// Whether the first layer is shown how long before the latest training row the target was, in shares of the time that the training
    /// rows span. Recommendations are made with 0.
    pub example_age: bool,
    /// Dropout of what each layer is shown; without layers, of the mean of the history.
    pub dropout: f64,
    /// Standard deviation of the normal distribution that vectors start from; absent is Xavier's.
    pub init_std: Option<f64>,
    /// What is minimised: `sampled-softmax` is over the target and the samples of the batch, `cross-entropy` over all items. A sample that
    /// is the row's target stays one: given the items, each place is the target's with probability ∝ P(item)/q(item), so that
    /// corrected scores tend to ln P however often popular targets are drawn.
    pub loss: LossConfig,
}

impl Default for YoutubeCandidatesConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            hidden_sizes: vec![128, 64],
            tie_embeddings: false,
            history: History::Before,
            max_len: 50,
            user_features: Vec::new(),
            feature_size: 16,
            example_age: false,
            dropout: 0.0,
            init_std: None,
            loss: LossConfig::SampledSoftmax { log_q: true },
        }
    }
}

impl YoutubeCandidatesConfig {
    fn is_full(&self) -> bool {
        matches!(self.loss, LossConfig::CrossEntropy {})
    }

    /// The length of a user's vector.
    fn output_size(&self) -> usize {
        self.hidden_sizes.last().copied().unwrap_or(self.embedding_size)
    }
}

impl ModelConfig for YoutubeCandidatesConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        self.hidden_sizes.iter().try_for_each(|&units| check_size("hidden_sizes", units))?;
        check_size("max_len", self.max_len)?;
        check_size("feature_size", self.feature_size)?;
        check_rate("dropout", self.dropout)?;
        let (d, last) = (self.embedding_size, self.output_size());
        require!(
            !self.tie_embeddings || d == last,
            Usage,
            "`tie_embeddings` is true, and `hidden_sizes` ends with {last}: it must end with `embedding_size`, {d}"
        );
        for (key, is_set) in [("user_features", !self.user_features.is_empty()), ("example_age", self.example_age)] {
            require!(!is_set || !self.hidden_sizes.is_empty(), Usage, "`{key}` is set, and `hidden_sizes` is empty: no layer would see it");
        }
        if let Some(std) = self.init_std {
            require!(std > 0.0 && std.is_finite(), Usage, "`init_std` is {std}: it must be above 0");
        }
        require!(
            self.is_full() || matches!(self.loss, LossConfig::SampledSoftmax { .. }),
            Usage,
            "`loss` must be `sampled-softmax` or `cross-entropy`: the next item is one class of many"
        );
        self.loss.check()
    }
}

/// score(u, i) = h · v_i, with h the last of ReLU layers over (the mean of the history's vectors; the user's features; the example's age).
pub struct YoutubeCandidates {
    config: YoutubeCandidatesConfig,
    inputs: Table,
    features: UserFeatures,
    layers: Vec<Linear>,
    /// v.
    outputs: Table,
}

impl Model for YoutubeCandidates {
    type Config = YoutubeCandidatesConfig;
    type Batch = NextItemBatch;

    fn new(config: &YoutubeCandidatesConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (d, items) = (config.embedding_size, data.num_items());
        let init = config.init_std.map_or(Init::XavierNormal, |std| Init::Normal { std });
        let inputs = params.table("item_embedding", items, d, init)?;
        let outputs =
            if config.tie_embeddings { inputs.clone() } else { params.table("output_embedding", items, config.output_size(), init)? };
        let features = UserFeatures::new(&config.user_features, config.feature_size, init, data, params)?;
        let mut width = d + features.width() + usize::from(config.example_age);
        let mut layers = Vec::with_capacity(config.hidden_sizes.len());
        for (at, &units) in config.hidden_sizes.iter().enumerate() {
            layers.push(Linear::new(&format!("layer_{}", at + 1), (width, units), Init::XavierUniform, params)?);
            width = units;
        }
        Ok(Self { config: config.clone(), inputs, features, layers, outputs })
    }

    fn shape_batches(config: &YoutubeCandidatesConfig, options: &mut BatchOptions) {
        (options.max_len, options.history, options.example_age) = (config.max_len, config.history, config.example_age);
        if config.is_full() {
            options.num_negatives = 0;
        }
    }

    fn loss(&self, batch: &NextItemBatch) -> Result<Tensor> {
        let hidden = self.hidden(&batch.users, &batch.histories, &batch.ages, self.config.dropout)?;
        if self.config.is_full() {
            let all: Vec<u32> = (0..self.outputs.num_rows() as u32).collect();
            return full_softmax_loss(&hidden, &self.outputs.rows(&all)?, &batch.targets);
        }
        require!(!batch.samples.is_empty(), Usage, "`num_negatives` is 0: this loss needs at least 1");
        let positive = hidden.f_mul(&self.outputs.rows(&batch.targets)?)?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        let negatives = hidden.f_mm(&self.outputs.rows(&batch.samples)?.f_tr()?)?;
        let log_q = Tensor::from_slice(&batch.log_q).f_to_device(hidden.device())?;
        let rows = batch.targets.len() as i64;
        let (of_targets, of_samples) = (log_q.f_narrow(0, 0, rows)?, log_q.f_narrow(0, rows, batch.samples.len() as i64)?);
        self.config.loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: Some((&of_targets, &of_samples)) })
    }
}

impl YoutubeCandidates {
    /// Users' vectors.
    ///
    /// # Shapes
    /// `histories` `[B, items]`, `ages` `[B]`, or empty where the first layer sees none; returns `[B, output size]`
    fn hidden(&self, users: &[u32], histories: &Csr, ages: &[f32], rate: f64) -> Result<Tensor> {
        let mut parts = vec![means(&self.inputs, histories)?];
        let device = parts[0].device();
        parts.extend(self.features.columns(users, device)?);
        if self.config.example_age {
            parts.push(Tensor::from_slice(ages).f_view([ages.len() as i64, 1])?.f_to_device(device)?);
        }
        let mut x = dropout(&Tensor::f_cat(&parts, 1)?, rate)?;
        for (at, layer) in self.layers.iter().enumerate() {
            let is_last = at + 1 == self.layers.len();
            x = relu_dropout(&layer.apply(&x)?, if is_last { 0.0 } else { rate })?;
        }
        Ok(x)
    }
}

impl Score for YoutubeCandidates {
    fn num_items(&self) -> usize {
        self.outputs.num_rows()
    }

    /// A user without a history is scored by features and layers alone; without layers each item gets 0.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let last = |at: usize| {
            let history = users.history(at);
            &history[history.len().saturating_sub(self.config.max_len)..]
        };
        let histories = Csr::from_rows(self.inputs.num_rows(), (0..users.len()).map(last));
        let hidden = tch::no_grad(|| self.hidden(users.ids(), &histories, &vec![0.0; users.len()], 0.0))?;
        let hidden = hidden.f_to_device(Device::Cpu)?.f_contiguous()?;
        let dim = self.outputs.num_columns();
        Ok(Scores::Factors(Factors { dim, users: slice(&hidden).to_vec().into(), items: self.outputs.to_slice(), item_bias: None }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.outputs.num_columns(), values: self.outputs.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
