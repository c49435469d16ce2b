//! How predicted probabilities of labels compare with what came: by buckets of probability, and by the values of the fields.

use anyhow::Result;
use rec_data::fields::FieldKind;
use rec_data::view::HeldOut;

use super::labelled::{each_batch, probability};
use crate::model::Score;

/// Buckets of about as many rows each.
const BUCKETS: usize = 20;
/// Values of a field, the most frequent ones.
const VALUES: usize = 10;

/// Rows that have something in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Group {
    /// How many.
    pub rows: u64,
    /// Their mean predicted probability.
    pub predicted: f64,
    /// The share of them whose label is 1.
    pub observed: f64,
}

/// Predicted and observed shares of label 1 among held-out rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Reliability {
    /// Rows by rising probability.
    pub buckets: Vec<Group>,
    /// Each field of categories or intervals by name, with the values that most rows have, these first.
    pub fields: Vec<(String, Vec<(String, Group)>)>,
}

impl Group {
    fn add(&mut self, predicted: f64, label: f32) {
        self.rows += 1;
        self.predicted += predicted;
        self.observed += f64::from(label);
    }

    fn means(self) -> Self {
        let n = self.rows.max(1) as f64;
        Self { predicted: self.predicted / n, observed: self.observed / n, ..self }
    }
}

impl Reliability {
    /// That of `model` on the held-out rows; `None` where there are no labels, or the model predicts no odds of them.
    ///
    /// # Errors
    /// the model's own.
    pub fn new(model: &dyn Score, held: &HeldOut) -> Result<Option<Self>> {
        let (Some(predictor), Some(rows)) = (model.label_score().filter(|p| p.gives_odds()), held.labelled()) else { return Ok(None) };
        let encoders = rows.encoders();
        let places: Vec<_> = encoders.fields().iter().filter(|f| !(predictor.wants_lists() && f.kind == FieldKind::History)).collect();
        let shown = |kind: FieldKind| matches!(kind, FieldKind::Category | FieldKind::Categories);
        let mut of_feature = vec![Group::default(); encoders.num_features()];
        let mut all: Vec<(f64, f32)> = Vec::with_capacity(rows.len());
        each_batch(predictor, rows, |batch, logits| {
            for (row, (&logit, &label)) in logits.iter().zip(&batch.labels).enumerate() {
                let predicted = probability(logit);
                all.push((predicted, label));
                for (place, _) in places.iter().enumerate().filter(|(_, field)| shown(field.kind)) {
                    let features = batch.entries.row(row * places.len() + place);
                    features.iter().for_each(|&feature| of_feature[feature as usize].add(predicted, label));
                }
            }
        })?;
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let bucket = |rows: &[(f64, f32)]| {
            let mut group = Group::default();
            rows.iter().for_each(|&(predicted, label)| group.add(predicted, label));
            group.means()
        };
        let cut = |at: usize| at * all.len() / BUCKETS;
        let buckets = (0..BUCKETS).map(|at| bucket(&all[cut(at)..cut(at + 1)])).filter(|group| group.rows > 0).collect();
        let mut fields = Vec::new();
        for field in encoders.fields().iter().filter(|field| shown(field.kind)) {
            let groups = &of_feature[field.first as usize..][..field.size as usize];
            let mut order: Vec<u32> = (0..field.size).filter(|&feature| groups[feature as usize].rows > 0).collect();
            order.sort_by_key(|&feature| std::cmp::Reverse(groups[feature as usize].rows));
            order.truncate(VALUES);
            let value = |&feature: &u32| (field.value(feature), groups[feature as usize].means());
            fields.push((field.spec.name.clone(), order.iter().map(value).collect()));
        }
        Ok(Some(Self { buckets, fields }))
    }
}
