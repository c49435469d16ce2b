//! What hidden layers go through, Dice among it: Zhou et al., Deep Interest Network, KDD 2018, arXiv:1706.06978, eq. 9.

use anyhow::Result;
use rec_core::shim::is_recording;
use rec_core::{Init, Params};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// An activation by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// max(x, 0) + a·min(x, 0), with an a a unit that is learned.
    Prelu,
    /// p·x + (1 − p)·a·x with p = σ((x − mean)/√(variance + ε)) and an a a unit that is learned. Mean and variance are those of the batch
    /// while it learns, and running means of them otherwise.
    Dice,
}

/// ε of Dice.
const EPSILON: f64 = 1e-8;
/// Share of a running mean that a step keeps.
const KEPT: f64 = 0.99;

/// An activation of a layer of n units.
pub(crate) enum Activations {
    Relu,
    Sigmoid,
    Prelu(Tensor),
    Dice(Dice),
}

/// Dice's a, and the running mean and variance of each unit.
pub(crate) struct Dice {
    name: String,
    slope: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Activations {
    pub fn new(activation: Activation, name: &str, units: usize, params: &mut Params) -> Result<Self> {
        let mut slope = |init| params.dense(&format!("{name}_slope"), &[units], init);
        Ok(match activation {
            Activation::Relu => Self::Relu,
            Activation::Sigmoid => Self::Sigmoid,
            Activation::Prelu => Self::Prelu(slope(Init::Constant(0.25))?),
            Activation::Dice => {
                let slope = slope(Init::Zeros)?;
                let (mean, variance) = tch::no_grad(|| (slope.zeros_like(), slope.ones_like()));
                Self::Dice(Dice { name: name.into(), slope, mean, variance })
            }
        })
    }

    /// # Shapes
    /// `[n, units]`, returns the same
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Relu => x.f_relu()?,
            Self::Sigmoid => x.f_sigmoid()?,
            Self::Prelu(slope) => x.f_relu()? - x.f_neg()?.f_relu()?.f_mul(slope)?,
            Self::Dice(dice) => dice.of(x)?,
        })
    }

    /// Running means, by name.
    pub fn carried(&self) -> Vec<(String, Tensor)> {
        match self {
            Self::Dice(dice) => vec![
                (format!("{}_mean", dice.name), dice.mean.shallow_clone()),
                (format!("{}_variance", dice.name), dice.variance.shallow_clone()),
            ],
            _ => Vec::new(),
        }
    }
}

impl Dice {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let (mean, variance) = if is_recording() && x.size()[0] > 1 {
            let (variance, mean) = x.f_var_mean_dim(0, false, false)?;
            tch::no_grad(|| -> Result<()> {
                for (running, now) in [(&self.mean, &mean), (&self.variance, &variance)] {
                    running.shallow_clone().f_copy_(&(running * KEPT + now * (1.0 - KEPT)))?;
                }
                Ok(())
            })?;
            (mean, variance)
        } else {
            (self.mean.shallow_clone(), self.variance.shallow_clone())
        };
        let p = ((x - mean) / (variance + EPSILON).f_sqrt()?).f_sigmoid()?;
        // p·x + (1 − p)·a·x = x·(a + p·(1 − a))
        let one_less: Tensor = 1.0 - &self.slope;
        Ok(x * (&self.slope + p * one_less))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn dice_learns_with_the_batch_and_answers_with_running_means() {
        let mut params = Params::new(Device::Cpu, 1);
        let Activations::Dice(dice) = Activations::new(Activation::Dice, "layer", 2, &mut params).expect("made") else { panic!("dice") };
        let _ = tch::no_grad(|| dice.slope.shallow_clone().fill_(0.5));
        let x = Tensor::from_slice(&[1.0f32, 10.0, 3.0, 14.0]).view([2, 2]);
        // Means 2 and 12, variances 1 and 4: p = σ(∓1) in both units.
        let p = |sign: f64| 1.0 / (1.0 + (-sign).exp());
        let expected = |x: f64, sign: f64| p(sign) * x + (1.0 - p(sign)) * 0.5 * x;
        let found: Vec<f32> = Vec::try_from(dice.of(&x).expect("fine").flatten(0, -1)).expect("numbers");
        for (found, expected) in found.iter().zip([expected(1.0, -1.0), expected(10.0, -1.0), expected(3.0, 1.0), expected(14.0, 1.0)]) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
        }
        assert!((dice.mean.double_value(&[1]) - 0.12).abs() < 1e-6 && (dice.variance.double_value(&[1]) - 1.03).abs() < 1e-6);
        let before = dice.mean.copy();
        let asked: Vec<f32> = tch::no_grad(|| Vec::try_from(dice.of(&x).expect("fine").flatten(0, -1)).expect("numbers"));
        assert_eq!(dice.mean, before, "answering moves nothing");
        let p = 1.0 / (1.0 + (-(10.0 - 0.12) / 1.03f64.sqrt()).exp());
        assert!((f64::from(asked[1]) - (p * 10.0 + (1.0 - p) * 5.0)).abs() < 1e-4);
    }
}
