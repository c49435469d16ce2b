//! First-order Markov chain over items by maximum likelihood: Rendle, Freudenthaler & Schmidt-Thieme, WWW 2010, section 4.1, with one chain
//! for all and single items in the place of baskets.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_data::require;
use serde::{Deserialize, Serialize};

use crate::last_item::{LastItem, Rule};
use crate::sessions::Sums;

/// Hyper-parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarkovChainConfig {
    /// α, added to the count of each transition. It changes probabilities, not the ranking.
    pub smoothing: f64,
}

impl ModelConfig for MarkovChainConfig {
    fn check(&self) -> Result<()> {
        let fine = self.smoothing >= 0.0 && self.smoothing.is_finite();
        require!(fine, Usage, "`smoothing` is {}: it must be finite and at least 0", self.smoothing);
        Ok(())
    }
}

/// p(j | i) = (c(i, j) + α) / (Σₖ c(i, k) + α·N), where c(i, j) counts how often j comes right after i, and N is the number of items; 0
/// where i has no successor and α is 0.
pub type MarkovChain = LastItem<MarkovChainConfig>;

impl Rule for MarkovChainConfig {
    fn count(&self, session: &[u32], place: usize, sums: &mut Sums) {
        if let Some(&next) = session.get(place + 1) {
            sums.add(next, 1.0);
        }
    }

    fn finish(&self, _: u32, sums: &mut Vec<(u32, f64)>, support: &[u32]) -> f64 {
        let all: f64 = sums.iter().map(|s| s.1).sum::<f64>() + self.smoothing * support.len() as f64;
        sums.iter_mut().for_each(|s| s.1 /= all);
        if all > 0.0 { self.smoothing / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, fitted, scores, view};

    #[test]
    fn what_comes_next_is_as_likely_as_it_was_often() {
        let data = view(4, &[&[0, 1, 0, 2], &[0, 1], &[1, 1]]);
        let with = |smoothing, history: &[u32]| scores(&fitted::<MarkovChain>(&MarkovChainConfig { smoothing }, &data), history);
        // After 0: 1, 2, 1. After 1: 0, 1. Nothing after 2.
        assert_near(&with(0.0, &[2, 0]), &[0.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!(with(0.0, &[2]), [0.0; 4]);
        assert_near(&with(0.5, &[0]), &[0.1, 0.5, 0.3, 0.1]);
        assert_eq!(with(0.5, &[1]), [0.375, 0.375, 0.125, 0.125]);
        assert_eq!(with(0.5, &[2]), [0.25; 4]);
    }

    #[test]
    fn a_negative_count_is_refused() {
        assert!(MarkovChainConfig { smoothing: -1.0 }.check().is_err());
        assert!(MarkovChainConfig { smoothing: f64::INFINITY }.check().is_err());
    }
}
