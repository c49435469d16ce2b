//! Products of many vectors with many: vectors lie by sixteen in panels, so that one step of a sum reads one line of memory.

use crate::column::Column;

/// Vectors of a panel: two registers of eight.
pub(crate) const LANES: usize = 16;
/// Rows that share a pass over a panel: with two sums each they fill the registers.
pub(crate) const ROWS: usize = 6;

/// Vectors in panels of sixteen, each `[stride, 16]`; places past the last vector are zeros.
pub(crate) struct Panels {
    packed: Column<f32>,
    stride: usize,
}

impl Panels {
    /// Packs rows `[n, stride]`.
    pub(crate) fn new(rows: &[f32], stride: usize) -> Self {
        let mut packed = Column::zeros((rows.len() / stride).div_ceil(LANES) * stride * LANES);
        for (panel, rows) in packed.make_mut().chunks_exact_mut(stride * LANES).zip(rows.chunks(stride * LANES)) {
            for (lane, row) in rows.chunks_exact(stride).enumerate() {
                for (k, &value) in row.iter().enumerate() {
                    panel[k * LANES + lane] = value;
                }
            }
        }
        Self { packed, stride }
    }

    /// The number of panels.
    pub(crate) fn len(&self) -> usize {
        self.packed.len() / (self.stride * LANES)
    }

    /// The panel `panel`.
    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        &self.packed[panel * self.stride * LANES..][..self.stride * LANES]
    }
}

/// The products of `R` rows (`[R, stride]`) with a panel's vectors. To be called inside `vectorised`.
#[inline(always)]
pub(crate) fn products<const R: usize>(panel: &[f32], rows: &[f32]) -> [[f32; LANES]; R] {
    let stride = panel.len() / LANES;
    assert!(rows.len() >= R * stride);
    let mut sums = [[0f32; LANES]; R];
    for (k, line) in panel.as_chunks::<LANES>().0.iter().enumerate() {
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: k < stride, and rows holds R·stride values (asserted above).
            let value = unsafe { *rows.get_unchecked(r * stride + k) };
            for lane in 0..LANES {
                sums[lane] = value.mul_add(line[lane], sums[lane]);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{dot, vectorised};
    use crate::rng::{Rng, Stream};

    #[test]
    fn products_by_panels_are_those_one_by_one() {
        let stride = 24;
        let mut rng = Rng::keyed(1, Stream::Sample, 0);
        let mut draw = |n: usize| (0..n * stride).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        let (vectors, rows) = (draw(37), draw(ROWS));
        let panels = Panels::new(&vectors, stride);
        assert_eq!(panels.len(), 3);
        for (i, vector) in vectors.chunks_exact(stride).enumerate() {
            let found = vectorised(
                #[inline(always)]
                || products::<ROWS>(panels.panel(i / LANES), &rows),
            );
            for (row, found) in rows.chunks_exact(stride).zip(found) {
                assert!((found[i % LANES] - dot(vector, row)).abs() < 1e-4);
            }
        }
    }
}
