//! UltraGCN: no propagation; weights of the loss stand for infinitely many layers. Mao et al., CIKM 2021, arXiv:2110.15114.
//!
//! The paper's penalty of all parameters is the optimizer's: `l2` with `rows = "all"`.

use std::cmp::Reverse;

use anyhow::Result;
use rayon::prelude::*;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::PairwiseBatch;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{check_above_0, check_not_negative, check_size};

/// Hyper-parameters. Defaults are those of the authors' code for Gowalla.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UltraGcnConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Weight of each pair beside β: w₁ of positives.
    pub positive_base: f64,
    /// w₂, what β counts of positives.
    pub positive_beta: f64,
    /// w₃ of negatives.
    pub negative_base: f64,
    /// w₄, what β counts of negatives.
    pub negative_beta: f64,
    /// What the mean over a positive's negatives counts.
    pub negative_weight: f64,
    /// λ of the items' own graph.
    pub item_weight: f64,
    /// K: neighbours of an item in that graph.
    pub neighbours: usize,
    /// Standard deviation of the initial values.
    pub init_std: f64,
}

impl Default for UltraGcnConfig {
    fn default() -> Self {
        Self {
            embedding_size: 64,
            positive_base: 1e-6,
            positive_beta: 1.0,
            negative_base: 1e-6,
            negative_beta: 1.0,
            negative_weight: 300.0,
            item_weight: 5e-4,
            neighbours: 10,
            init_std: 1e-4,
        }
    }
}

impl ModelConfig for UltraGcnConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        for (key, value) in [
            ("positive_base", self.positive_base),
            ("positive_beta", self.positive_beta),
            ("negative_base", self.negative_base),
            ("negative_beta", self.negative_beta),
            ("negative_weight", self.negative_weight),
            ("item_weight", self.item_weight),
        ] {
            check_not_negative(key, value)?;
        }
        require!(self.neighbours <= 1024, Usage, "`neighbours` is {}: it must be at most 1024", self.neighbours);
        check_above_0("init_std", self.init_std)
    }
}

/// score(u, i) = p_u · q_i. A positive (u, i) adds −(w₁ + w₂β_ui) ln σ(s_ui), its negatives j add w⁻ · mean −(w₃ + w₄β_uj) ln σ(−s_uj), and
/// the neighbours k of i add −λ Σ ω_ik ln σ(s_uk); summed over the batch. β_ui = √(d_u + 1) / (d_u √(d_i + 1)).
pub struct UltraGcn {
    config: UltraGcnConfig,
    users: Table,
    items: Table,
    /// √(d + 1)/d of users and 1/√(d + 1) of items, the factors of β.
    user_factors: Vec<f32>,
    item_factors: Vec<f32>,
    /// `[items, K]` and their ω; where an item has fewer, the item itself with ω = 0.
    near: Vec<u32>,
    near_weights: Vec<f32>,
}

impl UltraGcn {
    /// −Σ weight · ln σ(scores).
    fn sum(scores: &Tensor, weights: &[f32]) -> Result<Tensor> {
        let weights = Tensor::from_slice(weights).f_view_as(scores)?.f_to_device(scores.device())?;
        Ok((scores.f_log_sigmoid()? * weights).f_sum(None::<Kind>)?.f_neg()?)
    }

    fn betas(&self, base: f64, beta: f64, users: &[u32], items: &[u32]) -> Vec<f32> {
        let each = items.len() / users.len().max(1);
        let of = |(at, &item): (usize, &u32)| {
            base as f32 + beta as f32 * self.user_factors[users[at / each] as usize] * self.item_factors[item as usize]
        };
        items.iter().enumerate().map(of).collect()
    }
}

