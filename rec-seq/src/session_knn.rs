//! Session-kNN (SKNN): Ludewig & Jannach, UMUAI 2018, arXiv:1803.09587, section 3.1.3, after Jannach & Ludewig, RecSys 2017.

use anyhow::Result;
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

use crate::past_sessions::PastSessions;

/// Hyper-parameters. Defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionKnnConfig {
    /// k: how many past sessions speak.
    pub neighbours: usize,
    /// m: how many of the latest sessions with an item of the present one are looked at.
    pub sample_size: usize,
}

impl Default for SessionKnnConfig {
    fn default() -> Self {
        Self { neighbours: 500, sample_size: 1000 }
    }
}

impl ModelConfig for SessionKnnConfig {
    fn check(&self) -> Result<()> {
        require!(self.neighbours > 0, Usage, "`neighbours` is 0: it must be at least 1");
        require!(self.sample_size > 0, Usage, "`sample_size` is 0: it must be at least 1");
        Ok(())
    }
}

/// score(h, j) = Σ of sim(h, s) over the neighbours s of h that have j, where sim is the cosine of the sets of items:
/// |h ∩ s| / √(|h|·|s|). Of equally near sessions the later ones are neighbours.
pub struct SessionKnn {
    config: SessionKnnConfig,
    num_items: usize,
    past: PastSessions,
}

impl Fit for SessionKnn {
    type Config = SessionKnnConfig;
    const ONE_PASS: bool = true;

    fn new(config: &SessionKnnConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { config: config.clone(), num_items: data.num_items(), past: PastSessions::default() })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        self.past = PastSessions::of(data);
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.past.save(out);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.past = PastSessions::load(self.num_items, from)?;
        Ok(())
    }
}

impl Score for SessionKnn {
    fn num_items(&self) -> usize {
        self.num_items
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = vec![0f32; users.len() * self.num_items];
        let one = |scratch: &mut _, (at, scores): (usize, &mut [f32])| {
            let mut present: Vec<(u32, f64)> = users.history(at).iter().map(|&item| (item, 1.0)).collect();
            present.sort_unstable_by_key(|p| p.0);
            present.dedup();
            let cosine = |shared: f64, items: usize| shared / (present.len() as f64 * items as f64).sqrt();
            for &(similarity, session) in self.past.nearest(&present, self.config.sample_size, self.config.neighbours, cosine, scratch) {
                self.past.items(session).iter().for_each(|&item| scores[item as usize] += similarity as f32);
            }
        };
        scores.par_chunks_mut(self.num_items).enumerate().for_each_init(|| self.past.scratch(), one);
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, fitted, scores, view};

    #[test]
    fn sessions_alike_speak_for_their_items() {
        let data = view(6, &[&[0, 1, 0], &[1, 2, 3], &[4, 5], &[0, 1, 4]]);
        let with = |neighbours, sample_size, history: &[u32]| {
            scores(&fitted::<SessionKnn>(&SessionKnnConfig { neighbours, sample_size }, &data), history)
        };
        // With 0 1 0 the first session shares 2 of 2 items, the second 1 of 3, the fourth 2 of 3.
        let (first, second, fourth) = (1.0, 1.0 / 6f64.sqrt(), 2.0 / 6f64.sqrt());
        assert_near(&with(9, 9, &[0, 1, 0]), &[first + fourth, first + second + fourth, second, second, fourth, 0.0]);
        assert_near(&with(2, 9, &[0, 1, 0]), &[first + fourth, first + fourth, 0.0, 0.0, fourth, 0.0]);
        // The two latest with 0 or 1 are the fourth and the second.
        assert_near(&with(9, 2, &[0, 1, 0]), &[fourth, second + fourth, second, second, fourth, 0.0]);
        // Equally near are the fourth and the second: the later one is taken.
        let third = 1.0 / 3f64.sqrt();
        assert_near(&with(1, 2, &[1]), &[third, third, 0.0, 0.0, third, 0.0]);
        assert_near(&with(9, 9, &[]), &[0.0; 6]);
    }
}
