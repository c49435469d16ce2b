//! Optimizers of our own, because tch's have no state to save. On the CPU the update is one pass over slices; elsewhere the same
//! formulas run as tensor operations.

mod optimizer;
mod rule;
mod schedule;

pub use optimizer::{Optimizer, StepReport};
pub use rule::Rule;
pub use schedule::Schedule;

use anyhow::Result;
use rec_data::require;
use serde::{Deserialize, Serialize};

/// Which rows of a table a step moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// All of them, as the papers' optimizers do: momentum and decay also move rows that the batch did not touch.
    #[default]
    All,
    /// Those of the batch: state of other rows waits (lazy Adam and its kin). Exact for SGD and Adagrad, both without
    /// momentum.
    Touched,
}

/// `[optimizer]` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The update rule and its constants.
    pub rule: Rule,
    /// Step size at the start.
    pub learning_rate: f64,
    /// Which rows of tables a step moves.
    pub rows: Rows,
    /// λ of λ‖θ‖²/2 on every parameter that a step moves; added to the gradient (AdamW: decoupled).
    pub l2: f64,
    /// Largest L2 norm of the gradient of all parameters together; 0 is no limit.
    pub max_gradient_norm: f64,
    /// How the step size changes.
    pub schedule: Schedule,
    /// Parameters that move by a rule of their own; all others by the one above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// Some parameters, and how they move. What it does not say is as for all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Their names in checkpoints.
    pub parameters: Vec<String>,
    /// The update rule and its constants.
    pub rule: Rule,
    /// Step size at the start.
    pub learning_rate: f64,
    /// λ of λ‖θ‖²/2.
    #[serde(default)]
    pub l2: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            learning_rate: 1e-3,
            rows: Rows::default(),
            l2: 0.0,
            max_gradient_norm: 0.0,
            schedule: Schedule::default(),
            parts: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// a usage problem that names the key and what it may be.
    pub fn check(&self) -> Result<()> {
        require!(
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            Usage,
            "`learning_rate` is {}: it must be above 0",
            self.learning_rate
        );
        require!(self.l2 >= 0.0 && self.l2.is_finite(), Usage, "`l2` is {}: it must be at least 0", self.l2);
        require!(
            self.max_gradient_norm >= 0.0,
            Usage,
            "`max_gradient_norm` is {}: it must be at least 0 (0 is no limit)",
            self.max_gradient_norm
        );
        require!(
            !(self.rows == Rows::Touched && matches!(self.rule, Rule::Rprop { .. })),
            Usage,
            "`rows = \"touched\"` has no meaning for rprop, which compares the gradients of whole passes: use `rows = \"all\"`"
        );
        self.rule.check()?;
        self.schedule.check()?;
        self.parts.iter().try_for_each(|part| self.of_part(part).check())
    }

    /// The config by which a part's parameters move.
    fn of_part(&self, part: &Part) -> Self {
        Self { rule: part.rule, learning_rate: part.learning_rate, l2: part.l2, parts: Vec::new(), ..self.clone() }
    }
}
