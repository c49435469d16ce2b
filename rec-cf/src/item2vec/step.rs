//! One step of negative sampling: hidden vectors against one positive and some negative output vectors.

use rec_core::simd::{exp, fold};

use crate::online::LINE;

/// Scores that go through the sigmoid at once.
const LANES: usize = 8;

/// What a step works in, and the loss of the steps so far.
pub(super) struct Step {
    /// Length of a vector, whole lines.
    dim: usize,
    /// h: `[hidden vectors, dim]`. Filled in before a step.
    pub hidden: Vec<f32>,
    /// What a step adds to each of them, as a vector that is learned: `[hidden vectors, dim]`.
    pub change: Vec<f32>,
    /// x, then ηg: `[hidden vectors, outputs]`, each row filled up to whole lanes.
    slopes: Vec<f32>,
    /// The sums whose lanes add up to h · o, one an output.
    sums: Vec<[f32; LINE]>,
    loss: f64,
    /// Π of the probabilities whose logarithm is not yet in `loss`: one logarithm serves many steps.
    likelihood: f64,
}

impl Step {
    pub fn new(dim: usize) -> Self {
        Self { dim, hidden: Vec::new(), change: Vec::new(), slopes: Vec::new(), sums: Vec::new(), loss: 0.0, likelihood: 1.0 }
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Σ over the steps since the last call of −ln σ(x) of positives and −ln σ(−x) of negatives, each from before its step.
    pub fn take_loss(&mut self) -> f64 {
        let loss = self.loss - self.likelihood.ln();
        (self.loss, self.likelihood) = (0.0, 1.0);
        loss
    }

    /// With x = h · o and g = 1 − σ(x) for the first of the rows `at` of `outputs`, g = −σ(x) for the others, all from before the step:
    /// o ← o + η Σ_h g h, and [`change`](Self::change) is η Σ_o g o. A row that is named twice counts twice, the second time as moved.
    #[inline(always)]
    pub fn learn(&mut self, outputs: &mut [f32], at: &[u32], rate: f32) {
        let (lines, width) = (self.dim / LINE, at.len().next_multiple_of(LANES));
        let (hidden, outputs) = (self.hidden.as_chunks::<LINE>().0, outputs.as_chunks_mut::<LINE>().0);
        let rows = hidden.len() / lines;
        self.slopes.clear();
        // What is never a negative fills the lanes up.
        self.slopes.resize(rows * width, f32::NEG_INFINITY);
        self.sums.resize(self.sums.len().max(at.len()), [0.0; LINE]);
        for row in 0..rows {
            let (hidden, slopes) = (&hidden[row * lines..][..lines], &mut self.slopes[row * width..][..width]);
            for (sum, &place) in self.sums.iter_mut().zip(at) {
                *sum = products(hidden, &outputs[place as usize * lines..][..lines]);
            }
            for (slope, sum) in slopes.iter_mut().zip(&self.sums[..at.len()]) {
                *slope = fold(*sum);
            }
            slopes[0] = -slopes[0];
            for lanes in slopes.as_chunks_mut::<LANES>().0 {
                self.likelihood *= f64::from(to_slopes(lanes, rate));
            }
            slopes[0] = -slopes[0];
            if self.likelihood < 1e-100 {
                self.loss -= self.likelihood.ln();
                self.likelihood = 1.0;
            }
        }
        self.change.clear();
        self.change.resize(rows * self.dim, 0.0);
        let (change, slopes) = (self.change.as_chunks_mut::<LINE>().0, &self.slopes[..]);
        for line in 0..lines {
            if rows == 1 {
                // The usual case, with sums that stay in registers.
                let mut sum = [0f32; LINE];
                for (&place, &slope) in at.iter().zip(slopes) {
                    let output = &mut outputs[place as usize * lines + line];
                    let (before, mut after) = (*output, *output);
                    add_product(&mut sum, slope, &before);
                    add_product(&mut after, slope, &hidden[line]);
                    *output = after;
                }
                change[line] = sum;
                continue;
            }
            for (which, &place) in at.iter().enumerate() {
                let output = &mut outputs[place as usize * lines + line];
                let (before, mut after) = (*output, *output);
                for row in 0..rows {
                    let slope = slopes[row * width + which];
                    add_product(&mut change[row * lines + line], slope, &before);
                    add_product(&mut after, slope, &hidden[row * lines + line]);
                }
                *output = after;
            }
        }
    }
}

// Loops, where `std::array::from_fn` or `for_each` would be shorter: what those call is not always inlined, and then has no fused
// multiply-add.

/// Σ a·b over the lines.
#[inline(always)]
fn products(a: &[[f32; LINE]], b: &[[f32; LINE]]) -> [f32; LINE] {
    let mut sums = [0f32; LINE];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LINE {
            sums[l] = a[l].mul_add(b[l], sums[l]);
        }
    }
    sums
}

