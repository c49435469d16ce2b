//! Update rules, each written twice: on slices for the CPU, on tensors for any device.

use anyhow::Result;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// θ ← θ + Δ(g), with state. `η` is the learning rate of the step, `t` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// b ← μb + g (b ← g at the first step); θ ← θ − ηb, or with Nesterov θ ← θ − η(g + μb).
    Sgd {
        /// μ.
        #[serde(default)]
        momentum: f64,
        /// Whether the gradient is looked up ahead.
        #[serde(default)]
        nesterov: bool,
    },
    /// s ← s + g²; b ← μb + g/(√s + ε); θ ← θ − ηb (Duchi, Hazan, Singer 2011; GRU4Rec's code adds the momentum, and has 10⁻⁶ under
    /// the root, which is `initial`).
    Adagrad {
        /// Start of s.
        #[serde(default)]
        initial: f64,
        /// μ.
        #[serde(default, skip_serializing_if = "is_zero")]
        momentum: f64,
        /// ε.
        #[serde(default = "tiny")]
        epsilon: f64,
    },
    /// s ← αs + (1−α)g²; b ← μb + g/(√s + ε); θ ← θ − ηb (Tieleman and Hinton 2012).
    Rmsprop {
        /// α.
        #[serde(default = "most")]
        alpha: f64,
        /// μ.
        #[serde(default)]
        momentum: f64,
        /// ε.
        #[serde(default = "small")]
        epsilon: f64,
    },
    /// Steps of a size of each parameter's own, by the sign of the gradient only (Riedmiller and Braun 1993, without weight
    /// backtracking: after a change of sign the step is shortened and this gradient counts as 0). For whole passes, not for batches.
    Rprop {
        /// What a step is multiplied by after a change of sign.
        #[serde(default = "half")]
        shrink: f64,
        /// What a step is multiplied by otherwise.
        #[serde(default = "more")]
        grow: f64,
        /// Smallest step.
        #[serde(default = "micro")]
        min_step: f64,
        /// Largest step.
        #[serde(default = "fifty")]
        max_step: f64,
    },
    /// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; θ ← θ − η·m̂/(√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ) (Kingma and Ba 2015).
    Adam {
        /// β₁.
        #[serde(default = "beta1")]
        beta1: f64,
        /// β₂.
        #[serde(default = "beta2")]
        beta2: f64,
        /// ε.
        #[serde(default = "small")]
        epsilon: f64,
    },
    /// FTRL-proximal: n' = n + g²; z ← z + g − (√n' − √n)/η·θ; θ ← 0 where |z| ≤ λ₁, else −(z − λ₁ sign z)/((β + √n')/η + λ), λ being
    /// `l2` (McMahan et al., KDD 2013, algorithm 1).
    Ftrl {
        /// λ₁, the weight of |θ|: weights whose evidence is small are exactly 0.
        #[serde(default)]
        l1: f64,
        /// β.
        #[serde(default = "unit")]
        beta: f64,
    },
    /// Adam whose `l2` is not part of the gradient: θ ← θ − ηλθ first (Loshchilov and Hutter 2019).
    Adamw {
        /// β₁.
        #[serde(default = "beta1")]
        beta1: f64,
        /// β₂.
        #[serde(default = "beta2")]
        beta2: f64,
        /// ε.
        #[serde(default = "small")]
        epsilon: f64,
    },
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}
fn tiny() -> f64 {
    1e-10
}
fn small() -> f64 {
    1e-8
}
fn most() -> f64 {
    0.99
}
fn unit() -> f64 {
    1.0
}
fn half() -> f64 {
    0.5
}
fn more() -> f64 {
    1.2
}
fn micro() -> f64 {
    1e-6
}
fn fifty() -> f64 {
    50.0
}
fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}

impl Default for Rule {
    fn default() -> Self {
        Rule::Adam { beta1: beta1(), beta2: beta2(), epsilon: small() }
    }
}

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// λ.
    pub l2: f64,
    /// Adam's corrections of the two averages for having started at 0: 1/(1−β₁ᵗ) and 1/√(1−β₂ᵗ); 1 for other rules.
    pub corrections: [f64; 2],
}

