//! A fixed sparse matrix in the graph of gradients: a graph's adjacency, by which vectors move from node to node.

use std::cell::OnceCell;
use std::rc::Rc;

use anyhow::Result;
use rec_data::csr::Csr;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::kernels::{Columns, Rows, combine, narrowed};
use super::{ours, width};
use crate::params::{slice, slice_mut};
use crate::shim;

/// How the vectors that a [`polynomial`] gathers lie in memory while it works; sums are made in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// As they are.
    #[default]
    F32,
    /// Rounded to 8 bits of mantissa, so that half as many bytes are read. On other devices than the CPU it says nothing.
    Bf16,
}

impl Storage {
    /// Whether it is what a config that says nothing means.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A sparse matrix with values that no gradient moves.
#[derive(Debug)]
pub struct Matrix {
    rows: Csr,
    /// The transposed matrix, where it is another one.
    transposed: Option<Csr>,
    /// The two as libtorch has them, for devices that our loops cannot read.
    elsewhere: OnceCell<(Device, Kind, [Tensor; 2])>,
}

impl Matrix {
    /// The matrix `rows`, whose columns rise within each row; absent values are 1.
    ///
    /// # Panics
    /// where columns do not rise.
    pub fn of(rows: Csr) -> Self {
        assert!((0..rows.num_rows()).all(|row| rows.row(row).windows(2).all(|pair| pair[0] < pair[1])), "columns rise within a row");
        let rows = if rows.values().is_empty() { with_ones(&rows) } else { rows };
        let transposed = rows.transposed();
        Self { transposed: (transposed != rows).then_some(transposed), rows, elsewhere: OnceCell::new() }
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// The number of columns.
    pub fn num_columns(&self) -> usize {
        self.rows.num_columns()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn side(&self, transposed: bool) -> &Csr {
        if transposed { self.transposed.as_ref().unwrap_or(&self.rows) } else { &self.rows }
    }

    /// The product by libtorch's own CSR kernels.
    fn by_libtorch(&self, transposed: bool, dense: &Tensor) -> Result<Tensor> {
        let make = |side: &Csr| -> Result<Tensor> {
            let starts: Vec<i64> = side.starts().iter().map(|&s| s as i64).collect();
            let columns: Vec<i64> = side.columns().iter().map(|&c| i64::from(c)).collect();
            let on = |t: Tensor| t.f_to_device(dense.device());
            Ok(Tensor::f_sparse_csr_tensor_crow_col_value_size(
                &on(Tensor::from_slice(&starts))?,
                &on(Tensor::from_slice(&columns))?,
                &on(Tensor::from_slice(side.values()))?.f_to_kind(dense.kind())?,
                [side.num_rows() as i64, side.num_columns() as i64],
                (dense.kind(), dense.device()),
            )?)
        };
        let place = (dense.device(), dense.kind());
        if let Some((device, kind, pair)) = self.elsewhere.get()
            && (*device, *kind) == place
        {
            return Ok(pair[usize::from(transposed)].f_matmul(dense)?);
        }
        let pair = [make(self.side(false))?, make(self.side(true))?];
        let product = pair[usize::from(transposed)].f_matmul(dense)?;
        // Whoever was first stays: one device and kind serves a training.
        let _ = self.elsewhere.set((place.0, place.1, pair));
        Ok(product)
    }
}

fn with_ones(rows: &Csr) -> Csr {
    let of: Vec<u32> = (0..rows.num_rows()).flat_map(|row| std::iter::repeat_n(row as u32, rows.row(row).len())).collect();
    Csr::from_coordinates(rows.num_rows(), rows.num_columns(), &of, rows.columns(), &vec![1.0; rows.len()])
}

/// A · dense. Gradient to `dense`: Aᵀ · gradient, by the same loop; a symmetric A is its own transpose.
///
/// # Shapes
/// `dense` `[a.num_columns(), d]`; returns `[a.num_rows(), d]`
///
/// # Errors
/// where shapes do not fit; libtorch's own.
pub fn times(a: &Rc<Matrix>, dense: &Tensor) -> Result<Tensor> {
    width(dense, a.num_columns())?;
    let out = tch::no_grad(|| product(a, false, &dense.f_contiguous()?))?;
    if !(shim::is_recording() && dense.requires_grad()) {
        return Ok(out);
    }
    let a = Rc::clone(a);
    let gradients: shim::Gradients = Box::new(move |gradient, _, _| Ok([Some(product(&a, true, &gradient.f_contiguous()?)?), None, None]));
    shim::attach_three(&out, [Some(dense), None, None], gradients)
}

fn product(a: &Matrix, transposed: bool, dense: &Tensor) -> Result<Tensor> {
    if !ours(dense) {
        return a.by_libtorch(transposed, dense);
    }
    let side = a.side(transposed);
    step(side, dense, 1.0, None, Rows::All, Columns::All, Storage::F32)
}

/// `scale · A y + c x`, of the rows asked for.
fn step(
    a: &Csr,
    y: &Tensor,
    scale: f32,
    x: Option<(f32, &Tensor)>,
    rows: Rows<'_>,
    columns: Columns<'_>,
    storage: Storage,
) -> Result<Tensor> {
    let d = y.size()[1];
    let n = match rows {
        Rows::All => a.num_rows(),
        Rows::Some(ids) => ids.len(),
    };
    let out = Tensor::f_empty([n as i64, d], (Kind::Float, Device::Cpu))?;
    // SAFETY: `out` was just made, nothing else sees it.
    let (x, to) = (x.map(|(c, x)| (c, slice(x))), unsafe { slice_mut(&out) });
    match storage {
        Storage::F32 => combine(a, slice(y), scale, x, rows, columns, d as usize, to),
        Storage::Bf16 => combine(a, &narrowed(slice(y)), scale, x, rows, columns, d as usize, to),
    }
    Ok(out)
}

/// Rows `ids` of Σ_k weights\[k\] · Aᵏ · dense, A symmetric: what layers of linear propagation add up to. The sum is evaluated from its
/// end (Horner), so that nothing is kept of the layers; the last product makes the rows of `ids` only, and the first product of the
/// gradient reads them only. The gradient is the same sum again.
///
/// # Shapes
/// `dense` `[n, d]` for an n × n matrix, `weights` at least one; returns `[ids.len(), d]`
///
/// # Errors
/// where A is not symmetric or shapes do not fit; libtorch's own.
pub fn polynomial(a: &Rc<Matrix>, weights: &[f32], dense: &Tensor, ids: &[u32], storage: Storage) -> Result<Tensor> {
    width(dense, a.num_columns())?;
    anyhow::ensure!(a.transposed.is_none(), "the matrix is not symmetric");
    anyhow::ensure!(!weights.is_empty(), "a polynomial has at least one weight");
    if let Some(wrong) = ids.iter().find(|&&id| id as usize >= a.num_rows()) {
        anyhow::bail!("the matrix has {} rows, and row {wrong} was asked for", a.num_rows());
    }
    if !ours(dense) {
        let index = Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()).f_to_device(dense.device())?;
        let (mut power, mut sum) = (dense.shallow_clone(), dense * f64::from(weights[0]));
        for &weight in &weights[1..] {
            power = times(a, &power)?;
            sum = sum.f_add(&(&power * f64::from(weight)))?;
        }
        return Ok(sum.f_index_select(0, &index)?);
    }
    let out = tch::no_grad(|| {
        let x = dense.f_contiguous()?;
        horner(a, weights, &x, Rows::Some(ids), Columns::All, storage)
    })?;
    if !(shim::is_recording() && dense.requires_grad()) {
        return Ok(out);
    }
    let (a, weights, ids) = (Rc::clone(a), weights.to_vec(), ids.to_vec());
    let gradients: shim::Gradients = Box::new(move |gradient, _, _| {
        let (scattered, touched) = scatter(&gradient.f_contiguous()?, &ids, a.num_rows())?;
        Ok([Some(horner(&a, &weights, &scattered, Rows::All, Columns::Touched(&touched), storage)?), None, None])
    });
    shim::attach_three(&out, [Some(dense), None, None], gradients)
}

/// The sum; `columns` are those in which `x` is not 0.
fn horner(a: &Matrix, weights: &[f32], x: &Tensor, rows: Rows<'_>, columns: Columns<'_>, storage: Storage) -> Result<Tensor> {
    let products = weights.len() - 1;
    let mut y: Option<Tensor> = None;
    // y_K = w_K x, then y_k = w_k x + A y_(k+1); y_K is not made, its weight goes onto the first product.
    for k in (0..products).rev() {
        let rows = if k == 0 { rows } else { Rows::All };
        let (from, scale, columns) = match &y {
            None => (x, weights[products], columns),
            Some(y) => (y, 1.0, Columns::All),
        };
        y = Some(step(&a.rows, from, scale, Some((weights[k], x)), rows, columns, storage)?);
    }
    match (y, rows) {
        (Some(y), _) => Ok(y),
        (None, Rows::All) => Ok(x.f_mul_scalar(f64::from(weights[0]))?),
        (None, Rows::Some(ids)) => {
            let index = Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
            Ok(x.f_index_select(0, &index)?.f_mul_scalar(f64::from(weights[0]))?)
        }
    }
}

/// `rows` added to rows `ids` of zeros, `n` of them, and which of these were touched.
fn scatter(rows: &Tensor, ids: &[u32], n: usize) -> Result<(Tensor, Vec<bool>)> {
    let d = rows.size()[1];
    let out = Tensor::f_zeros([n as i64, d], (Kind::Float, Device::Cpu))?;
    let mut touched = vec![false; n];
    if d > 0 {
        // SAFETY: `out` was just made, nothing else sees it.
        let to = unsafe { slice_mut(&out) };
        for (row, &id) in slice(rows).chunks_exact(d as usize).zip(ids) {
            touched[id as usize] = true;
            to[id as usize * d as usize..][..d as usize].iter_mut().zip(row).for_each(|(to, from)| *to += from);
        }
    }
    Ok((out, touched))
}
