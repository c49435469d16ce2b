//! How a denoising autoencoder corrupts its input.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What happens to an input entry with probability q.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Noise {
    /// It is set to 0; the others are divided by 1 − q, so that the expected sum stays the same (Srivastava et al., JMLR 2014).
    #[default]
    Dropout,
    /// It is set to 0; the others stay as they are (Vincent et al., JMLR 2010).
    Masking,
}

impl Noise {
    /// What each of `entries` input entries is multiplied by at rate `q`; `None` where nothing is.
    ///
    /// # Errors
    /// libtorch's own.
    pub(crate) fn factors(self, q: f64, entries: usize, device: Device) -> Result<Option<Tensor>> {
        if q == 0.0 {
            return Ok(None);
        }
        let kept = Tensor::f_rand([entries as i64], (Kind::Float, device))?.f_ge(q)?.f_to_kind(Kind::Float)?;
        Ok(Some(match self {
            Noise::Dropout => kept / (1.0 - q),
            Noise::Masking => kept,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_q_of_the_entries_is_lost_and_dropout_makes_up_for_it() {
        tch::manual_seed(1);
        for (noise, kept) in [(Noise::Dropout, 1.0 / 0.7), (Noise::Masking, 1.0)] {
            let factors = noise.factors(0.3, 100_000, Device::Cpu).expect("draws").expect("there is noise");
            let zeros = factors.eq(0.0).to_kind(Kind::Float).mean(None::<Kind>).double_value(&[]);
            assert!((zeros - 0.3).abs() < 0.01, "{zeros}");
            assert!((factors.max().double_value(&[]) - kept).abs() < 1e-6);
        }
        assert!(Noise::Dropout.factors(0.0, 9, Device::Cpu).expect("nothing to draw").is_none());
    }
}