impl Rule {
    /// The numbers of step `t`, which counts from 1.
    pub fn step(&self, t: u64, learning_rate: f64, l2: f64) -> Step {
        let corrections = match *self {
            Rule::Adam { beta1, beta2, .. } | Rule::Adamw { beta1, beta2, .. } => {
                // powf: an exponent in f64 stays right beyond 2³¹ steps.
                [1.0 / (1.0 - beta1.powf(t as f64)), 1.0 / (1.0 - beta2.powf(t as f64)).sqrt()]
            }
            _ => [1.0; 2],
        };
        Step { learning_rate, l2, corrections }
    }

    /// Names of the state arrays, each as large as the parameter.
    pub fn states(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { momentum: 0.0, .. } => &[],
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adagrad { momentum: 0.0, .. } => &["sum"],
            Rule::Adagrad { .. } => &["sum", "momentum"],
            Rule::Rmsprop { momentum: 0.0, .. } => &["square"],
            Rule::Rmsprop { .. } => &["square", "momentum"],
            Rule::Rprop { .. } => &["previous", "step"],
            Rule::Ftrl { .. } => &["z", "n"],
            Rule::Adam { .. } | Rule::Adamw { .. } => &["mean", "square"],
        }
    }

    /// Whether `l2` is not added to the gradient but has a place of its own in the rule.
    fn takes_l2_apart(&self) -> bool {
        matches!(self, Rule::Adamw { .. } | Rule::Ftrl { .. })
    }

    /// What state array number `index` starts with under `learning_rate`.
    pub fn initial(&self, index: usize, learning_rate: f64) -> f64 {
        match (self, index) {
            (Rule::Adagrad { initial, .. }, 0) => *initial,
            (Rule::Rprop { .. }, 1) => learning_rate,
            _ => 0.0,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64| -> Result<()> {
            require!((0.0..1.0).contains(&value), Usage, "`{name}` is {value}: it must lie in [0, 1)");
            Ok(())
        };
        match *self {
            Rule::Sgd { momentum, nesterov } => {
                require!(!nesterov || momentum > 0.0, Usage, "`nesterov` needs a `momentum` above 0");
                within("momentum", momentum)
            }
            Rule::Adagrad { initial, momentum, epsilon } => {
                require!(initial >= 0.0 && epsilon > 0.0, Usage, "adagrad's `initial` must be at least 0 and its `epsilon` above 0");
                within("momentum", momentum)
            }
            Rule::Rmsprop { alpha, momentum, epsilon } => {
                require!(epsilon > 0.0, Usage, "`epsilon` is {epsilon}: it must be above 0");
                within("alpha", alpha).and(within("momentum", momentum))
            }
            Rule::Rprop { shrink, grow, min_step, max_step } => {
                let fine = shrink > 0.0 && shrink < 1.0 && grow >= 1.0 && min_step > 0.0 && max_step >= min_step;
                require!(fine, Usage, "rprop needs 0 < shrink < 1 ≤ grow and 0 < min_step ≤ max_step");
                Ok(())
            }
            Rule::Ftrl { l1, beta } => {
                require!(l1 >= 0.0 && beta >= 0.0, Usage, "ftrl's `l1` and `beta` must be at least 0");
                Ok(())
            }
            Rule::Adam { beta1, beta2, epsilon } | Rule::Adamw { beta1, beta2, epsilon } => {
                require!(epsilon > 0.0, Usage, "`epsilon` is {epsilon}: it must be above 0");
                within("beta1", beta1).and(within("beta2", beta2))
            }
        }
    }

    /// One step on slices: `p` and `states` (empty where the rule has fewer) are updated, an absent `g` is a gradient of zeros.
    #[inline(always)]
    pub fn update(&self, step: Step, p: &mut [f32], g: Option<&[f32]>, states: [&mut [f32]; 2]) {
        let (eta, l2) = (step.learning_rate as f32, step.l2 as f32);
        let coupled = if self.takes_l2_apart() { 0.0 } else { l2 };
        let gradient = |i: usize, p: f32| g.map_or(0.0, |g| g[i]) + coupled * p;
        match (*self, states) {
            (Rule::Sgd { momentum: 0.0, .. }, _) => {
                for (i, p) in p.iter_mut().enumerate() {
                    *p -= eta * gradient(i, *p);
                }
            }
            (Rule::Sgd { momentum, nesterov }, [b, _]) => {
                let mu = momentum as f32;
                for (i, (p, b)) in p.iter_mut().zip(b.iter_mut()).enumerate() {
                    let g = gradient(i, *p);
                    *b = mu * *b + g;
                    *p -= eta * if nesterov { g + mu * *b } else { *b };
                }
            }
            (Rule::Adagrad { epsilon, momentum: 0.0, .. }, [s, _]) => {
                let eps = epsilon as f32;
                let one = |p: &mut f32, s: &mut f32, g: f32| {
                    let g = g + coupled * *p;
                    *s += g * g;
                    *p -= eta * g / (s.sqrt() + eps);
                };
                // Two loops, which the compiler can vectorise, instead of a question at each number.
                match g {
                    Some(g) => p.iter_mut().zip(s).zip(g).for_each(|((p, s), &g)| one(p, s, g)),
                    None => p.iter_mut().zip(s).for_each(|(p, s)| one(p, s, 0.0)),
                }
            }
            (Rule::Adagrad { epsilon, momentum, .. }, [s, b]) => {
                let (mu, eps) = (momentum as f32, epsilon as f32);
                let one = |p: &mut f32, s: &mut f32, b: &mut f32, g: f32| {
                    let g = g + coupled * *p;
                    *s += g * g;
                    *b = mu * *b + g / (s.sqrt() + eps);
                    *p -= eta * *b;
                };
                match g {
                    Some(g) => p.iter_mut().zip(s).zip(b).zip(g).for_each(|(((p, s), b), &g)| one(p, s, b, g)),
                    None => p.iter_mut().zip(s).zip(b).for_each(|((p, s), b)| one(p, s, b, 0.0)),
                }
            }
            (Rule::Rmsprop { alpha, epsilon, momentum: 0.0 }, [s, _]) => {
                let (a, eps) = (alpha as f32, epsilon as f32);
                for (i, (p, s)) in p.iter_mut().zip(s.iter_mut()).enumerate() {
                    let g = gradient(i, *p);
                    *s = a * *s + (1.0 - a) * g * g;
                    *p -= eta * g / (s.sqrt() + eps);
                }
            }
            (Rule::Rmsprop { alpha, momentum, epsilon }, [s, b]) => {
                let (a, mu, eps) = (alpha as f32, momentum as f32, epsilon as f32);
                for (i, ((p, s), b)) in p.iter_mut().zip(s.iter_mut()).zip(b.iter_mut()).enumerate() {
                    let g = gradient(i, *p);
                    *s = a * *s + (1.0 - a) * g * g;
                    *b = mu * *b + g / (s.sqrt() + eps);
                    *p -= eta * *b;
                }
            }
            (Rule::Rprop { shrink, grow, min_step, max_step }, [before, size]) => {
                let (shrink, grow, low, high) = (shrink as f32, grow as f32, min_step as f32, max_step as f32);
                for (i, ((p, before), size)) in p.iter_mut().zip(before.iter_mut()).zip(size.iter_mut()).enumerate() {
                    let mut g = gradient(i, *p);
                    let agree = g * *before;
                    if agree > 0.0 {
                        *size = (*size * grow).min(high);
                    } else if agree < 0.0 {
                        *size = (*size * shrink).max(low);
                        g = 0.0;
                    }
                    if g != 0.0 {
                        *p -= g.signum() * *size;
                    }
                    *before = g;
                }
            }
            (Rule::Ftrl { l1, beta }, [z, n]) => {
                let (l1, beta, inverse) = (l1 as f32, beta as f32, 1.0 / eta);
                let one = |p: &mut f32, z: &mut f32, n: &mut f32, g: f32| {
                    // A number without a gradient stays where it is.
                    if g == 0.0 {
                        return;
                    }
                    let grown = *n + g * g;
                    *z += g - (grown.sqrt() - n.sqrt()) * inverse * *p;
                    *n = grown;
                    let beyond = (z.abs() - l1).max(0.0);
                    *p = -z.signum() * beyond / ((beta + grown.sqrt()) * inverse + l2).max(f32::MIN_POSITIVE);
                };
                if let Some(g) = g {
                    p.iter_mut().zip(z).zip(n).zip(g).for_each(|(((p, z), n), &g)| one(p, z, n, g));
                }
            }
            (Rule::Adam { beta1, beta2, epsilon } | Rule::Adamw { beta1, beta2, epsilon }, [m, v]) => {
                let (b1, b2, eps) = (beta1 as f32, beta2 as f32, epsilon as f32);
                let (size, scale) = ((step.learning_rate * step.corrections[0]) as f32, step.corrections[1] as f32);
                let keep = if matches!(self, Rule::Adamw { .. }) { 1.0 - eta * l2 } else { 1.0 };
                let one = |p: &mut f32, m: &mut f32, v: &mut f32, g: f32| {
                    *p *= keep;
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *p -= size * *m / (v.sqrt() * scale + eps);
                };
                match g {
                    Some(g) => {
                        for (((p, m), v), &g) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
                            let g = g + coupled * *p;
                            one(p, m, v, g);
                        }
                    }
                    None => {
                        for ((p, m), v) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()) {
                            let g = coupled * *p;
                            one(p, m, v, g);
                        }
                    }
                }
            }
        }
    }

    /// The same step as tensor operations, on any device: new values of the parameter and of each state.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn update_tensor(&self, step: Step, p: &Tensor, g: &Tensor, states: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (eta, l2) = (step.learning_rate, step.l2);
        let decoupled = self.takes_l2_apart();
        let g = if l2 == 0.0 || decoupled { g.shallow_clone() } else { g + p * l2 };
        Ok(match (*self, states) {
            (Rule::Sgd { .. }, []) => (p - &g * eta, vec![]),
            (Rule::Sgd { momentum, nesterov }, [b]) => {
                let b = b * momentum + &g;
                (p - if nesterov { g + &b * momentum } else { b.shallow_clone() } * eta, vec![b])
            }
            (Rule::Adagrad { epsilon, .. }, [s]) => {
                let s = s + g.f_square()?;
                (p - &g * eta / (s.f_sqrt()? + epsilon), vec![s])
            }
            (Rule::Adagrad { epsilon, momentum, .. }, [s, b]) => {
                let s = s + g.f_square()?;
                let b = b * momentum + &g / (s.f_sqrt()? + epsilon);
                (p - &b * eta, vec![s, b])
            }
            (Rule::Rmsprop { alpha, epsilon, .. }, [s]) => {
                let s = s * alpha + g.f_square()? * (1.0 - alpha);
                (p - &g * eta / (s.f_sqrt()? + epsilon), vec![s])
            }
            (Rule::Rmsprop { alpha, momentum, epsilon }, [s, b]) => {
                let s = s * alpha + g.f_square()? * (1.0 - alpha);
                let b = b * momentum + &g / (s.f_sqrt()? + epsilon);
                (p - &b * eta, vec![s, b])
            }
            (Rule::Rprop { shrink, grow, min_step, max_step }, [before, size]) => {
                let agree = (&g * before).f_sign()?;
                let (up, down) = (agree.f_gt(0.0)?, agree.f_lt(0.0)?);
                let grown = (size * grow).f_clamp_max(max_step)?;
                let shrunk = (size * shrink).f_clamp_min(min_step)?;
                let size = grown.f_where_self(&up, &shrunk.f_where_self(&down, size)?)?;
                let g = g.f_masked_fill(&down, 0.0)?;
                (p - g.f_sign()? * &size, vec![g, size])
            }
            (Rule::Ftrl { l1, beta }, [z, n]) => {
                let grown = n + g.f_square()?;
                let z = z + &g - (grown.f_sqrt()? - n.f_sqrt()?) / eta * p;
                let beyond = (z.f_abs()? - l1).f_clamp_min(0.0)?;
                let scale = ((grown.f_sqrt()? + beta) / eta + l2).f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
                // A number without a gradient stays where it is.
                let moved = z.f_sign()?.f_neg()? * beyond / scale;
                let still = g.f_eq(0.0)?;
                (p.f_where_self(&still, &moved)?, vec![z, grown])
            }
            (Rule::Adam { beta1, beta2, epsilon } | Rule::Adamw { beta1, beta2, epsilon }, [m, v]) => {
                let kept = if decoupled { p * (1.0 - eta * l2) } else { p.shallow_clone() };
                let m = m * beta1 + &g * (1.0 - beta1);
                let v = v * beta2 + g.f_square()? * (1.0 - beta2);
                let (size, scale) = (eta * step.corrections[0], step.corrections[1]);
                (kept - &m * size / (v.f_sqrt()? * scale + epsilon), vec![m, v])
            }
            (rule, states) => unreachable!("{rule:?} has {} states", states.len()),
        })
    }
}
