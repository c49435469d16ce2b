//! How often rows with a feature have the label 1: what a model must beat to have learned more than an average.

use anyhow::Result;
use rec_core::events::Events;
use rec_core::model::{Fit, LabelScore, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::batch::FieldsBatch;
use rec_data::problem::did_you_mean;
use rec_data::view::TrainView;
use rec_data::{problem, require};
use serde::{Deserialize, Serialize};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// The field whose features are counted, of one feature a row.
    pub field: String,
    /// a, how many rows of the overall rate each feature is given beforehand.
    pub smoothing: f64,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self { field: "item".into(), smoothing: 10.0 }
    }
}

impl ModelConfig for RateConfig {
    fn check(&self) -> Result<()> {
        require!(self.smoothing > 0.0 && self.smoothing.is_finite(), Usage, "`smoothing` is {}: it must be above 0", self.smoothing);
        Ok(())
    }
}

/// (positives with the feature + a·p) / (rows with it + a), p being the rate of all rows.
pub struct Rate {
    config: RateConfig,
    /// The place of the field.
    place: usize,
    /// The logit of each feature.
    logits: Vec<f32>,
}

impl Fit for Rate {
    type Config = RateConfig;
    const ONE_PASS: bool = true;

    fn new(config: &RateConfig, data: &TrainView, _seed: u64) -> Result<Self> {
        let fields = data.labelled()?.encoders().fields();
        let names = || fields.iter().map(|field| field.spec.name.as_str());
        let place = names().position(|name| name == config.field).ok_or_else(|| {
            let near = did_you_mean(&config.field, names());
            problem!(Usage, "`field` is `{}`, which there is not{near}; there are {}", config.field, names().collect::<Vec<_>>().join(", "))
        })?;
        Ok(Self { config: config.clone(), place, logits: Vec::new() })
    }

    fn epoch(&mut self, data: &TrainView, _epoch: u64, _events: &mut Events) -> Result<()> {
        let rows = data.labelled()?;
        let features = rows.encoders().num_features();
        let (mut positives, mut counts) = (vec![0f64; features], vec![0f64; features]);
        for start in (0..rows.len()).step_by(8192) {
            let batch = rows.batch(&(start as u32..rows.len().min(start + 8192) as u32).collect::<Vec<_>>(), false);
            for (feature, &label) in self.features(&batch).zip(&batch.labels) {
                counts[feature as usize] += 1.0;
                positives[feature as usize] += f64::from(label);
            }
        }
        let all = positives.iter().sum::<f64>() / counts.iter().sum::<f64>();
        require!(all > 0.0 && all < 1.0, Usage, "all training labels are equal: there is no rate to be learned");
        let a = self.config.smoothing;
        let logit = |(&positive, &count): (&f64, &f64)| {
            let rate = (positive + a * all) / (count + a);
            (rate / (1.0 - rate)).ln() as f32
        };
        self.logits = positives.iter().zip(&counts).map(logit).collect();
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.floats("logits", &[self.logits.len()], &self.logits);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.logits = from.floats("logits")?.1;
        Ok(())
    }
}

impl Rate {
    /// The field's feature of each row.
    fn features<'a>(&self, batch: &'a FieldsBatch) -> impl Iterator<Item = u32> + 'a {
        let (fields, place) = (batch.entries.num_rows() / batch.rows.max(1), self.place);
        (0..batch.rows).map(move |row| batch.entries.row(row * fields + place)[0])
    }
}

impl Score for Rate {
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

impl LabelScore for Rate {
    fn logits(&self, rows: &FieldsBatch) -> Result<Vec<f32>> {
        Ok(self.features(rows).map(|feature| self.logits[feature as usize]).collect())
    }
}
