//! Histories as sets.

use std::borrow::Cow;

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