/// The K items of each item with the largest ω_ij = G_ij · √(g_i + 1)/g_i / √(g_j + 1), with G = XᵀX (an item is its own neighbour, as in
/// the authors' code) and g the sums of its rows.
fn nearest(data: &TrainView, k: usize) -> (Vec<u32>, Vec<f32>) {
    let (by_item, by_user) = (data.by_item(), data.by_user());
    let n = data.num_items();
    let sums: Vec<f64> = (0..n).map(|i| by_item.row(i).iter().map(|&u| by_user.row(u as usize).len() as f64).sum()).collect();
    let rows: Vec<Vec<(u32, f32)>> = (0..n)
        .into_par_iter()
        .map_init(
            || (vec![0u32; n], Vec::new()),
            |(counts, seen), item| {
                for &user in by_item.row(item) {
                    for &other in by_user.row(user as usize) {
                        if counts[other as usize] == 0 {
                            seen.push(other);
                        }
                        counts[other as usize] += 1;
                    }
                }
                let own = (sums[item] + 1.0).sqrt() / sums[item].max(1.0);
                let weight = |other: u32| (f64::from(counts[other as usize]) * own / (sums[other as usize] + 1.0).sqrt()) as f32;
                let mut near: Vec<(u32, f32)> = seen.iter().map(|&other| (other, weight(other))).collect();
                seen.drain(..).for_each(|other| counts[other as usize] = 0);
                near.sort_unstable_by_key(|&(other, weight)| (Reverse(weight.to_bits()), other));
                near.truncate(k);
                near.resize(k, (item as u32, 0.0));
                near
            },
        )
        .collect();
    rows.into_iter().flatten().unzip()
}

impl Model for UltraGcn {
    type Config = UltraGcnConfig;
    type Batch = PairwiseBatch;

    fn new(config: &UltraGcnConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let init = Init::Normal { std: config.init_std };
        let users = params.table("user_embedding", data.num_users(), config.embedding_size, init)?;
        let items = params.table("item_embedding", data.num_items(), config.embedding_size, init)?;
        let degrees = |rows: &rec_data::csr::Csr| (0..rows.num_rows()).map(|r| rows.row(r).len() as f32).collect::<Vec<_>>();
        let user_factors = degrees(data.by_user()).into_iter().map(|d| (d + 1.0).sqrt() / d.max(1.0)).collect();
        let item_factors = degrees(data.by_item()).into_iter().map(|d| 1.0 / (d + 1.0).sqrt()).collect();
        let (near, near_weights) = nearest(data, config.neighbours);
        Ok(Self { config: config.clone(), users, items, user_factors, item_factors, near, near_weights })
    }

    fn loss(&self, batch: &PairwiseBatch) -> Result<Tensor> {
        let c = &self.config;
        let k = c.neighbours;
        let positive = self.users.products(&batch.users, &self.items, &batch.positives)?;
        let mut loss = Self::sum(&positive, &self.betas(c.positive_base, c.positive_beta, &batch.users, &batch.positives))?;
        if !batch.negatives.is_empty() {
            let negatives = self.users.products(&batch.users, &self.items, &batch.negatives)?;
            let weights = self.betas(c.negative_base, c.negative_beta, &batch.users, &batch.negatives);
            let each = (batch.negatives.len() / batch.users.len()) as f64;
            loss = loss.f_add(&(Self::sum(&negatives.f_neg()?, &weights)? * (c.negative_weight / each)))?;
        }
        if k > 0 && c.item_weight > 0.0 {
            let near: Vec<u32> = batch.positives.iter().flat_map(|&i| &self.near[i as usize * k..][..k]).copied().collect();
            let weights: Vec<f32> = batch.positives.iter().flat_map(|&i| &self.near_weights[i as usize * k..][..k]).copied().collect();
            let scores = self.users.products(&batch.users, &self.items, &near)?;
            loss = loss.f_add(&(Self::sum(&scores, &weights)? * c.item_weight))?;
        }
        Ok(loss)
    }
}

impl Score for UltraGcn {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Factors(Factors::gather(self.config.embedding_size, &self.users.to_slice(), users.known()?, self.items.to_slice())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.config.embedding_size, values: self.items.to_slice() })
    }
}
