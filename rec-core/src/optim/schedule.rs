//! How the step size changes over steps.

use anyhow::Result;
use rec_data::require;
use serde::{Deserialize, Serialize};

/// A factor on the learning rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// 1.
    #[default]
    Constant,
    /// `factor^⌊epoch / every⌋`.
    Step {
        /// Epochs between two changes.
        every: u64,
        /// What each change multiplies by.
        factor: f64,
    },
    /// Rises linearly from 0 over `warmup` steps, then falls linearly to 0 at step `total`.
    Linear {
        /// Steps of rise.
        warmup: u64,
        /// Step at which 0 is reached.
        total: u64,
    },
    /// Rises linearly over `warmup` steps, then falls as a half cosine to 0 at step `total` (Loshchilov and Hutter 2017).
    Cosine {
        /// Steps of rise.
        warmup: u64,
        /// Step at which 0 is reached.
        total: u64,
    },
}

impl Schedule {
    /// The factor at `step` (from 0) of `epoch` (from 0).
    pub fn factor(&self, epoch: u64, step: u64) -> f64 {
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => factor.powi((epoch / every) as i32),
            Schedule::Linear { warmup, total } => rise(step, warmup).unwrap_or_else(|| 1.0 - fall(step, warmup, total)),
            Schedule::Cosine { warmup, total } => {
                rise(step, warmup).unwrap_or_else(|| 0.5 * (1.0 + (std::f64::consts::PI * fall(step, warmup, total)).cos()))
            }
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Schedule::Constant => {}
            Schedule::Step { every, factor } => {
                require!(every > 0 && factor > 0.0, Usage, "`schedule`: `every` is {every} and `factor` {factor}: both must be above 0");
            }
            Schedule::Linear { warmup, total } | Schedule::Cosine { warmup, total } => {
                require!(total > warmup, Usage, "`schedule`: `total` is {total}: it must be above `warmup`, which is {warmup}");
            }
        }
        Ok(())
    }
}

fn rise(step: u64, warmup: u64) -> Option<f64> {
    (step < warmup).then(|| (step + 1) as f64 / warmup as f64)
}

fn fall(step: u64, warmup: u64, total: u64) -> f64 {
    ((step - warmup) as f64 / (total - warmup) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_rise_and_fall_as_documented() {
        let linear = Schedule::Linear { warmup: 2, total: 6 };
        assert_eq!([0, 1, 2, 4, 6, 9].map(|s| linear.factor(0, s)), [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]);
        let cosine = Schedule::Cosine { warmup: 0, total: 4 };
        assert!((cosine.factor(0, 2) - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Step { every: 2, factor: 0.1 }.factor(5, 0), 0.1f64.powi(2));
    }
}
