//! Vectors as an index keeps them: checked, of length 1 under cosine, each row padded with zeros to a multiple of eight values.

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

use crate::Metric;
use crate::column::Column;

/// Rows are padded to a multiple of this many values, so that a load of eight never straddles two cache lines.
const PADDING: usize = 8;
/// Beyond this squared length sums could overflow.
const MAX_SQUARED_LENGTH: f64 = 1e37;
/// The largest number of values in a vector.
pub(crate) const MAX_DIM: usize = 1 << 16;
/// The largest number of vectors in an index.
pub(crate) const MAX_ROWS: usize = (1 << 31) - 1;

/// A matrix of vectors, one a row.
#[derive(Clone)]
pub(crate) struct Rows {
    values: Column<f32>,
    dim: usize,
    stride: usize,
}

impl Rows {
    /// Vectors of zeros.
    pub(crate) fn zeros(num_rows: usize, dim: usize) -> Self {
        Self { values: Column::zeros(num_rows * stride(dim)), dim, stride: stride(dim) }
    }

    /// The vectors `[n, dim]`.
    ///
    /// # Errors
    /// where `dim` is out of range, the values are no whole number of vectors, or a vector holds NaN, ∞ or values so large that a
    /// distance could overflow.
    pub(crate) fn checked(vectors: &[f32], dim: usize, metric: Metric) -> Result<Self> {
        ensure!((1..=MAX_DIM).contains(&dim), "a dimension of {dim}: it must lie in 1..={MAX_DIM}");
        ensure!(vectors.len().is_multiple_of(dim), "{} values are no whole number of vectors of {dim}", vectors.len());
        let num_rows = vectors.len() / dim;
        ensure!(num_rows <= MAX_ROWS, "{num_rows} vectors: an index holds at most {MAX_ROWS}");
        let mut out = Self::zeros(num_rows, dim);
        for (row, (to, vector)) in out.values.make_mut().chunks_exact_mut(stride(dim)).zip(vectors.chunks_exact(dim)).enumerate() {
            to[..dim].copy_from_slice(vector);
            settle(&mut to[..dim], metric, || format!("vector {row}"))?;
        }
        Ok(out)
    }

    /// The one vector that is asked for, checked as the others.
    ///
    /// # Errors
    /// as [`checked`](Self::checked), and where its length is not `dim`.
    pub(crate) fn query(query: &[f32], dim: usize, metric: Metric) -> Result<Column<f32>> {
        ensure!(query.len() == dim, "the query has {} values, the vectors of the index have {dim}", query.len());
        let mut out = Column::zeros(stride(dim));
        out.make_mut()[..dim].copy_from_slice(query);
        settle(&mut out.make_mut()[..dim], metric, || "the query".to_owned())?;
        Ok(out)
    }

    /// Rows that lie in a file already padded; `None` where they are no whole number of rows or not all finite.
    pub(crate) fn stored(values: Column<f32>, dim: usize) -> Option<Self> {
        let fits = (1..=MAX_DIM).contains(&dim) && values.len().is_multiple_of(stride(dim)) && values.len() / stride(dim) <= MAX_ROWS;
        (fits && values.iter().all(|v| v.is_finite())).then_some(Self { values, dim, stride: stride(dim) })
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.stride
    }

    /// The number of values in a vector.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The number of values from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Row `row` with its padding.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.stride]
    }

    /// All values, `[n, stride]`.
    pub(crate) fn values(&self) -> &Column<f32> {
        &self.values
    }

    /// All values without the padding, `[n, dim]`.
    pub(crate) fn tight(&self) -> Cow<'_, [f32]> {
        if self.stride == self.dim {
            return Cow::Borrowed(&self.values);
        }
        Cow::Owned(self.values.chunks_exact(self.stride).flat_map(|row| &row[..self.dim]).copied().collect())
    }

    /// All values, to change.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.values.make_mut()
    }

    /// Appends rows of the same dimension.
    pub(crate) fn append(&mut self, rows: &Self) {
        self.values.extend(&rows.values);
    }

    /// The rows `ids`, in that order.
    pub(crate) fn select(&self, ids: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut out = Self::zeros(ids.len(), self.dim);
        for (to, id) in out.values.make_mut().chunks_exact_mut(self.stride).zip(ids) {
            to.copy_from_slice(self.row(id as usize));
        }
        out
    }
}

/// The length of a row with its padding.
pub(crate) fn stride(dim: usize) -> usize {
    dim.next_multiple_of(PADDING)
}

/// Checks a vector; under cosine it gets length 1, and zeros stay zeros.
fn settle(vector: &mut [f32], metric: Metric, name: impl Fn() -> String) -> Result<()> {
    let squared = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    if let (false, Some(at)) = (squared.is_finite(), vector.iter().position(|v| !v.is_finite())) {
        bail!("{}: value {at} is {}, and only finite values have a distance", name(), vector[at]);
    }
    if metric == Metric::Cosine {
        let length = squared.sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
        return Ok(());
    }
    ensure!(
        squared <= MAX_SQUARED_LENGTH,
        "{}: its squared length {squared:.1e} is above {MAX_SQUARED_LENGTH:e}; scale the vectors down",
        name()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_padded_and_of_length_1_under_cosine() {
        let rows = Rows::checked(&[3.0, 4.0, 0.0, 0.0, 0.0, -1e-30], 2, Metric::Cosine).expect("finite");
        assert_eq!((rows.len(), rows.row(0)), (3, &[0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][..]));
        assert_eq!((&rows.row(1)[..2], &rows.row(2)[..2]), (&[0.0, 0.0][..], &[0.0, -1.0][..]));
        let kept = Rows::checked(&[3.0, 4.0], 2, Metric::InnerProduct).expect("finite");
        assert_eq!(&kept.row(0)[..2], [3.0, 4.0]);
    }

    #[test]
    fn what_has_no_distance_is_refused_with_its_place() {
        let error = |values: &[f32], dim| Rows::checked(values, dim, Metric::L2).err().expect("refused").to_string();
        assert_eq!(error(&[0.0, 1.0, 2.0, f32::NAN], 2), "vector 1: value 1 is NaN, and only finite values have a distance");
        assert_eq!(error(&[f32::NEG_INFINITY], 1), "vector 0: value 0 is -inf, and only finite values have a distance");
        assert_eq!(error(&[1.0, 2.0, 3.0], 2), "3 values are no whole number of vectors of 2");
        assert!(error(&[], 0).contains("dimension of 0"));
        assert!(error(&[1e30], 1).starts_with("vector 0: its squared length 1.0e60"));
        let query = |query: &[f32]| Rows::query(query, 2, Metric::L2).err().expect("refused").to_string();
        assert_eq!(query(&[1.0]), "the query has 1 values, the vectors of the index have 2");
        assert!(query(&[1.0, f32::INFINITY]).starts_with("the query: value 1 is inf"));
    }
}
