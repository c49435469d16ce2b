//! Parameters: dense tensors, and tables of which a step touches a few rows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Context, Result};
use rayon::prelude::*;
use rec_data::rng::{Rng, Stream};
use tch::{Device, Kind, Tensor};

use crate::distinct::Distinct;
use crate::simd::{lane_dot, vectorised};

/// How a parameter starts. Draws are ours (keyed by seed and parameter), so they do not depend on libtorch or the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All the same number.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform on `[-bound, bound)`.
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Normal with variance 2 / (rows + columns) (Glorot and Bengio 2010).
    XavierNormal,
    /// Uniform with variance 2 / (rows + columns) (Glorot and Bengio 2010).
    XavierUniform,
}

impl Init {
    /// `rows × columns` values of the parameter with number `index` under `seed`.
    pub fn values(self, seed: u64, index: u64, rows: usize, columns: usize) -> Vec<f32> {
        let fan = (rows + columns) as f64;
        let mut values = vec![0f32; rows * columns];
        let fill = |values: &mut Vec<f32>, draw: &(dyn Fn(&mut Rng) -> f64 + Sync)| {
            values.par_chunks_mut(columns.max(1)).enumerate().for_each(|(row, out)| {
                let mut rng = Rng::keyed(seed, Stream::Init, index, row as u64);
                out.iter_mut().for_each(|v| *v = draw(&mut rng) as f32);
            });
        };
        let uniform = |bound: f64| move |rng: &mut Rng| (2.0 * rng.unit() - 1.0) * bound;
        match self {
            Init::Zeros => {}
            Init::Constant(c) => values.fill(c as f32),
            Init::Normal { std } => fill(&mut values, &|rng| rng.normal() * std),
            Init::Uniform { bound } => fill(&mut values, &uniform(bound)),
            Init::XavierNormal => fill(&mut values, &|rng| rng.normal() * (2.0 / fan).sqrt()),
            Init::XavierUniform => fill(&mut values, &uniform((6.0 / fan).sqrt())),
        }
        values
    }
}

/// The parameters of a model, in the order in which it made them.
pub struct Params {
    device: Device,
    seed: u64,
    list: Vec<Parameter>,
    means: Vec<(String, Mean)>,
}

/// The mean of a number that each step of an epoch adds once: what a model wants to be watched besides its loss. Handed around by
/// reference; the trainer sends it at the end of the epoch and keeps it in checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Mean(Rc<Cell<(f64, u64)>>);

impl Mean {
    /// Adds a step's number.
    pub fn add(&self, value: f64) {
        let (sum, count) = self.0.get();
        self.0.set((sum + value, count + 1));
    }

    /// The mean of what was added; absent where nothing was.
    pub fn value(&self) -> Option<f64> {
        let (sum, count) = self.0.get();
        (count > 0).then(|| sum / count as f64)
    }

    pub(crate) fn set(&self, (sum, count): (f64, u64)) {
        self.0.set((sum, count));
    }

    pub(crate) fn get(&self) -> (f64, u64) {
        self.0.get()
    }
}

/// One parameter.
pub enum Parameter {
    /// A tensor that takes part in every step.
    Dense {
        /// Its name in checkpoints and plots.
        name: String,
        /// Its values; a leaf that requires a gradient.
        tensor: Tensor,
    },
    /// A table of which a step touches a few rows.
    Table(Table),
}

impl Parameter {
    /// Its name in checkpoints and plots.
    pub fn name(&self) -> String {
        match self {
            Parameter::Dense { name, .. } => name.clone(),
            Parameter::Table(table) => table.0.name.clone(),
        }
    }

    /// Its values, sharing memory.
    pub fn tensor(&self) -> Tensor {
        match self {
            Parameter::Dense { tensor, .. } => tensor.shallow_clone(),
            Parameter::Table(table) => table.0.values.shallow_clone(),
        }
    }
}

impl Params {
    /// No parameter yet. `seed` decides the initial values.
    pub fn new(device: Device, seed: u64) -> Self {
        Self { device, seed, list: Vec::new(), means: Vec::new() }
    }

