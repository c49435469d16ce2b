//! Histories: lists of items that are windows into one array.

use std::ops::Range;
use std::sync::Arc;

use crate::csr::Csr;

/// Lists of items, each a range of one shared array, and their values where there are any. Ranges may overlap: all the prefixes of a
/// session are windows into the one session, and none of them is copied. A clone, too, shares the array.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    items: Arc<Vec<u32>>,
    /// As long as `items`, or empty.
    values: Arc<Vec<f32>>,
    ranges: Vec<Range<usize>>,
}

impl Windows {
    /// The lists `items[range]`; `values` is as long as `items`, or empty.
    ///
    /// # Panics
    /// where a range lies outside the items, or the lengths differ.
    pub fn new(items: Vec<u32>, values: Vec<f32>, ranges: Vec<Range<usize>>) -> Self {
        assert!(values.is_empty() || values.len() == items.len(), "a value for each item");
        assert!(ranges.iter().all(|r| r.start <= r.end && r.end <= items.len()), "ranges of the items that are there");
        Self { items: Arc::new(items), values: Arc::new(values), ranges }
    }

    /// The number of lists.
    pub fn num_rows(&self) -> usize {
        self.ranges.len()
    }

    /// List `row`.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.items[self.ranges[row].clone()]
    }

    /// The values of list `row`; empty where there are none.
    pub fn row_values(&self, row: usize) -> &[f32] {
        if self.values.is_empty() { &[] } else { &self.values[self.ranges[row].clone()] }
    }

    /// The lists `ids`, in that order, over the same array.
    ///
    /// # Panics
    /// where there is no such list.
    pub fn select(&self, ids: &[u32]) -> Self {
        let ranges = ids.iter().map(|&id| self.ranges[id as usize].clone()).collect();
        Self { items: Arc::clone(&self.items), values: Arc::clone(&self.values), ranges }
    }

    /// The array that all lists share.
    pub fn items(&self) -> &[u32] {
        &self.items
    }
}

impl From<Csr> for Windows {
    /// Each row is a list; nothing is copied.
    fn from(matrix: Csr) -> Self {
        let (starts, columns, values) = matrix.into_parts();
        Self::new(columns, values, starts.windows(2).map(|pair| pair[0]..pair[1]).collect())
    }
}

impl PartialEq for Windows {
    /// Whether the lists are equal, wherever they lie.
    fn eq(&self, other: &Self) -> bool {
        let rows = |w: &Self| w.num_rows();
        rows(self) == rows(other)
            && (0..rows(self)).all(|row| self.row(row) == other.row(row) && self.row_values(row) == other.row_values(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_share_one_array() {
        let windows = Windows::new(vec![5, 3, 5, 9], vec![1.0, 2.0, 3.0, 4.0], vec![0..1, 0..2, 0..3, 3..3]);
        assert_eq!((windows.row(1), windows.row_values(2)), (&[5, 3][..], &[1.0, 2.0, 3.0][..]));
        assert!(windows.row(3).is_empty());
        let picked = windows.select(&[2, 0]);
        assert_eq!((picked.num_rows(), picked.row(0)), (2, &[5, 3, 5][..]));
        assert!([windows.row(2), picked.row(0), picked.row(1)].iter().all(|row| row.as_ptr() == windows.items().as_ptr()));
    }

    #[test]
    fn rows_of_a_matrix_are_lists_and_equal_wherever_they_lie() {
        let matrix = Csr::from_coordinates(3, 9, &[2, 0, 2], &[8, 1, 0], &[1.0, 2.0, 3.0]);
        let windows = Windows::from(matrix.clone());
        assert_eq!(windows.num_rows(), 3);
        for row in 0..3 {
            assert_eq!((windows.row(row), windows.row_values(row)), (matrix.row(row), matrix.row_values(row)));
        }
        assert_eq!(windows, Windows::new(vec![8, 0, 1], vec![1.0, 3.0, 2.0], vec![2..3, 0..0, 0..2]));
        assert_ne!(windows, Windows::new(vec![8, 0, 1], vec![1.0, 3.0, 2.5], vec![2..3, 0..0, 0..2]));
        assert!(Windows::from(Csr::from_rows(9, [[1, 2]])).row_values(0).is_empty());
    }

    #[test]
    #[should_panic(expected = "ranges of the items that are there")]
    fn a_range_outside_the_items_is_refused() {
        Windows::new(vec![1, 2], Vec::new(), vec![0..1, 1..3]);
    }
}
