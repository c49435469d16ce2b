//! Association rules of two items: Ludewig & Jannach, UMUAI 2018, arXiv:1803.09587, section 3.1.1.

use anyhow::Result;
use rec_core::model::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::last_item::{LastItem, Rule};
use crate::sessions::Sums;

/// Nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssociationRulesConfig {}

impl ModelConfig for AssociationRulesConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// w(i, j) = number of pairs of places in a session of which one holds i and the other j, counted from both sides: a pair of places that
/// both hold i counts twice for w(i, i).
///
/// The paper divides by the sum over j, which changes no ranking. Its authors' code keeps the 20 strongest rules of each item; here
/// all are kept.
pub type AssociationRules = LastItem<AssociationRulesConfig>;

impl Rule for AssociationRulesConfig {
    fn count(&self, session: &[u32], place: usize, sums: &mut Sums) {
        session[..place].iter().chain(&session[place + 1..]).for_each(|&item| sums.add(item, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fitted, scores, view};

    #[test]
    fn pairs_count_from_both_sides() {
        let model = fitted::<AssociationRules>(&AssociationRulesConfig {}, &view(4, &[&[0, 1, 0, 2], &[1, 2]]));
        // From 0: 0 and 0 twice, 1 beside both, 2 beside both. From 1: both 0s, 2 in both sessions.
        assert_eq!(scores(&model, &[3, 0]), [2.0, 2.0, 2.0, 0.0]);
        assert_eq!(scores(&model, &[1]), [2.0, 0.0, 2.0, 0.0]);
        assert_eq!(scores(&model, &[3]), [0.0; 4]);
        assert_eq!(scores(&model, &[]), [0.0; 4]);
    }
}