    /// Where the parameters live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What decides the initial values: for a model's own draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All parameters, in the order in which they were made.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// A number to be watched, sent as `train/name` once an epoch.
    pub fn mean(&mut self, name: &str) -> Mean {
        let mean = Mean::default();
        self.means.push((name.into(), mean.clone()));
        mean
    }

    pub(crate) fn means(&self) -> &[(String, Mean)] {
        &self.means
    }

    /// A dense parameter of any shape; fans of the Xavier initialisations are its first dimension and the product of the others.
    ///
    /// # Errors
    /// where the name is taken, or libtorch has no memory left.
    pub fn dense(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let rows = shape.first().copied().unwrap_or(1);
        let columns = shape.iter().skip(1).product::<usize>().max(1);
        let shape: Vec<i64> = shape.iter().map(|&s| s as i64).collect();
        let tensor = self.make(name, rows, columns, init)?.f_view(&shape[..])?.f_set_requires_grad(true)?;
        self.list.push(Parameter::Dense { name: name.into(), tensor: tensor.shallow_clone() });
        Ok(tensor)
    }

    /// A table of `rows` vectors of `columns` numbers.
    ///
    /// # Errors
    /// where the name is taken, or libtorch has no memory left.
    pub fn table(&mut self, name: &str, rows: usize, columns: usize, init: Init) -> Result<Table> {
        let values = self.make(name, rows, columns, init)?;
        let table = Table(Rc::new(TableInner { name: name.into(), values, rows, columns, taken: RefCell::default() }));
        self.list.push(Parameter::Table(table.clone()));
        Ok(table)
    }

    fn make(&self, name: &str, rows: usize, columns: usize, init: Init) -> Result<Tensor> {
        anyhow::ensure!(self.list.iter().all(|p| p.name() != name), "two parameters are called `{name}`");
        let values = init.values(self.seed, self.list.len() as u64, rows, columns);
        let tensor = Tensor::from_slice(&values).f_view([rows as i64, columns as i64])?;
        tensor.f_to_device(self.device).with_context(|| format!("making the parameter `{name}`, {rows} × {columns}"))
    }

    /// Gradients that `backward` left, by parameter; of a table, those of the taken rows.
    ///
    /// # Errors
    /// libtorch's own, when copying from a device.
    pub fn gradients(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for parameter in &self.list {
            let gradient = match parameter {
                Parameter::Dense { tensor, .. } => Some(tensor.grad()).filter(Tensor::defined),
                Parameter::Table(table) => table.row_gradients()?.map(|(_, sum)| sum),
            };
            if let Some(gradient) = gradient {
                all.push((parameter.name(), gradient.f_to_device(Device::Cpu)?.f_contiguous()?));
            }
        }
        Ok(all)
    }

    /// Drops gradients and taken rows of a step that will not be made.
    pub fn forget_step(&self) {
        for parameter in &self.list {
            match parameter {
                Parameter::Dense { tensor, .. } => tensor.shallow_clone().zero_grad(),
                Parameter::Table(table) => table.forget_step(),
            }
        }
    }
}

/// A table of vectors, handed around by reference. Rows that a batch takes are leaves of their own, so their gradient is as large as
/// the batch, not as the table.
#[derive(Clone)]
pub struct Table(Rc<TableInner>);

struct TableInner {
    name: String,
    values: Tensor,
    rows: usize,
    columns: usize,
    taken: RefCell<Vec<Taken>>,
}

/// What a step took from a table, to be turned into row gradients after `backward`.
#[derive(Clone)]
enum Taken {
    /// Rows, and the leaf that holds them.
    Rows(Vec<u32>, Rc<Tensor>),
    /// Products of rows of two tables; this one's rows are the left or the right factors.
    Products(Rc<Products>, Side),
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// `leaf[b, n] = left[left_ids[b]] · right[right_ids[b, n]]`.
struct Products {
    left: Table,
    left_ids: Vec<u32>,
    right: Table,
    right_ids: Vec<u32>,
    leaf: Tensor,
}

impl Taken {
    fn ids(&self) -> &[u32] {
        match self {
            Taken::Rows(ids, _) => ids,
            Taken::Products(products, Side::Left) => &products.left_ids,
            Taken::Products(products, Side::Right) => &products.right_ids,
        }
    }

