//! Where the entries of a sparse matrix lie.

use std::sync::OnceLock;

use anyhow::Result;
use rec_data::csr::Csr;
use tch::{Device, Tensor};

use crate::distinct::Distinct;

/// Where entries lie, by row and, once it is asked for, by column.
#[derive(Debug)]
pub struct Pattern {
    starts: Vec<usize>,
    columns: Vec<u32>,
    num_columns: usize,
    by_column: OnceLock<ByColumn>,
}

/// The same entries, column after column.
#[derive(Debug)]
pub(super) struct ByColumn {
    pub starts: Vec<usize>,
    /// The row of each entry, rising within a column.
    pub rows: Vec<u32>,
    /// Where the entry lies in the order by row.
    pub places: Vec<u32>,
}

impl Pattern {
    /// The entries of `rows`, in its order.
    pub fn of(rows: &Csr) -> Self {
        Self {
            starts: rows.starts().to_vec(),
            columns: rows.columns().to_vec(),
            num_columns: rows.num_columns(),
            by_column: OnceLock::new(),
        }
    }

    /// The entries of `rows` with its columns renumbered without gaps, and the old number of each new column, in order of first
    /// appearance: so that a step takes only the rows of a table that it touches.
    pub fn compact(rows: &Csr) -> (Self, Vec<u32>) {
        let Distinct { ids, places } = Distinct::of(rows.columns(), rows.num_columns());
        (Self { starts: rows.starts().to_vec(), columns: places, num_columns: ids.len(), by_column: OnceLock::new() }, ids)
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.starts.len() - 1
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

    /// Where each row starts, and after the last one the number of entries.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The column of each entry.
    pub fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// The row of each entry.
    pub fn rows(&self) -> Vec<u32> {
        self.starts.windows(2).enumerate().flat_map(|(row, ends)| std::iter::repeat_n(row as u32, ends[1] - ends[0])).collect()
    }

    /// The number of entries of each row, as a tensor.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn row_lengths(&self, device: Device) -> Result<Tensor> {
        let lengths: Vec<f32> = self.starts.windows(2).map(|ends| (ends[1] - ends[0]) as f32).collect();
        Ok(Tensor::from_slice(&lengths).f_to_device(device)?)
    }

    pub(super) fn by_column(&self) -> &ByColumn {
        self.by_column.get_or_init(|| {
            let mut starts = vec![0usize; self.num_columns + 1];
            self.columns.iter().for_each(|&column| starts[column as usize + 1] += 1);
            for column in 0..self.num_columns {
                starts[column + 1] += starts[column];
            }
            let mut next = starts.clone();
            let (mut rows, mut places) = (vec![0; self.len()], vec![0; self.len()]);
            for (row, ends) in self.starts.windows(2).enumerate() {
                for place in ends[0]..ends[1] {
                    let at = &mut next[self.columns[place] as usize];
                    (rows[*at], places[*at]) = (row as u32, place as u32);
                    *at += 1;
                }
            }
            ByColumn { starts, rows, places }
        })
    }

    pub(super) fn columns_on(&self, device: Device) -> Result<Tensor> {
        indices(&self.columns, device)
    }

    pub(super) fn rows_on(&self, device: Device) -> Result<Tensor> {
        indices(&self.rows(), device)
    }
}

fn indices(ids: &[u32], device: Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()).f_to_device(device)?)
}
