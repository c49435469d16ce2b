//! SLIM: each item as a sparse sum of other items. Ning and Karypis, ICDM 2011.

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

use crate::common_users::common_users;
use crate::history::sum_of_rows;

/// Hyper-parameters. X is binary; λ are beside the sum of squared errors, halved, not its mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlimConfig {
    /// λ of λ‖w‖₁.
    pub l1: f64,
    /// λ of λ/2 ‖w‖².
    pub l2: f64,
    /// Only so many items, those with most users in common by cosine, may speak for an item (fsSLIM); 0 lets all.
    pub neighbours: usize,
    /// A sweep over an item's weights that moves none by more than this is the last one.
    pub tolerance: f64,
    /// The most sweeps.
    pub max_sweeps: usize,
}

impl Default for SlimConfig {
    fn default() -> Self {
        Self { l1: 1.0, l2: 10.0, neighbours: 0, tolerance: 1e-4, max_sweeps: 100 }
    }
}

impl ModelConfig for SlimConfig {
    fn check(&self) -> Result<()> {
        for (key, value) in [("l1", self.l1), ("l2", self.l2)] {
            require!(value >= 0.0 && value.is_finite(), Usage, "`{key}` is {value}: it must be at least 0");
        }
        require!(self.tolerance > 0.0, Usage, "`tolerance` is {}: it must be above 0", self.tolerance);
        require!(self.max_sweeps > 0, Usage, "`max_sweeps` is 0: it must be at least 1");
        Ok(())
    }
}

/// score(u, j) = Σ_{i in the user's history} W_ij, where column j minimises ½‖x_j − X w‖² + λ₂/2 ‖w‖² + λ₁‖w‖₁ with w ≥ 0 and w_j = 0.
///
/// Memory: the pairs of items that have a user in common, 8 bytes each, while it is fitted.
pub struct Slim {
    config: SlimConfig,
    num_items: usize,
    /// Row i: what item i says for others.
    weights: Csr,
}

impl Fit for Slim {
    type Config = SlimConfig;
    const ONE_PASS: bool = true;

    fn new(config: &SlimConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { config: config.clone(), num_items: data.num_items(), weights: Csr::default() })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        // XᵀX without its diagonal.
        let gram = common_users(data, |_| 1.0, |_, common| common.into_iter().map(|(other, count)| (other, count as f32)).collect());
        let n = self.num_items;
        let degrees: Vec<f32> = (0..n).map(|i| data.by_item().row(i).len() as f32).collect();
        let columns: Vec<Vec<(u32, f32)>> =
            (0..n).into_par_iter().map_init(|| Column::new(n), |column, item| column.fit(item, &gram, &degrees, &self.config)).collect();
        let (mut from, mut to, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (item, column) in columns.iter().enumerate() {
            for &(speaker, weight) in column {
                from.push(speaker);
                to.push(item as u32);
                values.push(weight);
            }
        }
        self.weights = Csr::from_coordinates(n, n, &from, &to, &values);
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.csr("weights", &self.weights);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.weights = from.csr("weights", Some(self.num_items), self.num_items)?;
        Ok(())
    }
}

/// What one item's column is fitted in.
struct Column {
    /// Where an item stands among the candidates, `NOBODY` for others.
    place: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

/// An item that may speak for another.
struct Candidate {
    item: u32,
    degree: f32,
    weight: f32,
    /// x_i · (x_j − X w).
    residual: f32,
}

impl Column {
    fn new(num_items: usize) -> Self {
        Self { place: vec![NOBODY; num_items] }
    }

    /// Coordinate descent. Weights and common users are not negative, so a residual only falls from x_i · x_j: an item whose common
    /// users are not above λ₁ never gets a weight.
    fn fit(&mut self, item: usize, gram: &Csr, degrees: &[f32], config: &SlimConfig) -> Vec<(u32, f32)> {
        let (l1, l2) = (config.l1 as f32, config.l2 as f32);
        let common = gram.row(item).iter().zip(gram.row_values(item));
        let mut candidates: Vec<Candidate> = common
            .filter(|&(_, &common)| common > l1)
            .map(|(&other, &common)| Candidate { item: other, degree: degrees[other as usize], weight: 0.0, residual: common })
            .collect();
        if config.neighbours > 0 && candidates.len() > config.neighbours {
            let cosine = |c: &Candidate| c.residual / c.degree.sqrt();
            candidates.sort_unstable_by(|a, b| cosine(b).total_cmp(&cosine(a)).then(a.item.cmp(&b.item)));
            candidates.truncate(config.neighbours);
            candidates.sort_unstable_by_key(|c| c.item);
        }
        candidates.iter().enumerate().for_each(|(at, c)| self.place[c.item as usize] = at as u32);
        for _ in 0..config.max_sweeps {
            let mut largest = 0f32;
            for at in 0..candidates.len() {
                let c = &mut candidates[at];
                let new = ((c.residual + c.weight * c.degree - l1) / (c.degree + l2)).max(0.0);
                let moved = new - c.weight;
                if moved == 0.0 {
                    continue;
                }
                (c.weight, largest) = (new, largest.max(moved.abs()));
                c.residual -= moved * c.degree;
                let other = c.item as usize;
                for (&near, &common) in gram.row(other).iter().zip(gram.row_values(other)) {
                    if let Some(near) = candidates.get_mut(self.place[near as usize] as usize) {
                        near.residual -= moved * common;
                    }
                }
            }
            if f64::from(largest) <= config.tolerance {
                break;
            }
        }
        candidates.iter().for_each(|c| self.place[c.item as usize] = NOBODY);
        candidates.iter().filter(|c| c.weight > 0.0).map(|c| (c.item, c.weight)).collect()
    }
}

impl Score for Slim {
    fn num_items(&self) -> usize {
        self.num_items
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Dense(sum_of_rows(&self.weights, users).into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
