//! P³α and RP³β: where a random walk of three steps from the user ends, popular ends held back. Cooper et al., WWW 2014; Paudel et al.,
//! ACM Transactions on Interactive Intelligent Systems 7(1), 2017.

use anyhow::Result;
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

/// Hyper-parameters. With `beta` 0 it is P³α, with `alpha` 1 RP³β.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rp3BetaConfig {
    /// α, to which each probability of a step is raised.
    pub alpha: f64,
    /// β of 1/n_j^β, n_j being the number of users who have candidate j.
    pub beta: f64,
    /// k: an item speaks for so many candidates, those with the highest weights; 0 lets it speak for all.
    pub neighbours: usize,
}

impl Default for Rp3BetaConfig {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 0.6, neighbours: 100 }
    }
}

impl ModelConfig for Rp3BetaConfig {
    fn check(&self) -> Result<()> {
        for (key, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            // Beyond it probabilities would round to 0.
            require!((0.0..=10.0).contains(&value), Usage, "`{key}` is {value}: it must be at least 0 and at most 10");
        }
        Ok(())
    }
}

/// score(u, j) = Σ_{i in the user's history} W_ij, W_ij = Σ_v (1/n_i)^α (1/n_v)^α / n_j^β over the users v who have both i and j, W_ii = 0; n_v
/// is the number of items that v has. The first step, from u to i, is as likely for all i and changes no order.
///
/// Memory: 8 bytes for each weight that is kept.
pub struct Rp3Beta {
    config: Rp3BetaConfig,
    num_items: usize,
    /// W.
    weights: Csr,
}

impl Fit for Rp3Beta {
    type Config = Rp3BetaConfig;
    const ONE_PASS: bool = true;

    fn new(config: &Rp3BetaConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { config: config.clone(), num_items: data.num_items(), weights: Csr::default() })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let (by_user, by_item) = (data.by_user(), data.by_item());
        let Rp3BetaConfig { alpha, beta, neighbours } = self.config;
        let powers = |m: &Csr, exponent: f64| -> Vec<f64> { (0..m.num_rows()).map(|r| (m.row(r).len() as f64).powf(-exponent)).collect() };
        let (users, items, held_back) = (powers(by_user, alpha), powers(by_item, alpha), powers(by_item, beta));
        let kept = |item: usize, common: Vec<(u32, f64)>| {
            let weight = |(other, sum): (u32, f64)| (other, (sum * items[item] * held_back[other as usize]) as f32);
            let mut row: Vec<(u32, f32)> = common.into_iter().map(weight).collect();
            if neighbours > 0 && row.len() > neighbours {
                row.select_nth_unstable_by(neighbours, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                row.truncate(neighbours);
                row.sort_unstable_by_key(|entry| entry.0);
            }
            row
        };
        self.weights = common_users(data, |user| users[user], kept);
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

impl Score for Rp3Beta {
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
