//! Losses of scores in which column i is what row i should choose, and all other columns are its negatives: what follows a session, among
//! what follows the others and drawn items. One pass of our own over the scores gives loss and gradient together.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::{CrossEntropy, Loss, LossConfig, LossInput};
use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};
use crate::simd::{exp, largest, sum, vectorised};

/// What a score goes through before a loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutputActivation {
    /// x.
    Identity {},
    /// tanh(x).
    Tanh {},
    /// x where it is above 0, else α(eˣ − 1).
    Elu {
        /// α.
        alpha: f64,
    },
}

impl OutputActivation {
    /// The same by libtorch.
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            OutputActivation::Identity {} => x.shallow_clone(),
            OutputActivation::Tanh {} => x.f_tanh()?,
            // tch's ELU has no α. The exponential is taken of what is not above 0 only: elsewhere it could overflow, and its gradient too.
            OutputActivation::Elu { alpha } => x.f_relu()? + x.f_clamp_max(0.0)?.f_expm1()? * alpha,
        })
    }

    /// Activated `x`, and the slope there.
    #[inline(always)]
    fn value_and_slope(self, x: f32) -> (f32, f32) {
        match self {
            OutputActivation::Identity {} => (x, 1.0),
            OutputActivation::Tanh {} => {
                let t = 2.0 * sigmoid(2.0 * x) - 1.0;
                (t, 1.0 - t * t)
            }
            OutputActivation::Elu { alpha } => {
                let below = alpha as f32 * exp(x.min(0.0));
                if x > 0.0 { (x, 1.0) } else { (below - alpha as f32, below) }
            }
        }
    }
}

/// The mean over rows of the loss of `activation(scores + bias)`, column i being row i's positive and all others its negatives.
/// `bias` may be absent.
///
/// # Shapes
/// `scores` `[B, C]`, C ≥ B; `bias` `[C]`; returns a scalar
///
/// # Errors
/// a usage problem where the loss does not judge a positive against negatives; where shapes do not fit; libtorch's own.
pub fn shared_negatives(loss: &LossConfig, activation: OutputActivation, scores: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (rows, columns) = scores.size2()?;
    anyhow::ensure!(columns >= rows && rows > 0, "{rows} rows have their positives among {columns} columns");
    anyhow::ensure!(bias.size() == [columns], "{:?} biases for {columns} columns", bias.size());
    let ours = scores.device() == Device::Cpu && scores.kind() == Kind::Float;
    let Some(ranking) = Ranking::of(loss).filter(|_| ours && columns > 1) else {
        return by_libtorch(loss, &activation.apply(&scores.f_add(bias)?)?);
    };
    let (value, slopes) = tch::no_grad(|| pass(ranking, activation, &scores.f_contiguous()?, &bias.f_contiguous()?))?;
    if !(shim::is_recording() && (scores.requires_grad() || bias.requires_grad())) {
        return Ok(value);
    }
    shim::attach(&value, scores, Some(bias), Box::new(Slopes(slopes)))
}

/// The losses by libtorch's operations on `[B, C]` scores.
fn by_libtorch(loss: &LossConfig, scores: &Tensor) -> Result<Tensor> {
    if let LossConfig::CrossEntropy {} | LossConfig::SampledSoftmax { .. } = loss {
        let target = Tensor::f_arange(scores.size()[0], (Kind::Int64, scores.device()))?;
        return CrossEntropy.loss(&LossInput::Classes { logits: scores, target: &target });
    }
    let (positive, negatives) = (scores.f_diagonal(0, 0, 1)?, without_diagonal(scores)?);
    loss.loss(&LossInput::Ranked { positive: &positive, negatives: &negatives, log_q: None })
}

/// `[B, C]` without the entries (i, i): `[B, C − 1]`.
fn without_diagonal(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.size2()?;
    // Entry after entry, the one of the diagonal comes first, and again after each `columns` others.
    let flat = x.f_reshape([-1])?;
    let between = flat.f_narrow(0, 1, (rows - 1) * (columns + 1))?.f_view([rows - 1, columns + 1])?.f_narrow(1, 0, columns)?;
    let rest = flat.f_narrow(0, (rows - 1) * (columns + 1) + 1, columns - rows)?;
    Ok(Tensor::f_cat(&[between.f_reshape([-1])?, rest], 0)?.f_view([rows, columns - 1])?)
}

