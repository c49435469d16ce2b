//! Scaled dot-product attention within sequences that lie one after the other without padding: softmax(QKᵀ/√d_k)V, with dropout on
//! the weights. Vaswani et al., NeurIPS 2017, arXiv:1706.03762, eq. 1.
//!
//! One sequence is one unit of work, its weights stay in the cache, and `backward` computes them again: neither padding nor a mask nor
//! weights are ever stored, and dropout costs a hash. Another device, or f64, takes libtorch's products, sequence after sequence.

use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::dropout::{self, Mask};
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::{exp, largest, sum, vectorised};

/// Rows of one tile of a product.
const ROWS: usize = 4;
/// Columns of one tile of a product, and what all strides are multiples of.
const COLUMNS: usize = 16;

/// How attention is paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// The number of heads; divides the number of columns.
    pub num_heads: usize,
    /// Whether a position sees itself and what is before it only.
    pub causal: bool,
    /// The probability with which a weight is set to 0, the others being scaled up.
    pub dropout: f64,
}

impl Attention {
    /// Attention of queries to keys and values of the same sequence. Sequence s is the rows `starts[s]..starts[s + 1]`. Gradients to
    /// both tensors.
    ///
    /// # Shapes
    /// `queries` `[P, d]`, `keys_values` `[P, 2d]`, keys before values; head h has the columns h·d/H to (h + 1)·d/H of each; returns
    /// `[P, d]`
    ///
    /// # Errors
    /// where shapes do not fit, the starts do not rise from 0 to P, the heads do not divide d, or the dropout is not in [0, 1);
    /// libtorch's own.
    pub fn apply(&self, queries: &Tensor, keys_values: &Tensor, starts: &Arc<Vec<usize>>) -> Result<Tensor> {
        let ((positions, d), (rows, width)) = (queries.size2()?, keys_values.size2()?);
        anyhow::ensure!(rows == positions && width == 2 * d, "queries are {:?}, keys and values {:?}", queries.size(), keys_values.size());
        anyhow::ensure!(
            self.num_heads > 0 && (d as usize).is_multiple_of(self.num_heads),
            "{} heads do not divide {d} columns",
            self.num_heads
        );
        let rising = starts.first() == Some(&0) && starts.last() == Some(&(positions as usize)) && starts.is_sorted();
        anyhow::ensure!(rising, "the starts of sequences do not rise from 0 to {positions}");
        if queries.device() != Device::Cpu || queries.kind() != Kind::Float {
            return self.by_libtorch(queries, keys_values, starts);
        }
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let kernel = Kernel { how: *self, starts: Arc::clone(starts), longest, mask: Mask::new(self.dropout, false)? };
        let out = tch::no_grad(|| kernel.forward(&queries.f_contiguous()?, &keys_values.f_contiguous()?))?;
        if !(shim::is_recording() && (queries.requires_grad() || keys_values.requires_grad())) {
            return Ok(out);
        }
        shim::attach(&out, queries, Some(keys_values), Box::new(kernel))
    }

    fn by_libtorch(&self, queries: &Tensor, keys_values: &Tensor, starts: &[usize]) -> Result<Tensor> {
        let (d, heads) = (queries.size()[1], self.num_heads as i64);
        let mut outs = Vec::with_capacity(starts.len());
        for pair in starts.windows(2).filter(|pair| pair[1] > pair[0]) {
            let (first, n) = (pair[0] as i64, (pair[1] - pair[0]) as i64);
            let split = |x: Tensor| -> Result<Tensor> { Ok(x.f_view([n, heads, d / heads])?.f_transpose(0, 1)?) };
            let q = split(queries.f_narrow(0, first, n)?.f_contiguous()?)?;
            let kv = keys_values.f_narrow(0, first, n)?;
            let (k, v) = (split(kv.f_narrow(1, 0, d)?.f_contiguous()?)?, split(kv.f_narrow(1, d, d)?.f_contiguous()?)?);
            let mut scores = q.f_matmul(&k.f_transpose(1, 2)?)? / ((d / heads) as f64).sqrt();
            if self.causal {
                let later = Tensor::f_ones([n, n], (Kind::Bool, scores.device()))?.f_triu(1)?;
                scores = scores.f_masked_fill(&later, f64::NEG_INFINITY)?;
            }
            let weights = dropout::dropout(&scores.f_softmax(-1, None::<Kind>)?, self.dropout)?;
            outs.push(weights.f_matmul(&v)?.f_transpose(0, 1)?.f_reshape([n, d])?);
        }
        if outs.is_empty() {
            return Ok(queries.f_mul_scalar(0.0)?);
        }
        Ok(Tensor::f_cat(&outs, 0)?)
    }
}

