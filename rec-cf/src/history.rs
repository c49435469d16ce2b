//! Histories as sets.

use std::borrow::Cow;

use rayon::prelude::*;
use rec_core::Users;
use rec_data::csr::Csr;

/// The items of `history`, each once, in the order of their first appearance.
pub(crate) fn distinct(history: &[u32]) -> Cow<'_, [u32]> {
    let mut sorted = history.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).all(|pair| pair[0] < pair[1]) {
        return Cow::Borrowed(history);
    }
    sorted.dedup();
    let mut seen = vec![false; sorted.len()];
    let first = |item: &u32| sorted.binary_search(item).is_ok_and(|at| !std::mem::replace(&mut seen[at], true));
    Cow::Owned(history.iter().copied().filter(first).collect())
}

/// Each user's sum of the rows of `says` that belong to the items of the history, each item once: row i is what item i says for others.
///
/// # Shapes
/// `says` `[items, items]`; returns `[users, items]`, row after row
pub(crate) fn sum_of_rows(says: &Csr, users: &Users) -> Vec<f32> {
    let n = says.num_columns();
    let mut scores = vec![0f32; users.len() * n];
    let histories: Vec<Cow<[u32]>> = (0..users.len()).map(|u| distinct(users.history(u))).collect();
    scores.par_chunks_mut(n.max(1)).zip(histories).for_each(|(scores, history)| {
        for &item in &*history {
            for (&candidate, &weight) in says.row(item as usize).iter().zip(says.row_values(item as usize)) {
                scores[candidate as usize] += weight;
            }
        }
    });
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_comes_once_where_it_came_first() {
        assert_eq!(*distinct(&[5, 2, 5, 9, 2, 2]), [5, 2, 9]);
        assert!(matches!(distinct(&[5, 2, 9]), Cow::Borrowed(_)));
        assert!(distinct(&[]).is_empty());
    }
}
