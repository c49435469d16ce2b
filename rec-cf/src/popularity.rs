//! Popularity: every user is recommended what most training rows have.

use anyhow::Result;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::{Factors, Scores};
use rec_core::state::{StateReader, StateWriter};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

/// Nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PopularityConfig {}

impl ModelConfig for PopularityConfig {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// score(u, i) = number of training rows of i.
pub struct Popularity {
    counts: Vec<f32>,
}

impl Fit for Popularity {
    type Config = PopularityConfig;
    const ONE_PASS: bool = true;

    fn new(_: &PopularityConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { counts: vec![0.0; data.num_items()] })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        self.counts = data.popularity().iter().map(|&n| n as f32).collect();
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.floats("counts", &[self.counts.len()], &self.counts);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("counts", &mut self.counts)
    }
}

impl Score for Popularity {
    fn num_items(&self) -> usize {
        self.counts.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let ones = vec![1.0; users.len()];
        Ok(Scores::Factors(Factors { dim: 1, users: ones.into(), items: (&self.counts[..]).into(), item_bias: None }))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