/// Parts of `of`, one of each size.
pub(crate) fn split(mut of: &mut [f32], sizes: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    sizes
        .map(|size| {
            let (here, rest) = std::mem::take(&mut of).split_at_mut(size);
            of = rest;
            here
        })
        .collect()
}

struct Kernel {
    how: Attention,
    starts: Arc<Vec<usize>>,
    /// The length of the longest sequence.
    longest: usize,
    mask: Mask,
}

/// A matrix of which the number of columns is padded with zeros to a multiple of [`COLUMNS`], and the number of rows to one of [`ROWS`].
#[derive(Default)]
struct Padded {
    values: Vec<f32>,
    stride: usize,
}

impl Padded {
    /// All zeros.
    fn clear(&mut self, rows: usize, columns: usize) {
        self.stride = columns.next_multiple_of(COLUMNS);
        self.values.clear();
        self.values.resize(rows.next_multiple_of(COLUMNS) * self.stride, 0.0);
    }

    /// A copy of `columns` columns from `first` on of rows of length `width`.
    fn fill(&mut self, from: &[f32], width: usize, first: usize, columns: usize) {
        self.clear(from.len() / width, columns);
        for (to, from) in self.values.chunks_exact_mut(self.stride).zip(from.chunks_exact(width)) {
            to[..columns].copy_from_slice(&from[first..first + columns]);
        }
    }

    /// The same, transposed.
    fn fill_transposed(&mut self, from: &[f32], width: usize, first: usize, columns: usize) {
        self.clear(columns, from.len() / width);
        for (at, from) in from.chunks_exact(width).enumerate() {
            for (row, &value) in from[first..first + columns].iter().enumerate() {
                self.values[row * self.stride + at] = value;
            }
        }
    }

    /// Writes the first `columns` columns, times `scale`, to the columns from `first` on of rows of length `width`.
    fn write(&self, to: &mut [f32], width: usize, first: usize, columns: usize, scale: f32) {
        for (from, to) in self.values.chunks_exact(self.stride).zip(to.chunks_exact_mut(width)) {
            for (to, from) in to[first..first + columns].iter_mut().zip(from) {
                *to = from * scale;
            }
        }
    }
}

/// What a worker needs again and again.
#[derive(Default)]
struct Scratch {
    queries: Padded,
    keys: Padded,
    keys_transposed: Padded,
    values: Padded,
    values_transposed: Padded,
    gradient: Padded,
    weights: Padded,
    sent: Padded,
    out: Padded,
}