    fn gradient(&self) -> Tensor {
        match self {
            Taken::Rows(_, leaf) => leaf.grad(),
            Taken::Products(products, _) => products.leaf.grad(),
        }
    }

    /// Adds this part's gradient to the rows of `sum`, `places[i]` being where the i-th id's row lies. Places are numbered by first
    /// appearance, of which there were `seen`: a row is written when it comes first, so nobody has to clear it.
    #[inline(always)]
    fn add_to(&self, gradient: &[f32], places: &[u32], columns: usize, seen: &mut u32, sum: &mut [f32]) {
        let mut add = |place: u32, scale: f32, row: &[f32]| {
            let to = sum[place as usize * columns..][..columns].iter_mut().zip(row);
            if place == *seen {
                *seen += 1;
                to.for_each(|(to, from)| *to = scale * from);
            } else {
                to.for_each(|(to, from)| *to += scale * from);
            }
        };
        match self {
            Taken::Rows(..) => gradient.chunks_exact(columns).zip(places).for_each(|(row, &place)| add(place, 1.0, row)),
            Taken::Products(p, side) => {
                let each = p.right_ids.len() / p.left_ids.len().max(1);
                let (left, right) = (slice(&p.left.0.values), slice(&p.right.0.values));
                for (at, (&id, &g)) in p.right_ids.iter().zip(gradient).enumerate() {
                    match side {
                        Side::Left => add(places[at / each], g, &right[id as usize * columns..][..columns]),
                        Side::Right => add(places[at], g, &left[p.left_ids[at / each] as usize * columns..][..columns]),
                    }
                }
            }
        }
    }
}

impl Table {
    /// The number of vectors.
    pub fn num_rows(&self) -> usize {
        self.0.rows
    }

    /// The length of a vector.
    pub fn num_columns(&self) -> usize {
        self.0.columns
    }

    /// Its name in checkpoints and plots.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The vectors of `ids`, differentiable: after `backward`, the optimizer finds their gradients here.
    ///
    /// # Shapes
    /// `[ids.len(), columns]`
    ///
    /// # Errors
    /// where an id is not below [`num_rows`](Self::num_rows).
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.gather(ids)?;
        if crate::shim::is_recording() {
            let leaf = rows.set_requires_grad(true);
            self.0.taken.borrow_mut().push(Taken::Rows(ids.to_vec(), Rc::new(leaf.shallow_clone())));
            return Ok(leaf);
        }
        Ok(rows)
    }

    /// Inner products of this table's rows with rows of `other`, differentiable: `out[b, n] = self[ids[b]] · other[others[b·N + n]]`.
    ///
    /// The same as taking the rows and multiplying, without the copies: on the CPU the products are a leaf of the graph, and their
    /// gradient goes straight to the rows.
    ///
    /// # Shapes
    /// `[ids.len(), others.len() / ids.len()]`
    ///
    /// # Errors
    /// where an id is out of range, or the lengths do not divide.
    pub fn products(&self, ids: &[u32], other: &Table, others: &[u32]) -> Result<Tensor> {
        let columns = self.0.columns;
        anyhow::ensure!(
            columns == other.0.columns,
            "`{}` and `{}` have vectors of {columns} and {} numbers",
            self.0.name,
            other.0.name,
            other.0.columns
        );
        anyhow::ensure!(
            !ids.is_empty() && others.len().is_multiple_of(ids.len()),
            "{} rows do not share {} others evenly",
            ids.len(),
            others.len()
        );
        let each = others.len() / ids.len();
        let shape = [ids.len() as i64, each as i64];
        if self.0.values.device() != Device::Cpu {
            let (left, right) = (self.rows(ids)?, other.rows(others)?);
            let right = right.f_view([shape[0], shape[1], columns as i64])?;
            return Ok((left.f_unsqueeze(1)? * right).f_sum_dim_intlist(2, false, None::<Kind>)?);
        }
        self.check(ids)?;
        other.check(others)?;
        let out = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        let (left, right) = (slice(&self.0.values), slice(&other.0.values));
        // SAFETY: `out` was just made, nothing else sees it.
        let products = unsafe { slice_mut(&out) };
        vectorised(
            #[inline(always)]
            || {
                for (at, (product, &id)) in products.iter_mut().zip(others).enumerate() {
                    *product = lane_dot(&left[ids[at / each] as usize * columns..][..columns], &right[id as usize * columns..][..columns]);
                }
            },
        );
        if !crate::shim::is_recording() {
            return Ok(out);
        }
        let leaf = out.set_requires_grad(true);
        let taken = Rc::new(Products {
            left: self.clone(),
            left_ids: ids.to_vec(),
            right: other.clone(),
            right_ids: others.to_vec(),
            leaf: leaf.shallow_clone(),
        });
        self.0.taken.borrow_mut().push(Taken::Products(Rc::clone(&taken), Side::Left));
        other.0.taken.borrow_mut().push(Taken::Products(taken, Side::Right));
        Ok(leaf)
    }

