//! Item-kNN.

use anyhow::Result;
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

use super::similarity::{Common, Similarity};
use crate::history::sum_of_rows;

/// Hyper-parameters. Defaults are RecBole's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemKnnConfig {
    /// How alike two items are.
    pub similarity: Similarity,
    /// k: neighbours of a candidate that may speak for it.
    pub neighbours: usize,
    /// h of the similarity.
    pub shrink: f64,
    /// Whether ratings are the entries, instead of ones. Pearson needs them.
    pub use_values: bool,
    /// Whether the weights of a candidate's neighbours are divided by their sum.
    pub normalize: bool,
    /// Whether a user's common entry counts 1/n in the cosine's Σab, n being the user's number of items, instead of 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inverse_user_sizes: bool,
    /// Whether entries are taken less their item's mean over all users, and the candidate's mean is added at the end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub item_means: bool,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self {
            similarity: Similarity::Cosine,
            neighbours: 100,
            shrink: 0.0,
            use_values: false,
            normalize: false,
            inverse_user_sizes: false,
            item_means: false,
        }
    }
}

impl ModelConfig for ItemKnnConfig {
    fn check(&self) -> Result<()> {
        require!(self.neighbours > 0, Usage, "`neighbours` is 0: it must be at least 1");
        require!(self.shrink >= 0.0, Usage, "`shrink` is {}: it must be at least 0", self.shrink);
        require!(
            self.similarity != Similarity::Pearson || self.use_values,
            Usage,
            "`similarity = \"pearson\"` compares ratings: set `use_values = true`"
        );
        require!(
            self.similarity == Similarity::Cosine || !self.inverse_user_sizes,
            Usage,
            "`inverse_user_sizes` weighs the products of a cosine: set `similarity = \"cosine\"`"
        );
        Ok(())
    }
}

/// score(u, j) = Σ of w(j, i) over the items i of the history that are among the k nearest neighbours of candidate j; with item means
/// μ_j + Σ_i w(j, i)(x_ui − μ_i) over all those neighbours, where x_ui is 1 for an item of the history, else 0, and μ_i is the share of all
/// users who have i.
pub struct ItemKnn {
    config: ItemKnnConfig,
    num_items: usize,
    /// Row i: the candidates that i speaks for, with its weight.
    speaks_for: Csr,
    /// What a candidate has before any item speaks for it; empty without item means.
    bias: Vec<f32>,
}

impl Fit for ItemKnn {
    type Config = ItemKnnConfig;
    const ONE_PASS: bool = true;

    fn new(config: &ItemKnnConfig, data: &TrainView, _: u64) -> Result<Self> {
        require!(!config.use_values || data.values().is_some(), Usage, "`use_values` needs ratings, and this data has none");
        Ok(Self { config: config.clone(), num_items: data.num_items(), speaks_for: Csr::default(), bias: Vec::new() })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let (by_user, by_item) = entries(data, self.config.use_values);
        let config = &self.config;
        let inverse = |u: usize| 1.0 / by_user.row(u).len().max(1) as f64;
        let weights: Vec<f64> = if config.inverse_user_sizes { (0..data.num_users()).map(inverse).collect() } else { Vec::new() };
        let neighbours: Vec<Vec<(u32, f32)>> = (0..self.num_items)
            .into_par_iter()
            .map_init(
                || Common::new(config.similarity, config.shrink, &by_item).weighing(&weights),
                |common, item| {
                    let mut near =
                        common.nearest(by_item.row(item), by_item.row_values(item), &by_user, config.neighbours, Some(item as u32));
                    if config.normalize {
                        let sum: f32 = near.iter().map(|n| n.1).sum();
                        near.iter_mut().for_each(|n| n.1 /= sum);
                    }
                    near
                },
            )
            .collect();
        if config.item_means {
            let mean = |item: usize| by_item.row(item).len() as f64 / data.num_users().max(1) as f64;
            let of = |(candidate, near): (usize, &Vec<(u32, f32)>)| {
                (mean(candidate) - near.iter().map(|&(speaker, weight)| f64::from(weight) * mean(speaker as usize)).sum::<f64>()) as f32
            };
            self.bias = neighbours.iter().enumerate().map(of).collect();
        }
        let (mut candidates, mut speakers, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (candidate, near) in neighbours.iter().enumerate() {
            for &(speaker, weight) in near {
                candidates.push(candidate as u32);
                speakers.push(speaker);
                weights.push(weight);
            }
        }
        self.speaks_for = Csr::from_coordinates(self.num_items, self.num_items, &speakers, &candidates, &weights);
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.csr("speaks_for", &self.speaks_for);
        if self.config.item_means {
            out.floats("bias", &[self.num_items], &self.bias);
        }
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.speaks_for = from.csr("speaks_for", Some(self.num_items), self.num_items)?;
        if self.config.item_means {
            self.bias = vec![0.0; self.num_items];
            from.floats_into("bias", &mut self.bias)?;
        }
        Ok(())
    }
}

/// Users × items and items × users, with ones or ratings.
pub(super) fn entries(data: &TrainView, use_values: bool) -> (Csr, Csr) {
    let plain = |m: &Csr| if use_values { m.clone() } else { Csr::from_rows(m.num_columns(), (0..m.num_rows()).map(|r| m.row(r))) };
    (plain(data.by_user()), plain(data.by_item()))
}

impl Score for ItemKnn {
    fn num_items(&self) -> usize {
        self.num_items
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = sum_of_rows(&self.speaks_for, users);
        for row in scores.chunks_exact_mut(self.num_items.max(1)) {
            row.iter_mut().zip(&self.bias).for_each(|(score, bias)| *score += bias);
        }
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
