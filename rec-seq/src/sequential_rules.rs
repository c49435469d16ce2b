//! Sequential rules: Ludewig & Jannach, UMUAI 2018, arXiv:1803.09587, section 3.1.1, after Kamehkhosh et al., TempRec 2017.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_data::require;
use serde::{Deserialize, Serialize};

use crate::decay::Decay;
use crate::last_item::{LastItem, Rule};
use crate::sessions::Sums;

/// Hyper-parameters. Defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequentialRulesConfig {
    /// How many steps after an item another may come to count.
    pub max_steps: usize,
    /// Its weight by the number of steps.
    pub decay: Decay,
}

impl Default for SequentialRulesConfig {
    fn default() -> Self {
        Self { max_steps: 10, decay: Decay::Div }
    }
}

impl ModelConfig for SequentialRulesConfig {
    fn check(&self) -> Result<()> {
        require!(self.max_steps > 0, Usage, "`max_steps` is 0: it must be at least 1");
        Ok(())
    }
}

/// w(i, j) = Σ of decay(d) over all places in sessions where j comes d ≤ max_steps steps after i.
///
/// The paper divides by the number of places of i, which changes no ranking. Its authors' code keeps the 20 strongest rules of each
/// item; here all are kept.
pub type SequentialRules = LastItem<SequentialRulesConfig>;

impl Rule for SequentialRulesConfig {
    fn count(&self, session: &[u32], place: usize, sums: &mut Sums) {
        for (steps, &item) in (1..=self.max_steps).zip(&session[place + 1..]) {
            sums.add(item, self.decay.at(steps));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, fitted, scores, view};

    #[test]
    fn what_comes_later_counts_by_its_distance() {
        let data = view(4, &[&[0, 1, 0, 2, 3], &[0, 3]]);
        let with = |max_steps, decay| scores(&fitted::<SequentialRules>(&SequentialRulesConfig { max_steps, decay }, &data), &[3, 0]);
        // From the first 0: 1, 0, 2, 3 after 1, 2, 3, 4 steps; from the second: 2, 3; in the second session: 3 at once.
        assert_near(&with(10, Decay::Div), &[0.5, 1.0, 1.0 / 3.0 + 1.0, 0.25 + 0.5 + 1.0]);
        assert_eq!(with(2, Decay::Quadratic), [0.25, 1.0, 1.0, 0.25 + 1.0]);
        assert_eq!(with(1, Decay::Same), [0.0, 1.0, 1.0, 1.0]);
    }
}
