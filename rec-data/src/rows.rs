//! Row numbers of a part: a range where they follow one another, however many they are, else a list.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;

use crate::Column;

/// Row numbers. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One after the other.
    Range(Range<u32>),
    /// Any, in any order.
    List(Arc<Vec<u32>>),
}

impl Rows {
    /// Those of the first `n` rows that are `wanted`, rising.
    pub fn of(n: usize, wanted: impl Fn(u32) -> bool) -> Self {
        let mut all = 0..n as u32;
        let Some(first) = all.find(|&r| wanted(r)) else { return Self::default() };
        let end = (first..n as u32).find(|&r| !wanted(r)).unwrap_or(n as u32);
        if (end..n as u32).any(&wanted) {
            return Self::List(Arc::new((first..n as u32).filter(|&r| wanted(r)).collect()));
        }
        Self::Range(first..end)
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::List(list) => list.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `at`.
    ///
    /// # Panics
    /// where there is none.
    #[inline]
    pub fn get(&self, at: usize) -> u32 {
        match self {
            Self::Range(range) => {
                assert!(at < range.len(), "row {at} of {}", range.len());
                range.start + at as u32
            }
            Self::List(list) => list[at],
        }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let (range, list) = match self {
            Self::Range(range) => (range.clone(), &[][..]),
            Self::List(list) => (0..0, &list[..]),
        };
        range.chain(list.iter().copied())
    }

    /// As a list: 4 bytes a row.
    pub fn to_vec(&self) -> Vec<u32> {
        self.iter().collect()
    }

    /// These and `others`, rising, where both are rising and share none.
    pub fn with(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::Range(a), Self::Range(b)) if a.end == b.start => Self::Range(a.start..b.end),
            (Self::Range(a), Self::Range(b)) if b.end == a.start => Self::Range(b.start..a.end),
            _ => {
                let mut rows: Vec<u32> = self.iter().chain(others.iter()).collect();
                rows.sort_unstable();
                rows.into()
            }
        }
    }

    /// The values of these rows; nothing is copied where they are a range.
    ///
    /// # Panics
    /// where the column has not all of them.
    pub fn pick<T: Pod>(&self, column: &Column<T>) -> Column<T> {
        match self {
            Self::Range(range) => column.slice(range.start as usize..range.end as usize),
            Self::List(list) => list.iter().map(|&r| column[r as usize]).collect::<Vec<_>>().into(),
        }
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::Range(0..0)
    }
}

impl From<Vec<u32>> for Rows {
    fn from(list: Vec<u32>) -> Self {
        match list.first() {
            Some(&first) if list.iter().zip(first..).all(|(&row, next)| row == next) => Self::Range(first..first + list.len() as u32),
            None => Self::default(),
            Some(_) => Self::List(Arc::new(list)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_follow_one_another_are_a_range_and_others_a_list() {
        assert_eq!(Rows::from(vec![3, 4, 5]), Rows::Range(3..6));
        assert_eq!(Rows::from(vec![3, 5, 4]), Rows::List(Arc::new(vec![3, 5, 4])));
        assert_eq!(Rows::from(vec![]), Rows::default());
        for parts in [[0, 0, 1, 1, 2], [1, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]] {
            let wanted = |r: u32| parts[r as usize] == 1;
            let rows = Rows::of(5, wanted);
            assert_eq!(rows.to_vec(), (0..5).filter(|&r| wanted(r)).collect::<Vec<_>>());
            assert_eq!(rows, Rows::from(rows.to_vec()), "{parts:?}");
            assert_eq!((0..rows.len()).map(|at| rows.get(at)).collect::<Vec<_>>(), rows.to_vec());
        }
    }

    #[test]
    fn two_parts_are_one_and_values_are_picked_in_order() {
        let [a, b, c] = [vec![0, 1], vec![2, 3], vec![5]].map(Rows::from);
        assert_eq!((a.with(&b), b.with(&a)), (Rows::Range(0..4), Rows::Range(0..4)));
        assert_eq!(c.with(&a).to_vec(), [0, 1, 5]);
        let column: Column<i64> = vec![10, 11, 12, 13, 14, 15].into();
        assert_eq!((&b.pick(&column)[..], &Rows::from(vec![5, 0]).pick(&column)[..]), (&[12, 13][..], &[15, 10][..]));
    }
}
