//! Additive attention (Bahdanau, Cho, Bengio, ICLR 2015, arXiv:1409.0473) of each position of a sequence to itself and to what is before
//! it, with σ instead of tanh as in NARM (Li et al., CIKM 2017, arXiv:1711.04725), in sequences that lie one after the other without
//! padding.
//!
//! One sequence is one unit of work, and only pairs within a sequence are computed. Their weights are kept for `backward`, their σ are
//! computed again. Another device, or f64, takes libtorch's operations, sequence after sequence.

use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::attention::split;
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::{exp, fused_dot, largest, sum, vectorised};

/// Sequences that a thread takes at least: one is little work.
const TOGETHER: usize = 8;

/// c_t = Σ_{j ≤ t} α_tj h_j with α_tj = v · σ(q_t + k_j); with `softmax`, the softmax of these over j ≤ t. Sequence s is the rows
/// `starts[s]..starts[s + 1]`. Gradients to both tensors.
///
/// # Shapes
/// `rows` `[P, 3 u]`, row t is (q_t; k_t; h_t); `v` `[u]`; returns `[P, u]`
///
/// # Errors
/// where shapes do not fit, or the starts do not rise from 0 to P; libtorch's own.
pub fn additive_attention(rows: &Tensor, v: &Tensor, starts: &Arc<Vec<usize>>, softmax: bool) -> Result<Tensor> {
    let ((positions, width), u) = (rows.size2()?, v.size1()?);
    anyhow::ensure!(u > 0 && width == 3 * u, "rows are {:?}, the vector {:?}", rows.size(), v.size());
    let rising = starts.first() == Some(&0) && starts.last() == Some(&(positions as usize)) && starts.is_sorted();
    anyhow::ensure!(rising, "the starts of sequences do not rise from 0 to {positions}");
    if [rows, v].iter().any(|t| t.device() != Device::Cpu || t.kind() != Kind::Float) {
        return by_libtorch(rows, v, starts, softmax);
    }
    let (out, kernel) = tch::no_grad(|| forward(&rows.f_contiguous()?, &v.f_contiguous()?, starts, softmax))?;
    if !(shim::is_recording() && (rows.requires_grad() || v.requires_grad())) {
        return Ok(out);
    }
    shim::attach(&out, rows, Some(v), Box::new(kernel))
}

fn by_libtorch(rows: &Tensor, v: &Tensor, starts: &[usize], softmax: bool) -> Result<Tensor> {
    let u = v.size()[0];
    let mut outs = Vec::with_capacity(starts.len());
    for pair in starts.windows(2).filter(|pair| pair[1] > pair[0]) {
        let rows = rows.f_narrow(0, pair[0] as i64, (pair[1] - pair[0]) as i64)?;
        let part = |first: i64| rows.f_narrow(1, first * u, u);
        let mut weights = part(0)?.f_unsqueeze(1)?.f_add(&part(1)?.f_unsqueeze(0)?)?.f_sigmoid()?.f_matmul(v)?;
        if softmax {
            let later = weights.f_ones_like()?.f_triu(1)?.f_to_kind(Kind::Bool)?;
            weights = weights.f_masked_fill(&later, f64::NEG_INFINITY)?.f_softmax(-1, None::<Kind>)?;
        }
        outs.push(weights.f_tril(0)?.f_mm(&part(2)?)?);
    }
    if outs.is_empty() {
        return Ok(rows.f_narrow(1, 0, u)?.f_mul_scalar(0.0)?);
    }
    Ok(Tensor::f_cat(&outs, 0)?)
}

struct Kernel {
    starts: Arc<Vec<usize>>,
    softmax: bool,
    /// α, sequence after sequence, within one t after t.
    weights: Vec<f32>,
}

/// The pairs of each sequence.
fn pairs(starts: &[usize]) -> impl Iterator<Item = usize> {
    starts.windows(2).map(|pair| (pair[1] - pair[0]) * (pair[1] - pair[0] + 1) / 2)
}

