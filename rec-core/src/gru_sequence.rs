//! A GRU (Cho et al., EMNLP 2014, arXiv:1406.1078) over whole sequences that lie one after the other without padding, with
//! back-propagation through all steps, as one operation of our own.
//!
//! Sequences are taken longest first, so that those that still run at a step are the first rows: a step is one product and one pass over
//! its gates, and no row is computed that nobody asked for. On the way back a step is one product too, and the weights' gradient is one
//! product over all steps. Another device, or f64, takes libtorch's operations, step after step.

use std::cmp::Reverse;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::gru_cell::{by_libtorch, one_row, one_row_back};
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::vectorised;

/// The states h_1, h_2, … of each sequence, from h_0 = 0: h_t is what [`gru_cell`](crate::gru_cell::gru_cell) makes of row t of `inputs`,
/// V h_{t−1} + v and h_{t−1}. Sequence s is the rows `starts[s]..starts[s + 1]`. Gradients to both tensors.
///
/// # Shapes
/// `inputs` `[P, 3 u]`, W x + w in the order r, z, n; `weights` `[u + 1, 3 u]`, Vᵀ and v as the last row; returns `[P, u]`
///
/// # Errors
/// where shapes do not fit, a sequence is empty, or the starts do not rise from 0 to P; libtorch's own.
pub fn gru_sequence(inputs: &Tensor, weights: &Tensor, starts: &[usize]) -> Result<Tensor> {
    let ((positions, width), (rows, columns)) = (inputs.size2()?, weights.size2()?);
    let units = rows - 1;
    anyhow::ensure!(units > 0 && width == 3 * units && columns == width, "inputs are {:?}, weights {:?}", inputs.size(), weights.size());
    let rising = starts.first() == Some(&0) && starts.last() == Some(&(positions as usize)) && starts.is_sorted_by(|a, b| a < b);
    anyhow::ensure!(rising && positions > 0, "the starts of sequences do not rise from 0 to {positions}, each above the one before");
    let steps = Steps::new(starts);
    if [inputs, weights].iter().any(|t| t.device() != Device::Cpu || t.kind() != Kind::Float) {
        return steps.by_libtorch(inputs, weights);
    }
    let recording = shim::is_recording() && (inputs.requires_grad() || weights.requires_grad());
    let (out, kernel) = tch::no_grad(|| forward(steps, &inputs.f_contiguous()?, &weights.f_contiguous()?, recording))?;
    if !recording {
        return Ok(out);
    }
    shim::attach(&out, inputs, Some(weights), Box::new(kernel))
}

/// The positions step by step, within a step the longest sequence first.
struct Steps {
    /// The row of each position.
    rows: Vec<usize>,
    /// Step t is `firsts[t]..firsts[t + 1]` of `rows`.
    firsts: Vec<usize>,
}

impl Steps {
    fn new(starts: &[usize]) -> Self {
        let mut sequences: Vec<(usize, usize)> = starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).collect();
        sequences.sort_by_key(|&(_, length)| Reverse(length));
        let (mut rows, mut firsts, mut running) = (Vec::new(), vec![0], sequences.len());
        for step in 0..sequences[0].1 {
            while sequences[running - 1].1 <= step {
                running -= 1;
            }
            rows.extend(sequences[..running].iter().map(|(start, _)| start + step));
            firsts.push(rows.len());
        }
        Self { rows, firsts }
    }

    fn count(&self) -> usize {
        self.firsts.len() - 1
    }

    /// The first position of a step, and how many there are; none after the last.
    fn step(&self, step: usize) -> (usize, usize) {
        let first = self.firsts[step.min(self.count())];
        (first, self.firsts[(step + 1).min(self.count())] - first)
    }

    fn by_libtorch(&self, inputs: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let units = weights.size()[0] - 1;
        let (vectors, bias) = (weights.f_narrow(0, 0, units)?, weights.f_select(0, units)?);
        let index =
            |rows: &[usize]| Tensor::from_slice(&rows.iter().map(|&row| row as i64).collect::<Vec<_>>()).f_to_device(inputs.device());
        let mut h = Tensor::f_zeros([self.step(0).1 as i64, units], (inputs.kind(), inputs.device()))?;
        let mut states = Vec::with_capacity(self.count());
        for step in 0..self.count() {
            let (first, running) = self.step(step);
            let inputs = inputs.f_index_select(0, &index(&self.rows[first..first + running])?)?;
            h = h.f_narrow(0, 0, running as i64)?;
            h = by_libtorch(&inputs, &bias.f_addmm(&h, &vectors)?, &h)?;
            states.push(h.shallow_clone());
        }
        let mut places = vec![0; self.rows.len()];
        self.rows.iter().enumerate().for_each(|(place, &row)| places[row] = place);
        Ok(Tensor::f_cat(&states, 0)?.f_index_select(0, &index(&places)?)?)
    }
}

