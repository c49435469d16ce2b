//! Rotations, and the one that brings vectors nearest to others.

use rayon::prelude::*;

use crate::column::Column;
use crate::kernels::{dot, vectorised};
use crate::panels::{LANES, Panels, ROWS, products};

/// Newton–Schulz steps: singular values of 10⁻⁴ of the largest come to 1 within 30.
const STEPS: usize = 35;
/// How much of the former rotation is added, so that directions in which the vectors say nothing keep it.
const INERTIA: f32 = 1e-4;

/// A rotation of vectors.
#[derive(Clone)]
pub(super) struct Rotation {
    /// R, `[dim, dim]`: x becomes R x.
    matrix: Column<f32>,
    dim: usize,
}

impl Rotation {
    pub(super) fn new(matrix: Column<f32>, dim: usize) -> Self {
        Self { matrix, dim }
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.matrix
    }

    /// R x for each of the vectors `[n, dim]`.
    pub(super) fn forth(&self, vectors: &[f32]) -> Vec<f32> {
        product(vectors, &self.matrix, self.dim)
    }

    /// Rᵀ x for each of the vectors `[n, dim]`.
    pub(super) fn back(&self, vectors: &[f32]) -> Vec<f32> {
        product(vectors, &transposed(&self.matrix, self.dim), self.dim)
    }
}

/// The rotation R with the least Σ ‖R x − y‖² (Schönemann 1966): with M = Σ y xᵀ = U S Vᵀ it is U Vᵀ, found by the steps of
/// Newton and Schulz, M ← 1.5 M − 0.5 M Mᵀ M.
pub(super) fn procrustes(x: &[f32], y: &[f32], dim: usize, former: Option<&Rotation>) -> Rotation {
    let mut m = product(&transposed(y, dim), &transposed(x, dim), x.len() / dim);
    let size = dot(&m, &m).sqrt().max(f32::MIN_POSITIVE);
    m.iter_mut().for_each(|v| *v /= size);
    for (i, value) in m.iter_mut().enumerate() {
        let identity = if i / dim == i % dim { 1.0 } else { 0.0 };
        *value += INERTIA * former.map_or(identity, |former| former.matrix[i]);
    }
    for _ in 0..STEPS {
        let gram = product(&transposed(&m, dim), &transposed(&m, dim), dim);
        // MᵀM is symmetric, so its rows are its columns.
        let cubed = product(&m, &gram, dim);
        m.iter_mut().zip(cubed).for_each(|(m, c)| *m = 1.5 * *m - 0.5 * c);
    }
    Rotation::new(m.into(), dim)
}

/// A Bᵀ for A `[a, inner]` and B `[b, inner]`: `[a, b]`.
fn product(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let num_columns = b.len() / inner.max(1);
    let panels = Panels::new(b, inner.max(1));
    let mut out = vec![0f32; a.len() / inner.max(1) * num_columns];
    out.par_chunks_mut((ROWS * num_columns).max(1)).zip(a.par_chunks((ROWS * inner).max(1))).for_each(|(out, rows)| {
        let count = rows.len() / inner;
        for panel in 0..panels.len() {
            let sums = vectorised(
                #[inline(always)]
                || {
                    if count == ROWS {
                        return products::<ROWS>(panels.panel(panel), rows);
                    }
                    let mut sums = [[0f32; LANES]; ROWS];
                    for (sums, row) in sums.iter_mut().zip(rows.chunks_exact(inner)) {
                        *sums = products::<1>(panels.panel(panel), row)[0];
                    }
                    sums
                },
            );
            let width = LANES.min(num_columns - panel * LANES);
            for (out, sums) in out.chunks_exact_mut(num_columns).zip(&sums) {
                out[panel * LANES..][..width].copy_from_slice(&sums[..width]);
            }
        }
    });
    out
}

/// `[rows, columns]` to `[columns, rows]`.
pub(super) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::drawn;

    #[test]
    fn the_rotation_between_rotated_vectors_is_found() {
        let dim = 7;
        let x = drawn(200, dim, 1);
        // Any matrix's nearest rotation is a rotation to look for.
        let hidden = procrustes(&drawn(200, dim, 2), &drawn(200, dim, 3), dim, None);
        let y = hidden.forth(&x);
        let found = procrustes(&x, &y, dim, None);
        for (a, b) in found.matrix.iter().zip(&hidden.matrix[..]) {
            assert!((a - b).abs() < 2e-3, "{a} {b}");
        }
        for (a, b) in found.back(&y).iter().zip(&x) {
            assert!((a - b).abs() < 2e-3, "{a} {b}");
        }
    }

    #[test]
    fn directions_without_vectors_keep_the_former_rotation() {
        let x: Vec<f32> = drawn(50, 3, 1).chunks_exact(3).flat_map(|v| [v[0], v[1], 0.0]).collect();
        let found = procrustes(&x, &x, 3, None);
        for i in 0..9 {
            assert!((found.matrix[i] - if i % 4 == 0 { 1.0 } else { 0.0 }).abs() < 1e-4);
        }
    }
}
