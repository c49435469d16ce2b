//! How weight falls with distance.

use serde::{Deserialize, Serialize};

/// Weight of what lies d ≥ 1 steps away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// 1.
    Same,
    /// 1 − d/10, at least 0.
    Linear,
    /// 1/d.
    Div,
    /// 1/log₁₀(d + 1.7).
    Log,
    /// 1/d².
    Quadratic,
}

impl Decay {
    /// The weight at distance `steps`, at least 1.
    pub fn at(self, steps: usize) -> f64 {
        let d = steps as f64;
        match self {
            Self::Same => 1.0,
            Self::Linear => (1.0 - 0.1 * d).max(0.0),
            Self::Div => 1.0 / d,
            Self::Log => 1.0 / (d + 1.7).log10(),
            Self::Quadratic => 1.0 / (d * d),
        }
    }
}
