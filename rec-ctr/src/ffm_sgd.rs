//! Field-aware factorisation machine by one AdaGrad update a row, as libffm has it: Juan et al., RecSys 2016, algorithm 1.
//!
//! φ = Σ over pairs of the row's entries of ⟨w_{j₁,f₂}, w_{j₂,f₁}⟩ x_{j₁} x_{j₂} / ‖x‖²; there is no weight of single features and no bias. Two
//! features of one field are a pair as well. Rows are learned from one after the other, on one thread.

use anyhow::Result;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, LabelScore, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::simd::vectorised;
use rec_core::state::{StateReader, StateWriter};
use rec_data::batch::FieldsBatch;
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::{check_above_0, check_size};

/// Hyper-parameters. Defaults are libffm's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FfmSgdConfig {
    /// k, the length of the vector that a feature has for each field.
    pub embedding_size: usize,
    /// η.
    pub learning_rate: f64,
    /// λ of λ‖w‖²/2 over the vectors that a row has.
    pub l2: f64,
    /// Whether a row is divided by its length.
    pub normalise: bool,
}

impl Default for FfmSgdConfig {
    fn default() -> Self {
        Self { embedding_size: 4, learning_rate: 0.2, l2: 2e-5, normalise: true }
    }
}

impl ModelConfig for FfmSgdConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_above_0("learning_rate", self.learning_rate)?;
        require!(self.l2 >= 0.0 && self.l2.is_finite(), Usage, "`l2` is {}: it must be at least 0", self.l2);
        Ok(())
    }
}

/// Rows that are made at once.
const ROWS: usize = 4096;

/// w and the sums of squared gradients; the vector of feature j for field f starts at (j·F + f)·k.
pub struct FfmSgd {
    config: FfmSgdConfig,
    seed: u64,
    fields: usize,
    weights: Vec<f32>,
    squares: Vec<f32>,
}

/// An entry of a row: its field, where its feature's vectors start, and its value.
type Node = (usize, usize, f32);

impl Fit for FfmSgd {
    type Config = FfmSgdConfig;
    const ONE_PASS: bool = false;

    /// Weights are uniform on [0, 1/√k), squares start as 1.
    fn new(config: &FfmSgdConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let encoders = data.labelled()?.encoders();
        let (fields, features, k) = (encoders.fields().len(), encoders.num_features(), config.embedding_size);
        let scale = 1.0 / (k as f64).sqrt();
        let width = fields * k;
        let mut weights = vec![0f32; features * width];
        for (feature, row) in weights.chunks_exact_mut(width).enumerate() {
            let mut rng = Rng::keyed(seed, Stream::Init, 0, feature as u64);
            row.iter_mut().for_each(|w| *w = (rng.unit() * scale) as f32);
        }
        Ok(Self { config: config.clone(), seed, fields, squares: vec![1.0; weights.len()], weights })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let rows = data.labelled()?;
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        Rng::keyed(self.seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
        let mut loss = 0.0;
        let mut nodes = Vec::new();
        for some in order.chunks(ROWS) {
            let batch = rows.batch(some, false);
            for (row, &label) in batch.labels.iter().enumerate() {
                let scale = self.nodes(&batch, row, &mut nodes);
                loss += self.learn(&nodes, scale, label > 0.5);
            }
        }
        let mean = loss / rows.len().max(1) as f64;
        if !mean.is_finite() {
            fail!(Numeric, "the loss is {mean} in epoch {}: lower `learning_rate`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/loss", epoch: epoch + 1, value: mean })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.floats("weights", &[self.weights.len()], &self.weights);
        out.floats("squares", &[self.squares.len()], &self.squares);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("weights", &mut self.weights)?;
        from.floats_into("squares", &mut self.squares)
    }
}

impl FfmSgd {
    /// The entries of a row, and 1/‖x‖².
    fn nodes(&self, batch: &FieldsBatch, row: usize, nodes: &mut Vec<Node>) -> f32 {
        let width = self.fields * self.config.embedding_size;
        nodes.clear();
        let mut norm = 0.0;
        for field in 0..self.fields {
            let at = row * self.fields + field;
            let values = batch.entries.row_values(at);
            for (entry, &feature) in batch.entries.row(at).iter().enumerate() {
                let value = values.get(entry).copied().unwrap_or(1.0);
                norm += value * value;
                nodes.push((field, feature as usize * width, value));
            }
        }
        if self.config.normalise && norm > 0.0 { 1.0 / norm } else { 1.0 }
    }

    /// φ.
    #[inline(always)]
    fn phi(&self, nodes: &[Node], scale: f32) -> f32 {
        let k = self.config.embedding_size;
        let mut sum = 0.0;
        for (at, &(f1, j1, x1)) in nodes.iter().enumerate() {
            for &(f2, j2, x2) in &nodes[at + 1..] {
                let (one, other) = (&self.weights[j1 + f2 * k..][..k], &self.weights[j2 + f1 * k..][..k]);
                let product: f32 = one.iter().zip(other).map(|(a, b)| a * b).sum();
                sum += product * (x1 * x2 * scale);
            }
        }
        sum
    }

    /// One row: returns its loss, ln(1 + e^(−yφ)), and moves what it touches.
    fn learn(&mut self, nodes: &[Node], scale: f32, positive: bool) -> f64 {
        let mut loss = 0.0;
        vectorised(
            #[inline(always)]
            || loss = self.learn_one(nodes, scale, positive),
        );
        loss
    }

