//! User-kNN.

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

use super::item::entries;
use super::similarity::{Common, Similarity};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserKnnConfig {
    /// How alike two users are.
    pub similarity: Similarity,
    /// k: neighbours that speak.
    pub neighbours: usize,
    /// h of the similarity.
    pub shrink: f64,
    /// Whether ratings are the entries, instead of ones. Pearson needs them.
    pub use_values: bool,
}

impl Default for UserKnnConfig {
    fn default() -> Self {
        Self { similarity: Similarity::Cosine, neighbours: 100, shrink: 0.0, use_values: false }
    }
}

impl ModelConfig for UserKnnConfig {
    fn check(&self) -> Result<()> {
        require!(self.neighbours > 0, Usage, "`neighbours` is 0: it must be at least 1");
        require!(self.shrink >= 0.0, Usage, "`shrink` is {}: it must be at least 0", self.shrink);
        require!(
            self.similarity != Similarity::Pearson || self.use_values,
            Usage,
            "`similarity = \"pearson\"` compares ratings: set `use_values = true`"
        );
        Ok(())
    }
}

/// score(u, i) = Σ of w(u, v)·x_vi over the k users v most like u.
///
/// Nothing is learned ahead: neighbours are found when a user is scored. A known user is compared by the training rows, a new one by
/// the history, as ones.
pub struct UserKnn {
    config: UserKnnConfig,
    by_user: Csr,
    by_item: Csr,
}

impl Fit for UserKnn {
    type Config = UserKnnConfig;
    const ONE_PASS: bool = true;

    fn new(config: &UserKnnConfig, data: &TrainView, _: u64) -> Result<Self> {
        require!(!config.use_values || data.values().is_some(), Usage, "`use_values` needs ratings, and this data has none");
        let (by_user, by_item) = entries(data, config.use_values);
        Ok(Self { config: config.clone(), by_user, by_item })
    }

    fn epoch(&mut self, _: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        Ok(())
    }

    fn save(&self, _: &mut StateWriter) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, _: &StateReader) -> Result<()> {
        Ok(())
    }
}

impl Score for UserKnn {
    fn num_items(&self) -> usize {
        self.by_item.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let n = self.num_items();
        let mut scores = vec![0f32; users.len() * n];
        let asked: Vec<(u32, &[u32])> = users.ids().iter().enumerate().map(|(at, &id)| (id, users.history(at))).collect();
        scores.par_chunks_mut(n).zip(asked).for_each_init(
            || Common::new(self.config.similarity, self.config.shrink, &self.by_user),
            |common, (scores, (id, history))| {
                let near = if id == Users::NEW {
                    let mut items = history.to_vec();
                    items.sort_unstable();
                    items.dedup();
                    common.nearest(&items, &[], &self.by_item, self.config.neighbours, None)
                } else {
                    common.nearest(
                        self.by_user.row(id as usize),
                        self.by_user.row_values(id as usize),
                        &self.by_item,
                        self.config.neighbours,
                        Some(id),
                    )
                };
                for (neighbour, weight) in near {
                    let values = self.by_user.row_values(neighbour as usize);
                    for (at, &item) in self.by_user.row(neighbour as usize).iter().enumerate() {
                        scores[item as usize] += weight * values.get(at).copied().unwrap_or(1.0);
                    }
                }
            },
        );
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
