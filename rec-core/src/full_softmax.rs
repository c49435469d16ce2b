//! Cross-entropy over all items, from vectors: the mean of −ln softmax(E h)_target, without a matrix of all scores. Scores of some rows
//! at a time are made, turned into their gradient where they lie, and multiplied back; memory is that of one such part.

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::loss::{Loss, LossConfig, LossInput};
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::{exp, largest, sum, vectorised};

/// Scores of one part: 16 MiB of f32.
pub(crate) const PART: usize = 4 << 20;

/// The mean over rows of −ln softmax(items · h)_target, differentiable in `hidden` and `items`.
///
/// # Shapes
/// `hidden` `[P, d]`, `items` `[I, d]`, `targets` `[P]`; returns a scalar
///
/// # Errors
/// where shapes do not fit, a target is out of range, or there is no row; libtorch's own.
pub fn full_softmax_loss(hidden: &Tensor, items: &Tensor, targets: &[u32]) -> Result<Tensor> {
    check(hidden, items, targets)?;
    if !ours(hidden) {
        let target = classes(targets, hidden.device())?;
        let logits = hidden.f_matmul(&items.f_tr()?)?;
        return LossConfig::CrossEntropy {}.loss(&LossInput::Classes { logits: &logits, target: &target });
    }
    Ok(in_parts(hidden, items, targets, |_, _| 1.0)?.0)
}

/// The mean over rows of −w·ln softmax(items · h)_target, differentiable in `hidden` and `items`, and each row's ln softmax(items ·
/// h)_target. `weight` makes w, a constant, of the row's number and that logarithm: what depends on a policy's own probability costs no
/// pass of its own.
///
/// # Shapes
/// as [`full_softmax_loss`]; returns a scalar and `[P]`
///
/// # Errors
/// as [`full_softmax_loss`].
pub fn weighted_full_softmax_loss(
    hidden: &Tensor,
    items: &Tensor,
    targets: &[u32],
    weight: impl Fn(usize, f32) -> f32 + Sync,
) -> Result<(Tensor, Vec<f32>)> {
    check(hidden, items, targets)?;
    if ours(hidden) {
        return in_parts(hidden, items, targets, weight);
    }
    let target = classes(targets, hidden.device())?;
    let all = hidden.f_matmul(&items.f_tr()?)?.f_log_softmax(-1, None::<Kind>)?;
    let chosen = all.f_gather(1, &target.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
    let here = slice(&chosen.f_detach()?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()?).to_vec();
    let weights: Vec<f32> = here.iter().enumerate().map(|(row, &log)| weight(row, log)).collect();
    let weights = Tensor::from_slice(&weights).f_to_kind(chosen.kind())?.f_to_device(chosen.device())?;
    Ok((chosen.f_mul(&weights)?.f_mean(None::<Kind>)?.f_neg()?, here))
}

fn check(hidden: &Tensor, items: &Tensor, targets: &[u32]) -> Result<()> {
    let ((rows, d), (num_items, width)) = (hidden.size2()?, items.size2()?);
    anyhow::ensure!(d == width, "rows have {d} numbers, items {width}");
    anyhow::ensure!(rows as usize == targets.len() && rows > 0, "{rows} rows have {} targets", targets.len());
    let wrong = targets.iter().find(|&&t| i64::from(t) >= num_items);
    anyhow::ensure!(wrong.is_none(), "target {} of {num_items}", wrong.copied().unwrap_or_default());
    Ok(())
}

/// `[P]` i64.
fn classes(targets: &[u32], device: Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(&targets.iter().map(|&t| i64::from(t)).collect::<Vec<_>>()).f_to_device(device)?)
}

/// Whether the kernel of our own can read it.
fn ours(hidden: &Tensor) -> bool {
    hidden.device() == Device::Cpu && hidden.kind() == Kind::Float
}

