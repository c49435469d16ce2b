//! Collaborative denoising autoencoder: a denoising autoencoder with a node of the user's own. Wu, DuBois, Zheng, Ester, WSDM 2016.

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput, SquaredError};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::sparse::{Pattern, products};
use rec_core::{Init, Params, Table};
use rec_data::batch::SampledRowsBatch;
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::layers::{SparseLayer, loss_of_rows, numbers, square_sum};
use crate::noise::Noise;
use crate::{Activation, check_l2, check_rate, check_sizes, history};

/// Hyper-parameters. Defaults are the paper's, as far as its authors' code tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CdaeConfig {
    /// K, the units of the hidden layer.
    pub embedding_size: usize,
    /// q, the share of input entries that is corrupted.
    pub corruption: f64,
    /// How the input is corrupted.
    pub noise: Noise,
    /// h, what hidden sums go through.
    pub activation: Activation,
    /// Whether each user has a node.
    pub user_node: bool,
    /// Pointwise (`weighted-bce`, `squared-error`) or pairwise (`bpr`, …).
    pub loss: LossConfig,
    /// λ of λ(‖W‖² + ‖W′‖² + ‖V‖²)/2, rows that the batch touches, beside the loss of a mean row. Biases are free, unlike the paper's.
    pub l2: f64,
}

impl Default for CdaeConfig {
    fn default() -> Self {
        Self {
            embedding_size: 50,
            corruption: 0.5,
            noise: Noise::Dropout,
            activation: Activation::Sigmoid,
            user_node: true,
            loss: LossConfig::WeightedBce { positive_weight: 1.0 },
            l2: 0.01,
        }
    }
}

impl ModelConfig for CdaeConfig {
    fn check(&self) -> Result<()> {
        check_sizes("embedding_size", &[self.embedding_size])?;
        check_rate("corruption", self.corruption)?;
        check_l2(self.l2)?;
        self.loss.check()
    }
}

/// z_u = h(Wᵀx̃_u + V_u + b), r_ui = W′_i · z_u + b′_i (eq. 4–5), where x̃ is the corrupted row.
///
/// The outputs that the loss looks at are the user's items and `num_negatives` sampled ones for each of them, and so is the work;
/// with `num_negatives = 0` they are all items. A user without training rows has no node.
pub struct Cdae {
    config: CdaeConfig,
    input: SparseLayer,
    users: Option<Table>,
    has_node: Vec<bool>,
    items: Table,
    item_bias: Table,
}

impl Cdae {
    fn node(&self, users: &[u32]) -> Result<Option<Tensor>> {
        self.users.as_ref().map(|table| table.rows(users)).transpose()
    }

    /// The loss of all items as outputs.
    fn loss_of_all(&self, rows: &Csr, hidden: &Tensor) -> Result<(Tensor, Tensor)> {
        let all: Vec<u32> = (0..rows.num_columns() as u32).collect();
        let (weights, bias) = (self.items.rows(&all)?, self.item_bias.rows(&all)?);
        let loss = loss_of_rows(&self.config.loss, hidden, &weights, &bias.f_squeeze_dim(1)?, rows)?;
        Ok((loss, weights))
    }

