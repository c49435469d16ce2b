//! Precision–recall curves: the PR CURVES tab.

use anyhow::Result;
use protobuf::{Message, RepeatedField};
use rec_data::{fail, require};
use tensorboard_proto::plugin_pr_curve::PrCurvePluginData;
use tensorboard_proto::summary::Summary_Value;
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;

use super::EventWriter;
use super::writer::plugin_metadata;

/// The smallest count that precision and recall are divided by, as in TensorBoard's own summary.
const MINIMUM_COUNT: f64 = 1e-7;

/// Counts of a binary classifier at thresholds t = 0, 1/(n−1), …, 1, where a prediction p says yes if p ≥ t.
///
/// As TensorBoard's `pr_curve` summary has it: p falls into bucket ⌊p · (n − 1)⌋, and the counts at t are the sums of its bucket and of all
/// above.
///
/// # Shapes
/// Each vector has one number per threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct PrCurve {
    /// Weight of the positives that are predicted positive.
    pub true_positives: Vec<f64>,
    /// Weight of the negatives that are predicted positive.
    pub false_positives: Vec<f64>,
    /// Weight of the negatives that are predicted negative.
    pub true_negatives: Vec<f64>,
    /// Weight of the positives that are predicted negative.
    pub false_negatives: Vec<f64>,
    /// TP / max(10⁻⁷, TP + FP).
    pub precision: Vec<f64>,
    /// TP / max(10⁻⁷, TP + FN).
    pub recall: Vec<f64>,
}

impl PrCurve {
    /// Counts `predictions`, probabilities that are clamped to [0, 1], against `labels`, each case with its weight (1 where there are
    /// none).
    ///
    /// # Errors
    /// `Usage` where the lengths differ or there are fewer than two thresholds; `Numeric` where a prediction is NaN or a weight is not a
    /// finite, non-negative number.
    pub fn of(labels: &[bool], predictions: &[f32], weights: Option<&[f32]>, num_thresholds: usize) -> Result<Self> {
        check(labels, predictions, weights, num_thresholds)?;
        let mut true_positives = vec![0.0; num_thresholds];
        let mut false_positives = vec![0.0; num_thresholds];
        for (case, (label, prediction)) in labels.iter().zip(predictions).enumerate() {
            let bucket = (prediction.clamp(0.0, 1.0) * (num_thresholds - 1) as f32) as usize;
            let weight = weights.map_or(1.0, |weights| f64::from(weights[case]));
            let counts = if *label { &mut true_positives } else { &mut false_positives };
            counts[bucket] += weight;
        }
        sum_from_above(&mut true_positives);
        sum_from_above(&mut false_positives);
        let below = |counts: &[f64]| counts.iter().map(|count| counts[0] - count).collect::<Vec<_>>();
        let share = |part: &[f64], rest: &[f64]| part.iter().zip(rest).map(|(p, r)| p / (p + r).max(MINIMUM_COUNT)).collect();
        let (true_negatives, false_negatives) = (below(&false_positives), below(&true_positives));
        let precision = share(&true_positives, &false_positives);
        let recall = share(&true_positives, &false_negatives);
        Ok(Self { true_positives, false_positives, true_negatives, false_negatives, precision, recall })
    }

    /// The number of thresholds.
    pub fn num_thresholds(&self) -> usize {
        self.precision.len()
    }

    /// The tensor that the plugin reads.
    ///
    /// # Shapes
    /// `[6, num_thresholds]`: TP, FP, TN, FN, precision, recall
    fn to_tensor(&self) -> TensorProto {
        let dim = |size: usize| {
            let mut dim = TensorShapeProto_Dim::new();
            dim.set_size(size as i64);
            dim
        };
        let mut shape = TensorShapeProto::new();
        shape.set_dim(RepeatedField::from_vec(vec![dim(6), dim(self.num_thresholds())]));
        let rows =
            [&self.true_positives, &self.false_positives, &self.true_negatives, &self.false_negatives, &self.precision, &self.recall];
        let mut tensor = TensorProto::new();
        tensor.set_dtype(DataType::DT_FLOAT);
        tensor.set_tensor_shape(shape);
        tensor.set_tensor_content(rows.iter().flat_map(|row| row.iter().flat_map(|value| (*value as f32).to_le_bytes())).collect());
        tensor
    }
}

fn check(labels: &[bool], predictions: &[f32], weights: Option<&[f32]>, num_thresholds: usize) -> Result<()> {
    require!(num_thresholds >= 2, Usage, "a precision–recall curve needs at least 2 thresholds, not {num_thresholds}");
    require!(
        labels.len() == predictions.len() && weights.is_none_or(|weights| weights.len() == labels.len()),
        Usage,
        "a precision–recall curve needs as many labels as predictions and weights, not {} labels, {} predictions{}",
        labels.len(),
        predictions.len(),
        weights.map_or(String::new(), |weights| format!(", {} weights", weights.len()))
    );
    if let Some(case) = predictions.iter().position(|prediction| prediction.is_nan()) {
        fail!(Numeric, "prediction {case} of a precision–recall curve is NaN");
    }
    if let Some(case) = weights.and_then(|weights| weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0))) {
        fail!(Numeric, "weight {case} of a precision–recall curve is not a finite, non-negative number");
    }
    Ok(())
}

fn sum_from_above(counts: &mut [f64]) {
    let mut sum = 0.0;
    for count in counts.iter_mut().rev() {
        sum += *count;
        *count = sum;
    }
}

