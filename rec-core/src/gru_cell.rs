//! The gates of a GRU (Cho et al., EMNLP 2014, arXiv:1406.1078) in one pass of our own: libtorch takes some ten operations, and thirty on
//! the way back, each dearer than its arithmetic at the size of a session's step.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::{exp, vectorised};

/// r, z = σ(a + a′), n = tanh(b + r∘b′), h′ = (1 − z)∘n + z∘h, where `inputs` is [a; b] and `own` is [a′; b′]: what `torch.nn.GRUCell`
/// makes of W x + w and V h + v. Gradients to `inputs` and `own`; `h` is a constant where it needs no gradient, and where it does,
/// libtorch's operations are taken.
///
/// # Shapes
/// `inputs`, `own` `[B, 3 u]`, in the order r, z, n; `h` `[B, u]`; returns `[B, u]`
///
/// # Errors
/// where shapes do not fit; libtorch's own.
pub fn gru_cell(inputs: &Tensor, own: &Tensor, h: &Tensor) -> Result<Tensor> {
    let (rows, units) = h.size2()?;
    for sums in [inputs, own] {
        anyhow::ensure!(sums.size() == [rows, 3 * units], "a state {:?} meets sums {:?}", h.size(), sums.size());
    }
    let ours = [inputs, own, h].iter().all(|t| t.device() == Device::Cpu && t.kind() == Kind::Float);
    if !ours || h.requires_grad() {
        return by_libtorch(inputs, own, h);
    }
    let (out, kernel) = tch::no_grad(|| forward(&inputs.f_contiguous()?, &own.f_contiguous()?, &h.f_contiguous()?))?;
    if !(shim::is_recording() && (inputs.requires_grad() || own.requires_grad())) {
        return Ok(out);
    }
    shim::attach(&out, inputs, Some(own), Box::new(kernel))
}

/// The same, by libtorch's operations: differentiable in all three.
pub(crate) fn by_libtorch(inputs: &Tensor, own: &Tensor, h: &Tensor) -> Result<Tensor> {
    let units = h.size()[1];
    let part = |of: &Tensor, first: i64, parts: i64| of.f_narrow(1, first * units, parts * units);
    let gates = part(inputs, 0, 2)?.f_add(&part(own, 0, 2)?)?.f_sigmoid()?;
    let n = part(inputs, 2, 1)?.f_addcmul(&part(&gates, 0, 1)?, &part(own, 2, 1)?)?.f_tanh()?;
    Ok(n.f_lerp_tensor(h, &part(&gates, 1, 1)?)?)
}

/// What the way back needs.
struct Kernel {
    units: usize,
    /// Per row: ∂h′/∂(sum of r), of z and of n, and b′'s part of the last, r times it.
    slopes: Vec<f32>,
}

fn forward(inputs: &Tensor, own: &Tensor, h: &Tensor) -> Result<(Tensor, Kernel)> {
    let units = h.size()[1] as usize;
    let out = Tensor::f_empty(h.size(), (Kind::Float, Device::Cpu))?;
    // SAFETY: `out` was just made, nothing else sees it.
    let to = unsafe { slice_mut(&out) };
    let (mut slopes, mut z) = (vec![0f32; 4 * to.len()], vec![0f32; units]);
    let rows = to.chunks_exact_mut(units).zip(slopes.chunks_exact_mut(4 * units)).zip(slice(h).chunks_exact(units));
    for (((to, slopes), h), (a, b)) in rows.zip(slice(inputs).chunks_exact(3 * units).zip(slice(own).chunks_exact(3 * units))) {
        vectorised(
            #[inline(always)]
            || one_row(a, b, h, to, slopes, &mut z),
        );
    }
    Ok((out, Kernel { units, slopes }))
}

