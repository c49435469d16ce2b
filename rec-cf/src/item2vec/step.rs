//! One step of negative sampling: hidden vectors against one positive and some negative output vectors.

use rec_core::simd::{exp, lane_dot as dot};

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
    loss: f64,
    /// Π of the probabilities whose logarithm is not yet in `loss`: one logarithm serves many steps.
    likelihood: f64,
}

impl Step {
    pub fn new(dim: usize) -> Self {
        Self { dim, hidden: Vec::new(), change: Vec::new(), slopes: Vec::new(), loss: 0.0, likelihood: 1.0 }
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
    /// o ← o + η Σ_h g h, and [`change`](Self::change) is η Σ_o g o. A row that is named twice counts twice.
    #[inline(always)]
    pub fn learn(&mut self, outputs: &mut [f32], at: &[u32], rate: f32) {
        let (dim, width) = (self.dim, at.len().next_multiple_of(LANES));
        let rows = self.hidden.len() / dim;
        self.slopes.clear();
        // What is never a negative fills the lanes up.
        self.slopes.resize(rows * width, f32::NEG_INFINITY);
        for (hidden, slopes) in self.hidden.chunks_exact(dim).zip(self.slopes.chunks_exact_mut(width)) {
            for (slope, &row) in slopes.iter_mut().zip(at) {
                *slope = dot(hidden, &outputs[row as usize * dim..][..dim]);
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
        self.change.resize(rows * dim, 0.0);
        for (change, slopes) in self.change.chunks_exact_mut(dim).zip(self.slopes.chunks_exact(width)) {
            for (line, change) in change.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
                let mut sum = [0f32; LINE];
                for (&row, &slope) in at.iter().zip(slopes) {
                    let output = &outputs[row as usize * dim + line * LINE..][..LINE];
                    sum = std::array::from_fn(|l| slope.mul_add(output[l], sum[l]));
                }
                *change = sum;
            }
        }
        for (place, &row) in at.iter().enumerate() {
            for (line, output) in outputs[row as usize * dim..][..dim].as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
                for (hidden, slopes) in self.hidden.chunks_exact(dim).zip(self.slopes.chunks_exact(width)) {
                    let (hidden, slope) = (&hidden[line * LINE..][..LINE], slopes[place]);
                    *output = std::array::from_fn(|l| slope.mul_add(hidden[l], output[l]));
                }
            }
        }
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
