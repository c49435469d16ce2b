//! Compressed sparse rows: for each row, its columns and, where there are any, their values.

use std::ops::Range;

/// A sparse matrix in compressed rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csr {
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    num_columns: usize,
}

impl Csr {
    /// From coordinates, entries of one row in the order in which they come; `values` may be empty.
    ///
    /// # Panics
    /// where a coordinate lies outside the shape, or the lengths differ.
    pub fn from_coordinates(num_rows: usize, num_columns: usize, rows: &[u32], columns: &[u32], values: &[f32]) -> Self {
        assert_eq!(rows.len(), columns.len());
        assert!(values.is_empty() || values.len() == rows.len());
        let mut starts = vec![0usize; num_rows + 1];
        for &row in rows {
            starts[row as usize + 1] += 1;
        }
        for row in 0..num_rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut out = vec![0u32; columns.len()];
        let mut out_values = vec![0f32; values.len()];
        for (i, (&row, &column)) in rows.iter().zip(columns).enumerate() {
            assert!((column as usize) < num_columns, "column {column} of {num_columns}");
            let at = next[row as usize];
            next[row as usize] += 1;
            out[at] = column;
            if !values.is_empty() {
                out_values[at] = values[i];
            }
        }
        Self { starts, columns: out, values: out_values, num_columns }
    }

    /// From one list of columns a row.
    pub fn from_rows<R: AsRef<[u32]>>(num_columns: usize, rows: impl IntoIterator<Item = R>) -> Self {
        let (mut starts, mut columns) = (vec![0], Vec::new());
        for row in rows {
            columns.extend_from_slice(row.as_ref());
            starts.push(columns.len());
        }
        assert!(columns.iter().all(|&c| (c as usize) < num_columns));
        Self { starts, columns, values: Vec::new(), num_columns }
    }

    /// From where each row starts (and the last one ends), the columns and the values, which may be absent.
    ///
    /// # Panics
    /// where they do not fit together.
    pub fn from_parts(starts: Vec<usize>, columns: Vec<u32>, values: Vec<f32>, num_columns: usize) -> Self {
        assert!(starts.first() == Some(&0) && starts.last() == Some(&columns.len()) && starts.is_sorted());
        assert!(values.is_empty() || values.len() == columns.len());
        assert!(columns.iter().all(|&c| (c as usize) < num_columns));
        Self { starts, columns, values, num_columns }
    }

    /// The same matrix with each row's entries by rising column, equal columns merged (values added).
    pub fn sorted(&self) -> Self {
        let mut out = Self { starts: vec![0], num_columns: self.num_columns, ..Self::default() };
        out.starts.reserve(self.num_rows());
        out.columns.reserve(self.len());
        let mut order: Vec<usize> = Vec::new();
        for row in 0..self.num_rows() {
            let from = out.columns.len();
            order.clear();
            order.extend(self.range(row));
            order.sort_by_key(|&i| self.columns[i]);
            for &i in &order {
                if out.columns.len() > from && out.columns.last() == Some(&self.columns[i]) {
                    if let (Some(last), Some(value)) = (out.values.last_mut(), self.values.get(i)) {
                        *last += value;
                    }
                } else {
                    out.columns.push(self.columns[i]);
                    out.values.extend(self.values.get(i));
                }
            }
            out.starts.push(out.columns.len());
        }
        out
    }

    /// Rows and columns exchanged; each row's entries come by rising column.
    pub fn transposed(&self) -> Self {
        let rows: Vec<u32> = (0..self.num_rows()).flat_map(|r| std::iter::repeat_n(r as u32, self.range(r).len())).collect();
        Self::from_coordinates(self.num_columns, self.num_rows(), &self.columns, &rows, &self.values)
    }

    /// The rows `ids`, in that order.
    ///
    /// # Panics
    /// where there is no such row.
    pub fn select(&self, ids: &[u32]) -> Self {
        let mut out = Self { starts: vec![0], num_columns: self.num_columns, ..Self::default() };
        for &id in ids {
            out.columns.extend_from_slice(self.row(id as usize));
            out.values.extend_from_slice(self.row_values(id as usize));
            out.starts.push(out.columns.len());
        }
        out
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The number of columns.
    pub fn num_columns(&self) -> usize {
        self.num_columns
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Where row `row` lies among the entries.
    pub fn range(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// The columns of row `row`.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.columns[self.range(row)]
    }

    /// The values of row `row`; empty where the matrix has none.
    pub fn row_values(&self, row: usize) -> &[f32] {
        if self.values.is_empty() { &[] } else { &self.values[self.range(row)] }
    }

    /// Where each row starts, and after the last one the number of entries.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// All columns, row after row.
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// All values, row after row; empty where the matrix has none.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The starts of the rows, the columns and the values.
    pub(crate) fn into_parts(self) -> (Vec<usize>, Vec<u32>, Vec<f32>) {
        (self.starts, self.columns, self.values)
    }

    /// Whether a matrix made by [`sorted`](Self::sorted) has an entry at (`row`, `column`).
    pub fn contains(&self, row: usize, column: u32) -> bool {
        self.row(row).binary_search(&column).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_sorted_matrix() {
        let m = Csr::from_coordinates(3, 4, &[2, 0, 2, 1], &[3, 1, 0, 3], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(m.row(2), [3, 0]);
        assert_eq!(m.transposed().row(3), [1, 2]);
        assert_eq!(m.transposed().transposed(), m.sorted());
    }

    #[test]
    fn equal_columns_are_merged() {
        let m = Csr::from_coordinates(1, 4, &[0, 0, 0], &[3, 1, 3], &[1.0, 2.0, 5.0]).sorted();
        assert_eq!((m.row(0), m.row_values(0)), (&[1, 3][..], &[2.0, 6.0][..]));
    }
}