/// The weighted loss, and the logarithm of each row's probability.
fn in_parts(hidden: &Tensor, items: &Tensor, targets: &[u32], weight: impl Fn(usize, f32) -> f32 + Sync) -> Result<(Tensor, Vec<f32>)> {
    let recording = shim::is_recording() && (hidden.requires_grad() || items.requires_grad());
    let (out, logs, kernel) = tch::no_grad(|| forward(&hidden.f_contiguous()?, &items.f_contiguous()?, targets, weight, recording))?;
    match kernel {
        None => Ok((out, logs)),
        Some(kernel) => Ok((shim::attach(&out, hidden, Some(items), Box::new(kernel))?, logs)),
    }
}

/// The gradients, made together with the loss.
struct Kernel {
    to_hidden: Tensor,
    to_items: Tensor,
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, _: &Tensor, _: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(self.to_hidden.f_mul(gradient)?), Some(self.to_items.f_mul(gradient)?)])
    }
}

fn forward(
    hidden: &Tensor,
    items: &Tensor,
    targets: &[u32],
    weight: impl Fn(usize, f32) -> f32 + Sync,
    recording: bool,
) -> Result<(Tensor, Vec<f32>, Option<Kernel>)> {
    let (rows, num_items) = (hidden.size()[0], items.size()[0]);
    let transposed = items.f_tr()?;
    let part = (PART as i64 / num_items).clamp(1, rows);
    let scores = Tensor::f_empty([part, num_items], (Kind::Float, Device::Cpu))?;
    let mut to_hidden = Vec::new();
    let mut to_items = Tensor::f_zeros(if recording { items.size() } else { vec![0] }, (Kind::Float, Device::Cpu))?;
    let (mut loss, mut logs) = (0.0, Vec::with_capacity(targets.len()));
    for first in (0..rows).step_by(part as usize) {
        let n = part.min(rows - first);
        let (hidden, mut scores) = (hidden.f_narrow(0, first, n)?, scores.f_narrow(0, 0, n)?);
        scores = hidden.f_mm_out(&scores, &transposed)?;
        // SAFETY: nothing else reads or writes the scores meanwhile.
        let values = unsafe { slice_mut(&scores) };
        let targets = &targets[first as usize..][..n as usize];
        let weight = |row: usize, log: f32| weight(first as usize + row, log);
        loss += judge(values, num_items as usize, targets, 1.0 / rows as f32, weight, recording, &mut logs);
        if recording {
            to_hidden.push(scores.f_mm(items)?);
            to_items = to_items.f_addmm_(&scores.f_tr()?, &hidden)?;
        }
    }
    let out = Tensor::from((loss / rows as f64) as f32);
    let kernel = if recording { Some(Kernel { to_hidden: Tensor::f_cat(&to_hidden, 0)?, to_items }) } else { None };
    Ok((out, logs, kernel))
}

