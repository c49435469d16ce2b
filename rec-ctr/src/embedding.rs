//! One table for the features of all fields.

use std::sync::Arc;

use anyhow::Result;
use rec_core::sparse::{Pattern, sum_rows};
use rec_core::{Init, Params, Table};
use rec_data::batch::FieldsBatch;
use rec_data::csr::Csr;
use rec_data::fields::Encoders;
use tch::{Device, Kind, Tensor};

/// A batch with its features renumbered without gaps, so that a step takes only the rows of tables that it touches.
pub struct Taken<'a> {
    /// The batch.
    pub batch: &'a FieldsBatch,
    bag: Bag,
    device: Device,
}

/// Sums of table rows.
struct Bag {
    ids: Vec<u32>,
    pattern: Arc<Pattern>,
    values: Option<Tensor>,
}

impl Bag {
    fn new(rows: &Csr, device: Device) -> Result<Self> {
        let (pattern, ids) = Pattern::compact(rows);
        let values = match rows.values() {
            [] => None,
            values => Some(Tensor::from_slice(values).f_to_device(device)?),
        };
        Ok(Self { ids, pattern: Arc::new(pattern), values })
    }

    fn of(&self, table: &Table) -> Result<Tensor> {
        sum_rows(&self.pattern, self.values.as_ref(), &table.rows(&self.ids)?)
    }

    /// The same, and Σ ‖value · table[column]‖² over each row's entries.
    fn with_squares(&self, table: &Table) -> Result<(Tensor, Tensor)> {
        let taken = table.rows(&self.ids)?;
        let values = self.values.as_ref().map(|v| v.f_square()).transpose()?;
        let squares = taken.f_square()?.f_sum_dim_intlist(1, true, None::<Kind>)?;
        Ok((sum_rows(&self.pattern, self.values.as_ref(), &taken)?, sum_rows(&self.pattern, values.as_ref(), &squares)?))
    }
}

impl<'a> Taken<'a> {
    /// `batch`, whose tensors will lie on `device`.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn new(batch: &'a FieldsBatch, device: Device) -> Result<Self> {
        Ok(Self { batch, bag: Bag::new(&batch.entries, device)?, device })
    }

    /// B.
    pub fn len(&self) -> i64 {
        self.batch.rows as i64
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.batch.rows == 0
    }

    /// Where its tensors lie.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Σ value · table[column] over each row's entries of `rows`, other features than the fields'.
    pub(crate) fn sums(&self, rows: &Csr, table: &Table) -> Result<Tensor> {
        Bag::new(rows, self.device)?.of(table)
    }

    /// The features that the fields of the batch have, each once.
    pub(crate) fn features(&self) -> &[u32] {
        &self.bag.ids
    }
}

/// A vector for each feature.
pub(crate) struct Embedding {
    pub table: Table,
    fields: i64,
}

impl Embedding {
    pub fn new(name: &str, fields: &Encoders, size: usize, init: Init, params: &mut Params) -> Result<Self> {
        Ok(Self { table: params.table(name, fields.num_features(), size, init)?, fields: fields.fields().len() as i64 })
    }

    /// The same for batches whose histories are lists.
    pub fn beside_lists(name: &str, fields: &Encoders, size: usize, init: Init, params: &mut Params) -> Result<Self> {
        let lists = fields.histories().count() as i64;
        let all = Self::new(name, fields, size, init, params)?;
        Ok(Self { fields: all.fields - lists, ..all })
    }

    /// The number of fields.
    pub fn num_fields(&self) -> usize {
        self.fields as usize
    }

    /// # Shapes
    /// returns `[B, F, size]`
    pub fn of(&self, rows: &Taken) -> Result<Tensor> {
        self.shaped(&rows.bag.of(&self.table)?, rows)
    }

    /// The same, and Σ ‖xᵢvᵢ‖² over the features of each row.
    ///
    /// # Shapes
    /// returns `[B, F, size]` and `[B]`
    pub fn with_squares(&self, rows: &Taken) -> Result<(Tensor, Tensor)> {
        let (vectors, squares) = rows.bag.with_squares(&self.table)?;
        let squares = squares.f_view([rows.len(), self.fields])?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        Ok((self.shaped(&vectors, rows)?, squares))
    }

    fn shaped(&self, vectors: &Tensor, rows: &Taken) -> Result<Tensor> {
        Ok(vectors.f_view([rows.len(), self.fields, self.table.num_columns() as i64])?)
    }
}

/// w₀ + Σ wᵢxᵢ over the features of a row.
pub(crate) struct FirstOrder {
    weights: Embedding,
    bias: Tensor,
}

impl FirstOrder {
    pub fn new(fields: &Encoders, params: &mut Params) -> Result<Self> {
        Ok(Self { weights: Embedding::new("first_order", fields, 1, Init::Zeros, params)?, bias: params.dense("bias", &[1], Init::Zeros)? })
    }

    /// # Shapes
    /// returns `[B]`
    pub fn of(&self, rows: &Taken) -> Result<Tensor> {
        Ok(self.weights.of(rows)?.f_view([rows.len(), -1])?.f_sum_dim_intlist(1, false, None::<Kind>)?.f_add(&self.bias)?)
    }
}