fn forward(rows: &Tensor, v: &Tensor, starts: &Arc<Vec<usize>>, softmax: bool) -> Result<(Tensor, Kernel)> {
    let (positions, u) = (rows.size()[0], v.size()[0] as usize);
    let out = Tensor::f_empty([positions, u as i64], (Kind::Float, Device::Cpu))?;
    let mut weights = vec![0f32; pairs(starts).sum()];
    // SAFETY: `out` was just made, nothing else sees it.
    let to = split(unsafe { slice_mut(&out) }, starts.windows(2).map(|pair| (pair[1] - pair[0]) * u));
    let (rows, v, weights_of) = (slice(rows), slice(v), split(&mut weights, pairs(starts)));
    let all = to.into_par_iter().zip(weights_of).enumerate().with_min_len(TOGETHER);
    all.for_each_init(
        || vec![0f32; u],
        |sigmoids, (s, (to, weights))| {
            let sequence = Sequence { rows: &rows[starts[s] * 3 * u..starts[s + 1] * 3 * u], v, softmax };
            vectorised(
                #[inline(always)]
                || sequence.forward(to, weights, sigmoids),
            );
        },
    );
    Ok((out, Kernel { starts: Arc::clone(starts), softmax, weights }))
}

/// One sequence of one call.
struct Sequence<'a> {
    rows: &'a [f32],
    v: &'a [f32],
    softmax: bool,
}

impl<'a> Sequence<'a> {
    /// q, k or h, being part 0, 1 or 2, of a position.
    #[inline(always)]
    fn part(&self, position: usize, part: usize) -> &'a [f32] {
        &self.rows[(3 * position + part) * self.v.len()..][..self.v.len()]
    }

    /// σ(q_t + k_j).
    #[inline(always)]
    fn sigmoids(&self, t: usize, j: usize, to: &mut [f32]) {
        for ((to, q), k) in to.iter_mut().zip(self.part(t, 0)).zip(self.part(j, 1)) {
            *to = 1.0 / (1.0 + exp(-(q + k)));
        }
    }

    #[inline(always)]
    fn forward(&self, to: &mut [f32], mut weights: &mut [f32], sigmoids: &mut [f32]) {
        for (t, to) in to.chunks_exact_mut(self.v.len()).enumerate() {
            let (here, rest) = std::mem::take(&mut weights).split_at_mut(t + 1);
            weights = rest;
            for (j, weight) in here.iter_mut().enumerate() {
                self.sigmoids(t, j, sigmoids);
                *weight = fused_dot(self.v, sigmoids);
            }
            if self.softmax {
                let most = largest(here);
                here.iter_mut().for_each(|weight| *weight = exp(*weight - most));
                let total = sum(here);
                here.iter_mut().for_each(|weight| *weight /= total);
            }
            to.fill(0.0);
            here.iter().enumerate().for_each(|(j, weight)| add(to, *weight, self.part(j, 2)));
        }
    }

    /// Gradients of the rows and of v; `to` and `to_v` are zeros before.
    #[inline(always)]
    fn backward(&self, gradient: &[f32], mut weights: &[f32], to: &mut [f32], to_v: &mut [f32], scratch: &mut Scratch) {
        let u = self.v.len();
        for (t, g) in gradient.chunks_exact(u).enumerate() {
            let (here, rest) = weights.split_at(t + 1);
            weights = rest;
            // The gradients of the weights, then those of v · σ.
            scratch.slopes.clear();
            for (j, weight) in here.iter().enumerate() {
                scratch.slopes.push(fused_dot(g, self.part(j, 2)));
                add(&mut to[(3 * j + 2) * u..][..u], *weight, g);
            }
            if self.softmax {
                let mean = fused_dot(here, &scratch.slopes);
                scratch.slopes.iter_mut().zip(here).for_each(|(slope, weight)| *slope = weight * (*slope - mean));
            }
            for (j, &slope) in scratch.slopes.iter().enumerate() {
                let sums = &mut scratch.sums;
                self.sigmoids(t, j, sums);
                add(to_v, slope, sums);
                sums.iter_mut().zip(self.v).for_each(|(sum, v)| *sum = slope * v * *sum * (1.0 - *sum));
                add(&mut to[3 * t * u..][..u], 1.0, sums);
                add(&mut to[(3 * j + 1) * u..][..u], 1.0, sums);
            }
        }
    }
}

/// What a worker needs again and again on the way back.
struct Scratch {
    /// One number a j.
    slopes: Vec<f32>,
    /// `[u]` σ(q_t + k_j), then the gradient of q_t + k_j.
    sums: Vec<f32>,
}