impl EventWriter {
    /// The precision–recall curve of `predictions` against `labels` under `tag`; see [`PrCurve::of`]. TensorBoard's own number of
    /// thresholds is 201.
    ///
    /// The tab shows one curve per step with a slider, and trims thresholds above every prediction.
    ///
    /// # Errors
    /// Those of [`PrCurve::of`], and an I/O error that names the file.
    pub fn pr_curve(
        &mut self,
        tag: &str,
        step: u64,
        labels: &[bool],
        predictions: &[f32],
        weights: Option<&[f32]>,
        num_thresholds: usize,
    ) -> Result<()> {
        let curve = PrCurve::of(labels, predictions, weights, num_thresholds)?;
        let mut data = PrCurvePluginData::new();
        data.set_num_thresholds(u32::try_from(num_thresholds).unwrap_or(u32::MAX));
        let mut metadata = plugin_metadata("pr_curves", data.write_to_bytes()?);
        metadata.set_display_name(tag.to_string());
        let mut summary = Summary_Value::new();
        summary.set_tag(tag.to_string());
        summary.set_metadata(metadata);
        summary.set_tensor(curve.to_tensor());
        self.value(step, summary)
    }
}

#[cfg(test)]
mod tests {
    use rec_data::Kind;

    use super::super::writer::readback;
    use super::*;

    #[test]
    fn a_case_counts_up_to_its_own_threshold() {
        let curve = PrCurve::of(&[true, false, true], &[1.0, 0.5, 0.25], None, 5).expect("a curve");
        assert_eq!(curve.true_positives, [2.0, 2.0, 1.0, 1.0, 1.0]);
        assert_eq!(curve.false_positives, [1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(curve.true_negatives, [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(curve.false_negatives, [0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(curve.precision, [2.0 / 3.0, 2.0 / 3.0, 0.5, 1.0, 1.0]);
        assert_eq!(curve.recall, [1.0, 1.0, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn weights_scale_cases_and_predictions_are_clamped() {
        let curve = PrCurve::of(&[true, false], &[7.0, f32::NEG_INFINITY], Some(&[2.0, 3.0]), 2).expect("a curve");
        assert_eq!((curve.true_positives, curve.false_positives), (vec![2.0, 2.0], vec![3.0, 0.0]));
        assert_eq!(curve.precision, [0.4, 1.0]);
    }

    #[test]
    fn counts_and_shares_are_those_of_tensorboards_own_summary() {
        // From tensorboard 2.21.0: plugins/pr_curve/summary.py, `pb`, on these cases.
        let labels = [true, false, true, true, false, false, true];
        let predictions = [0.1, 0.35, 0.6, 0.81, 0.2, 0.9, 1.0];
        let curve = PrCurve::of(&labels, &predictions, Some(&[1.0, 2.0, 0.5, 1.0, 1.0, 0.25, 3.0]), 5).expect("a curve");
        assert_eq!(curve.true_positives, [5.5, 4.5, 4.5, 4.0, 3.0]);
        assert_eq!(curve.false_positives, [3.25, 2.25, 0.25, 0.25, 0.0]);
        assert_eq!(curve.true_negatives, [0.0, 1.0, 3.0, 3.0, 3.25]);
        assert_eq!(curve.false_negatives, [0.0, 1.0, 1.0, 1.5, 2.5]);
        let single = |row: &[f64]| row.iter().map(|value| *value as f32).collect::<Vec<_>>();
        assert_eq!(single(&curve.precision), [0.628_571_45, 0.666_666_7, 0.947_368_44, 0.941_176_5, 1.0]);
        assert_eq!(single(&curve.recall), [1.0, 0.818_181_8, 0.818_181_8, 0.727_272_75, 0.545_454_56]);
    }

    #[test]
    fn no_cases_make_a_curve_of_zeros() {
        assert_eq!(PrCurve::of(&[], &[], None, 3).expect("a curve").recall, [0.0; 3]);
    }

    #[test]
    fn what_cannot_be_counted_is_an_error_with_its_place() {
        let kind = |result: Result<PrCurve>| result.err().map(|error| (Kind::exit_code_of(&error), error.to_string()));
        let (code, message) = kind(PrCurve::of(&[true, true], &[0.1, f32::NAN], None, 3)).expect("an error");
        assert_eq!((code, message.as_str()), (Kind::Numeric.exit_code(), "prediction 1 of a precision–recall curve is NaN"));
        assert!(kind(PrCurve::of(&[true], &[0.1], Some(&[-1.0]), 3)).expect("an error").1.starts_with("weight 0"));
        assert_eq!(kind(PrCurve::of(&[true], &[], None, 3)).expect("an error").0, Kind::Usage.exit_code());
        assert_eq!(kind(PrCurve::of(&[], &[], Some(&[1.0]), 3)).expect("an error").0, Kind::Usage.exit_code());
        assert_eq!(kind(PrCurve::of(&[], &[], None, 1)).expect("an error").0, Kind::Usage.exit_code());
    }

    #[test]
    fn the_plugin_gets_six_rows_of_single_precision() {
        let values = readback::values(|writer| writer.pr_curve("valid", 2, &[true, false], &[0.9, 0.1], None, 11).expect("a curve"));
        let value = &values[0].1;
        let plugin = value.get_metadata().get_plugin_data();
        let data = PrCurvePluginData::parse_from_bytes(plugin.get_content()).expect("plugin data");
        assert_eq!((plugin.get_plugin_name(), data.get_num_thresholds()), ("pr_curves", 11));
        let sizes: Vec<i64> = value.get_tensor().get_tensor_shape().get_dim().iter().map(|dim| dim.get_size()).collect();
        assert_eq!(sizes, [6, 11]);
        let content = value.get_tensor().get_tensor_content();
        assert_eq!((content.len(), &content[..4]), (6 * 11 * 4, &1f32.to_le_bytes()[..]));
    }
}
