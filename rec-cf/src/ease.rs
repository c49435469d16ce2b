//! EASE: an item–item linear model in closed form. Steck, WWW 2019, arXiv:1905.03375.

use std::borrow::Cow;

use anyhow::{Context, Result};
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::simd::vectorised;
use rec_core::state::{StateReader, StateWriter};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::history::distinct;

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EaseConfig {
    /// λ of λ‖B‖².
    pub l2: f64,
}

impl Default for EaseConfig {
    fn default() -> Self {
        Self { l2: 500.0 }
    }
}

impl ModelConfig for EaseConfig {
    fn check(&self) -> Result<()> {
        require!(self.l2 > 0.0, Usage, "`l2` is {}: it must be above 0", self.l2);
        Ok(())
    }
}

/// score(u, j) = Σ_{i in the user's history} B_ij, with P = (XᵀX + λI)⁻¹, B_ij = −P_ij / P_jj, B_jj = 0, X binary.
///
/// Memory: the square of the number of items, in f64 while it is inverted.
pub struct Ease {
    config: EaseConfig,
    num_items: usize,
    /// B: `[items, items]`, row after row.
    weights: Vec<f32>,
}

impl Fit for Ease {
    type Config = EaseConfig;
    const ONE_PASS: bool = true;

    fn new(config: &EaseConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { config: config.clone(), num_items: data.num_items(), weights: Vec::new() })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let n = self.num_items;
        let inverse = inverse_of_gram(data, self.config.l2).with_context(|| format!("inverting a matrix of {n} × {n} items"))?;
        let diagonal: Vec<f64> = (0..n).map(|j| inverse[j * n + j]).collect();
        self.weights = vec![0.0; n * n];
        self.weights.par_chunks_mut(n).zip(inverse.par_chunks(n)).enumerate().for_each(|(i, (out, p))| {
            for (j, (out, p)) in out.iter_mut().zip(p).enumerate() {
                *out = if i == j { 0.0 } else { (-p / diagonal[j]) as f32 };
            }
        });
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.floats("weights", &[self.num_items, self.num_items], &self.weights);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.weights = vec![0.0; self.num_items * self.num_items];
        from.floats_into("weights", &mut self.weights)
    }
}

/// (XᵀX + λI)⁻¹ in f64, by Cholesky's factors.
fn inverse_of_gram(data: &TrainView, l2: f64) -> Result<Vec<f64>> {
    let n = data.num_items();
    let (by_item, by_user) = (data.by_item(), data.by_user());
    let mut gram = vec![0f64; n * n];
    gram.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        for &user in by_item.row(i) {
            for &j in by_user.row(user as usize) {
                row[j as usize] += 1.0;
            }
        }
        row[i] += l2;
    });
    let gram = Tensor::f_from_slice(&gram)?.f_view([n as i64, n as i64])?;
    let inverse = gram.f_linalg_cholesky(false)?.f_cholesky_inverse(false)?.f_contiguous()?;
    let mut out = vec![0f64; n * n];
    inverse.f_copy_data(&mut out, n * n)?;
    Ok(out)
}

impl Score for Ease {
    fn num_items(&self) -> usize {
        self.num_items
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        /// Users that share a strip of B, and its width: 512 columns of all rows stay in the last cache.
        const USERS: usize = 64;
        const STRIP: usize = 512;
        let n = self.num_items;
        let mut scores = vec![0f32; users.len() * n];
        let histories: Vec<Cow<[u32]>> = (0..users.len()).map(|u| distinct(users.history(u))).collect();
        scores.par_chunks_mut(USERS * n).zip(histories.par_chunks(USERS)).for_each(|(scores, histories)| {
            vectorised(
                #[inline(always)]
                || {
                    for start in (0..n).step_by(STRIP) {
                        let end = (start + STRIP).min(n);
                        for (scores, history) in scores.chunks_exact_mut(n).zip(histories) {
                            let out = &mut scores[start..end];
                            for &item in &**history {
                                let weights = &self.weights[item as usize * n..][start..end];
                                out.iter_mut().zip(weights).for_each(|(s, w)| *s += w);
                            }
                        }
                    }
                },
            );
        });
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rec_core::train::{EpochEnd, FitTrainer, Interrupt, Pause, Trainer};
    use rec_data::{Interactions, Vocabulary};
    use std::sync::Arc;

    #[test]
    fn weights_solve_the_constrained_ridge_regression() {
        let data = Arc::new(TrainView::of_all(&Interactions {
            users: vec![0, 0, 1, 1, 2, 2, 2, 3].into(),
            items: vec![0, 1, 1, 2, 0, 1, 2, 0].into(),
            user_ids: Vocabulary::numbers(4),
            item_ids: Vocabulary::numbers(3),
            ..Interactions::default()
        }));
        let mut trainer = FitTrainer::<Ease>::new(&EaseConfig { l2: 2.0 }, &data, 1).expect("fits");
        let pause = Pause { interrupt: Interrupt::default(), after: std::time::Duration::MAX };
        assert!(matches!(trainer.epoch(0, 0, &pause, &mut Events::silent()), Ok(EpochEnd::Done { .. })));
        let weights = trainer.into_model().weights;
        // Column j is the ridge regression of item j on the others: its normal equations must hold.
        let x = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0f64]];
        for j in 0..3 {
            for k in (0..3).filter(|&k| k != j) {
                let gradient: f64 = x
                    .iter()
                    .map(|row| row[k] * ((0..3).map(|i| row[i] * f64::from(weights[i * 3 + j])).sum::<f64>() - row[j]))
                    .sum::<f64>()
                    + 2.0 * f64::from(weights[k * 3 + j]);
                assert!(gradient.abs() < 1e-6, "∂L/∂B_{k}{j} = {gradient}");
            }
            assert_eq!(weights[j * 3 + j], 0.0);
        }
    }
}
