//! Cross-entropy over all items, from vectors: the mean of −ln softmax(E h)_target, without a matrix of all scores. Scores of some rows
//! at a time are made, turned into their gradient where they lie, and multiplied back; memory is that of one such part.

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::loss::{Loss, LossConfig, LossInput};
use crate::params::slice_mut;
use crate::shim::{self, Gradient};
use crate::simd::{exp, largest, sum, vectorised};

/// Scores of one part: 16 MiB of f32.
const PART: usize = 4 << 20;

/// The mean over rows of −ln softmax(items · h)_target, differentiable in `hidden` and `items`.
///
/// # Shapes
/// `hidden` `[P, d]`, `items` `[I, d]`, `targets` `[P]`; returns a scalar
///
/// # Errors
/// where shapes do not fit, a target is out of range, or there is no row; libtorch's own.
pub fn full_softmax_loss(hidden: &Tensor, items: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let ((rows, d), (num_items, width)) = (hidden.size2()?, items.size2()?);
    anyhow::ensure!(d == width, "rows have {d} numbers, items {width}");
    anyhow::ensure!(rows as usize == targets.len() && rows > 0, "{rows} rows have {} targets", targets.len());
    let wrong = targets.iter().find(|&&t| i64::from(t) >= num_items);
    anyhow::ensure!(wrong.is_none(), "target {} of {num_items}", wrong.copied().unwrap_or_default());
    if hidden.device() != Device::Cpu || hidden.kind() != Kind::Float {
        let target = Tensor::from_slice(&targets.iter().map(|&t| i64::from(t)).collect::<Vec<_>>()).f_to_device(hidden.device())?;
        let logits = hidden.f_matmul(&items.f_tr()?)?;
        return LossConfig::CrossEntropy {}.loss(&LossInput::Classes { logits: &logits, target: &target });
    }
    let recording = shim::is_recording() && (hidden.requires_grad() || items.requires_grad());
    let (out, kernel) = tch::no_grad(|| forward(&hidden.f_contiguous()?, &items.f_contiguous()?, targets, recording))?;
    match kernel {
        None => Ok(out),
        Some(kernel) => shim::attach(&out, hidden, Some(items), Box::new(kernel)),
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

fn forward(hidden: &Tensor, items: &Tensor, targets: &[u32], recording: bool) -> Result<(Tensor, Option<Kernel>)> {
    let (rows, num_items) = (hidden.size()[0], items.size()[0]);
    let transposed = items.f_tr()?;
    let part = (PART as i64 / num_items).clamp(1, rows);
    let scores = Tensor::f_empty([part, num_items], (Kind::Float, Device::Cpu))?;
    let mut to_hidden = Vec::new();
    let mut to_items = Tensor::f_zeros(if recording { items.size() } else { vec![0] }, (Kind::Float, Device::Cpu))?;
    let mut loss = 0.0;
    for first in (0..rows).step_by(part as usize) {
        let n = part.min(rows - first);
        let (hidden, mut scores) = (hidden.f_narrow(0, first, n)?, scores.f_narrow(0, 0, n)?);
        scores = hidden.f_mm_out(&scores, &transposed)?;
        // SAFETY: nothing else reads or writes the scores meanwhile.
        let values = unsafe { slice_mut(&scores) };
        loss += judge(values, num_items as usize, &targets[first as usize..][..n as usize], 1.0 / rows as f32, recording);
        if recording {
            to_hidden.push(scores.f_mm(items)?);
            to_items = to_items.f_addmm_(&scores.f_tr()?, &hidden)?;
        }
    }
    let out = Tensor::from((loss / rows as f64) as f32);
    let kernel = if recording { Some(Kernel { to_hidden: Tensor::f_cat(&to_hidden, 0)?, to_items }) } else { None };
    Ok((out, kernel))
}

/// The sum of the rows' losses; with `recording`, scores become `share`·(softmax − 1 at the target).
fn judge(scores: &mut [f32], num_items: usize, targets: &[u32], share: f32, recording: bool) -> f64 {
    let one = |(scores, &target): (&mut [f32], &u32)| {
        vectorised(
            #[inline(always)]
            || {
                let (most, of_target) = (largest(scores), scores[target as usize]);
                scores.iter_mut().for_each(|score| *score = exp(*score - most));
                let total = sum(scores);
                if recording {
                    let scale = share / total;
                    scores.iter_mut().for_each(|score| *score *= scale);
                    scores[target as usize] -= share;
                }
                f64::from(total.ln() + most - of_target)
            },
        )
    };
    // Summed in the order of the rows, whatever the threads.
    let losses: Vec<f64> = scores.par_chunks_mut(num_items).zip(targets).with_min_len(8).map(one).collect();
    losses.iter().sum()
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
