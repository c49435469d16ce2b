//! Some rows of a data set, with their labels: what a model that predicts labels learns from or is asked about.

use std::sync::Arc;

use anyhow::Result;

use super::encoded::{Encoded, Place, When};
use super::encoder::Encoders;
use crate::batch::FieldsBatch;
use crate::{Column, Rows, fail};

/// Rows, their features and labels.
#[derive(Clone, Debug)]
pub struct LabelledRows {
    encoded: Arc<Encoded>,
    rows: Rows,
    labels: Column<f32>,
    /// What the labels were made of.
    values: Column<f32>,
    threshold: Option<f32>,
}

/// What is asked about somebody: how each of some items would do now.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `None`: somebody who is not in the data.
    pub user: Option<u32>,
    /// The items of the past, oldest first.
    pub history: &'a [u32],
    /// Their values; empty where there are none.
    pub values: &'a [f32],
    /// The items asked about.
    pub items: &'a [u32],
}

impl LabelledRows {
    /// `rows` of the data that was encoded, the label of each, 0 or 1, and the value that it was made of: whether that is at least `threshold`, or
    /// else above 0.
    ///
    /// # Panics
    /// where there is not a label and a value for each row.
    pub fn new(
        encoded: &Arc<Encoded>,
        rows: impl Into<Rows>,
        labels: impl Into<Column<f32>>,
        values: impl Into<Column<f32>>,
        threshold: Option<f32>,
    ) -> Self {
        let (rows, labels, values) = (rows.into(), labels.into(), values.into());
        assert_eq!((labels.len(), values.len()), (rows.len(), rows.len()), "a label and a value for each row");
        Self { encoded: Arc::clone(encoded), rows, labels, values, threshold }
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
        self.batch_with(at, &[], lists)
    }

    /// [`batch`](Self::batch), and after its rows one for each of `drawn`: as the row at the first number, but of the item that is the
    /// second, and with the label and the value 0.
    ///
    /// # Panics
    /// where there is no such row.
    pub fn batch_with(&self, at: &[u32], drawn: &[(u32, u32)], lists: bool) -> FieldsBatch {
        let place = |&at: &u32| self.encoded.place(self.rows.get(at as usize));
        let other = |(at, item): &(u32, u32)| Place { item: *item, ..place(at) };
        let places: Vec<Place> = at.iter().map(place).chain(drawn.iter().map(other)).collect();
        let told = |column: &[f32]| at.iter().map(|&i| column[i as usize]).chain(drawn.iter().map(|_| 0.0)).collect();
        self.shown(&places, told(&self.labels), told(&self.values), lists)
    }

    /// What rows would show that `questions` ask about, one an item, question after question. They have no labels.
    ///
    /// # Errors
    /// a usage problem that names a field which is not known before there is a row.
    ///
    /// # Panics
    /// where there is no such user or item.
    pub fn asked(&self, questions: &[Question], lists: bool) -> Result<FieldsBatch> {
        self.check_asked()?;
        let liked = |q: &Question| -> Vec<Vec<u32>> {
            let value = |i: usize| q.values.get(i).copied();
            let is_liked = |i: usize| value(i).is_none_or(|value| self.threshold.map_or(value > 0.0, |least| value >= least));
            self.encoded.past(&(0..q.history.len()).filter(|&i| is_liked(i)).map(|i| q.history[i]).collect::<Vec<u32>>())
        };
        let pasts: Vec<Vec<Vec<u32>>> = questions.iter().map(liked).collect();
        let mut places = Vec::new();
        for (q, past) in questions.iter().zip(&pasts) {
            places.extend(q.items.iter().map(|&item| Place { user: q.user, item, at: When::Now(past) }));
        }
        Ok(self.shown(&places, Vec::new(), Vec::new(), lists))
    }

    /// Whether all fields are known before there is a row.
    ///
    /// # Errors
    /// a usage problem that names one that is not.
    pub fn check_asked(&self) -> Result<()> {
        if let Some(field) = self.encoded.only_of_rows() {
            fail!(
                Usage,
                "the field `{}` (`{}`) is known once there is a row: items can be ranked by fields of users, items and histories alone",
                field.spec.name,
                field.spec.from
            );
        }
        Ok(())
    }

    fn shown(&self, places: &[Place], labels: Vec<f32>, values: Vec<f32>, lists: bool) -> FieldsBatch {
        FieldsBatch {
            rows: places.len(),
            entries: self.encoded.entries(places, lists),
            histories: if lists { self.encoded.histories(places) } else { Vec::new() },
            labels,
            values,
        }
    }
}
