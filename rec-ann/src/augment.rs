//! Maximum inner product as nearness. Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean transformation for
//! inner-product spaces", RecSys 2014.
//!
//! With Φ = max ‖x‖, x' = (x, √(Φ² − ‖x‖²)) has the length Φ for every x, and q' = (q, 0): so q'·x' = q·x, and the x' nearest in angle, or in
//! distance, is that of the largest inner product.

use crate::kernels::dot;
use crate::rows::Rows;

/// The rows x', one value longer.
pub(crate) fn augmented(rows: &Rows) -> Rows {
    let squares: Vec<f32> = (0..rows.len()).map(|row| dot(rows.row(row), rows.row(row))).collect();
    let longest = squares.iter().fold(0f32, |a, &b| a.max(b));
    let mut out = Rows::zeros(rows.len(), rows.dim() + 1);
    let stride = out.stride();
    for (row, to) in out.values_mut().chunks_exact_mut(stride).enumerate() {
        to[..rows.dim()].copy_from_slice(&rows.row(row)[..rows.dim()]);
        to[rows.dim()] = (longest - squares[row]).sqrt();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    #[test]
    fn all_lengths_are_equal_and_products_stay() {
        let rows = Rows::checked(&[3.0, 4.0, 1.0, 0.0, 0.0, 0.0], 2, Metric::InnerProduct).expect("finite");
        let augmented = augmented(&rows);
        for row in 0..3 {
            assert!((dot(augmented.row(row), augmented.row(row)) - 25.0).abs() < 1e-5);
            assert_eq!(augmented.row(row)[..2], rows.row(row)[..2]);
        }
    }
}
