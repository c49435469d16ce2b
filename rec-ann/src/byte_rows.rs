//! Scalar quantisation: vectors with one byte a value.
//!
//! x̂ⱼ = lowⱼ + stepⱼ·cⱼ with a code cⱼ of 0..=255. So q·x̂ = q·low + Σ (qⱼ stepⱼ) cⱼ, and ‖q − x̂‖² = ‖q‖² + ‖x̂‖² − 2 q·x̂ with ‖x̂‖² kept.

use crate::Metric;
use crate::column::Column;
use crate::kernels;
use crate::rows::{Rows, stride};
use crate::storage::Asked;

/// Bytes of a row are a multiple of this, so that a load of sixteen never straddles two cache lines.
const PADDING: usize = 16;

/// A matrix of codes, one vector a row.
#[derive(Clone)]
pub(crate) struct ByteRows {
    pub(crate) codes: Column<u8>,
    /// ‖x̂‖² of each row under L2; empty otherwise.
    pub(crate) squares: Column<f32>,
    /// The value of code 0 in each dimension.
    pub(crate) low: Column<f32>,
    /// What one code more adds in each dimension.
    pub(crate) step: Column<f32>,
    width: usize,
}

impl ByteRows {
    /// Codes of `rows`, with steps that span the values of each dimension.
    pub(crate) fn new(rows: &Rows, metric: Metric) -> Self {
        let dim = rows.dim();
        let (mut low, mut high) = (vec![0f32; dim], vec![0f32; dim]);
        for row in 0..rows.len() {
            for (j, &value) in rows.row(row)[..dim].iter().enumerate() {
                low[j] = if row == 0 { value } else { low[j].min(value) };
                high[j] = if row == 0 { value } else { high[j].max(value) };
            }
        }
        let step: Vec<f32> = low.iter().zip(&high).map(|(l, h)| h / 255.0 - l / 255.0).collect();
        let mut out = Self { codes: Column::new(), squares: Column::new(), low: low.into(), step: step.into(), width: width(dim) };
        out.append(rows, metric);
        out
    }

    /// Codes that lie in a file; `None` where the lengths do not fit.
    pub(crate) fn stored(
        codes: Column<u8>,
        squares: Column<f32>,
        low: Column<f32>,
        step: Column<f32>,
        dim: usize,
        metric: Metric,
    ) -> Option<Self> {
        let out = Self { codes, squares, low, step, width: width(dim) };
        let fits = out.codes.len().is_multiple_of(out.width)
            && out.low.len() == dim
            && out.step.len() == dim
            && out.squares.len() == if metric == Metric::L2 { out.len() } else { 0 };
        let finite = [&out.squares, &out.low, &out.step].iter().all(|values| values.iter().all(|v| v.is_finite()));
        (fits && finite).then_some(out)
    }

    /// Appends vectors; values outside the steps get the nearest code.
    pub(crate) fn append(&mut self, rows: &Rows, metric: Metric) {
        let old = self.len();
        self.codes.resize((old + rows.len()) * self.width, 0);
        let (low, step) = (&self.low, &self.step);
        for (row, codes) in self.codes.make_mut()[old * self.width..].chunks_exact_mut(self.width).enumerate() {
            for (j, code) in codes[..rows.dim()].iter_mut().enumerate() {
                let steps = (rows.row(row)[j] - low[j]) / step[j];
                // A dimension with one value has steps of 0; NaN as a byte is 0.
                *code = steps.round() as u8;
            }
        }
        if metric == Metric::L2 {
            let squares: Vec<f32> = (old..self.len()).map(|row| self.decoded(row).iter().map(|v| v * v).sum()).collect();
            self.squares.extend(&squares);
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.codes.len() / self.width
    }

    /// The codes of a row, with their padding.
    #[inline(always)]
    pub(crate) fn codes(&self, row: usize) -> &[u8] {
        &self.codes[row * self.width..][..self.width]
    }

    /// x̂, padded as float rows are.
    pub(crate) fn decoded(&self, row: usize) -> Vec<f32> {
        let mut out = vec![0f32; stride(self.low.len())];
        for (j, &code) in self.codes(row)[..self.low.len()].iter().enumerate() {
            out[j] = f32::from(code).mul_add(self.step[j], self.low[j]);
        }
        out
    }

    /// The query's part of every distance.
    pub(crate) fn asked(&self, query: &[f32], metric: Metric) -> Asked {
        let query = &query[..self.low.len()];
        let product = kernels::dot(query, &self.low);
        let (factor, constant) = match metric {
            Metric::L2 => (-2.0, kernels::dot(query, query) - 2.0 * product),
            Metric::InnerProduct => (-1.0, -product),
            Metric::Cosine => (-1.0, 1.0 - product),
        };
        let weights = query.iter().zip(&self.step[..]).map(|(q, step)| factor * q * step);
        Asked { weights: weights.chain(std::iter::repeat(0.0)).take(self.width).collect(), constant }
    }

    /// The distance of a row whose Σ wᵢcᵢ is `sum`.
    #[inline(always)]
    pub(crate) fn distance(&self, metric: Metric, asked: &Asked, sum: f32, row: u32) -> f32 {
        match metric {
            // Rounding may leave less than nothing.
            Metric::L2 => (asked.constant + self.squares[row as usize] + sum).max(0.0),
            Metric::InnerProduct | Metric::Cosine => asked.constant + sum,
        }
    }
}

/// The bytes of a row with its padding.
fn width(dim: usize) -> usize {
    dim.next_multiple_of(PADDING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Stream};

    #[test]
    fn distances_are_those_of_the_decoded_vectors_and_a_value_moves_by_half_a_step_at_most() {
        let mut rng = Rng::keyed(1, Stream::Sample, 0);
        let values: Vec<f32> = (0..40 * 19).map(|i| if i % 19 == 3 { 2.5 } else { rng.normal() as f32 }).collect();
        let query: Vec<f32> = (0..19).map(|_| rng.normal() as f32).collect();
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let rows = Rows::checked(&values, 19, metric).expect("finite");
            let query = Rows::query(&query, 19, metric).expect("finite");
            let bytes = ByteRows::new(&rows, metric);
            let asked = bytes.asked(&query, metric);
            for row in 0..40 {
                let decoded = bytes.decoded(row);
                for (decoded, (value, step)) in decoded.iter().zip(rows.row(row).iter().zip(&bytes.step[..])) {
                    assert!((decoded - value).abs() <= 0.5001 * step + 1e-6);
                }
                let found = bytes.distance(metric, &asked, kernels::dot_bytes(&asked.weights, bytes.codes(row)), row as u32);
                assert!((found - metric.between(&query, &decoded)).abs() < 1e-4, "{metric:?}");
            }
        }
    }
}
