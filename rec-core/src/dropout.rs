//! Dropout (Srivastava et al., JMLR 2014) by a kernel of our own: libtorch draws its mask on one thread, which takes longer than the
//! layers around it.
//!
//! Whether a value stays is a hash of its place and of a key that libtorch's generator gives once a call, so a mask is never stored:
//! `backward` computes it again. Another device, or f64, takes libtorch's own.

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::vectorised;

/// Values of one unit of parallel work.
const BLOCK: usize = 16_384;
/// Values from which on the work is shared among threads: waking one costs as much as some hundred thousand values.
const PARALLEL_FROM: usize = 64 * BLOCK;

/// `x` with each value set to 0 with probability `rate`, the others divided by 1 − `rate`, so that the expected value stays the same.
///
/// # Shapes
/// any; returns the same
///
/// # Errors
/// where `rate` is not in [0, 1); libtorch's own.
pub fn dropout(x: &Tensor, rate: f64) -> Result<Tensor> {
    masked(x, rate, false)
}

/// [`dropout`] of max(`x`, 0), in one pass.
///
/// # Shapes
/// any; returns the same
///
/// # Errors
/// as [`dropout`].
pub fn relu_dropout(x: &Tensor, rate: f64) -> Result<Tensor> {
    masked(x, rate, true)
}

fn masked(x: &Tensor, rate: f64, relu: bool) -> Result<Tensor> {
    if rate == 0.0 {
        return Ok(if relu { x.f_relu()? } else { x.shallow_clone() });
    }
    if x.device() != Device::Cpu || x.kind() != Kind::Float {
        check(rate)?;
        let x = if relu { x.f_relu()? } else { x.shallow_clone() };
        return Ok(x.f_dropout(rate, true)?);
    }
    let mask = Mask::new(rate, relu)?;
    let x = x.f_contiguous()?;
    let out = tch::no_grad(|| mask.apply(&x, &x))?;
    if !(shim::is_recording() && x.requires_grad()) {
        return Ok(out);
    }
    shim::attach(&out, &x, None, Box::new(mask))
}

fn check(rate: f64) -> Result<()> {
    anyhow::ensure!((0.0..1.0).contains(&rate), "a dropout rate is {rate}: it must be at least 0 and below 1");
    Ok(())
}

/// A part of the work: its number, where results go, values and inputs.
type Block<'a> = (usize, ((&'a mut [f32], &'a [f32]), &'a [f32]));

/// Which values stay.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    key: [u32; 2],
    /// A value is lost where its hash is below this.
    lost: u32,
    /// 1 / (1 − rate).
    scale: f32,
    /// Inputs up to this are lost too. None is below NaN.
    limit: f32,
}

impl Mask {
    /// A mask of its own, drawn by libtorch's generator. With `relu`, inputs that are not above 0 are lost too.
    pub(crate) fn new(rate: f64, relu: bool) -> Result<Self> {
        check(rate)?;
        let draw = || -> Result<i64> { Ok(Tensor::f_empty([1], (Kind::Int64, Device::Cpu))?.f_random_()?.f_int64_value(&[0])?) };
        let key = if rate == 0.0 { 0 } else { tch::no_grad(draw)? as u64 };
        let limit = if relu { 0.0 } else { f32::NAN };
        Ok(Self { key: [key as u32, (key >> 32) as u32], lost: (rate * 2f64.powi(32)) as u32, scale: (1.0 / (1.0 - rate)) as f32, limit })
    }

    /// What values that stay are multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// A hash of a place, in which every bit of the place moves every bit (after Wellons' `lowbias32`, with a key in its middle).
    #[inline(always)]
    fn hash(&self, place: u32) -> u32 {
        let mut x = place.wrapping_mul(0x9e37_79b9).wrapping_add(self.key[0]);
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_add(self.key[1]).wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    }

    /// `value` scaled up where it stays, by its place (modulo 2³²) and by the `input` there; else 0. A NaN input stays.
    #[inline(always)]
    pub(crate) fn pass(&self, place: u32, value: f32, input: f32) -> f32 {
        // Bits instead of branches, for loops to be vectorised.
        let lost = u32::from(self.hash(place) < self.lost) | u32::from(input <= self.limit);
        f32::from_bits((value * self.scale).to_bits() & lost.wrapping_sub(1))
    }

