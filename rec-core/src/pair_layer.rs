//! The first layer of a perceptron over pairs, W[p; q] = Wᵘp + Wⁱq, from the two halves: max(left + right, 0) with dropout, where pairs
//! share their halves. One pass of our own instead of a gather, a sum, an activation and a mask.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::dropout::{self, Mask};
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::vectorised;

/// Row i: dropout at `rate` of max(`left[left_rows[i]]` + `right[right_rows[i]]`, 0). Gradients to both halves, added up in the order of
/// the rows.
///
/// # Shapes
/// `left` `[l, h]`, `right` `[r, h]`; returns `[left_rows.len(), h]`
///
/// # Errors
/// where shapes do not fit, a row is out of range, or `rate` is not in [0, 1); libtorch's own.
pub fn relu_of_sums(left: &Tensor, left_rows: &[u32], right: &Tensor, right_rows: &[u32], rate: f64) -> Result<Tensor> {
    let ((l, h), (r, width)) = (left.size2()?, right.size2()?);
    anyhow::ensure!(h == width, "the halves have {h} and {width} columns");
    anyhow::ensure!(left_rows.len() == right_rows.len(), "{} rows meet {}", left_rows.len(), right_rows.len());
    for (rows, bound) in [(left_rows, l), (right_rows, r)] {
        let wrong = rows.iter().find(|&&row| i64::from(row) >= bound);
        anyhow::ensure!(wrong.is_none(), "row {} of {bound} was asked for", wrong.copied().unwrap_or_default());
    }
    if left.device() != Device::Cpu || left.kind() != Kind::Float {
        let index = |rows: &[u32]| Tensor::from_slice(&rows.iter().map(|&r| i64::from(r)).collect::<Vec<_>>()).f_to_device(left.device());
        let sum = left.f_index_select(0, &index(left_rows)?)? + right.f_index_select(0, &index(right_rows)?)?;
        return dropout::relu_dropout(&sum, rate);
    }
    let kernel = Kernel { mask: Mask::new(rate, true)?, rows: [left_rows.to_vec(), right_rows.to_vec()], out: Tensor::new() };
    let out = tch::no_grad(|| kernel.forward(&left.f_contiguous()?, &right.f_contiguous()?))?;
    if !(shim::is_recording() && (left.requires_grad() || right.requires_grad())) {
        return Ok(out);
    }
    // Another handle on the same memory: the result itself would hold its own graph.
    let kernel = Kernel { out: out.f_detach()?, ..kernel };
    shim::attach(&out, left, Some(right), Box::new(kernel))
}

struct Kernel {
    mask: Mask,
    rows: [Vec<u32>; 2],
    /// What came out: where it is not above 0, nothing goes back.
    out: Tensor,
}