    fn check(&self, ids: &[u32]) -> Result<()> {
        if let Some(&wrong) = ids.iter().find(|&&id| id as usize >= self.0.rows) {
            anyhow::bail!("the table `{}` has {} rows, and row {wrong} was asked for", self.0.name, self.0.rows);
        }
        Ok(())
    }

    fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let table = &self.0;
        self.check(ids)?;
        if table.values.device() != Device::Cpu {
            let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
            let index = Tensor::from_slice(&ids).f_to_device(table.values.device())?;
            return Ok(tch::no_grad(|| table.values.f_index_select(0, &index))?);
        }
        let columns = table.columns;
        let out = Tensor::f_empty([ids.len() as i64, columns as i64], (Kind::Float, Device::Cpu))?;
        let from = slice(&table.values);
        // SAFETY: `out` was just made, nothing else sees it.
        let to = unsafe { slice_mut(&out) };
        for (row, &id) in to.chunks_exact_mut(columns.max(1)).zip(ids) {
            row.copy_from_slice(&from[id as usize * columns..][..columns]);
        }
        Ok(out)
    }

    /// All vectors, sharing memory with the table and without a gradient: for scoring.
    ///
    /// # Shapes
    /// `[rows, columns]`
    pub fn all(&self) -> Tensor {
        self.0.values.shallow_clone()
    }

    /// All vectors as a slice; copied where the table is not on the CPU.
    pub fn to_slice(&self) -> std::borrow::Cow<'_, [f32]> {
        if self.0.values.device() == Device::Cpu {
            return std::borrow::Cow::Borrowed(slice(&self.0.values));
        }
        let here = self.0.values.to_device(Device::Cpu).contiguous();
        std::borrow::Cow::Owned(slice(&here).to_vec())
    }

    /// Forgets what this step took.
    pub(crate) fn forget_step(&self) {
        self.0.taken.borrow_mut().clear();
    }

    /// The distinct rows that this step took, in order of first appearance, and the sum of each one's gradients; `None` where nothing
    /// has a gradient. Gradients are added in the order in which rows were taken, whatever the threads.
    ///
    /// # Shapes
    /// ids `[R]`, gradients `[R, columns]`
    ///
    /// # Errors
    /// libtorch's own, when copying from a device.
    pub fn row_gradients(&self) -> Result<Option<(Vec<u32>, Tensor)>> {
        let taken: Vec<Taken> = self.0.taken.borrow().iter().filter(|t| t.gradient().defined()).cloned().collect();
        let Some(first) = taken.first() else { return Ok(None) };
        let Distinct { ids, places } = Distinct::of(taken.iter().flat_map(Taken::ids), self.0.rows);
        let columns = self.0.columns;
        let device = first.gradient().device();
        let size = [ids.len() as i64, columns as i64];
        if device != Device::Cpu {
            let sum = Tensor::f_zeros(size, (Kind::Float, device))?;
            let all = Tensor::f_cat(&taken.iter().map(Taken::gradient).collect::<Vec<_>>(), 0)?;
            let index = Tensor::from_slice(&places.iter().map(|&p| i64::from(p)).collect::<Vec<_>>()).f_to_device(device)?;
            return Ok(Some((ids, sum.f_index_add(0, &index, &all)?)));
        }
        let sum = Tensor::f_empty(size, (Kind::Float, device))?;
        // SAFETY: `sum` was just made, nothing else sees it.
        let out = unsafe { slice_mut(&sum) };
        let (mut rest, mut seen) = (&places[..], 0);
        for part in &taken {
            let (here, after) = rest.split_at(part.ids().len());
            rest = after;
            let gradient = part.gradient().f_contiguous()?;
            vectorised(
                #[inline(always)]
                || part.add_to(slice(&gradient), here, columns, &mut seen, out),
            );
        }
        Ok(Some((ids, sum)))
    }
}

