//! Scaled dot-product attention within sequences that lie one after the other without padding: softmax(QKᵀ/√d_k)V, with dropout on
//! the weights. Vaswani et al., NeurIPS 2017, arXiv:1706.03762, eq. 1. With a bias it is softmax(QKᵀ/√d_k + B)V, B being a number for
//! each distance: Raffel et al., JMLR 2020, arXiv:1910.10683, section 2.1.
//!
//! One sequence is one unit of work, its weights stay in the cache, and `backward` computes them again: neither padding nor a mask nor
//! weights are ever stored, and dropout costs a hash. Another device, or f64, takes libtorch's products, sequence after sequence.

use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::dropout::{self, Mask};
use crate::params::{slice, slice_mut};
use crate::shim;
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
    /// all tensors.
    ///
    /// # Shapes
    /// `queries` `[P, d]`, `keys_values` `[P, 2d]`, keys before values; head h has the columns h·d/H to (h + 1)·d/H of each; `bias`
    /// `[H, columns(L)]` with the same L as long as the longest sequence or longer: column L − 1 + j − i is added where query i looks at
    /// key j; returns `[P, d]`
    ///
    /// # Errors
    /// where shapes do not fit, the starts do not rise from 0 to P, the heads do not divide d, or the dropout is not in [0, 1);
    /// libtorch's own.
    pub fn apply(&self, queries: &Tensor, keys_values: &Tensor, bias: Option<&Tensor>, starts: &Arc<Vec<usize>>) -> Result<Tensor> {
        let ((positions, d), (rows, width)) = (queries.size2()?, keys_values.size2()?);
        anyhow::ensure!(rows == positions && width == 2 * d, "queries are {:?}, keys and values {:?}", queries.size(), keys_values.size());
        anyhow::ensure!(
            self.num_heads > 0 && (d as usize).is_multiple_of(self.num_heads),
            "{} heads do not divide {d} columns",
            self.num_heads
        );
        let rising = starts.first() == Some(&0) && starts.last() == Some(&(positions as usize)) && starts.is_sorted();
        anyhow::ensure!(rising, "the starts of sequences do not rise from 0 to {positions}");
        let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        if let Some(bias) = bias {
            let (rows, columns) = bias.size2()?;
            let fits = rows as usize == self.num_heads && columns as usize >= self.columns(longest) && (self.causal || columns % 2 == 1);
            anyhow::ensure!(fits, "the bias is {:?} for {} heads and sequences of {longest}", bias.size(), self.num_heads);
            let alike = (bias.kind(), bias.device()) == (queries.kind(), queries.device());
            anyhow::ensure!(alike, "the bias is of another kind, or elsewhere, than the queries");
        }
        if queries.device() != Device::Cpu || queries.kind() != Kind::Float {
            return self.by_libtorch(queries, keys_values, bias, starts);
        }
        let kernel = Kernel { how: *self, starts: Arc::clone(starts), longest, mask: Mask::new(self.dropout, false)? };
        let contiguous = |x: &Tensor| -> Result<Tensor> { Ok(x.f_contiguous()?) };
        let out =
            tch::no_grad(|| kernel.forward(&contiguous(queries)?, &contiguous(keys_values)?, bias.map(contiguous).transpose()?.as_ref()))?;
        let inputs = [Some(queries), Some(keys_values), bias];
        if !(shim::is_recording() && inputs.iter().flatten().any(|input| input.requires_grad())) {
            return Ok(out);
        }
        shim::attach_three(
            &out,
            inputs,
            Box::new(move |gradient, [queries, keys_values, bias], _| {
                let bias = if bias.defined() { Some(contiguous(bias)?) } else { None };
                kernel.backward(gradient, &contiguous(queries)?, &contiguous(keys_values)?, bias.as_ref())
            }),
        )
    }

    /// The number of columns of a bias for sequences of `length`, one for each distance j − i from a query i to a key j that it sees:
    /// −(length − 1) to 0 where it is causal, else to length − 1.
    pub fn columns(&self, length: usize) -> usize {
        if self.causal { length } else { (2 * length).saturating_sub(1) }
    }

    fn by_libtorch(&self, queries: &Tensor, keys_values: &Tensor, bias: Option<&Tensor>, starts: &[usize]) -> Result<Tensor> {
        let (d, heads) = (queries.size()[1], self.num_heads as i64);
        let mut outs = Vec::with_capacity(starts.len());
        for pair in starts.windows(2).filter(|pair| pair[1] > pair[0]) {
            let (first, n) = (pair[0] as i64, (pair[1] - pair[0]) as i64);
            let split = |x: Tensor| -> Result<Tensor> { Ok(x.f_view([n, heads, d / heads])?.f_transpose(0, 1)?) };
            let q = split(queries.f_narrow(0, first, n)?.f_contiguous()?)?;
            let kv = keys_values.f_narrow(0, first, n)?;
            let (k, v) = (split(kv.f_narrow(1, 0, d)?.f_contiguous()?)?, split(kv.f_narrow(1, d, d)?.f_contiguous()?)?);
            let mut scores = q.f_matmul(&k.f_transpose(1, 2)?)? / ((d / heads) as f64).sqrt();
            if let Some(bias) = bias {
                let at = Tensor::f_arange(n, (Kind::Int64, bias.device()))?;
                let away = at.f_unsqueeze(0)?.f_sub(&at.f_unsqueeze(1)?)?;
                let columns = bias.size()[1];
                // Of causal attention the last column is the position itself; what is beyond is masked.
                let column = if self.causal { away.f_clamp_max(0)? + (columns - 1) } else { away + columns / 2 };
                scores += bias.f_index_select(1, &column.f_view([-1])?)?.f_view([heads, n, n])?;
            }
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

/// One sequence of one call, for one head.
struct Sequence<'a> {
    length: usize,
    /// The number of the sequence's first weight, for the dropout's mask.
    first_weight: usize,
    causal: bool,
    scale: f32,
    mask: Mask,
    dropout: bool,
    /// The columns of distances within the sequence: that of key j and query i is length − 1 + j − i.
    bias: Option<&'a [f32]>,
}

impl Sequence<'_> {
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
            if let Some(bias) = self.bias {
                let bias = &bias[self.length - 1 - row..][..seen];
                weights.iter_mut().zip(bias).for_each(|(w, b)| *w = w.mul_add(self.scale, *b));
                let most = largest(weights);
                weights.iter_mut().for_each(|w| *w = exp(*w - most));
            } else {
                let most = largest(weights) * self.scale;
                weights.iter_mut().for_each(|w| *w = exp(w.mul_add(self.scale, -most)));
            }
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

    /// Gradients of queries (to be scaled), keys (likewise) and values, in this order, to `take`; that of the bias is added to `to_bias`,
    /// which is empty where there is none.
    #[inline(always)]
    fn backward(&self, d: usize, scratch: &mut Scratch, to_bias: &mut [f32], mut take: impl FnMut(usize, &Padded)) {
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
                if self.bias.is_some() {
                    let seen = if self.causal { row + 1 } else { n };
                    to_bias[n - 1 - row..][..seen].iter_mut().zip(&*sent).for_each(|(to, sent)| *to += sent);
                }
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
    fn sequence<'a>(&self, s: usize, head: usize, d: usize, bias: Option<&'a [f32]>) -> Sequence<'a> {
        let (start, end) = (self.starts[s], self.starts[s + 1]);
        let columns = |bias: &'a [f32]| {
            let all = bias.len() / self.how.num_heads;
            &bias[head * all..][self.columns_of(end - start, all)]
        };
        Sequence {
            length: end - start,
            first_weight: (start * self.how.num_heads + head * (end - start)).wrapping_mul(self.longest),
            causal: self.how.causal,
            scale: 1.0 / (d as f32).sqrt(),
            mask: self.mask,
            dropout: self.how.dropout > 0.0,
            bias: bias.map(columns),
        }
    }

    /// Where the distances within a sequence of `length` lie among all columns of a bias.
    fn columns_of(&self, length: usize, all: usize) -> std::ops::Range<usize> {
        let here = self.how.columns(length);
        let first = if self.how.causal { all - here } else { (all - here) / 2 };
        first..first + here
    }

    /// The rows of `of`, `width` long, sequence after sequence.
    fn split<'a>(&self, of: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        split(of, self.starts.windows(2).map(|pair| (pair[1] - pair[0]) * width))
    }

    fn forward(&self, queries: &Tensor, keys_values: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias = bias.map(slice);
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
                        self.sequence(s, head, d, bias).forward(d, scratch);
                        scratch.out.write(to, width, head * d, d, 1.0);
                    },
                );
            }
        });
        Ok(out)
    }

    fn backward(&self, gradient: &Tensor, queries: &Tensor, keys_values: &Tensor, bias: Option<&Tensor>) -> Result<[Option<Tensor>; 3]> {
        let width = queries.size()[1] as usize;
        let (to_queries, to_keys_values) = (
            Tensor::f_empty(queries.size(), (Kind::Float, Device::Cpu))?,
            Tensor::f_empty(keys_values.size(), (Kind::Float, Device::Cpu))?,
        );
        // SAFETY: both were just made, nothing else sees them.
        let (to_q, to_kv) = unsafe { (self.split(slice_mut(&to_queries), width), self.split(slice_mut(&to_keys_values), 2 * width)) };
        let (gradient, queries, keys_values, d) = (slice(gradient), slice(queries), slice(keys_values), width / self.how.num_heads);
        // Each sequence has columns of its own, added up afterwards: sums of floats run in a fixed order.
        let sizes = || self.starts.windows(2).map(|pair| bias.map_or(0, |_| self.how.num_heads * self.how.columns(pair[1] - pair[0])));
        let mut sent_to_bias = vec![0f32; sizes().sum()];
        let to_bias = split(&mut sent_to_bias, sizes());
        let bias = bias.map(|bias| (slice(bias), bias.size()));
        let all = to_q.into_par_iter().zip(to_kv).zip(to_bias).enumerate();
        all.for_each_init(Scratch::default, |scratch, (s, ((to_q, to_kv), to_bias))| {
            let (start, end) = (self.starts[s], self.starts[s + 1]);
            let (queries, keys_values) = (&queries[start * width..end * width], &keys_values[start * 2 * width..end * 2 * width]);
            let gradient = &gradient[start * width..end * width];
            let columns = to_bias.len() / self.how.num_heads;
            for head in 0..self.how.num_heads {
                vectorised(
                    #[inline(always)]
                    || {
                        scratch.queries.fill(queries, width, head * d, d);
                        scratch.keys.fill(keys_values, 2 * width, head * d, d);
                        scratch.keys_transposed.fill_transposed(keys_values, 2 * width, head * d, d);
                        scratch.values_transposed.fill_transposed(keys_values, 2 * width, width + head * d, d);
                        scratch.gradient.fill(gradient, width, head * d, d);
                        let sequence = self.sequence(s, head, d, bias.as_ref().map(|(bias, _)| *bias));
                        sequence.backward(d, scratch, &mut to_bias[head * columns..][..columns], |which, found| match which {
                            0 => found.write(to_q, width, head * d, d, sequence.scale),
                            1 => found.write(to_kv, 2 * width, head * d, d, sequence.scale),
                            _ => found.write(to_kv, 2 * width, width + head * d, d, 1.0),
                        });
                    },
                );
            }
        });
        let to_bias = match bias {
            Some((_, size)) => Some(Tensor::from_slice(&self.sum_of_columns(&sent_to_bias, size[1] as usize)).f_view(&size[..])?),
            None => None,
        };
        Ok([Some(to_queries), Some(to_keys_values), to_bias])
    }

    /// `[H, all]` sums over sequences of the columns of each, `[H, columns]` sequence after sequence.
    fn sum_of_columns(&self, mut of: &[f32], all: usize) -> Vec<f32> {
        let mut sums = vec![0f32; self.how.num_heads * all];
        for pair in self.starts.windows(2) {
            let columns = self.columns_of(pair[1] - pair[0], all);
            for sums in sums.chunks_exact_mut(all.max(1)) {
                let (here, rest) = of.split_at(columns.len());
                sums[columns.clone()].iter_mut().zip(here).for_each(|(sum, sent)| *sum += sent);
                of = rest;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [usize; 6] = [0, 1, 1, 6, 43, 60];

    fn random(columns: i64) -> Tensor {
        Tensor::randn([60, columns], (Kind::Float, Device::Cpu))
    }

    /// The result, then gradients: of queries, of keys and values, of a bias where there is one.
    fn run(how: Attention, inputs: &[Tensor], weights: &Tensor, kind: Kind) -> Vec<Tensor> {
        let leaves: Vec<Tensor> = inputs.iter().map(|t| t.detach().copy().to_kind(kind).set_requires_grad(true)).collect();
        let out = how.apply(&leaves[0], &leaves[1], leaves.get(2), &Arc::new(STARTS.to_vec())).expect("fits");
        (&out * weights.to_kind(kind)).sum(kind).backward();
        [out.detach()].into_iter().chain(leaves.iter().map(Tensor::grad)).map(|t| t.to_kind(Kind::Double)).collect()
    }

    fn random_bias(how: Attention, longest: usize) -> Tensor {
        Tensor::randn([how.num_heads as i64, how.columns(longest) as i64], (Kind::Float, Device::Cpu))
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn values_and_gradients_are_those_of_libtorch_in_f64() {
        tch::manual_seed(7);
        for (d, num_heads) in [(50, 1), (64, 2), (12, 3), (7, 1)] {
            for causal in [false, true] {
                let how = Attention { num_heads, causal, dropout: 0.0 };
                let (inputs, weights) = ([random(d) * 2.0, random(2 * d) * 2.0, random_bias(how, 37)], random(d));
                // Without a bias, and with one.
                for inputs in [&inputs[..2], &inputs[..3]] {
                    let [ours, theirs] = [Kind::Float, Kind::Double].map(|kind| run(how, inputs, &weights, kind));
                    for (ours, theirs) in ours.iter().zip(&theirs) {
                        assert!(far(ours, theirs) < 2e-5, "{d} {num_heads} {causal}: {}", far(ours, theirs));
                    }
                }
            }
        }
    }

    /// Distances written out, with none of the file's tables: softmax over j of q·k/√d_k + bias of (head, j − i), in plain loops.
    #[test]
    fn a_bias_is_added_by_head_and_distance() {
        tch::manual_seed(7);
        let (n, heads, d) = (9usize, 2, 6);
        for causal in [false, true] {
            let how = Attention { num_heads: heads, causal, dropout: 0.0 };
            // Longer than the sequence needs.
            let bias = random_bias(how, 12);
            let (q, kv) = (random(d as i64).narrow(0, 0, n as i64), random(2 * d as i64).narrow(0, 0, n as i64));
            let out = how.apply(&q, &kv, Some(&bias), &Arc::new(vec![0, n])).expect("fits");
            let at = |t: &Tensor, row: usize, column: usize| t.double_value(&[row as i64, column as i64]);
            for i in 0..n {
                for head in 0..heads {
                    let of_head = |k: usize| head * d / heads + k;
                    let seen: Vec<usize> = (0..n).filter(|&j| !causal || j <= i).collect();
                    let logit = |j: usize| {
                        let dot = (0..d / heads).map(|k| at(&q, i, of_head(k)) * at(&kv, j, of_head(k))).sum::<f64>();
                        dot / ((d / heads) as f64).sqrt() + at(&bias, head, 11 + j - i)
                    };
                    let weights: Vec<f64> = seen.iter().map(|&j| logit(j).exp()).collect();
                    for k in 0..d / heads {
                        let sum: f64 = seen.iter().zip(&weights).map(|(&j, w)| w * at(&kv, j, d + of_head(k))).sum();
                        let expected = sum / weights.iter().sum::<f64>();
                        assert!((at(&out, i, of_head(k)) - expected).abs() < 1e-5, "{causal} {i} {head} {k}");
                    }
                }
            }
        }
    }

    /// With dropout the mask is unknown, but the same seed gives the same one: differences of the kernel itself.
    #[test]
    fn with_dropout_the_gradient_is_that_of_differences_under_the_same_mask() {
        tch::manual_seed(7);
        let how = Attention { num_heads: 2, causal: true, dropout: 0.3 };
        let weights = random(8);
        let inputs = [random(8), random(16), random_bias(how, 40)].map(|t| t.set_requires_grad(true));
        let loss = |[q, kv, bias]: &[Tensor; 3]| {
            tch::manual_seed(11);
            (how.apply(q, kv, Some(bias), &Arc::new(STARTS.to_vec())).expect("fits") * &weights).sum(Kind::Double)
        };
        loss(&inputs).backward();
        for (which, input) in inputs.iter().enumerate() {
            let gradient = input.grad();
            let direction = Tensor::randn(gradient.size(), (Kind::Float, Device::Cpu));
            let at = |h: f64| {
                let mut moved = inputs.each_ref().map(Tensor::detach);
                moved[which] = &moved[which] + &direction * h;
                loss(&moved).double_value(&[])
            };
            let (found, expected) = ((&gradient * &direction).sum(Kind::Double).double_value(&[]), (at(1e-3) - at(-1e-3)) / 2e-3);
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
        let out = how.apply(&q, &kv, None, &Arc::new(vec![0, n as usize])).expect("fits");
        let sums = out.select(1, 0);
        assert!((sums.mean(Kind::Double).double_value(&[]) - 1.0).abs() < 0.01);
        let deviation = sums.std(true).double_value(&[]);
        assert!((deviation - (1.0f64 / 3.0 / n as f64).sqrt()).abs() < 0.01, "{deviation}");
        assert!(far(&out.select(1, 0), &out.select(1, 2)) > 0.01, "heads share no mask");
    }

    #[test]
    fn results_do_not_depend_on_threads_or_neighbours() {
        tch::manual_seed(7);
        let inputs = [random(16), random(32)];
        let how = Attention { num_heads: 2, causal: true, dropout: 0.0 };
        let bias = random_bias(how, 37);
        for bias in [None, Some(&bias)] {
            let together = how.apply(&inputs[0], &inputs[1], bias, &Arc::new(STARTS.to_vec())).expect("fits");
            let [q, kv] = inputs.each_ref().map(|t| t.narrow(0, 6, 37).contiguous());
            let alone = how.apply(&q, &kv, bias, &Arc::new(vec![0, 37])).expect("fits");
            assert_eq!(far(&alone, &together.narrow(0, 6, 37)), 0.0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let how = Attention { num_heads: 2, causal: true, dropout: 0.0 };
        let starts = Arc::new(STARTS.to_vec());
        assert!(how.apply(&random(8), &random(8), None, &starts).is_err());
        assert!(how.apply(&random(7), &random(14), None, &starts).is_err());
        assert!(how.apply(&random(8), &random(16), None, &Arc::new(vec![0, 59])).is_err());
        assert!(Attention { dropout: 1.0, ..how }.apply(&random(8), &random(16), None, &starts).is_err());
        let both = Attention { causal: false, ..how };
        for (how, bias) in [(how, [2, 36]), (how, [1, 37]), (both, [2, 37]), (both, [2, 74])] {
            let bias = Tensor::zeros(bias, (Kind::Float, Device::Cpu));
            assert!(how.apply(&random(8), &random(16), Some(&bias), &starts).is_err(), "{:?}", bias.size());
        }
    }
}