/// The losses that have a pass of our own.
#[derive(Clone, Copy)]
enum Ranking {
    Softmax,
    Bpr,
    Top1,
    Top1Max,
    BprMax { score_l2: f32 },
}

impl Ranking {
    fn of(loss: &LossConfig) -> Option<Self> {
        Some(match *loss {
            LossConfig::CrossEntropy {} | LossConfig::SampledSoftmax { .. } => Ranking::Softmax,
            LossConfig::Bpr {} => Ranking::Bpr,
            LossConfig::Top1 {} => Ranking::Top1,
            LossConfig::Top1Max {} => Ranking::Top1Max,
            LossConfig::BprMax { score_l2 } => Ranking::BprMax { score_l2: score_l2 as f32 },
            _ => return None,
        })
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The scalar loss, and its slopes `[B, C]` by the scores.
fn pass(ranking: Ranking, activation: OutputActivation, scores: &Tensor, bias: &Tensor) -> Result<(Tensor, Tensor)> {
    let slopes = Tensor::f_empty(scores.size(), (Kind::Float, Device::Cpu))?;
    let columns = bias.numel();
    let rows = scores.size()[0] as f64;
    // SAFETY: `slopes` was just made, nothing else sees it.
    let (from, bias, to) = (slice(scores), slice(bias), unsafe { slice_mut(&slopes) });
    let mut row = Row { x: vec![0.0; columns], e: vec![0.0; columns], parts: std::array::from_fn(|_| vec![0.0; columns]) };
    let mut sum = 0.0;
    for (i, (from, to)) in from.chunks_exact(columns).zip(to.chunks_exact_mut(columns)).enumerate() {
        sum += vectorised(
            #[inline(always)]
            || {
                let loss = match activation {
                    // A copy for each: a question at each number would keep the loops from being vectorised.
                    OutputActivation::Identity {} => row.judge(ranking, OutputActivation::Identity {}, i, from, bias, to),
                    OutputActivation::Tanh {} => row.judge(ranking, OutputActivation::Tanh {}, i, from, bias, to),
                    elu => row.judge(ranking, elu, i, from, bias, to),
                };
                let share = (1.0 / rows) as f32;
                to.iter_mut().for_each(|g| *g *= share);
                loss
            },
        );
    }
    let value = Tensor::f_from_slice(&[(sum / rows) as f32])?.f_view(&[] as &[i64])?;
    Ok((value, slopes))
}

/// Room for a row.
struct Row {
    /// Activated scores.
    x: Vec<f32>,
    /// What a second pass needs again.
    e: Vec<f32>,
    /// Numbers to be added up.
    parts: [Vec<f32>; 3],
}

/// Numbers that are added at once, in a fixed order.
const LANES: usize = 16;

/// Σ ln(1 + value), values in [0, 1]: logarithms of products, of which there are fewer.
#[inline(always)]
fn sum_of_ln_1p(values: &[f32]) -> f64 {
    // 512 factors of at most 2 stay far below the largest f64.
    let product = |values: &[f32]| {
        let (blocks, rest) = values.as_chunks::<LANES>();
        let mut products = [1f64; LANES];
        for block in blocks {
            products = std::array::from_fn(|lane| products[lane] * (1.0 + f64::from(block[lane])));
        }
        products.iter().map(|p| p.ln()).sum::<f64>() + rest.iter().map(|&v| f64::from(v).ln_1p()).sum::<f64>()
    };
    values.chunks(512 * LANES).map(product).sum()
}

impl Row {
    /// The loss of one row, whose positive stands at `at`; `to` becomes its slopes by the scores.
    #[inline(always)]
    fn judge(&mut self, ranking: Ranking, activation: OutputActivation, at: usize, from: &[f32], bias: &[f32], to: &mut [f32]) -> f64 {
        let Row { x, e, parts: [p, q, w] } = self;
        for ((x, s), b) in x.iter_mut().zip(from).zip(bias) {
            *x = activation.value_and_slope(s + b).0;
        }
        let positive = x[at];
        let count = (x.len() - 1) as f32;
        let loss = match ranking {
            Ranking::Softmax => {
                let most = largest(x);
                for (e, x) in e.iter_mut().zip(&*x) {
                    *e = exp(x - most);
                }
                let total = sum(e);
                let share = 1.0 / total;
                for (g, e) in to.iter_mut().zip(&*e) {
                    *g = e * share;
                }
                to[at] -= 1.0;
                total.ln() + most - positive
            }
            Ranking::Bpr => {
                // −ln σ(−y) = max(y, 0) + ln(1 + e^−|y|), y = r⁻ − r⁺.
                for ((g, e), x) in to.iter_mut().zip(e.iter_mut()).zip(&*x) {
                    let y = x - positive;
                    let small = exp(-y.abs());
                    *g = (if y > 0.0 { 1.0 } else { small }) / (1.0 + small) / count;
                    *e = small;
                }
                to[at] = 0.0;
                to[at] = -sum(to);
                p.iter_mut().zip(&*x).for_each(|(p, x)| *p = (x - positive).max(0.0));
                e[at] = 0.0;
                (f64::from(sum(p)) + sum_of_ln_1p(e)) as f32 / count
            }
            Ranking::Top1 => {
                for ((g, e), x) in to.iter_mut().zip(e.iter_mut()).zip(&*x) {
                    let (a, b) = (sigmoid(x - positive), sigmoid(x * x));
                    *g = a * (1.0 - a);
                    *e = a + b;
                }
                (to[at], e[at]) = (0.0, 0.0);
                let back = sum(to);
                for (g, x) in to.iter_mut().zip(&*x) {
                    let b = sigmoid(x * x);
                    *g = (*g + 2.0 * x * b * (1.0 - b)) / count;
                }
                to[at] = -back / count;
                sum(e) / count
            }
            Ranking::Top1Max => {
                softmax_of_negatives(x, at, e);
                // e is s; the slopes hold what does not depend on the sum.
                for ((((g, p), w), s), x) in to.iter_mut().zip(p.iter_mut()).zip(w.iter_mut()).zip(&*e).zip(&*x) {
                    let (a, b) = (sigmoid(x - positive), sigmoid(x * x));
                    *p = s * (a + b);
                    *w = s * a * (1.0 - a);
                    *g = a + b + a * (1.0 - a) + 2.0 * x * b * (1.0 - b);
                }
                let loss = sum(p);
                to.iter_mut().zip(&*e).for_each(|(g, s)| *g = s * (*g - loss));
                to[at] = -sum(w);
                loss
            }
            Ranking::BprMax { score_l2 } => {
                softmax_of_negatives(x, at, e);
                // σ(r⁺ − rⱼ) over e^c, c such that the largest is not too small: the sum stays exact where every sigmoid is tiny.
                p.iter_mut().zip(&*x).for_each(|(p, x)| *p = positive - x);
                p[at] = f32::NEG_INFINITY;
                let c = largest(p).min(0.0);
                for (((((g, p), q), w), s), x) in to.iter_mut().zip(p.iter_mut()).zip(q.iter_mut()).zip(w.iter_mut()).zip(&*e).zip(&*x) {
                    let y = positive - x;
                    let small = 1.0 + exp(-y.abs());
                    // Of the positive it may be large, but it is finite, and s is 0.
                    let scaled = exp(y.min(0.0) - c) / small;
                    // 1 − σ(y).
                    let rest = (if y > 0.0 { small - 1.0 } else { 1.0 }) / small;
                    *g = scaled * (1.0 - rest);
                    *p = s * scaled;
                    *q = s * x * x;
                    *w = s * scaled * rest;
                }
                let [weighted, norm, back] = [sum(p), sum(q), sum(w)];
                for ((g, s), x) in to.iter_mut().zip(&*e).zip(&*x) {
                    // σ(1 − σ) is taken from σ: what remains is σ².
                    *g = s * (1.0 - *g / weighted + score_l2 * (x * x - norm + 2.0 * x));
                }
                to[at] = -back / weighted;
                score_l2 * norm - c - weighted.ln()
            }
        };
        if !matches!(activation, OutputActivation::Identity {}) {
            for ((g, s), b) in to.iter_mut().zip(from).zip(bias) {
                *g *= activation.value_and_slope(s + b).1;
            }
        }
        f64::from(loss)
    }
}

/// Softmax of all numbers but the one at `at`, which gets 0.
#[inline(always)]
fn softmax_of_negatives(x: &mut [f32], at: usize, to: &mut [f32]) {
    let positive = std::mem::replace(&mut x[at], f32::NEG_INFINITY);
    let most = largest(x);
    for (to, x) in to.iter_mut().zip(&*x) {
        *to = exp(x - most);
    }
    x[at] = positive;
    to[at] = 0.0;
    let share = 1.0 / sum(to);
    to.iter_mut().for_each(|s| *s *= share);
}

/// The loss's slopes by the scores.
struct Slopes(Tensor);

impl Gradient for Slopes {
    fn backward(&self, gradient: &Tensor, _: &Tensor, _: Option<&Tensor>, wants: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let to_scores = self.0.f_mul(gradient)?;
        let to_bias = wants[1].then(|| to_scores.f_sum_dim_intlist(0, false, None::<Kind>)).transpose()?;
        Ok([wants[0].then_some(to_scores), to_bias])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Similarity, Strangers};

    const LOSSES: [LossConfig; 6] = [
        LossConfig::CrossEntropy {},
        LossConfig::Bpr {},
        LossConfig::Top1 {},
        LossConfig::Top1Max {},
        LossConfig::BprMax { score_l2: 0.0 },
        LossConfig::BprMax { score_l2: 0.8 },
    ];

    /// Loss, and slopes by scores and bias, of a function of both.
    fn slopes(scores: &Tensor, bias: &Tensor, loss: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> [Tensor; 3] {
        let (scores, bias) = (scores.copy().set_requires_grad(true), bias.copy().set_requires_grad(true));
        let value = loss(&scores, &bias).expect("accepts its input");
        (&value * 0.7).backward();
        [value.detach(), scores.grad(), bias.grad()].map(|t| t.to_kind(Kind::Double))
    }

    #[test]
    fn values_and_slopes_are_those_of_libtorch_in_f64() {
        tch::manual_seed(4);
        for loss in LOSSES {
            for activation in [OutputActivation::Identity {}, OutputActivation::Tanh {}, OutputActivation::Elu { alpha: 0.5 }] {
                for (rows, columns, scale) in [(1, 2, 1.0), (3, 3, 1.0), (5, 37, 1.0), (7, 66, 6.0)] {
                    let scores = Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)) * scale;
                    let bias = Tensor::randn([columns], (Kind::Float, Device::Cpu));
                    let found = slopes(&scores, &bias, |s, b| shared_negatives(&loss, activation, s, b));
                    let (scores, bias) = (scores.to_kind(Kind::Double), bias.to_kind(Kind::Double));
                    let expected = slopes(&scores, &bias, |s, b| by_libtorch(&loss, &activation.apply(&(s + b))?));
                    for (found, expected) in found.iter().zip(&expected) {
                        // Where slopes cancel, what is left is the rounding of numbers around 1.
                        let size = expected.abs().max().double_value(&[]).max(0.1);
                        let difference = (found - expected).abs().max().double_value(&[]);
                        assert!(difference < 2e-6 * size, "{loss:?} {activation:?} {rows} × {columns}: {difference} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn far_scores_have_finite_losses_and_slopes() {
        let scores = Tensor::from_slice(&[-300f32, 300.0, 280.0, 5.0, 100.0, -300.0]).view([2, 3]);
        let bias = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        for loss in LOSSES {
            let [value, by_scores, by_bias] = slopes(&scores, &bias, |s, b| shared_negatives(&loss, OutputActivation::Identity {}, s, b));
            for t in [value, by_scores, by_bias] {
                assert!(bool::try_from(t.isfinite().all()).expect("one"), "{loss:?}");
            }
        }
        let bpr_max = LossConfig::BprMax { score_l2: 0.0 };
        let value = shared_negatives(&bpr_max, OutputActivation::Identity {}, &scores, &bias).expect("fine").double_value(&[]);
        assert!((value - (600.0 + 0.0) / 2.0).abs() < 1.0, "{value}");
    }

    #[test]
    fn what_is_no_ranking_is_refused() {
        let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let bias = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        let error = shared_negatives(
            &LossConfig::InfoNce { temperature: 0.1, similarity: Similarity::Cosine, negatives: Strangers::OtherView },
            OutputActivation::Identity {},
            &x,
            &bias,
        )
        .expect_err("no ranking");
        assert!(error.to_string().starts_with("the loss `info-nce` judges two views"), "{error}");
        assert!(shared_negatives(&LossConfig::Bpr {}, OutputActivation::Identity {}, &x.transpose(0, 1), &bias).is_err());
    }
}
