//! Partial top-k of a stream of scores.

/// Keeps the best k of the scores it is shown.
///
/// Order: higher score first; of equal scores irrelevant items before relevant ones (ties are broken pessimistically), then lower
/// item numbers first. −0 equals 0.
pub(super) struct TopK {
    k: usize,
    kept: Vec<(f32, u32)>,
    /// No score below this can be among the best k.
    floor: f32,
}

impl TopK {
    pub(super) fn new(k: usize) -> Self {
        Self { k, kept: Vec::with_capacity(4 * k + 64), floor: f32::MIN }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.floor = f32::MIN;
    }

    /// Shows the scores of items `first`, `first + 1`, …; −∞ is skipped.
    ///
    /// # Errors
    /// the first item whose score is NaN or +∞.
    pub(super) fn show(&mut self, first: u32, scores: &[f32], relevant: &[u32]) -> Result<(), u32> {
        const BLOCK: usize = 32;
        for (block, chunk) in scores.chunks(BLOCK).enumerate() {
            // Written so that a NaN counts as high: it must not slip through.
            let floor = self.floor;
            let low = chunk.iter().fold(true, |low, &s| low & (s < floor));
            if low {
                continue;
            }
            for (i, &score) in chunk.iter().enumerate() {
                if score < self.floor {
                    continue;
                }
                let item = first + (block * BLOCK + i) as u32;
                if !score.is_finite() {
                    return Err(item);
                }
                self.kept.push((score, item));
            }
            if self.kept.len() >= 4 * self.k + 32 {
                self.shrink(relevant);
            }
        }
        Ok(())
    }

    /// Shows one score.
    ///
    /// # Errors
    /// the item where its score is NaN or +∞.
    pub(super) fn show_one(&mut self, item: u32, score: f32, relevant: &[u32]) -> Result<(), u32> {
        self.show(item, &[score], relevant)
    }

    fn shrink(&mut self, relevant: &[u32]) {
        if self.kept.len() > self.k {
            self.kept.select_nth_unstable_by(self.k - 1, |a, b| order(a, b, relevant));
            self.kept.truncate(self.k);
            self.floor = self.kept.iter().map(|e| e.0).fold(f32::INFINITY, f32::min);
        }
    }

    /// The best k so far, best first. `relevant` rises.
    pub(super) fn best(&mut self, relevant: &[u32]) -> &[(f32, u32)] {
        self.shrink(relevant);
        self.kept.sort_unstable_by(|a, b| order(a, b, relevant));
        &self.kept
    }
}

fn order(a: &(f32, u32), b: &(f32, u32), relevant: &[u32]) -> std::cmp::Ordering {
    let is = |e: &(f32, u32)| relevant.binary_search(&e.1).is_ok();
    // Scores are finite here, so they compare; partial_cmp holds −0 equal to 0, which total_cmp would not.
    b.0.partial_cmp(&a.0).expect("finite scores compare").then_with(|| is(a).cmp(&is(b))).then_with(|| a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_k_are_those_of_a_full_sort(scores in prop::collection::vec(-3i8..3, 1..300), k in 1usize..20, relevant in prop::collection::btree_set(0u32..300, 0..30), cut in 1usize..50) {
            let scores: Vec<f32> = scores.iter().map(|&s| f32::from(s)).collect();
            let relevant: Vec<u32> = relevant.into_iter().collect();
            let mut all: Vec<(f32, u32)> = scores.iter().enumerate().map(|(i, &s)| (s, i as u32)).collect();
            all.sort_by(|a, b| order(a, b, &relevant));
            all.truncate(k);
            let mut top = TopK::new(k);
            for (block, chunk) in scores.chunks(cut).enumerate() {
                top.show((block * cut) as u32, chunk, &relevant).expect("finite");
            }
            prop_assert_eq!(top.best(&relevant), &all[..]);
        }
    }

    #[test]
    fn scores_that_are_not_finite_are_named_and_minus_infinity_is_skipped() {
        let mut top = TopK::new(2);
        top.show(0, &[1.0, f32::NEG_INFINITY, 0.5], &[]).expect("fine");
        assert_eq!(top.best(&[]), [(1.0, 0), (0.5, 2)]);
        assert_eq!(TopK::new(2).show(5, &[1.0, f32::NAN], &[]), Err(6));
        assert_eq!(TopK::new(2).show(5, &[f32::INFINITY], &[]), Err(5));
    }
}
