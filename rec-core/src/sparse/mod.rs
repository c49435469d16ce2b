//! Products with sparse matrices, differentiable: f32 on the CPU by kernels of our own, all else by libtorch's gathers.
//!
//! A [`Pattern`] says where entries lie; [`sum_rows`] adds rows of a dense matrix, [`products`] are inner products at the entries
//! only, [`pick`] reads the entries of a dense matrix. Each is the other's gradient, so the work is always that of the entries. A
//! [`Matrix`] has values that nothing moves, a graph's adjacency: [`times`] is its product, [`polynomial`] the sum of layers of it.
//! Sums run in a fixed order: results do not depend on threads.

mod kernels;
mod matrix;
mod pattern;

pub use matrix::{Matrix, Storage, polynomial, times};
pub use pattern::Pattern;

use std::sync::Arc;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::params::{slice, slice_mut};
use crate::shim::{self, Gradient};

/// Σ over the entries (r, c) of row r of value · dense\[c\]; absent values are 1. Gradient to `dense` only.
///
/// # Shapes
/// `dense` `[pattern.num_columns(), d]`, `values` one an entry; returns `[pattern.num_rows(), d]`
///
/// # Errors
/// where shapes do not fit; libtorch's own.
pub fn sum_rows(pattern: &Arc<Pattern>, values: Option<&Tensor>, dense: &Tensor) -> Result<Tensor> {
    let d = width(dense, pattern.num_columns())?;
    if let Some(values) = values {
        entries(values, pattern)?;
    }
    if !ours(dense) {
        let taken = dense.f_index_select(0, &pattern.columns_on(dense.device())?)?;
        let taken = values.map_or_else(|| Ok(taken.shallow_clone()), |v| taken.f_mul(&v.f_unsqueeze(1)?))?;
        let out = Tensor::f_zeros([pattern.num_rows() as i64, d], (dense.kind(), dense.device()))?;
        return Ok(out.f_index_add(0, &pattern.rows_on(dense.device())?, &taken)?);
    }
    let values = values.map(|v| v.f_detach()?.f_contiguous()).transpose()?;
    let out = tch::no_grad(|| sum(pattern, values.as_ref(), &dense.f_contiguous()?, false))?;
    if !(shim::is_recording() && dense.requires_grad()) {
        return Ok(out);
    }
    shim::attach(&out, dense, None, Box::new(SumRows { pattern: Arc::clone(pattern), values }))
}

