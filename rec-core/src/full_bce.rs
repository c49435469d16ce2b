//! Binary cross-entropy over all items, from vectors: a row's items are ones and all others zeros. Scores of some rows at a time are made,
//! turned into their gradient where they lie, and multiplied back; memory is that of one such part.

use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use rec_data::csr::Csr;
use tch::{Device, Kind, Tensor};

use crate::full_softmax::PART;
use crate::loss::{Loss, LossConfig, LossInput};
use crate::params::{slice, slice_mut};
use crate::shim;
use crate::simd::{exp, fold, vectorised};
use crate::sparse::Pattern;

/// The mean over rows of Σ_i −(w⁺·y_i·ln σ(r_i) + (1 − y_i)·ln(1 − σ(r_i))), r = `items`·h + `bias`, y being 1 for the items that `ones`
/// lists in the row and 0 for all others, w⁺ `positive_weight`. Differentiable in `hidden`, `items` and `bias`.
///
/// # Shapes
/// `hidden` `[B, d]`, `items` `[I, d]`, `bias` `[I]`, `ones` B rows and I columns, none twice in a row; returns a scalar
///
/// # Errors
/// where shapes do not fit, or there is no row; libtorch's own.
pub fn full_bce_loss(hidden: &Tensor, items: &Tensor, bias: &Tensor, ones: &Csr, positive_weight: f64) -> Result<Tensor> {
    let ((rows, d), (num_items, width)) = (hidden.size2()?, items.size2()?);
    anyhow::ensure!(d == width, "rows have {d} numbers, items {width}");
    anyhow::ensure!(bias.size() == [num_items], "{num_items} items have biases of shape {:?}", bias.size());
    anyhow::ensure!(
        rows > 0 && (rows as usize, num_items as usize) == (ones.num_rows(), ones.num_columns()),
        "{rows} rows of {num_items} items have {} × {} ones",
        ones.num_rows(),
        ones.num_columns()
    );
    let all = [hidden, items, bias];
    if hidden.device() != Device::Cpu || all.iter().any(|t| t.kind() != Kind::Float) {
        let scores = hidden.f_linear(items, Some(bias))?;
        let entries = Arc::new(Pattern::of(ones));
        return LossConfig::WeightedBce { positive_weight }.loss(&LossInput::Rows { scores: &scores, entries: &entries, values: None });
    }
    let recording = shim::is_recording() && all.iter().any(|t| t.requires_grad());
    let [h, e, b] = all.map(|t| t.f_detach()?.f_contiguous().map_err(anyhow::Error::from));
    let (out, gradients) = tch::no_grad(|| forward(&h?, &e?, &b?, ones, positive_weight as f32, recording))?;
    let Some(gradients) = gradients else { return Ok(out) };
    let backward = move |gradient: &Tensor, _: &[Tensor; 3], _: [bool; 3]| -> Result<[Option<Tensor>; 3]> {
        let [h, e, b] = &gradients;
        Ok([Some(h.f_mul(gradient)?), Some(e.f_mul(gradient)?), Some(b.f_mul(gradient)?)])
    };
    shim::attach_three(&out, [Some(hidden), Some(items), Some(bias)], Box::new(backward))
}