impl Kernel {
    fn forward(&self, left: &Tensor, right: &Tensor) -> Result<Tensor> {
        let h = left.size()[1] as usize;
        let out = Tensor::f_empty([self.rows[0].len() as i64, h as i64], (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        let (to, left, right, mask) = (unsafe { slice_mut(&out) }, slice(left), slice(right), self.mask);
        vectorised(
            #[inline(always)]
            || {
                for (at, (out, (&l, &r))) in to.chunks_exact_mut(h.max(1)).zip(self.rows[0].iter().zip(&self.rows[1])).enumerate() {
                    let (l, r) = (&left[l as usize * h..][..h], &right[r as usize * h..][..h]);
                    for (c, (out, (l, r))) in out.iter_mut().zip(l.iter().zip(r)).enumerate() {
                        let sum = l + r;
                        *out = mask.pass((at * h + c) as u32, sum, sum);
                    }
                }
            },
        );
        Ok(out)
    }
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, left: &Tensor, right: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let right = right.ok_or_else(|| anyhow::anyhow!("a sum has two halves"))?;
        let h = left.size()[1] as usize;
        let sums = [left, right].map(|half| Tensor::f_empty(half.size(), (Kind::Float, Device::Cpu)));
        let [to_left, to_right] = sums;
        let (to_left, to_right) = (to_left?, to_right?);
        // SAFETY: both were just made, nothing else sees them.
        let (add_left, add_right) = unsafe { (slice_mut(&to_left), slice_mut(&to_right)) };
        let (gradient, out, scale) = (slice(gradient), slice(&self.out), self.mask.scale());
        vectorised(
            #[inline(always)]
            || {
                // Cleared here: libtorch would wake its threads for it.
                add_left.fill(0.0);
                add_right.fill(0.0);
                let rows = self.rows[0].iter().zip(&self.rows[1]);
                for ((g, out), (&l, &r)) in gradient.chunks_exact(h.max(1)).zip(out.chunks_exact(h.max(1))).zip(rows) {
                    let (l, r) = (&mut add_left[l as usize * h..][..h], &mut add_right[r as usize * h..][..h]);
                    for ((g, out), (l, r)) in g.iter().zip(out).zip(l.iter_mut().zip(r)) {
                        let passed = if *out <= 0.0 { 0.0 } else { g * scale };
                        *l += passed;
                        *r += passed;
                    }
                }
            },
        );
        Ok([Some(to_left), Some(to_right)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: i64, columns: i64) -> Tensor {
        Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    #[test]
    fn values_and_gradients_are_those_of_gather_sum_and_relu() {
        tch::manual_seed(5);
        let (left, right) = (random(3, 37), random(4, 37));
        let (l, r) = ([0u32, 2, 2, 1, 0], [3u32, 3, 0, 1, 3]);
        let weights = Tensor::randn([5, 37], (Kind::Float, Device::Cpu));
        let fast = relu_of_sums(&left, &l, &right, &r, 0.0).expect("fits");
        (&fast * &weights).sum(Kind::Float).backward();
        let found = [&left, &right].map(|t| t.grad().copy());
        [&left, &right].into_iter().for_each(|t| t.shallow_clone().zero_grad());
        let index = |rows: &[u32]| Tensor::from_slice(&rows.iter().map(|&r| i64::from(r)).collect::<Vec<_>>());
        let slow = (left.index_select(0, &index(&l)) + right.index_select(0, &index(&r))).relu();
        (&slow * &weights).sum(Kind::Float).backward();
        assert_eq!(slice(&fast.detach()), slice(&slow.detach()));
        for (found, half) in found.iter().zip([&left, &right]) {
            assert!((found - half.grad()).abs().max().double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn dropout_loses_its_share_and_what_is_lost_gets_no_gradient() {
        tch::manual_seed(5);
        let (left, right) = (Tensor::ones([2, 64], (Kind::Float, Device::Cpu)).set_requires_grad(true), random(1, 64).detach() * 0.0);
        let rows: Vec<u32> = (0..5_000).map(|i| i % 2).collect();
        let out = relu_of_sums(&left, &rows, &right, &vec![0; rows.len()], 0.25).expect("fits");
        out.sum(Kind::Float).backward();
        let zeros = slice(&out.detach()).iter().filter(|&&v| v == 0.0).count() as f64 / out.numel() as f64;
        assert!((zeros - 0.25).abs() < 0.005, "{zeros}");
        let (sent, came) = (out.sum(Kind::Double).double_value(&[]), left.grad().sum(Kind::Double).double_value(&[]));
        assert!((sent / came - 1.0).abs() < 1e-5, "{sent} {came}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (left, right) = (random(2, 4), random(2, 4));
        for (l, r, rate) in [(&[2u32][..], &[0u32][..], 0.0), (&[0], &[2], 0.0), (&[0, 1], &[0], 0.0), (&[0], &[0], 1.0)] {
            assert!(relu_of_sums(&left, l, &right, r, rate).is_err());
        }
        assert!(relu_of_sums(&left, &[0], &random(2, 5), &[0], 0.0).is_err());
    }
}