/// left\[r\] · right\[c\] at each entry (r, c). Gradients to both.
///
/// # Shapes
/// `left` `[pattern.num_rows(), d]`, `right` `[pattern.num_columns(), d]`; returns one an entry
///
/// # Errors
/// where shapes do not fit; libtorch's own.
pub fn products(pattern: &Arc<Pattern>, left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let d = width(left, pattern.num_rows())?;
    anyhow::ensure!(width(right, pattern.num_columns())? == d, "the factors have {:?} and {:?} numbers", left.size(), right.size());
    if !ours(left) {
        let (rows, columns) = (pattern.rows_on(left.device())?, pattern.columns_on(left.device())?);
        let both = left.f_index_select(0, &rows)?.f_mul(&right.f_index_select(0, &columns)?)?;
        return Ok(both.f_sum_dim_intlist(1, false, None::<Kind>)?);
    }
    let out = tch::no_grad(|| -> Result<Tensor> {
        let (left, right) = (left.f_contiguous()?, right.f_contiguous()?);
        let out = Tensor::f_empty([pattern.len() as i64], (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        kernels::products(pattern, slice(&left), slice(&right), d as usize, unsafe { slice_mut(&out) });
        Ok(out)
    })?;
    if !(shim::is_recording() && (left.requires_grad() || right.requires_grad())) {
        return Ok(out);
    }
    shim::attach(&out, left, Some(right), Box::new(Products { pattern: Arc::clone(pattern) }))
}

/// dense\[r, c\] at each entry (r, c), which are all different. Gradient to `dense`.
///
/// # Shapes
/// `dense` `[pattern.num_rows(), pattern.num_columns()]`; returns one an entry
///
/// # Errors
/// where shapes do not fit; libtorch's own.
pub fn pick(pattern: &Arc<Pattern>, dense: &Tensor) -> Result<Tensor> {
    anyhow::ensure!(width(dense, pattern.num_rows())? == pattern.num_columns() as i64, "entries lie outside {:?}", dense.size());
    if !ours(dense) {
        let (rows, columns) = (pattern.rows_on(dense.device())?, pattern.columns_on(dense.device())?);
        return Ok(dense.f_take(&(rows * pattern.num_columns() as i64 + columns))?);
    }
    let out = tch::no_grad(|| -> Result<Tensor> {
        let dense = dense.f_contiguous()?;
        let out = Tensor::f_empty([pattern.len() as i64], (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        kernels::pick(pattern, slice(&dense), unsafe { slice_mut(&out) });
        Ok(out)
    })?;
    if !(shim::is_recording() && dense.requires_grad()) {
        return Ok(out);
    }
    shim::attach(&out, dense, None, Box::new(Pick { pattern: Arc::clone(pattern) }))
}

struct SumRows {
    pattern: Arc<Pattern>,
    values: Option<Tensor>,
}

impl Gradient for SumRows {
    fn backward(&self, gradient: &Tensor, _: &Tensor, _: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(sum(&self.pattern, self.values.as_ref(), gradient, true)?), None])
    }
}

struct Products {
    pattern: Arc<Pattern>,
}

impl Gradient for Products {
    fn backward(&self, gradient: &Tensor, left: &Tensor, right: Option<&Tensor>, wants: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let right = right.ok_or_else(|| anyhow::anyhow!("products have two factors"))?.f_contiguous()?;
        let to_left = wants[0].then(|| sum(&self.pattern, Some(gradient), &right, false)).transpose()?;
        let to_right = wants[1].then(|| sum(&self.pattern, Some(gradient), &left.f_contiguous()?, true)).transpose()?;
        Ok([to_left, to_right])
    }
}

struct Pick {
    pattern: Arc<Pattern>,
}

impl Gradient for Pick {
    fn backward(&self, gradient: &Tensor, _: &Tensor, _: Option<&Tensor>, _: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let shape = [self.pattern.num_rows() as i64, self.pattern.num_columns() as i64];
        let out = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
        // SAFETY: `out` was just made, nothing else sees it.
        kernels::put(&self.pattern, slice(gradient), unsafe { slice_mut(&out) });
        Ok([Some(out), None])
    }
}

/// The sum along rows, or along columns where `transposed`.
fn sum(pattern: &Pattern, values: Option<&Tensor>, dense: &Tensor, transposed: bool) -> Result<Tensor> {
    let d = dense.size()[1];
    let rows = if transposed { pattern.num_columns() } else { pattern.num_rows() };
    let out = Tensor::f_empty([rows as i64, d], (Kind::Float, Device::Cpu))?;
    // SAFETY: `out` was just made, nothing else sees it.
    let to = unsafe { slice_mut(&out) };
    let values = values.map(slice);
    if transposed {
        kernels::sum_columns(pattern, values, slice(dense), d as usize, to);
    } else {
        kernels::sum_rows(pattern, values, slice(dense), d as usize, to);
    }
    Ok(out)
}

/// Whether the kernels of our own can read it.
fn ours(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float
}

/// The width of a matrix that has `rows` rows.
fn width(tensor: &Tensor, rows: usize) -> Result<i64> {
    let size = tensor.size();
    anyhow::ensure!(size.len() == 2 && size[0] == rows as i64, "a matrix has the shape {size:?}, the entries have {rows} rows of it");
    Ok(size[1])
}

fn entries(values: &Tensor, pattern: &Pattern) -> Result<()> {
    anyhow::ensure!(values.size() == [pattern.len() as i64], "{:?} values for {} entries", values.size(), pattern.len());
    Ok(())
}

#[cfg(test)]
mod tests;
