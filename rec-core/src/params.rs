//! Parameters: dense tensors, and tables of which a step touches a few rows.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context, Result};
use rayon::prelude::*;
use rec_data::rng::{Rng, Stream};
use tch::{Device, Kind, Tensor};

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
        Self { device, seed, list: Vec::new() }
    }

    /// Where the parameters live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// All parameters, in the order in which they were made.
    pub fn list(&self) -> &[Parameter] {
        &self.list
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
            let leaves: Vec<Tensor> = match parameter {
                Parameter::Dense { tensor, .. } => vec![tensor.grad()],
                Parameter::Table(table) => table.0.taken.borrow().iter().map(|(_, leaf)| leaf.grad()).collect(),
            };
            let there: Vec<Tensor> = leaves.into_iter().filter(Tensor::defined).map(|g| g.f_reshape([-1])).collect::<Result<_, _>>()?;
            if !there.is_empty() {
                all.push((parameter.name(), Tensor::f_cat(&there, 0)?.f_to_device(Device::Cpu)?.f_contiguous()?));
            }
        }
        Ok(all)
    }

    /// Drops gradients and taken rows of a step that will not be made.
    pub fn forget_step(&self) {
        for parameter in &self.list {
            match parameter {
                Parameter::Dense { tensor, .. } => tensor.shallow_clone().zero_grad(),
                Parameter::Table(table) => table.0.taken.borrow_mut().clear(),
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
    taken: RefCell<Vec<(Vec<u32>, Tensor)>>,
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
            self.0.taken.borrow_mut().push((ids.to_vec(), leaf.shallow_clone()));
            return Ok(leaf);
        }
        Ok(rows)
    }

    fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let table = &self.0;
        if let Some(&wrong) = ids.iter().find(|&&id| id as usize >= table.rows) {
            anyhow::bail!("the table `{}` has {} rows, and row {wrong} was asked for", table.name, table.rows);
        }
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

    /// What this step took: ids and the leaf of each [`rows`](Self::rows) call, which are forgotten by this.
    pub(crate) fn take_step(&self) -> Vec<(Vec<u32>, Tensor)> {
        std::mem::take(&mut *self.0.taken.borrow_mut())
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
        let taken = table.take_step();
        assert_eq!(taken[0].0, [3, 1, 3]);
        assert_eq!(slice(&taken[0].1.grad()), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert!(table.rows(&[5]).is_err());
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