    /// The loss of the users' items against sampled ones, as the sum over a mean row's outputs, or over its pairs.
    fn loss_of_some(&self, batch: &SampledRowsBatch, hidden: &Tensor) -> Result<(Tensor, Tensor)> {
        let positives = batch.rows.columns();
        let each = 1 + batch.negatives.len() / positives.len();
        // Each item of the user, followed by its negatives.
        let outputs = positives.iter().zip(batch.negatives.chunks(each - 1)).flat_map(|(item, others)| std::iter::once(item).chain(others));
        let outputs: Vec<u32> = outputs.copied().collect();
        let lists = (0..batch.rows.num_rows()).map(|row| {
            let range = batch.rows.range(row);
            &outputs[range.start * each..range.end * each]
        });
        let (pattern, ids) = Pattern::compact(&Csr::from_rows(batch.rows.num_columns(), lists));
        let pattern = Arc::new(pattern);
        let (weights, bias) = (self.items.rows(&ids)?, self.item_bias.rows(&ids)?);
        let ones = Tensor::f_ones([batch.rows.num_rows() as i64, 1], (Kind::Float, hidden.device()))?;
        let scores = products(&pattern, hidden, &weights)?.f_add(&products(&pattern, &ones, &bias)?)?;
        let scores = scores.f_view([positives.len() as i64, each as i64])?;
        let (positive, negatives) = (scores.f_select(1, 0)?, scores.f_narrow(1, 1, each as i64 - 1)?);
        let ranked = LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None };
        let (loss, terms) = match self.config.loss {
            LossConfig::SquaredError {} => {
                let labels = scores.f_zeros_like()?;
                let _ = labels.f_select(1, 0)?.f_fill_(1.0)?;
                (SquaredError.loss(&LossInput::Rated { predicted: &scores, observed: &labels, mask: None })?, outputs.len())
            }
            LossConfig::WeightedBce { .. } => (self.config.loss.loss(&ranked)?, outputs.len()),
            _ => (self.config.loss.loss(&ranked)?, batch.negatives.len()),
        };
        Ok((loss * (terms as f64 / batch.users.len() as f64), weights))
    }
}

impl Model for Cdae {
    type Config = CdaeConfig;
    type Batch = SampledRowsBatch;

    fn new(config: &CdaeConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (size, items) = (config.embedding_size, data.num_items());
        let input = SparseLayer::new(params, "input", items, size, Init::XavierUniform, Init::Zeros)?;
        let users = config.user_node.then(|| params.table("user_node", data.num_users(), size, Init::XavierUniform)).transpose()?;
        let has_node = (0..data.num_users()).map(|u| !data.by_user().row(u).is_empty()).collect();
        Ok(Self {
            config: config.clone(),
            input,
            users,
            has_node,
            items: params.table("output_weights", items, size, Init::XavierUniform)?,
            item_bias: params.table("output_bias", items, 1, Init::Zeros)?,
        })
    }

    fn loss(&self, batch: &SampledRowsBatch) -> Result<Tensor> {
        let noise = self.config.noise.factors(self.config.corruption, batch.rows.len(), self.input.device())?;
        let encoded = self.input.forward(&batch.rows, noise.as_ref())?;
        let node = self.node(&batch.users)?;
        let sums = node.as_ref().map_or_else(|| Ok(encoded.sums.shallow_clone()), |node| encoded.sums.f_add(node))?;
        let hidden = self.config.activation.apply(&sums)?;
        let (loss, weights) =
            if batch.negatives.is_empty() { self.loss_of_all(&batch.rows, &hidden)? } else { self.loss_of_some(batch, &hidden)? };
        if self.config.l2 == 0.0 {
            return Ok(loss);
        }
        let mut squares = square_sum(&encoded.taken)? + square_sum(&weights)?;
        if let Some(node) = &node {
            squares += square_sum(node)?;
        }
        Ok(loss + squares * (0.5 * self.config.l2))
    }
}

impl Score for Cdae {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut sums = self.input.forward(&history::rows(users, self.num_items()), None)?.sums;
        if let Some(table) = &self.users {
            let known = |&id: &u32| self.has_node.get(id as usize) == Some(&true);
            let ids: Vec<u32> = users.ids().iter().map(|id| if known(id) { *id } else { 0 }).collect();
            let has: Vec<f32> = users.ids().iter().map(|id| f32::from(known(id))).collect();
            let has = Tensor::from_slice(&has).f_unsqueeze(1)?.f_to_device(sums.device())?;
            sums += table.rows(&ids)? * has;
        }
        let hidden = self.config.activation.apply(&sums)?.f_to_device(Device::Cpu)?;
        let factors =
            Factors { dim: self.config.embedding_size, users: numbers(&hidden)?.into(), items: self.items.to_slice(), item_bias: None };
        Ok(Scores::Factors(factors.with_bias(self.item_bias.to_slice())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.config.embedding_size, values: self.items.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