/// The loss, and its gradients in `hidden`, `items` and `bias` if they will be asked for.
fn forward(
    hidden: &Tensor,
    items: &Tensor,
    bias: &Tensor,
    ones: &Csr,
    positive_weight: f32,
    recording: bool,
) -> Result<(Tensor, Option<[Tensor; 3]>)> {
    let (rows, num_items) = (hidden.size()[0], items.size()[0]);
    let cpu = (Kind::Float, Device::Cpu);
    let transposed = items.f_tr()?;
    let part = (PART as i64 / num_items.max(1)).clamp(1, rows);
    let scores = Tensor::f_empty([part, num_items], cpu)?;
    let one = Tensor::f_ones([part], cpu)?;
    let mut to_hidden = Vec::new();
    let (mut to_items, mut to_bias) = (Tensor::f_zeros(items.size(), cpu)?, Tensor::f_zeros([num_items], cpu)?);
    let mut loss = 0.0;
    for first in (0..rows).step_by(part as usize) {
        let n = part.min(rows - first);
        let hidden = hidden.f_narrow(0, first, n)?;
        let scores = hidden.f_mm_out(&scores.f_narrow(0, 0, n)?, &transposed)?;
        // SAFETY: nothing else reads or writes the scores meanwhile.
        let values = unsafe { slice_mut(&scores) };
        let of = |row: usize| ones.row(first as usize + row);
        loss += judge(values, slice(bias), of, positive_weight, 1.0 / rows as f32);
        if recording {
            to_hidden.push(scores.f_mm(items)?);
            to_items = to_items.f_addmm_(&scores.f_tr()?, &hidden)?;
            to_bias = to_bias.f_addmv_(&scores.f_tr()?, &one.f_narrow(0, 0, n)?)?;
        }
    }
    let out = Tensor::from((loss / rows as f64) as f32);
    Ok((out, if recording { Some([Tensor::f_cat(&to_hidden, 0)?, to_items, to_bias]) } else { None }))
}

/// The sum of the rows' losses; scores, of which each lacks its bias, become `share` times the gradient of a row's loss.
fn judge<'a>(scores: &mut [f32], bias: &[f32], ones: impl Fn(usize) -> &'a [u32] + Sync, positive_weight: f32, share: f32) -> f64 {
    let one = |(row, scores): (usize, &mut [f32])| {
        vectorised(
            #[inline(always)]
            || {
                let ones = ones(row);
                // y·w⁺·softplus(−r) + (1 − y)·softplus(r) = softplus(r) + y·((w⁺ − 1)·softplus(−r) − r). Loops, for an iterator's own
                // functions would not be compiled for the processor at hand.
                let (extra, mut of_ones) = (positive_weight - 1.0, 0.0);
                for &item in ones {
                    of_ones -= scores[item as usize] + bias[item as usize];
                }
                if extra != 0.0 {
                    for &item in ones {
                        of_ones += extra * softplus(-(scores[item as usize] + bias[item as usize])).0;
                    }
                }
                let of_all = all_zeros(scores, bias, share);
                for &item in ones {
                    let gradient = &mut scores[item as usize];
                    *gradient -= share + extra * (share - *gradient);
                }
                of_all + of_ones
            },
        )
    };
    // Summed in the order of the rows, whatever the threads.
    let losses: Vec<f32> = scores.par_chunks_mut(bias.len().max(1)).enumerate().with_min_len(8).map(one).collect();
    losses.iter().map(|&loss| f64::from(loss)).sum()
}

/// Σ softplus(r) over the row; scores become `share`·σ(r).
#[inline(always)]
fn all_zeros(scores: &mut [f32], bias: &[f32], share: f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let mut block = |scores: &mut [f32], bias: &[f32]| {
        for (sum, (score, bias)) in sums.iter_mut().zip(scores.iter_mut().zip(bias)) {
            let (value, slope) = softplus(*score + bias);
            *sum += value;
            *score = share * slope;
        }
    };
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    let (bias_blocks, bias_rest) = bias.as_chunks::<LANES>();
    blocks.iter_mut().zip(bias_blocks).for_each(|(scores, bias)| block(scores, bias));
    block(rest, bias_rest);
    fold(sums)
}