/// One row's state into `to`, its slopes as [`Kernel`] keeps them, `[4 u]`, and z, which is the state's slope by `h` where the sums stay.
#[inline(always)]
pub(crate) fn one_row(inputs: &[f32], own: &[f32], h: &[f32], to: &mut [f32], slopes: &mut [f32], kept: &mut [f32]) {
    let u = h.len();
    let sigmoid = |x: f32| 1.0 / (1.0 + exp(-x));
    let ([a_r, a_z, a_n], [b_r, b_z, b_n]) = ([0, 1, 2].map(|k| &inputs[k * u..][..u]), [0, 1, 2].map(|k| &own[k * u..][..u]));
    let (by_r, rest) = slopes.split_at_mut(u);
    let (by_z, rest) = rest.split_at_mut(u);
    let (by_n, by_own) = rest.split_at_mut(u);
    let (to, kept) = (&mut to[..u], &mut kept[..u]);
    for k in 0..u {
        let (r, z) = (sigmoid(a_r[k] + b_r[k]), sigmoid(a_z[k] + b_z[k]));
        let n = 2.0 * sigmoid(2.0 * (a_n[k] + r * b_n[k])) - 1.0;
        to[k] = (1.0 - z) * n + z * h[k];
        kept[k] = z;
        let slope = (1.0 - z) * (1.0 - n * n);
        by_r[k] = slope * b_n[k] * r * (1.0 - r);
        by_z[k] = (h[k] - n) * z * (1.0 - z);
        by_n[k] = slope;
        by_own[k] = slope * r;
    }
}

/// One row's way back: the gradients of both sums from the state's, `g`, and the slopes.
#[inline(always)]
pub(crate) fn one_row_back(slopes: &[f32], g: &[f32], inputs: &mut [f32], own: &mut [f32]) {
    let u = g.len();
    for part in 0..3 {
        let to = inputs[part * u..][..u].iter_mut().zip(&slopes[part * u..][..u]).zip(g);
        to.for_each(|((to, slope), g)| *to = slope * g);
    }
    own[..2 * u].copy_from_slice(&inputs[..2 * u]);
    let to = own[2 * u..].iter_mut().zip(&slopes[3 * u..]).zip(g);
    to.for_each(|((to, slope), g)| *to = slope * g);
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, inputs: &Tensor, _: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let u = self.units;
        let both = [(); 2].map(|()| Tensor::f_empty(inputs.size(), (Kind::Float, Device::Cpu)));
        let [to_inputs, to_own] = both;
        let (to_inputs, to_own) = (to_inputs?, to_own?);
        // SAFETY: both were just made, nothing else sees them.
        let (x, v) = unsafe { (slice_mut(&to_inputs), slice_mut(&to_own)) };
        let rows = x.chunks_exact_mut(3 * u).zip(v.chunks_exact_mut(3 * u)).zip(self.slopes.chunks_exact(4 * u));
        for (((x, v), slopes), g) in rows.zip(slice(gradient).chunks_exact(u)) {
            vectorised(
                #[inline(always)]
                || one_row_back(slopes, g, x, v),
            );
        }
        Ok([Some(to_inputs), Some(to_own)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_gradients_are_those_of_libtorch_in_f64() {
        tch::manual_seed(6);
        for (rows, units) in [(1, 1), (5, 7), (9, 100)] {
            let random = |columns: i64| Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)) * 3.0;
            let (inputs, own, h, weights) = (random(3 * units), random(3 * units), random(units), random(units));
            let run = |kind: Kind, cell: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| {
                let [inputs, own] = [&inputs, &own].map(|t| t.to_kind(kind).copy().set_requires_grad(true));
                let out = cell(&inputs, &own, &h.to_kind(kind)).expect("fits");
                (&out * weights.to_kind(kind)).sum(None::<Kind>).backward();
                [out.detach(), inputs.grad(), own.grad()].map(|t| t.to_kind(Kind::Double))
            };
            for (found, expected) in run(Kind::Float, &gru_cell).iter().zip(&run(Kind::Double, &by_libtorch)) {
                assert!((found - expected).abs().max().double_value(&[]) < 3e-6, "{rows} × {units}");
            }
        }
    }

    #[test]
    fn a_state_that_needs_a_gradient_gets_one_and_wrong_shapes_are_refused() {
        let ones = |columns: i64| Tensor::ones([2, columns], (Kind::Float, Device::Cpu));
        let h = ones(4).set_requires_grad(true);
        gru_cell(&ones(12), &ones(12), &h).expect("fits").sum(None::<Kind>).backward();
        assert!(h.grad().defined());
        assert!(gru_cell(&ones(12), &ones(8), &ones(4)).is_err());
    }
}
