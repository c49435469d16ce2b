//! Histories as lists: the vectors of past items one after the other, without padding.

use std::sync::Arc;

use anyhow::Result;
use rec_core::Table;
use rec_core::sparse::{Pattern, sum_rows};
use rec_data::csr::Csr;
use rec_data::fields::{Encoder, Encoders, FieldKind};
use rec_data::require;
use tch::Tensor;

use crate::embedding::Taken;

/// Where the item that a history is about stands among the fields that are no lists, for each history.
///
/// # Errors
/// a usage problem where there is no history.
pub(crate) fn targets(model: &str, fields: &Encoders) -> Result<Vec<usize>> {
    let plain_before = |at: usize| fields.fields()[..at].iter().filter(|field| field.kind != FieldKind::History).count();
    let target = |encoder: &Encoder| if let Encoder::Shared { field } = encoder { Some(plain_before(*field)) } else { None };
    let found: Vec<usize> = fields.histories().filter_map(|field| target(&field.encoder)).collect();
    require!(
        !found.is_empty(),
        Usage,
        "`{model}` looks at what the user did before: the protocol's `fields` need one with `from = \"history\"`"
    );
    Ok(found)
}

/// One history of a batch: P past items in all.
pub(crate) struct List {
    /// `[P, d]`
    pub vectors: Tensor,
    /// `[P]` i64, the row of the batch that each belongs to.
    pub rows: Tensor,
    /// Row b of the batch has the entries `starts[b]..starts[b + 1]`, which are their own columns.
    pub pattern: Arc<Pattern>,
}

impl List {
    pub fn new(history: &Csr, table: &Table, rows: &Taken) -> Result<Self> {
        let p = history.len();
        let each = Csr::from_parts((0..=p).collect(), history.columns().to_vec(), Vec::new(), history.num_columns());
        let vectors = rows.sums(&each, table)?;
        let pattern = Pattern::of(&Csr::from_parts(history.starts().to_vec(), (0..p as u32).collect(), Vec::new(), p));
        let owners: Vec<i64> = pattern.rows().into_iter().map(i64::from).collect();
        Ok(Self { vectors, rows: Tensor::from_slice(&owners).f_to_device(rows.device())?, pattern: Arc::new(pattern) })
    }

    /// Of each row of the batch the sum of its rows of `x`, `[P, n]` to `[B, n]`.
    pub fn sum(&self, x: &Tensor) -> Result<Tensor> {
        sum_rows(&self.pattern, None, x)
    }
}