    #[inline(always)]
    fn learn_one(&mut self, nodes: &[Node], scale: f32, positive: bool) -> f64 {
        let margin = if positive { self.phi(nodes, scale) } else { -self.phi(nodes, scale) };
        // 1 − σ(margin) and the loss, from an exponential that does not overflow.
        let small = (-margin.abs()).exp();
        let miss = if margin >= 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
        let kappa = if positive { -miss } else { miss };
        let (k, eta, l2) = (self.config.embedding_size, self.config.learning_rate as f32, self.config.l2 as f32);
        for (at, &(f1, j1, x1)) in nodes.iter().enumerate() {
            for &(f2, j2, x2) in &nodes[at + 1..] {
                let factor = kappa * (x1 * x2 * scale);
                let (one, other) = (j1 + f2 * k, j2 + f1 * k);
                for d in 0..k {
                    let (a, b) = (self.weights[one + d], self.weights[other + d]);
                    let (to_a, to_b) = (l2 * a + factor * b, l2 * b + factor * a);
                    self.squares[one + d] += to_a * to_a;
                    self.weights[one + d] -= eta * to_a / self.squares[one + d].sqrt();
                    self.squares[other + d] += to_b * to_b;
                    self.weights[other + d] -= eta * to_b / self.squares[other + d].sqrt();
                }
            }
        }
        f64::from(small.ln_1p() + (-margin).max(0.0))
    }
}

impl Score for FfmSgd {
    fn num_items(&self) -> usize {
        0
    }

    fn score<'a>(&'a self, _users: &Users<'a>) -> Result<Scores<'a>> {
        crate::ranks_nothing()
    }

    fn label_score(&self) -> Option<&dyn LabelScore> {
        Some(self)
    }
}

impl LabelScore for FfmSgd {
    fn logits(&self, rows: &FieldsBatch) -> Result<Vec<f32>> {
        let mut nodes = Vec::new();
        let one = |row| {
            let scale = self.nodes(rows, row, &mut nodes);
            self.phi(&nodes, scale)
        };
        Ok((0..rows.rows).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rec_data::csr::Csr;

    /// The same rows in plain loops over f64, as algorithm 1 says it.
    #[test]
    fn a_row_moves_what_the_algorithm_moves() {
        let config = FfmSgdConfig { embedding_size: 3, learning_rate: 0.3, l2: 0.01, normalise: true };
        let (fields, k, features) = (3, 3, 7);
        let mut rng = Rng::keyed(9, Stream::Init, 0, 0);
        let start: Vec<f32> = (0..features * fields * k).map(|_| rng.unit() as f32).collect();
        let mut model = FfmSgd { config, seed: 1, fields, squares: vec![1.0; start.len()], weights: start.clone() };
        // Field 1 of the first row has two features.
        let entries = Csr::from_parts(vec![0, 1, 3, 4, 5, 6, 7], vec![0, 2, 3, 6, 1, 2, 5], vec![1.0, 0.5, 0.5, 2.0, 1.0, 1.0, -1.0], 7);
        let batch = FieldsBatch { rows: 2, entries, histories: Vec::new(), labels: vec![1.0, 0.0], values: vec![1.0, 0.0] };
        let mut w: Vec<f64> = start.iter().map(|&v| f64::from(v)).collect();
        let mut g = vec![1f64; w.len()];
        let first = vec![(0, 0, 1.0), (1, 2, 0.5), (1, 3, 0.5), (2, 6, 2.0)];
        let rows = [(first, 1.0), (vec![(0, 1, 1.0), (1, 2, 1.0), (2, 5, -1.0)], -1.0f64)];
        let mut nodes = Vec::new();
        for turn in 0..6 {
            let (row, y) = &rows[turn % 2];
            let r = 1.0 / row.iter().map(|&(_, _, x)| f64::powi(x, 2)).sum::<f64>();
            let at = |j: usize, f: usize, d: usize| (j * fields + f) * k + d;
            let pairs: Vec<_> = (0..row.len()).flat_map(|a| (a + 1..row.len()).map(move |b| (a, b))).collect();
            let mut phi = 0.0;
            for &(a, b) in &pairs {
                let ((f1, j1, x1), (f2, j2, x2)) = (row[a], row[b]);
                phi += (0..k).map(|d| w[at(j1, f2, d)] * w[at(j2, f1, d)]).sum::<f64>() * x1 * x2 * r;
            }
            let expected = (1.0 + (-y * phi).exp()).ln();
            let kappa = -y / (1.0 + (y * phi).exp());
            for &(a, b) in &pairs {
                let ((f1, j1, x1), (f2, j2, x2)) = (row[a], row[b]);
                for d in 0..k {
                    let (p, q) = (at(j1, f2, d), at(j2, f1, d));
                    let (to_p, to_q) = (0.01 * w[p] + kappa * w[q] * x1 * x2 * r, 0.01 * w[q] + kappa * w[p] * x1 * x2 * r);
                    g[p] += to_p * to_p;
                    g[q] += to_q * to_q;
                    w[p] -= 0.3 / g[p].sqrt() * to_p;
                    w[q] -= 0.3 / g[q].sqrt() * to_q;
                }
            }
            let scale = model.nodes(&batch, turn % 2, &mut nodes);
            let found = model.learn(&nodes, scale, *y > 0.0);
            assert!((found - expected).abs() < 1e-5, "turn {turn}: {found} and {expected}");
        }
        for (found, expected) in model.weights.iter().zip(&w) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
        }
        assert!(model.weights != start);
    }
}
