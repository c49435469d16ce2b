//! Metrics of predicted labels.

use anyhow::Result;
use rec_data::batch::FieldsBatch;
use rec_data::fields::LabelledRows;
use rec_data::view::HeldOut;
use rec_data::{fail, require};

use super::evaluator::Evaluation;
use super::metric::{Metric, MetricKind};
use super::pointwise::{auc, gauc, log_loss};
use crate::model::{LabelScore, Score};

/// Rows that are scored at once.
const TILE: usize = 8192;

/// Shows `take` all of `rows`, some at a time, with the logits of each.
///
/// # Errors
/// the model's own.
pub(super) fn each_batch(predictor: &dyn LabelScore, rows: &LabelledRows, mut take: impl FnMut(&FieldsBatch, &[f32])) -> Result<()> {
    for start in (0..rows.len()).step_by(TILE) {
        let at: Vec<u32> = (start as u32..rows.len().min(start + TILE) as u32).collect();
        let batch = rows.batch(&at, predictor.wants_lists());
        take(&batch, &tch::no_grad(|| predictor.logits(&batch))?);
    }
    Ok(())
}

/// σ of a logit.
pub(super) fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Adds the values of those of `metrics` that are of labels.
///
/// # Errors
/// a usage problem where the model predicts no labels or no odds, the protocol has no fields, or all labels are equal; a numeric problem where a
/// logit is not finite.
pub(super) fn evaluate(model: &dyn Score, held: &HeldOut, metrics: &[Metric], evaluation: &mut Evaluation) -> Result<()> {
    let asked: Vec<Metric> = metrics.iter().copied().filter(Metric::is_of_labels).collect();
    let Some(&first) = asked.first() else { return Ok(()) };
    let Some(predictor) = model.label_score() else {
        fail!(Usage, "this model predicts no labels, which `{first}` is made of: `fm`, `deepfm` and others do")
    };
    let Some(rows) = held.labelled() else { fail!(Usage, "`{first}` needs labelled rows, and the protocol names no `fields`") };
    if let Some(odds) = asked.iter().find(|metric| !metric.is_of_label_order() && !predictor.gives_odds()) {
        fail!(Usage, "this model orders rows and predicts no odds of their labels, which `{odds}` judges: measure `auc` or `gauc`");
    }
    let mut logits = Vec::with_capacity(rows.len());
    each_batch(predictor, rows, |_, some| logits.extend_from_slice(some))?;
    if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
        fail!(Numeric, "the logit of labelled row {at} is {}", logits[at]);
    }
    let labels: Vec<bool> = rows.labels().iter().map(|&y| y > 0.5).collect();
    let positives = labels.iter().filter(|&&y| y).count();
    require!(positives > 0 && positives < labels.len(), Usage, "all {} held-out labels are equal: nothing can be told apart", labels.len());
    let probabilities: Vec<f64> = logits.iter().map(|&x| probability(x)).collect();
    for &metric in &asked {
        let value = match metric.kind {
            MetricKind::Auc => auc(&labels, &logits),
            MetricKind::Gauc => gauc(&rows.users(), &labels, &logits).map(|grouped| grouped.value),
            MetricKind::LogLoss => Some(log_loss(&labels, &probabilities)),
            MetricKind::RelativeInformation => {
                let share = positives as f64 / labels.len() as f64;
                Some(1.0 - log_loss(&labels, &probabilities) / log_loss(&labels, &vec![share; labels.len()]))
            }
            _ => Some(probabilities.iter().sum::<f64>() / positives as f64),
        };
        let Some(value) = value else { fail!(Usage, "`{metric}` has no value: no user has held-out rows of both labels") };
        evaluation.values.push((metric, value));
    }
    Ok(())
}
