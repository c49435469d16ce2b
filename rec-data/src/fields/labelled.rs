//! Some rows of a data set, with their labels: what a model that predicts labels learns from or is asked about.

use std::sync::Arc;

use super::encoded::Encoded;
use super::encoder::Encoders;
use crate::batch::FieldsBatch;
use crate::{Column, Rows};

/// Rows, their features and labels.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    encoded: Arc<Encoded>,
    rows: Rows,
    labels: Column<f32>,
    values: Column<f32>,
}

impl LabelledRows {
    /// `rows` of the data that was encoded, the label of each, 0 or 1, and the value that it was made of.
    ///
    /// # Panics
    /// where there is not a label and a value for each row.
    pub fn new(encoded: &Arc<Encoded>, rows: impl Into<Rows>, labels: impl Into<Column<f32>>, values: impl Into<Column<f32>>) -> Self {
        let (rows, labels, values) = (rows.into(), labels.into(), values.into());
        assert_eq!((labels.len(), values.len()), (rows.len(), rows.len()), "a label and a value for each row");
        Self { encoded: Arc::clone(encoded), rows, labels, values }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How features were made.
    pub fn encoders(&self) -> &Encoders {
        self.encoded.encoders()
    }

    /// The label of each row.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// The value of each row, which its label was made of.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The user of each row.
    pub fn users(&self) -> Vec<u32> {
        self.rows.iter().map(|row| self.encoded.user(row)).collect()
    }

    /// How many rows have each feature, in a history too.
    pub fn feature_counts(&self) -> Vec<u32> {
        self.encoded.counts(&self.rows)
    }

    /// The rows at `at`, in that order; histories as means, or, where `lists` says so, as lists beside the other fields.
    ///
    /// # Panics
    /// where there is no such row.
    pub fn batch(&self, at: &[u32], lists: bool) -> FieldsBatch {
        let rows: Vec<u32> = at.iter().map(|&i| self.rows.get(i as usize)).collect();
        FieldsBatch {
            rows: rows.len(),
            entries: self.encoded.entries(&rows, lists),
            histories: if lists { self.encoded.histories(&rows) } else { Vec::new() },
            labels: at.iter().map(|&i| self.labels[i as usize]).collect(),
            values: at.iter().map(|&i| self.values[i as usize]).collect(),
        }
    }
}