/// sum += factor · line.
#[inline(always)]
fn add_product(sum: &mut [f32; LINE], factor: f32, line: &[f32; LINE]) {
    for l in 0..LINE {
        sum[l] = factor.mul_add(line[l], sum[l]);
    }
}

/// Turns scores x of negatives into −ησ(x); returns Π σ(−x).
#[inline(always)]
fn to_slopes(scores: &mut [f32; LANES], rate: f32) -> f32 {
    let mut right = [0f32; LANES];
    for (x, right) in scores.iter_mut().zip(&mut right) {
        // σ(x) and σ(−x), each from an exponential that does not overflow.
        let small = exp(-x.abs());
        let near = 1.0 / (1.0 + small);
        let far = small * near;
        let above = *x >= 0.0;
        *right = if above { far } else { near };
        *x = -rate * if above { near } else { far };
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            right[lane] *= right[lane + width];
        }
        width /= 2;
    }
    right[0]
}

#[cfg(test)]
mod tests {
    use rec_core::simd::vectorised;
    use rec_data::rng::{Rng, Stream};

    use super::*;

    const DIM: usize = 32;

    /// −ln σ(h · o) for the first of the outputs `at`, −ln σ(−h · o) for the others, over all h.
    fn loss(hidden: &[f64], outputs: &[f64], at: &[u32]) -> f64 {
        let pair = |h: &[f64], place: usize| {
            let x: f64 = h.iter().zip(&outputs[at[place] as usize * DIM..]).map(|(h, o)| h * o).sum();
            (if place == 0 { -x } else { x }).exp().ln_1p()
        };
        hidden.chunks(DIM).map(|h| (0..at.len()).map(|place| pair(h, place)).sum::<f64>()).sum()
    }

    /// The slope of `of` at each entry of `values`, by central differences.
    fn slopes(values: &[f64], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        const BY: f64 = 1e-5;
        let moved = |at: usize, by: f64| of(&values.iter().enumerate().map(|(i, v)| if i == at { v + by } else { *v }).collect::<Vec<_>>());
        (0..values.len()).map(|at| (moved(at, BY) - moved(at, -BY)) / (2.0 * BY)).collect()
    }

    #[test]
    fn a_step_goes_down_the_slope_of_the_loss_that_it_tells() {
        let mut rng = Rng::keyed(7, Stream::Init, 0, 0);
        let mut draw = |n: usize| -> Vec<f32> { (0..n * DIM).map(|_| 0.4 * rng.normal() as f32).collect() };
        for (rows, named) in [(1, 1), (1, 6), (1, 19), (3, 1), (4, 9)] {
            let (hidden, mut outputs) = (draw(rows), draw(20));
            let at: Vec<u32> = (0..named).map(|place| (place * 7 + 3) % 20).collect();
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (h, o) = (wide(&hidden), wide(&outputs));
            let mut step = Step::new(DIM);
            step.hidden.extend_from_slice(&hidden);
            vectorised(
                #[inline(always)]
                || step.learn(&mut outputs, &at, 0.5),
            );
            let told = step.take_loss();
            assert!((told / loss(&h, &o, &at) - 1.0).abs() < 1e-5, "{rows} × {named}: {told}");
            assert_eq!(step.take_loss(), 0.0);
            let close = |found: f64, slope: f64| assert!((found + 0.5 * slope).abs() < 2e-5, "{rows} × {named}: {found} for {slope}");
            step.change.iter().zip(slopes(&h, |h| loss(h, &o, &at))).for_each(|(&change, slope)| close(f64::from(change), slope));
            let moved = outputs.iter().zip(&o).map(|(&after, before)| f64::from(after) - before);
            moved.zip(slopes(&o, |o| loss(&h, o, &at))).for_each(|(moved, slope)| close(moved, slope));
        }
    }

    #[test]
    fn scores_beyond_what_an_exponential_holds_have_a_finite_loss() {
        for (sign, expected) in [(1.0, 0.0), (-1.0, 87.0)] {
            let mut step = Step::new(DIM);
            step.hidden.resize(DIM, 10.0 * sign);
            step.learn(&mut [10.0; DIM], &[0], 0.1);
            let told = step.take_loss();
            assert!((told - expected).abs() < 1.0 && step.change.iter().all(|v| v.is_finite()), "{told}");
        }
    }
}
