//! Products of user and item factors, with one order of summation whatever the tile: score(u, i) = Σ_k p_uk·q_ik, added for k = 0, 1, …
//! by fused multiply-adds into one accumulator. So a score is the same bits in every tile, on every thread and on every processor.

use crate::simd::vectorised;

const LANES: usize = ItemPanels::LANES;
/// Users that share a pass over a panel.
const ROWS: usize = 6;

/// Item factors in panels of 16 items, each `[dim, 16]`, so that one step of the sum reads one line of memory.
pub struct ItemPanels {
    packed: Vec<f32>,
    bias: Vec<f32>,
    dim: usize,
    num_items: usize,
}

impl ItemPanels {
    /// Items in a panel: two vectors of eight.
    pub const LANES: usize = 16;

    /// Packs `items` (`[num_items, dim]`) and their biases.
    ///
    /// # Panics
    /// where `items` is not a whole number of vectors, or there is not a bias for each.
    pub fn new(items: &[f32], dim: usize, bias: Option<&[f32]>) -> Self {
        assert!(dim > 0 && items.len().is_multiple_of(dim), "whole vectors");
        let num_items = items.len() / dim;
        let panels = num_items.div_ceil(LANES);
        let mut packed = vec![0.0; panels * dim * LANES];
        for (item, vector) in items.chunks_exact(dim).enumerate() {
            let panel = &mut packed[item / LANES * dim * LANES..][..dim * LANES];
            for (k, &value) in vector.iter().enumerate() {
                panel[k * LANES + item % LANES] = value;
            }
        }
        let mut padded = vec![0.0; panels * LANES];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), num_items, "a bias for each item");
            padded[..num_items].copy_from_slice(bias);
        }
        Self { packed, bias: padded, dim, num_items }
    }

    /// The number of items.
    pub fn num_items(&self) -> usize {
        self.num_items
    }

    /// The length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The number of panels.
    pub fn num_panels(&self) -> usize {
        self.bias.len() / LANES
    }

    /// The items of panels `from..to`.
    pub(super) fn items_of(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        from * LANES..(to * LANES).min(self.num_items)
    }

    /// Scores of `users` (`[n, dim]`) for the items of panels `from..to`, into `out` (`[n, (to − from)·16]`); places past the last item
    /// hold numbers without meaning.
    ///
    /// # Panics
    /// where the lengths do not fit.
    pub fn scores(&self, users: &[f32], from: usize, to: usize, out: &mut [f32]) {
        let width = (to - from) * LANES;
        vectorised(
            #[inline(always)]
            || self.blocks(users, from, to, width, out),
        );
    }

    #[inline(always)]
    fn blocks(&self, users: &[f32], from: usize, to: usize, width: usize, out: &mut [f32]) {
        for (users, out) in users.chunks(ROWS * self.dim).zip(out.chunks_mut(ROWS * width)) {
            if users.len() == ROWS * self.dim {
                self.block::<ROWS>(users, from, to, out);
            } else {
                for (user, out) in users.chunks(self.dim).zip(out.chunks_mut(width)) {
                    self.block::<1>(user, from, to, out);
                }
            }
        }
    }

    #[inline(always)]
    fn block<const R: usize>(&self, users: &[f32], from: usize, to: usize, out: &mut [f32]) {
        let dim = self.dim;
        let width = (to - from) * LANES;
        assert!(users.len() == R * dim && out.len() == R * width);
        for panel in from..to {
            let items = &self.packed[panel * dim * LANES..(panel + 1) * dim * LANES];
            let mut sums = [[0f32; LANES]; R];
            for (k, line) in items.chunks_exact(LANES).enumerate() {
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: k < dim, and users holds R·dim values (asserted above).
                    let user = unsafe { *users.get_unchecked(r * dim + k) };
                    for lane in 0..LANES {
                        sums[lane] = user.mul_add(line[lane], sums[lane]);
                    }
                }
            }
            let bias = &self.bias[panel * LANES..(panel + 1) * LANES];
            for (r, sums) in sums.iter().enumerate() {
                let out = &mut out[r * width + (panel - from) * LANES..][..LANES];
                for lane in 0..LANES {
                    out[lane] = sums[lane] + bias[lane];
                }
            }
        }
    }

    /// The score of one user (`[dim]`) for one item: the bits that [`scores`](Self::scores) gives.
    pub(super) fn one(&self, user: &[f32], item: u32) -> f32 {
        let (panel, lane) = (item as usize / LANES, item as usize % LANES);
        let items = &self.packed[panel * self.dim * LANES..(panel + 1) * self.dim * LANES];
        user.iter().zip(items.chunks_exact(LANES)).fold(0.0, |sum, (&u, line)| f32::mul_add(u, line[lane], sum)) + self.bias[item as usize]
    }
}

/// Σ_k a_k·b_k in the order of the evaluator.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (&a, &b)| f32::mul_add(a, b, sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rec_data::rng::{Rng, Stream};

    #[test]
    fn a_score_is_the_same_bits_in_every_tile() {
        let (dim, users, items) = (19, 14, 53);
        let mut rng = Rng::keyed(1, Stream::Init, 0, 0);
        let mut draw = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        let (p, q, b) = (draw(users * dim), draw(items * dim), draw(items));
        let panels = ItemPanels::new(&q, dim, Some(&b));
        let mut whole = vec![0.0; users * panels.num_panels() * LANES];
        panels.scores(&p, 0, panels.num_panels(), &mut whole);
        for u in 0..users {
            for i in 0..items {
                let user = &p[u * dim..(u + 1) * dim];
                let expected = dot(user, &q[i * dim..(i + 1) * dim]) + b[i];
                assert_eq!(whole[u * panels.num_panels() * LANES + i].to_bits(), expected.to_bits());
                assert_eq!(panels.one(user, i as u32).to_bits(), expected.to_bits());
                let exact: f64 = user.iter().zip(&q[i * dim..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() + f64::from(b[i]);
                assert!((f64::from(expected) - exact).abs() < 1e-5);
            }
        }
    }
}