    /// `values` where they stay.
    fn apply(&self, values: &Tensor, inputs: &Tensor) -> Result<Tensor> {
        let out = Tensor::f_empty(values.size(), (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        let (to, from, inputs) = (unsafe { slice_mut(&out) }, slice(values), slice(inputs));
        let mask = *self;
        let block = |(index, ((to, from), inputs)): Block| {
            vectorised(
                #[inline(always)]
                || {
                    let first = index * BLOCK;
                    for (at, ((to, &value), &input)) in to.iter_mut().zip(from).zip(inputs).enumerate() {
                        *to = mask.pass((first + at) as u32, value, input);
                    }
                },
            );
        };
        if to.len() < PARALLEL_FROM {
            to.chunks_mut(BLOCK).zip(from.chunks(BLOCK)).zip(inputs.chunks(BLOCK)).enumerate().for_each(block);
        } else {
            to.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).zip(inputs.par_chunks(BLOCK)).enumerate().for_each(block);
        }
        Ok(out)
    }
}

impl Gradient for Mask {
    fn backward(&self, gradient: &Tensor, input: &Tensor, _: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(self.apply(gradient, input)?), None])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(n: i64) -> Tensor {
        Tensor::ones([n], (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    #[test]
    fn a_share_is_lost_and_the_rest_is_scaled_up_in_value_and_gradient() {
        tch::manual_seed(3);
        // Both sides of the limit from which threads share the work.
        for n in [10_000i64, 2_000_000] {
            let x = ones(n);
            let y = dropout(&x, 0.3).expect("a fine rate");
            y.sum(Kind::Float).backward();
            assert_eq!(slice(&y), slice(&x.grad()));
            let zeros = slice(&y).iter().filter(|&&v| v == 0.0).count() as f64 / n as f64;
            assert!((zeros - 0.3).abs() < 4.0 * (0.21 / n as f64).sqrt(), "{zeros} of {n}");
            assert!(slice(&y).iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
        }
    }

    #[test]
    fn neighbours_and_calls_are_independent() {
        tch::manual_seed(3);
        let n = 1_000_000;
        let lost = |y: &Tensor| slice(y).iter().map(|&v| f64::from(u8::from(v == 0.0))).collect::<Vec<_>>();
        let (a, b) = (lost(&dropout(&ones(n), 0.5).expect("fine")), lost(&dropout(&ones(n), 0.5).expect("fine")));
        let both = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / x.len() as f64;
        for lag in [1, 2, 3, 4, 8, 16, 64, 128, 1024] {
            assert!((both(&a, &a[lag..]) - 0.25).abs() < 0.003, "lag {lag}");
        }
        assert!((both(&a, &b) - 0.25).abs() < 0.003);
        // A mask is the same each time that it is applied: `backward` relies on it.
        let (x, mask) = (ones(n), Mask::new(0.5, false).expect("fine"));
        assert_eq!(lost(&mask.apply(&x, &x).expect("fits")), lost(&mask.apply(&x, &x).expect("fits")));
    }

    #[test]
    fn relu_passes_no_negative_input_and_keeps_nan() {
        tch::manual_seed(3);
        let x = Tensor::from_slice(&[-1f32, 2.0, -3.0, f32::NAN]).repeat([50]).set_requires_grad(true);
        let y = relu_dropout(&x, 0.5).expect("a fine rate");
        y.sum(Kind::Float).backward();
        let gradient = x.grad();
        for (i, (&y, &g)) in slice(&y).iter().zip(slice(&gradient)).enumerate() {
            match i % 4 {
                1 => assert!((y, g) == (0.0, 0.0) || (y, g) == (4.0, 2.0), "{y} {g}"),
                3 => assert!(y == 0.0 || y.is_nan()),
                _ => assert_eq!((y, g), (0.0, 0.0)),
            }
        }
        assert!(slice(&y).iter().any(|y| y.is_nan()));
        let same = relu_dropout(&x, 0.0).expect("a fine rate");
        assert_eq!(slice(&same)[..3], [0.0, 2.0, 0.0]);
        assert!(dropout(&x, 1.0).is_err());
    }

    #[test]
    fn nothing_is_recorded_where_no_gradient_is_wanted() {
        let x = Tensor::ones([8], (Kind::Float, Device::Cpu));
        assert!(!dropout(&x, 0.5).expect("fine").requires_grad());
    }
}
