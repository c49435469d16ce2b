//! Histograms of parameters and gradients: the HISTOGRAMS and DISTRIBUTIONS tabs.

use anyhow::Result;
use tensorboard_proto::summary::{HistogramProto, Summary_Value};

use super::EventWriter;

/// The number of buckets that TensorBoard's own histogram summary takes.
const BUCKETS: usize = 30;

/// The finite values of a slice in 30 buckets of equal width from the smallest to the largest, as TensorBoard's histogram summary has them.
///
/// All sums run in double precision in the order of the slice, so they do not depend on the number of threads.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// The smallest finite value; 0 where there is none.
    pub min: f64,
    /// The largest finite value; 0 where there is none.
    pub max: f64,
    /// The sum of the finite values.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_squares: f64,
    /// How many values are finite.
    pub finite: u64,
    /// How many are NaN or infinite; they are in no bucket and in no sum.
    pub non_finite: u64,
    /// The upper edge of each bucket; the last is `max`. One edge where all values are equal, none where no value is finite.
    pub edges: Vec<f64>,
    /// The values in each bucket: from the edge before (or `min`), up to but not including its own edge; the last includes `max`.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Counts `values`, of any number and any kind.
    pub fn of(values: &[f32]) -> Self {
        let mut histogram = Self::totals(values);
        if histogram.finite == 0 {
            return histogram;
        }
        if histogram.min == histogram.max {
            histogram.edges = vec![histogram.max];
            histogram.counts = vec![histogram.finite];
            return histogram;
        }
        let (min, width) = (histogram.min, (histogram.max - histogram.min) / BUCKETS as f64);
        histogram.edges = (1..BUCKETS).map(|i| min + i as f64 * width).chain([histogram.max]).collect();
        histogram.counts = vec![0; BUCKETS];
        for value in values.iter().filter(|value| value.is_finite()) {
            let bucket = ((f64::from(*value) - min) / width) as usize;
            histogram.counts[bucket.min(BUCKETS - 1)] += 1;
        }
        histogram
    }

    fn totals(values: &[f32]) -> Self {
        let mut totals = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, ..Self::default() };
        for value in values.iter().map(|value| f64::from(*value)) {
            if value.is_finite() {
                totals.min = totals.min.min(value);
                totals.max = totals.max.max(value);
                totals.sum += value;
                totals.sum_squares += value * value;
                totals.finite += 1;
            } else {
                totals.non_finite += 1;
            }
        }
        if totals.finite == 0 {
            (totals.min, totals.max) = (0.0, 0.0);
        }
        totals
    }

    fn to_proto(&self) -> HistogramProto {
        let mut proto = HistogramProto::new();
        proto.set_min(self.min);
        proto.set_max(self.max);
        proto.set_num(self.finite as f64);
        proto.set_sum(self.sum);
        proto.set_sum_squares(self.sum_squares);
        proto.set_bucket_limit(self.edges.clone());
        proto.set_bucket(self.counts.iter().map(|count| *count as f64).collect());
        proto
    }
}

impl EventWriter {
    /// The distribution of `values` under `tag` at `step`, and how many of them were NaN or infinite and therefore left out.
    ///
    /// Where no value is finite nothing is written, and the histogram shows a gap.
    ///
    /// # Errors
    /// An I/O error that names the file.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &[f32]) -> Result<u64> {
        let histogram = Histogram::of(values);
        if histogram.finite > 0 {
            let mut summary = Summary_Value::new();
            summary.set_tag(tag.to_string());
            summary.set_histo(histogram.to_proto());
            self.value(step, summary)?;
        }
        Ok(histogram.non_finite)
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::readback;
    use super::*;

    #[test]
    fn every_finite_value_is_in_one_bucket_and_the_largest_in_the_last() {
        let values: Vec<f32> = (0..=300).map(|i| i as f32 / 10.0).collect();
        let histogram = Histogram::of(&values);
        assert_eq!((histogram.min, histogram.max, histogram.finite, histogram.edges.len()), (0.0, 30.0, 301, 30));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 301);
        assert_eq!((histogram.counts[0], histogram.counts[29]), (10, 11));
        assert_eq!((histogram.edges[0], histogram.edges[29]), (1.0, 30.0));
        assert!((histogram.sum - 4515.0).abs() < 1e-3);
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_left_out() {
        let histogram = Histogram::of(&[f32::NAN, 1.0, f32::INFINITY, 3.0, f32::NEG_INFINITY]);
        assert_eq!((histogram.finite, histogram.non_finite, histogram.min, histogram.max), (2, 3, 1.0, 3.0));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 2);
        assert_eq!((histogram.sum, histogram.sum_squares), (4.0, 10.0));
    }

    #[test]
    fn equal_values_make_one_bucket_and_no_values_make_none() {
        let equal = Histogram::of(&[2.0; 5]);
        assert_eq!((equal.edges, equal.counts), (vec![2.0], vec![5]));
        assert_eq!(Histogram::of(&[]), Histogram::default());
        assert_eq!(Histogram::of(&[f32::NAN]), Histogram { non_finite: 1, ..Histogram::default() });
    }

    #[test]
    fn the_widest_range_of_single_precision_overflows_nothing() {
        let histogram = Histogram::of(&[f32::MIN, 0.0, f32::MAX, f32::MIN_POSITIVE]);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 4);
        assert!(histogram.edges.iter().all(|edge| edge.is_finite()) && histogram.edges.is_sorted());
    }

    #[test]
    fn a_histogram_comes_back_and_one_without_a_finite_value_is_not_written() {
        let values = readback::values(|writer| {
            assert_eq!(writer.histogram("item_embedding", 3, &[-1.0, 0.5, f32::NAN]).expect("histogram"), 1);
            assert_eq!(writer.histogram("item_embedding", 4, &[f32::NAN]).expect("histogram"), 1);
        });
        assert_eq!(values.len(), 1);
        let proto = values[0].1.get_histo();
        assert_eq!((values[0].0, proto.get_min(), proto.get_max(), proto.get_num()), (3, -1.0, 0.5, 2.0));
        assert_eq!((proto.get_bucket().len(), proto.get_bucket_limit().len()), (30, 30));
    }
}
