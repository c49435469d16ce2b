//! Popularity within the session (S-POP), as the baseline of GRU4Rec: Hidasi et al., ICLR 2016, arXiv:1511.06939, section 4.

use anyhow::Result;
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

/// Nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPopularityConfig {}

impl ModelConfig for SessionPopularityConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// score(h, j) = how often the history h has j, plus n(j) / (max n + 1), where n(j) is the number of training rows of j: the most frequent items
/// of the session first, then the most popular ones of all.
pub struct SessionPopularity {
    popularity: Vec<f32>,
}

impl Fit for SessionPopularity {
    type Config = SessionPopularityConfig;
    const ONE_PASS: bool = true;

    fn new(_: &SessionPopularityConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { popularity: vec![0.0; data.num_items()] })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let counts = data.popularity();
        let most = counts.iter().copied().max().unwrap_or(0);
        self.popularity = counts.iter().map(|&n| (f64::from(n) / (f64::from(most) + 1.0)) as f32).collect();
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.floats("popularity", &[self.popularity.len()], &self.popularity);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("popularity", &mut self.popularity)
    }
}

impl Score for SessionPopularity {
    fn num_items(&self) -> usize {
        self.popularity.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = vec![0f32; users.len() * self.num_items()];
        scores.par_chunks_mut(self.num_items()).enumerate().for_each(|(at, scores)| {
            scores.copy_from_slice(&self.popularity);
            users.history(at).iter().for_each(|&item| scores[item as usize] += 1.0);
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
    use crate::testing::{fitted, scores, view};

    #[test]
    fn the_session_comes_first_and_all_sessions_break_ties() {
        let model = fitted::<SessionPopularity>(&SessionPopularityConfig {}, &view(4, &[&[0, 1, 0], &[2, 0]]));
        assert_eq!(scores(&model, &[3, 1, 3]), [0.75, 1.25, 0.25, 2.0]);
        assert_eq!(scores(&model, &[]), [0.75, 0.25, 0.25, 0.0]);
    }
}