/// `to` += `scale`·`from`
#[inline(always)]
fn add(to: &mut [f32], scale: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = scale.mul_add(*from, *to));
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, rows: &Tensor, v: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let v = v.ok_or_else(|| anyhow::anyhow!("attention has a vector"))?.f_contiguous()?;
        let (gradient, rows, u) = (gradient.f_contiguous()?, rows.f_contiguous()?, v.size()[0] as usize);
        let to_rows = Tensor::f_zeros(rows.size(), (Kind::Float, Device::Cpu))?;
        let starts = &self.starts;
        // SAFETY: the tensor was just made, nothing else sees it.
        let to = split(unsafe { slice_mut(&to_rows) }, starts.windows(2).map(|pair| (pair[1] - pair[0]) * 3 * u));
        let mut firsts = vec![0];
        pairs(starts).for_each(|count| firsts.push(firsts[firsts.len() - 1] + count));
        let mut to_v_each = vec![0f32; to.len() * u];
        let (gradient, rows, v) = (slice(&gradient), slice(&rows), slice(&v));
        let all = to.into_par_iter().zip(to_v_each.par_chunks_exact_mut(u)).enumerate().with_min_len(TOGETHER);
        all.for_each_init(
            || Scratch { slopes: Vec::new(), sums: vec![0f32; u] },
            |scratch, (s, (to, to_v))| {
                let (start, end) = (starts[s], starts[s + 1]);
                let sequence = Sequence { rows: &rows[start * 3 * u..end * 3 * u], v, softmax: self.softmax };
                let (gradient, weights) = (&gradient[start * u..end * u], &self.weights[firsts[s]..firsts[s + 1]]);
                vectorised(
                    #[inline(always)]
                    || sequence.backward(gradient, weights, to, to_v, scratch),
                );
            },
        );
        // In the order of the sequences, whatever the threads.
        let mut to_v = vec![0f32; u];
        to_v_each.chunks_exact(u).for_each(|each| to_v.iter_mut().zip(each).for_each(|(to, from)| *to += from));
        Ok([Some(to_rows), Some(Tensor::from_slice(&to_v))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [usize; 7] = [0, 1, 1, 6, 8, 27, 30];

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn values_and_gradients_are_those_of_libtorch_in_f64() {
        tch::manual_seed(7);
        for (u, softmax) in [(1, false), (7, true), (40, false), (100, true), (100, false)] {
            let (rows, v, g) = (random(&[30, 3 * u]) * 2.0, random(&[u]), random(&[30, u]));
            let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| {
                let [rows, v] = [&rows, &v].map(|t| t.to_kind(kind).copy().set_requires_grad(true));
                let out = additive_attention(&rows, &v, &Arc::new(STARTS.to_vec()), softmax).expect("fits");
                (&out * g.to_kind(kind)).sum(None::<Kind>).backward();
                [out.detach(), rows.grad(), v.grad()].map(|t| t.to_kind(Kind::Double))
            });
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let (gap, size) = ((ours - theirs).abs().max().double_value(&[]), theirs.abs().max().double_value(&[]));
                assert!(gap < 1e-5 * size.max(1.0), "{u} {softmax}: {gap} of {size}");
            }
        }
    }

    #[test]
    fn a_sequence_knows_nothing_of_its_neighbours_nor_a_position_of_later_ones() {
        tch::manual_seed(7);
        let (rows, v) = (random(&[30, 27]), random(&[9]));
        for softmax in [false, true] {
            let together = additive_attention(&rows, &v, &Arc::new(STARTS.to_vec()), softmax).expect("fits");
            let alone = additive_attention(&rows.narrow(0, 8, 11), &v, &Arc::new(vec![0, 11]), softmax).expect("fits");
            assert!(together.narrow(0, 8, 11).equal(&alone));
            let first = if softmax { random(&[1]).ones_like() } else { (rows.narrow(1, 0, 9) + rows.narrow(1, 9, 9)).sigmoid().mv(&v) };
            let expected = rows.narrow(1, 18, 9).get(0) * first.get(0);
            assert!((together.get(0) - expected).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (rows, v) = (random(&[4, 6]), random(&[2]));
        let asked = |rows: &Tensor, v: &Tensor, starts: &[usize]| additive_attention(rows, v, &Arc::new(starts.to_vec()), false);
        assert!(asked(&rows, &v, &[0, 4]).is_ok() && asked(&rows, &random(&[3]), &[0, 4]).is_err());
        for starts in [&[][..], &[0, 3], &[1, 4], &[0, 3, 2, 4]] {
            assert!(asked(&rows, &v, starts).is_err(), "{starts:?}");
        }
    }
}