/// `out[i, j] = Σ_k a[i, k]·b[k, j]` for the [`ROWS`] rows from `row` on, columns below `columns` (rounded up to whole tiles) and k in
/// `inner`. `a[i, k]` lies at `i·a_steps.0 + k·a_steps.1`.
#[inline(always)]
fn row_of_tiles(
    a: &[f32],
    a_steps: (usize, usize),
    b: &Padded,
    row: usize,
    columns: usize,
    inner: std::ops::Range<usize>,
    out: &mut Padded,
) {
    let a = &a[row * a_steps.0..];
    for column in (0..columns).step_by(COLUMNS) {
        let mut sums = [[0f32; COLUMNS]; ROWS];
        for k in inner.clone() {
            let b: &[f32; COLUMNS] = b.values[k * b.stride + column..][..COLUMNS].try_into().expect("a whole tile");
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = a[i * a_steps.0 + k * a_steps.1];
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = a.mul_add(*b, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            out.values[(row + i) * out.stride + column..][..COLUMNS].copy_from_slice(sums);
        }
    }
}

/// One sequence of one call.
struct Sequence {
    length: usize,
    /// The number of the sequence's first weight, for the dropout's mask.
    first_weight: usize,
    causal: bool,
    scale: f32,
    mask: Mask,
    dropout: bool,
}

impl Sequence {
    /// How many keys the rows of the tile at `row` see at most.
    #[inline(always)]
    fn seen(&self, row: usize) -> usize {
        if self.causal { (row + ROWS).min(self.length) } else { self.length }
    }

    /// The weights of the tile of rows at `row`, before dropout, into `weights`; 0 beyond what a row sees.
    #[inline(always)]
    fn weigh(&self, queries: &Padded, keys_transposed: &Padded, row: usize, d: usize, weights: &mut Padded) {
        row_of_tiles(&queries.values, (queries.stride, 1), keys_transposed, row, self.seen(row), 0..d, weights);
        for row in row..(row + ROWS).min(self.length) {
            let seen = if self.causal { row + 1 } else { self.length };
            let all = &mut weights.values[row * weights.stride..][..weights.stride];
            let (weights, rest) = all.split_at_mut(seen);
            rest.fill(0.0);
            let most = largest(weights) * self.scale;
            weights.iter_mut().for_each(|w| *w = exp(w.mul_add(self.scale, -most)));
            let share = 1.0 / sum(weights);
            weights.iter_mut().for_each(|w| *w *= share);
        }
    }

    /// Weights of `row` after dropout: some are 0, the others scaled up.
    #[inline(always)]
    fn drop(&self, row: usize, weights: &mut [f32]) {
        if self.dropout {
            let first = (self.first_weight + row * self.length) as u32;
            for (at, weight) in weights.iter_mut().enumerate() {
                *weight = self.mask.pass(first.wrapping_add(at as u32), *weight, 1.0);
            }
        }
    }

    #[inline(always)]
    fn forward(&self, d: usize, scratch: &mut Scratch) {
        let Scratch { queries, keys_transposed, values, weights, out, .. } = scratch;
        weights.clear(self.length, self.length);
        out.clear(self.length, d);
        for row in (0..self.length).step_by(ROWS) {
            self.weigh(queries, keys_transposed, row, d, weights);
            let seen = self.seen(row);
            for row in row..(row + ROWS).min(self.length) {
                self.drop(row, &mut weights.values[row * weights.stride..][..seen]);
            }
            row_of_tiles(&weights.values, (weights.stride, 1), values, row, d, 0..seen, out);
        }
    }

    /// Gradients of queries (to be scaled), keys (likewise) and values, in this order, to `take`.
    #[inline(always)]
    fn backward(&self, d: usize, scratch: &mut Scratch, mut take: impl FnMut(usize, &Padded)) {
        let Scratch { queries, keys, keys_transposed, values_transposed, gradient, weights, sent, out, .. } = scratch;
        let n = self.length;
        weights.clear(n, n);
        sent.clear(n, n);
        out.clear(n, d);
        for row in (0..n).step_by(ROWS) {
            self.weigh(queries, keys_transposed, row, d, weights);
            let seen = self.seen(row);
            // dP = dO Vᵀ
            row_of_tiles(&gradient.values, (gradient.stride, 1), values_transposed, row, seen, 0..d, sent);
            for row in row..(row + ROWS).min(n) {
                let weights = &mut weights.values[row * weights.stride..][..seen];
                let sent = &mut sent.values[row * sent.stride..][..seen];
                self.drop(row, sent);
                // dS = P ∘ (dP − Σ P dP), with P before dropout and dP after it.
                let mut sums = [0f32; COLUMNS];
                for (weights, sent) in weights.chunks(COLUMNS).zip(sent.chunks(COLUMNS)) {
                    for (sum, (weight, sent)) in sums.iter_mut().zip(weights.iter().zip(sent)) {
                        *sum = weight.mul_add(*sent, *sum);
                    }
                }
                let mean = sums.iter().sum::<f32>();
                weights.iter().zip(sent.iter_mut()).for_each(|(weight, sent)| *sent = weight * (*sent - mean));
                self.drop(row, weights);
            }
            row_of_tiles(&sent.values, (sent.stride, 1), keys, row, d, 0..seen, out);
        }
        // Beyond what a row sees, nothing is sent: the products may have left numbers there.
        if self.causal {
            for row in 0..n {
                sent.values[row * sent.stride + row + 1..(row + 1) * sent.stride].fill(0.0);
            }
        }
        take(0, out);
        let first = |row: usize| if self.causal { row } else { 0 };
        out.clear(n, d);
        for row in (0..n).step_by(ROWS) {
            row_of_tiles(&sent.values, (1, sent.stride), queries, row, d, first(row)..n, out);
        }
        take(1, out);
        out.clear(n, d);
        for row in (0..n).step_by(ROWS) {
            row_of_tiles(&weights.values, (1, weights.stride), gradient, row, d, first(row)..n, out);
        }
        take(2, out);
    }
}

impl Kernel {
    fn sequence(&self, s: usize, head: usize, d: usize) -> Sequence {
        let (start, end) = (self.starts[s], self.starts[s + 1]);
        Sequence {
            length: end - start,
            first_weight: (start * self.how.num_heads + head * (end - start)).wrapping_mul(self.longest),
            causal: self.how.causal,
            scale: 1.0 / (d as f32).sqrt(),
            mask: self.mask,
            dropout: self.how.dropout > 0.0,
        }
    }

    /// The rows of `of`, `width` long, sequence after sequence.
    fn split<'a>(&self, of: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        split(of, self.starts.windows(2).map(|pair| (pair[1] - pair[0]) * width))
    }

    fn forward(&self, queries: &Tensor, keys_values: &Tensor) -> Result<Tensor> {
        let width = queries.size()[1] as usize;
        let out = Tensor::f_empty(queries.size(), (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        let to = self.split(unsafe { slice_mut(&out) }, width);
        let (queries, keys_values, d) = (slice(queries), slice(keys_values), width / self.how.num_heads);
        to.into_par_iter().enumerate().for_each_init(Scratch::default, |scratch, (s, to)| {
            let (start, end) = (self.starts[s], self.starts[s + 1]);
            let (queries, keys_values) = (&queries[start * width..end * width], &keys_values[start * 2 * width..end * 2 * width]);
            for head in 0..self.how.num_heads {
                vectorised(
                    #[inline(always)]
                    || {
                        scratch.queries.fill(queries, width, head * d, d);
                        scratch.keys_transposed.fill_transposed(keys_values, 2 * width, head * d, d);
                        scratch.values.fill(keys_values, 2 * width, width + head * d, d);
                        self.sequence(s, head, d).forward(d, scratch);
                        scratch.out.write(to, width, head * d, d, 1.0);
                    },
                );
            }
        });
        Ok(out)
    }
}

impl Gradient for Kernel {
    fn backward(&self, gradient: &Tensor, queries: &Tensor, keys_values: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let keys_values = keys_values.ok_or_else(|| anyhow::anyhow!("attention has keys and values"))?.f_contiguous()?;
        let queries = queries.f_contiguous()?;
        let width = queries.size()[1] as usize;
        let (to_queries, to_keys_values) = (
            Tensor::f_empty(queries.size(), (Kind::Float, Device::Cpu))?,
            Tensor::f_empty(keys_values.size(), (Kind::Float, Device::Cpu))?,
        );
        // SAFETY: both were just made, nothing else sees them.
        let (to_q, to_kv) = unsafe { (self.split(slice_mut(&to_queries), width), self.split(slice_mut(&to_keys_values), 2 * width)) };
        let (gradient, queries, keys_values, d) = (slice(gradient), slice(&queries), slice(&keys_values), width / self.how.num_heads);
        to_q.into_par_iter().zip(to_kv).enumerate().for_each_init(Scratch::default, |scratch, (s, (to_q, to_kv))| {
            let (start, end) = (self.starts[s], self.starts[s + 1]);
            let (queries, keys_values) = (&queries[start * width..end * width], &keys_values[start * 2 * width..end * 2 * width]);
            let gradient = &gradient[start * width..end * width];
            for head in 0..self.how.num_heads {
                vectorised(
                    #[inline(always)]
                    || {
                        scratch.queries.fill(queries, width, head * d, d);
                        scratch.keys.fill(keys_values, 2 * width, head * d, d);
                        scratch.keys_transposed.fill_transposed(keys_values, 2 * width, head * d, d);
                        scratch.values_transposed.fill_transposed(keys_values, 2 * width, width + head * d, d);
                        scratch.gradient.fill(gradient, width, head * d, d);
                        let sequence = self.sequence(s, head, d);
                        sequence.backward(d, scratch, |which, found| match which {
                            0 => found.write(to_q, width, head * d, d, sequence.scale),
                            1 => found.write(to_kv, 2 * width, head * d, d, sequence.scale),
                            _ => found.write(to_kv, 2 * width, width + head * d, d, 1.0),
                        });
                    },
                );
            }
        });
        Ok([Some(to_queries), Some(to_keys_values)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [usize; 6] = [0, 1, 1, 6, 43, 60];

    fn random(columns: i64) -> Tensor {
        Tensor::randn([60, columns], (Kind::Float, Device::Cpu))
    }

    fn run(how: Attention, inputs: &[Tensor; 2], weights: &Tensor, kind: Kind) -> [Tensor; 3] {
        let [q, kv] = inputs.each_ref().map(|t| t.detach().copy().to_kind(kind).set_requires_grad(true));
        let out = how.apply(&q, &kv, &Arc::new(STARTS.to_vec())).expect("fits");
        (&out * weights.to_kind(kind)).sum(kind).backward();
        [out.detach(), q.grad(), kv.grad()].map(|t| t.to_kind(Kind::Double))
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn values_and_gradients_are_those_of_libtorch_in_f64() {
        tch::manual_seed(7);
        for (d, num_heads) in [(50, 1), (64, 2), (12, 3), (7, 1)] {
            for causal in [false, true] {
                let (inputs, weights) = ([random(d) * 2.0, random(2 * d) * 2.0], random(d));
                let how = Attention { num_heads, causal, dropout: 0.0 };
                let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| run(how, &inputs, &weights, kind));
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert!(far(ours, theirs) < 2e-5, "{d} {num_heads} {causal}: {}", far(ours, theirs));
                }
            }
        }
    }

    /// With dropout the mask is unknown, but the same seed gives the same one: differences of the kernel itself.
    #[test]
    fn with_dropout_the_gradient_is_that_of_differences_under_the_same_mask() {
        tch::manual_seed(7);
        let how = Attention { num_heads: 2, causal: true, dropout: 0.3 };
        let (q, kv, weights) = (random(8), random(16), random(8));
        let loss = |q: &Tensor, kv: &Tensor| {
            tch::manual_seed(11);
            (how.apply(q, kv, &Arc::new(STARTS.to_vec())).expect("fits") * &weights).sum(Kind::Double)
        };
        let (q, kv) = (q.set_requires_grad(true), kv.set_requires_grad(true));
        loss(&q, &kv).backward();
        for (which, gradient) in [q.grad(), kv.grad()].iter().enumerate() {
            let direction = Tensor::randn(gradient.size(), (Kind::Float, Device::Cpu));
            let at = |h: f64| {
                let (q, kv) = (q.detach(), kv.detach());
                let value = if which == 0 { loss(&(q + &direction * h), &kv) } else { loss(&q, &(kv + &direction * h)) };
                value.double_value(&[])
            };
            let (found, expected) = ((gradient * &direction).sum(Kind::Double).double_value(&[]), (at(1e-3) - at(-1e-3)) / 2e-3);
            assert!((found - expected).abs() < 2e-3 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn weights_are_lost_at_the_rate_and_each_on_its_own() {
        tch::manual_seed(7);
        // Equal keys: every weight of n is 1/n, and values of 1 count what is left.
        let (n, heads) = (200i64, 2);
        let (q, kv) = (Tensor::zeros([n, 4], (Kind::Float, Device::Cpu)), Tensor::ones([n, 8], (Kind::Float, Device::Cpu)));
        let how = Attention { num_heads: heads, causal: false, dropout: 0.25 };
        let out = how.apply(&q, &kv, &Arc::new(vec![0, n as usize])).expect("fits");
        let sums = out.select(1, 0);
        assert!((sums.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 0.01);
        let deviation = sums.std(true).double_value(&[]);
        assert!((deviation - (1.0f64 / 3.0 / n as f64).sqrt()).abs() < 0.01, "{deviation}");
        assert!(far(&out.select(1, 0), &out.select(1, 2)) > 0.01, "heads share no mask");
    }

    #[test]
    fn results_do_not_depend_on_threads_or_neighbours() {
        tch::manual_seed(7);
        let (inputs, weights) = ([random(16), random(32)], random(16));
        let how = Attention { num_heads: 2, causal: true, dropout: 0.0 };
        let [out, ..] = run(how, &inputs, &weights, Kind::Float);
        let [q, kv] = inputs.each_ref().map(|t| t.narrow(0, 6, 37).contiguous());
        let alone = how.apply(&q, &kv, &Arc::new(vec![0, 37])).expect("fits").to_kind(Kind::Double);
        assert_eq!(far(&alone, &out.narrow(0, 6, 37)), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let how = Attention { num_heads: 2, causal: true, dropout: 0.0 };
        let starts = Arc::new(STARTS.to_vec());
        assert!(how.apply(&random(8), &random(8), &starts).is_err());
        assert!(how.apply(&random(7), &random(14), &starts).is_err());
        assert!(how.apply(&random(8), &random(16), &Arc::new(vec![0, 59])).is_err());
        assert!(Attention { dropout: 1.0, ..how }.apply(&random(8), &random(16), &starts).is_err());
    }
}