/// The sum of the rows' losses, w times −ln softmax at the target, which goes into `logs`; with `recording`, scores become
/// `share`·w·(softmax − 1 at the target).
fn judge(
    scores: &mut [f32],
    num_items: usize,
    targets: &[u32],
    share: f32,
    weight: impl Fn(usize, f32) -> f32 + Sync,
    recording: bool,
    logs: &mut Vec<f32>,
) -> f64 {
    let one = |(row, (scores, &target)): (usize, (&mut [f32], &u32))| {
        vectorised(
            #[inline(always)]
            || {
                let (most, of_target) = (largest(scores), scores[target as usize]);
                scores.iter_mut().for_each(|score| *score = exp(*score - most));
                let total = sum(scores);
                let loss = total.ln() + most - of_target;
                let weight = weight(row, -loss);
                if recording {
                    let share = share * weight;
                    let scale = share / total;
                    scores.iter_mut().for_each(|score| *score *= scale);
                    scores[target as usize] -= share;
                }
                (weight * loss, -loss)
            },
        )
    };
    // Summed in the order of the rows, whatever the threads.
    let losses: Vec<(f32, f32)> = scores.par_chunks_mut(num_items).zip(targets).enumerate().with_min_len(8).map(one).collect();
    logs.extend(losses.iter().map(|&(_, log)| log));
    losses.iter().map(|&(loss, _)| f64::from(loss)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_gradients_are_those_of_all_scores_in_f64() {
        tch::manual_seed(3);
        let (rows, num_items) = (37, 301);
        let hidden = Tensor::randn([rows, 9], (Kind::Float, Device::Cpu)) * 2.0;
        let items = Tensor::randn([num_items, 9], (Kind::Float, Device::Cpu)) * 2.0;
        let targets: Vec<u32> = (0..rows as u32).map(|i| i * 29 % 301).collect();
        let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| {
            let [h, e] = [&hidden, &items].map(|t| t.copy().to_kind(kind).set_requires_grad(true));
            let loss = full_softmax_loss(&h, &e, &targets).expect("fits") * 3.0;
            loss.backward();
            [loss.detach(), h.grad(), e.grad()].map(|t| t.to_kind(Kind::Double))
        });
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let (gap, size) = ((ours - theirs).abs().max().double_value(&[]), theirs.abs().max().double_value(&[]));
            assert!(gap < 1e-5 * size, "{gap} of {size}");
        }
    }

    #[test]
    fn weights_of_rows_are_constants_made_of_the_probabilities() {
        tch::manual_seed(3);
        let (rows, num_items) = (37, 301);
        let hidden = Tensor::randn([rows, 9], (Kind::Float, Device::Cpu));
        let items = Tensor::randn([num_items, 9], (Kind::Float, Device::Cpu));
        let targets: Vec<u32> = (0..rows as u32).map(|i| i * 29 % 301).collect();
        let weight = |row: usize, log: f32| row as f32 * log.exp();
        let run = |kind: Kind| {
            let [h, e] = [&hidden, &items].map(|t| t.copy().to_kind(kind).set_requires_grad(true));
            let (loss, logs) = weighted_full_softmax_loss(&h, &e, &targets, weight).expect("fits");
            loss.backward();
            [loss.detach(), Tensor::from_slice(&logs), h.grad(), e.grad()].map(|t| t.to_kind(Kind::Double))
        };
        for (ours, theirs) in run(Kind::Float).iter().zip(&run(Kind::Double)) {
            let (gap, size) = ((ours - theirs).abs().max().double_value(&[]), theirs.abs().max().double_value(&[]));
            assert!(gap < 1e-5 * size, "{gap} of {size}");
        }
        // The weights of 1 that the plain loss has change no bit of it.
        let plain = full_softmax_loss(&hidden, &items, &targets).expect("fits");
        let (ones, logs) = weighted_full_softmax_loss(&hidden, &items, &targets, |_, _| 1.0).expect("fits");
        assert_eq!(plain.double_value(&[]), ones.double_value(&[]));
        let mean = logs.iter().map(|&log| f64::from(-log)).sum::<f64>() / rows as f64;
        assert!((plain.double_value(&[]) - mean).abs() < 1e-6);
    }

    #[test]
    fn parts_change_nothing_and_a_nan_is_seen() {
        tch::manual_seed(3);
        // More scores than one part holds.
        let (rows, num_items) = (3_000, 3_000);
        let hidden = Tensor::randn([rows, 4], (Kind::Float, Device::Cpu));
        let items = Tensor::randn([num_items, 4], (Kind::Float, Device::Cpu));
        let targets: Vec<u32> = (0..rows as u32).rev().collect();
        let whole = full_softmax_loss(&hidden.to_kind(Kind::Double), &items.to_kind(Kind::Double), &targets).expect("fits");
        let ours = full_softmax_loss(&hidden, &items, &targets).expect("fits");
        assert!((ours.double_value(&[]) - whole.double_value(&[])).abs() < 1e-5);
        let broken = full_softmax_loss(&(hidden * f64::NAN), &items, &targets).expect("fits");
        assert!(broken.double_value(&[]).is_nan());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let t = |r, c| Tensor::zeros([r, c], (Kind::Float, Device::Cpu));
        assert!(full_softmax_loss(&t(2, 3), &t(5, 4), &[0, 1]).is_err());
        assert!(full_softmax_loss(&t(2, 3), &t(5, 3), &[0]).is_err());
        assert!(full_softmax_loss(&t(2, 3), &t(5, 3), &[0, 5]).is_err());
        assert!(full_softmax_loss(&t(0, 3), &t(5, 3), &[]).is_err());
    }
}