/// The values of a contiguous f32 tensor on the CPU.
///
/// # Panics
/// where the tensor is none.
pub fn slice(tensor: &Tensor) -> &[f32] {
    assert!(tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous(), "an f32 tensor on the CPU");
    // SAFETY: the tensor owns this many contiguous f32 values for as long as it is borrowed.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr() as *const f32, tensor.numel()) }
}

/// The values of a contiguous f32 tensor on the CPU, to be written.
///
/// # Safety
/// Nothing else may read or write the tensor's memory while the slice lives.
///
/// # Panics
/// where the tensor is none.
#[expect(clippy::mut_from_ref, reason = "a tensor is a handle: its memory is not borrowed through it")]
pub unsafe fn slice_mut(tensor: &Tensor) -> &mut [f32] {
    assert!(tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous(), "an f32 tensor on the CPU");
    // SAFETY: as above; the caller vouches for the rest.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr() as *mut f32, tensor.numel()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_rows_carry_the_gradient_and_the_table_none() {
        let mut params = Params::new(Device::Cpu, 1);
        let table = params.table("t", 5, 2, Init::Normal { std: 1.0 }).expect("made");
        let rows = table.rows(&[3, 1, 3]).expect("in range");
        (&rows * Tensor::from_slice(&[1f32, 2.0, 3.0]).view([3, 1])).sum(Kind::Float).backward();
        let (ids, sum) = table.row_gradients().expect("added").expect("has a gradient");
        assert_eq!((ids, slice(&sum)), (vec![3, 1], &[4.0, 4.0, 2.0, 2.0][..]));
        assert!(table.rows(&[5]).is_err());
    }

    #[test]
    fn products_are_those_of_taken_rows_and_so_are_their_gradients() {
        let mut params = Params::new(Device::Cpu, 1);
        let left = params.table("left", 5, 19, Init::Normal { std: 1.0 }).expect("made");
        let right = params.table("right", 7, 19, Init::Normal { std: 1.0 }).expect("made");
        let (ids, others) = ([3, 1, 3], [0, 6, 2, 2, 5, 0]);
        let fast = left.products(&ids, &right, &others).expect("in range");
        let weights = Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0, 1.5, -1.0]).view([3, 2]);
        (&fast * &weights).square().sum(Kind::Float).backward();
        let found: Vec<_> = [&left, &right].map(|t| t.row_gradients().expect("added").expect("has a gradient")).into();
        [&left, &right].into_iter().for_each(Table::forget_step);
        let slow = (left.rows(&ids).expect("in range").unsqueeze(1) * right.rows(&others).expect("in range").view([3, 2, 19]))
            .sum_dim_intlist(2, false, None::<Kind>);
        (&slow * &weights).square().sum(Kind::Float).backward();
        assert!((fast - slow).abs().max().double_value(&[]) < 1e-5);
        for ((ids, sum), table) in found.into_iter().zip([&left, &right]) {
            let (same, expected) = table.row_gradients().expect("added").expect("has a gradient");
            assert_eq!(ids, same);
            assert!((sum - expected).abs().max().double_value(&[]) < 1e-4);
        }
        assert!(left.products(&[0, 1], &right, &[0]).is_err() && left.products(&[5], &right, &[0]).is_err());
    }

    #[test]
    fn initial_values_have_the_variance_they_promise() {
        for (init, variance) in [(Init::XavierNormal, 2.0 / 300.0), (Init::XavierUniform, 2.0 / 300.0), (Init::Normal { std: 0.1 }, 0.01)] {
            let values = init.values(1, 0, 200, 100);
            let found = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
            assert!((found / variance - 1.0).abs() < 0.05, "{init:?}: {found} for {variance}");
        }
    }
}
