//! Item-kNN of the last item, as the baseline of GRU4Rec: Hidasi et al., ICLR 2016, arXiv:1511.06939, section 4, by the rules of the authors' code
//! (hidasib/GRU4Rec, baselines.py, called `ItemKNN` and later `CoOccurence`).

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_data::require;
use serde::{Deserialize, Serialize};

use crate::last_item::{LastItem, Rule};
use crate::sessions::Sums;

/// Hyper-parameters. Defaults are the authors'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemKnnLastConfig {
    /// How many of the items most alike are scored; of equal ones those of lower number.
    pub neighbours: usize,
    /// λ, added to the support of both items: items of few rows are less alike.
    pub shrink: f64,
    /// α: the power of the last item's support; the other's is 1 − α. At 0.5 it is the cosine.
    pub alpha: f64,
    /// Whether the last item itself may be recommended. In the authors' code it may not.
    pub keep_last: bool,
}

impl Default for ItemKnnLastConfig {
    fn default() -> Self {
        Self { neighbours: 100, shrink: 20.0, alpha: 0.5, keep_last: false }
    }
}

impl ModelConfig for ItemKnnLastConfig {
    fn check(&self) -> Result<()> {
        require!(self.neighbours > 0, Usage, "`neighbours` is 0: it must be at least 1");
        require!(self.shrink >= 0.0 && self.shrink.is_finite(), Usage, "`shrink` is {}: it must be finite and at least 0", self.shrink);
        require!((0.0..=1.0).contains(&self.alpha), Usage, "`alpha` is {}: it must lie in [0, 1]", self.alpha);
        Ok(())
    }
}

/// w(i, j) = c(i, j) / ((sᵢ + λ)^α · (sⱼ + λ)^(1 − α)) for the neighbours j of i, where sᵢ is the number of training rows of i, and c(i, j)
/// counts those whose session also has j, once each: an item that a session has three times counts three times as i and once as j.
///
/// The row of i itself is one of j = i: where the last item may be recommended, c(i, i) = sᵢ, which is the most that c(i, j) can be.
pub type ItemKnnLast = LastItem<ItemKnnLastConfig>;

impl Rule for ItemKnnLastConfig {
    fn count(&self, session: &[u32], place: usize, sums: &mut Sums) {
        for (at, &item) in session.iter().enumerate() {
            if (self.keep_last || item != session[place]) && !session[..at].contains(&item) {
                sums.add(item, 1.0);
            }
        }
    }

    fn finish(&self, item: u32, sums: &mut Vec<(u32, f64)>, support: &[u32]) -> f64 {
        let shrunk = |item: u32, power: f64| (f64::from(support[item as usize]) + self.shrink).powf(power);
        let own = shrunk(item, self.alpha);
        sums.iter_mut().for_each(|(other, sum)| *sum /= own * shrunk(*other, 1.0 - self.alpha));
        sums.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        sums.truncate(self.neighbours);
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, fitted, scores, view};

    #[test]
    fn similarity_is_a_shrunk_cosine() {
        let data = view(4, &[&[0, 1, 0, 2], &[0, 1], &[1, 1]]);
        let with = |config: ItemKnnLastConfig, history: &[u32]| scores(&fitted::<ItemKnnLast>(&config, &data), history);
        // Supports 3, 4, 1, 0. Rows of 0 with 1 in the session: 3; with 2: 2. Rows of 1 with 0: 2; with 2: 1.
        let near = |found: Vec<f32>, expected: [f64; 4]| assert_near(&found, &expected);
        let plain = ItemKnnLastConfig { shrink: 0.0, ..ItemKnnLastConfig::default() };
        near(with(plain.clone(), &[3, 0]), [0.0, 3.0 / 12f64.sqrt(), 2.0 / 3f64.sqrt(), 0.0]);
        near(with(plain.clone(), &[1]), [2.0 / 12f64.sqrt(), 0.0, 0.5, 0.0]);
        near(with(ItemKnnLastConfig { keep_last: true, ..plain.clone() }, &[1]), [2.0 / 12f64.sqrt(), 1.0, 0.5, 0.0]);
        near(with(ItemKnnLastConfig { neighbours: 1, ..plain }, &[0]), [0.0, 0.0, 2.0 / 3f64.sqrt(), 0.0]);
        let shrunk = ItemKnnLastConfig { shrink: 20.0, alpha: 0.25, ..ItemKnnLastConfig::default() };
        near(with(shrunk, &[0]), [0.0, 3.0 / (23f64.powf(0.25) * 24f64.powf(0.75)), 2.0 / (23f64.powf(0.25) * 21f64.powf(0.75)), 0.0]);
    }
}