/// ln(1 + eʳ) and its slope σ(r), in operations that the compiler vectorises; of NaN both are NaN.
#[inline(always)]
fn softplus(r: f32) -> (f32, f32) {
    let e = exp(-r.abs());
    let one_over = 1.0 / (1.0 + e);
    // ln(1 + e) = 2 artanh s with s = e/(2 + e), which is at most 1/3: the first term that is left out is below 10⁻⁸ of the sum.
    let s = e / (2.0 + e);
    let square = s * s;
    let mut sum = 2.0 / 13.0f32;
    for c in [2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        sum = sum.mul_add(square, c);
    }
    (sum.mul_add(s, if r > 0.0 { r } else { 0.0 }), if r < 0.0 { e * one_over } else { one_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[i64], scale: f64) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)) * scale
    }

    fn ones(rows: usize, items: u32) -> Csr {
        Csr::from_rows(
            items as usize,
            (0..rows as u32).map(|row| (0..items).filter(|item| (item * 7 + row * 3) % 11 < row % 3).collect::<Vec<_>>()),
        )
    }

    #[test]
    fn loss_and_gradients_are_those_of_all_scores_in_f64() {
        tch::manual_seed(3);
        let (rows, num_items) = (37, 301);
        let (hidden, items, bias) = (random(&[rows, 9], 2.0), random(&[num_items, 9], 2.0), random(&[num_items], 1.0));
        let ones = ones(rows as usize, num_items as u32);
        for weight in [1.0, 2.5] {
            let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| {
                let all = [&hidden, &items, &bias].map(|t| t.copy().to_kind(kind).set_requires_grad(true));
                let loss = full_bce_loss(&all[0], &all[1], &all[2], &ones, weight).expect("fits") * 3.0;
                loss.backward();
                [loss.detach(), all[0].grad(), all[1].grad(), all[2].grad()].map(|t| t.to_kind(Kind::Double))
            });
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let (gap, size) = ((ours - theirs).abs().max().double_value(&[]), theirs.abs().max().double_value(&[]));
                assert!(gap < 1e-5 * size, "{gap} of {size}");
            }
        }
    }

    #[test]
    fn parts_change_nothing_and_a_nan_is_seen() {
        tch::manual_seed(3);
        // More scores than one part holds.
        let (rows, num_items) = (3_000, 3_000);
        let (hidden, items, bias) = (random(&[rows, 4], 1.0), random(&[num_items, 4], 1.0), random(&[num_items], 1.0));
        let ones = ones(rows as usize, num_items as u32);
        let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| {
            let all = [&hidden, &items, &bias].map(|t| t.copy().to_kind(kind).set_requires_grad(true));
            let loss = full_bce_loss(&all[0], &all[1], &all[2], &ones, 1.0).expect("fits");
            loss.backward();
            [loss.detach(), all[2].grad()].map(|t| t.to_kind(Kind::Double))
        });
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!((ours - theirs).abs().max().double_value(&[]) < 1e-5 * theirs.abs().max().double_value(&[]));
        }
        let broken = full_bce_loss(&(hidden * f64::NAN), &items, &bias, &ones, 1.0).expect("fits");
        assert!(broken.double_value(&[]).is_nan());
    }

    #[test]
    fn softplus_and_its_slope_are_those_of_f64() {
        for i in -90_000..=90_000i32 {
            let r = i as f32 / 1_000.0;
            let (value, slope) = softplus(r);
            let (x, e) = (f64::from(r), f64::from(-r.abs()).exp());
            let (value64, slope64) = (x.max(0.0) + e.ln_1p(), 1.0 / (1.0 + (-x).exp()));
            assert!((f64::from(value) / value64 - 1.0).abs() < 1e-6 || value64 < 1e-37, "softplus({r}) = {value}, not {value64}");
            assert!((f64::from(slope) / slope64 - 1.0).abs() < 1e-6 || slope64 < 1e-37, "σ({r}) = {slope}, not {slope64}");
        }
        assert!(softplus(f32::NAN).0.is_nan() && softplus(f32::NAN).1.is_nan());
        assert_eq!((softplus(f32::INFINITY).0, softplus(f32::INFINITY).1), (f32::INFINITY, 1.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let t = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let fine = Csr::from_rows(5, [vec![1, 2], vec![]]);
        assert!(full_bce_loss(&t(&[2, 3]), &t(&[5, 3]), &t(&[5]), &fine, 1.0).is_ok());
        assert!(full_bce_loss(&t(&[2, 3]), &t(&[5, 4]), &t(&[5]), &fine, 1.0).is_err());
        assert!(full_bce_loss(&t(&[2, 3]), &t(&[5, 3]), &t(&[4]), &fine, 1.0).is_err());
        assert!(full_bce_loss(&t(&[1, 3]), &t(&[5, 3]), &t(&[5]), &fine, 1.0).is_err());
        assert!(full_bce_loss(&t(&[0, 3]), &t(&[5, 3]), &t(&[5]), &Csr::from_rows(5, [[0u32; 0]; 0]), 1.0).is_err());
    }
}