/// What the way back needs. Positions are those of [`Steps`].
struct Kernel {
    steps: Steps,
    /// `[P, u]` the state before each position.
    before: Tensor,
    /// `[P, 4 u]`, as `one_row` gives them.
    slopes: Vec<f32>,
    /// `[P, u]` z.
    kept: Vec<f32>,
}

fn forward(steps: Steps, inputs: &Tensor, weights: &Tensor, recording: bool) -> Result<(Tensor, Kernel)> {
    let u = weights.size()[0] as usize - 1;
    let (positions, most) = (steps.rows.len(), steps.step(0).1);
    let empty = |rows: usize, columns: usize| Tensor::f_empty([rows as i64, columns as i64], (Kind::Float, Device::Cpu));
    let (out, before, own) = (empty(positions, u)?, empty(positions, u)?, empty(most, 3 * u)?);
    let vectors = weights.f_narrow(0, 0, u as i64)?;
    let bias = weights.f_select(0, u as i64)?;
    let _ = before.f_narrow(0, 0, most as i64)?.f_zero_()?;
    // Without a way back, one row of slopes is written again and again.
    let keep = usize::from(recording);
    let kept_rows = if recording { positions } else { 1 };
    let (mut slopes, mut kept) = (vec![0f32; kept_rows * 4 * u], vec![0f32; kept_rows * u]);
    for step in 0..steps.count() {
        let ((first, running), (next, go_on)) = (steps.step(step), steps.step(step + 1));
        if step > 0 {
            let own = own.f_narrow(0, 0, running as i64)?;
            let _ = bias.f_addmm_out(&own, &before.f_narrow(0, first as i64, running as i64)?, &vectors)?;
        }
        // SAFETY: both were made here; the products read `before` between the passes of two steps.
        let (to, states) = unsafe { (slice_mut(&out), slice_mut(&before)) };
        let (inputs, own, bias) = (slice(inputs), slice(&own), slice(&bias));
        for at in 0..running {
            let (place, row) = (first + at, steps.rows[first + at]);
            let own = if step == 0 { bias } else { &own[at * 3 * u..][..3 * u] };
            let (to, h) = (&mut to[row * u..][..u], &states[place * u..][..u]);
            let (slopes, kept) = (&mut slopes[keep * place * 4 * u..][..4 * u], &mut kept[keep * place * u..][..u]);
            vectorised(
                #[inline(always)]
                || one_row(&inputs[row * 3 * u..][..3 * u], own, h, to, slopes, kept),
            );
            if at < go_on {
                states[(next + at) * u..][..u].copy_from_slice(to);
            }
        }
    }
    Ok((out, Kernel { steps, before, slopes, kept }))
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, inputs: &Tensor, weights: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let weights = weights.ok_or_else(|| anyhow::anyhow!("a GRU has weights"))?;
        let (gradient, u) = (gradient.f_contiguous()?, weights.size()[0] as usize - 1);
        let (positions, most) = (self.steps.rows.len(), self.steps.step(0).1);
        let vectors = weights.f_narrow(0, 0, u as i64)?.f_tr()?;
        let empty = |size: &[i64]| Tensor::f_empty(size, (Kind::Float, Device::Cpu));
        let (to_inputs, to_weights) = (empty(&inputs.size())?, empty(&weights.size())?);
        // Gradients of V h + v, and of the states of the step before.
        let (to_own, to_before) = (empty(&inputs.size())?, empty(&[most as i64, u as i64])?);
        for step in (0..self.steps.count()).rev() {
            let ((first, running), (_, go_on)) = (self.steps.step(step), self.steps.step(step + 1));
            // SAFETY: all were just made; the products read and write them between the passes of two steps.
            let (x, own, carried) = unsafe { (slice_mut(&to_inputs), slice_mut(&to_own), slice_mut(&to_before)) };
            carried[go_on * u..running * u].fill(0.0);
            for (at, carried) in carried.chunks_exact_mut(u).take(running).enumerate() {
                let (place, row) = (first + at, self.steps.rows[first + at]);
                let (x, own) = (&mut x[row * 3 * u..][..3 * u], &mut own[place * 3 * u..][..3 * u]);
                let (slopes, kept) = (&self.slopes[place * 4 * u..][..4 * u], &self.kept[place * u..][..u]);
                let gradient = &slice(&gradient)[row * u..][..u];
                vectorised(
                    #[inline(always)]
                    || {
                        carried.iter_mut().zip(gradient).for_each(|(to, g)| *to += g);
                        one_row_back(slopes, carried, x, own);
                        carried.iter_mut().zip(kept).for_each(|(to, z)| *to *= z);
                    },
                );
            }
            if step > 0 {
                let own = to_own.f_narrow(0, first as i64, running as i64)?;
                let _ = to_before.f_narrow(0, 0, running as i64)?.f_addmm_(&own, &vectors)?;
            }
        }
        // The first step's states are zeros, and say nothing about V.
        let (first, rest) = (most as i64, (positions - most) as i64);
        let (before, own) = (self.before.f_narrow(0, first, rest)?, to_own.f_narrow(0, first, rest)?);
        let _ = before.f_tr()?.f_mm_out(&to_weights.f_narrow(0, 0, u as i64)?, &own)?;
        // SAFETY: the product is done, nothing else sees the tensor.
        let sums = &mut unsafe { slice_mut(&to_weights) }[3 * u * u..];
        sums.fill(0.0);
        for own in slice(&to_own).chunks_exact(3 * u) {
            vectorised(
                #[inline(always)]
                || sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
            );
        }
        Ok([Some(to_inputs), Some(to_weights)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize) -> Tensor {
        Tensor::randn([rows as i64, columns as i64], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn states_and_gradients_are_those_of_libtorch_in_f64() {
        tch::manual_seed(6);
        for (starts, u) in [(vec![0, 1], 3), (vec![0, 3, 4, 11, 13], 1), (vec![0, 5, 6, 25, 27, 46, 47], 20), (vec![0, 2, 9, 10], 100)] {
            let positions = starts[starts.len() - 1];
            let scale = 1.0 / (u as f64).sqrt();
            let (inputs, weights, g) = (random(positions, 3 * u) * 2.0, random(u + 1, 3 * u) * scale, random(positions, u));
            let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| {
                let [inputs, weights] = [&inputs, &weights].map(|t| t.to_kind(kind).copy().set_requires_grad(true));
                let out = gru_sequence(&inputs, &weights, &starts).expect("fits");
                (&out * g.to_kind(kind)).sum(None::<Kind>).backward();
                [out.detach(), inputs.grad(), weights.grad()].map(|t| t.to_kind(Kind::Double))
            });
            let gaps = [0, 1, 2].map(|k| (&ours[k] - &theirs[k]).abs().max().double_value(&[]));
            let sizes = [0, 1, 2].map(|k| theirs[k].abs().max().double_value(&[]));
            assert!(gaps[0] < 3e-6 && (1..3).all(|k| gaps[k] < 1e-5 * sizes[k]), "{starts:?} × {u}: {gaps:?} of {sizes:?}");
        }
    }

    #[test]
    fn a_sequence_is_that_of_the_gru_of_libtorch() {
        tch::manual_seed(6);
        let (x, w, weights) = (random(7, 6), random(12, 6), random(5, 12));
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let parts = [w.shallow_clone(), weights.narrow(0, 0, 4).tr().contiguous(), zeros(&[12]), weights.select(0, 4)];
        let (expected, _) = x.unsqueeze(1).gru(&zeros(&[1, 1, 4]), &parts, true, 1, 0.0, false, false, false);
        let found = gru_sequence(&x.mm(&w.tr()), &weights, &[0, 7]).expect("fits");
        assert!((found - expected.squeeze_dim(1)).abs().max().double_value(&[]) < 3e-6);
    }

    #[test]
    fn a_sequence_knows_nothing_of_its_neighbours_and_nothing_is_kept_where_no_gradient_is_wanted() {
        tch::manual_seed(6);
        let (inputs, weights) = (random(12, 21), random(8, 21));
        let together = gru_sequence(&inputs, &weights, &[0, 2, 9, 12]).expect("fits");
        let alone = gru_sequence(&inputs.narrow(0, 2, 7), &weights, &[0, 7]).expect("fits");
        assert!((together.narrow(0, 2, 7) - alone).abs().max().double_value(&[]) < 1e-6);
        let recorded = gru_sequence(&inputs, &weights.set_requires_grad(true), &[0, 2, 9, 12]).expect("fits");
        assert!(recorded.requires_grad() && recorded.equal(&together));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (inputs, weights) = (random(4, 6), random(3, 6));
        assert!(gru_sequence(&inputs, &weights, &[0, 1, 4]).is_ok());
        for starts in [&[][..], &[0, 3], &[1, 4], &[0, 2, 2, 4], &[0, 3, 2, 4]] {
            assert!(gru_sequence(&inputs, &weights, starts).is_err(), "{starts:?}");
        }
        assert!(gru_sequence(&inputs, &random(2, 6), &[0, 4]).is_err() && gru_sequence(&random(4, 9), &weights, &[0, 4]).is_err());
    }
}
