//! What a checkpoint holds: named arrays and named values, in one safetensors file that appears by rename.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use rec_data::csr::Csr;
use rec_data::{fail, problem, require};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use crate::params::slice;

/// The version of what stands in a state file; a reader refuses others.
const FORMAT: u64 = 1;

/// Collects state.
#[derive(Default)]
pub struct StateWriter {
    arrays: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    values: BTreeMap<String, serde_json::Value>,
}

impl StateWriter {
    /// Adds an f32 array.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.arrays.push((name.into(), Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    }

    /// Adds an f64 array.
    pub fn doubles(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        self.arrays.push((name.into(), Dtype::F64, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    }

    /// Adds a u32 array.
    pub fn ids(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        self.arrays.push((name.into(), Dtype::U32, shape.to_vec(), bytemuck::cast_slice(values).to_vec()));
    }

    /// Adds a sparse matrix: the lengths of its rows, its columns and, where it has any, its values.
    pub fn csr(&mut self, name: &str, matrix: &Csr) {
        let lengths: Vec<u32> = (0..matrix.num_rows()).map(|row| matrix.row(row).len() as u32).collect();
        self.ids(&format!("{name}/lengths"), &[lengths.len()], &lengths);
        self.ids(&format!("{name}/columns"), &[matrix.len()], matrix.columns());
        self.floats(&format!("{name}/values"), &[matrix.values().len()], matrix.values());
    }

    /// Adds an f32 tensor from any device.
    ///
    /// # Errors
    /// libtorch's own, when copying from a device.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let here = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let shape: Vec<usize> = here.size().iter().map(|&s| s as usize).collect();
        self.floats(name, &shape, slice(&here));
        Ok(())
    }

    /// Adds a whole number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.values.insert(name.into(), value.into());
    }

    /// Adds anything that serde can write.
    ///
    /// # Errors
    /// where serde cannot.
    pub fn value<T: Serialize>(&mut self, name: &str, value: &T) -> Result<()> {
        self.values.insert(name.into(), serde_json::to_value(value)?);
        Ok(())
    }

    /// Writes everything to `path`, which holds the old state or the new one at any moment.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn write(mut self, path: &Path) -> Result<()> {
        self.number("format", FORMAT);
        let told = || format!("writing {}", path.display());
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(told)?;
        let views = self
            .arrays
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| anyhow::anyhow!("array `{name}`: {e}"))?))
            })
            .collect::<Result<Vec<_>>>()?;
        let state = serde_json::to_string(&self.values)?;
        let bytes = safetensors::serialize(views, Some([("state".to_owned(), state)].into()))
            .map_err(|e| anyhow::anyhow!("{e}"))
            .with_context(told)?;
        let mut file = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).with_context(told)?;
        file.write_all(&bytes).with_context(told)?;
        file.as_file().sync_all().with_context(told)?;
        file.persist(path).map_err(|e| e.error).with_context(told)?;
        Ok(())
    }
}

/// State read back.
pub struct StateReader {
    path: String,
    bytes: Vec<u8>,
    values: BTreeMap<String, serde_json::Value>,
}

impl StateReader {
    /// Reads a state file.
    ///
    /// # Errors
    /// an I/O problem, or a data problem where the file is truncated, foreign or of another format.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("reading {name}"))?;
        let folder = path.parent().unwrap_or(path).display();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)
            .map_err(|e| problem!(Data, "{name} is not a whole safetensors file ({e}): delete the folder {folder} to start afresh"))?;
        safetensors::SafeTensors::deserialize(&bytes)
            .map_err(|e| problem!(Data, "{name} is damaged ({e}): delete the folder {folder} to start afresh"))?;
        let Some(state) = metadata.metadata().as_ref().and_then(|m| m.get("state")) else {
            fail!(Data, "{name} is a safetensors file, but no state of a training");
        };
        let values: BTreeMap<String, serde_json::Value> = serde_json::from_str(state).map_err(|e| problem!(Data, "{name}: {e}"))?;
        let reader = Self { path: name, bytes, values };
        let format = reader.number("format")?;
        require!(format == FORMAT, Data, "{} has the state format {format}, this program reads {FORMAT}: train again", reader.path);
        Ok(reader)
    }

    /// The file's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether there is an array called `name`.
    pub fn has(&self, name: &str) -> bool {
        safetensors::SafeTensors::deserialize(&self.bytes).expect("checked when it was opened").tensor(name).is_ok()
    }

    fn array(&self, name: &str, dtype: Dtype) -> Result<(Vec<usize>, &[u8])> {
        let file = safetensors::SafeTensors::deserialize(&self.bytes).expect("checked when it was opened");
        let view =
            file.tensor(name).map_err(|_| problem!(Data, "{} has no array `{name}`: it is the state of another model", self.path))?;
        require!(view.dtype() == dtype, Data, "{}: `{name}` is {:?}, not {dtype:?}", self.path, view.dtype());
        Ok((view.shape().to_vec(), view.data()))
    }

    /// An f32 array and its shape.
    ///
    /// # Errors
    /// a data problem where it is missing or of another type.
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        self.array(name, Dtype::F32).map(|(shape, bytes)| (shape, copied(bytes)))
    }

    /// An f64 array and its shape.
    ///
    /// # Errors
    /// a data problem where it is missing or of another type.
    pub fn doubles(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
        self.array(name, Dtype::F64).map(|(shape, bytes)| (shape, copied(bytes)))
    }

    /// A u32 array and its shape.
    ///
    /// # Errors
    /// a data problem where it is missing or of another type.
    pub fn ids(&self, name: &str) -> Result<(Vec<usize>, Vec<u32>)> {
        self.array(name, Dtype::U32).map(|(shape, bytes)| (shape, copied(bytes)))
    }

    /// A sparse matrix with `num_columns` columns and, where it is given, `num_rows` rows.
    ///
    /// # Errors
    /// a data problem where it is missing or another data set's.
    pub fn csr(&self, name: &str, num_rows: Option<usize>, num_columns: usize) -> Result<Csr> {
        let (lengths, columns) = (self.ids(&format!("{name}/lengths"))?.1, self.ids(&format!("{name}/columns"))?.1);
        let values = self.floats(&format!("{name}/values"))?.1;
        let fits = num_rows.is_none_or(|n| n == lengths.len())
            && lengths.iter().map(|&length| u64::from(length)).sum::<u64>() == columns.len() as u64
            && (values.is_empty() || values.len() == columns.len())
            && columns.iter().all(|&column| (column as usize) < num_columns);
        require!(fits, Data, "{}: `{name}` is that of another data set: train again", self.path);
        let rows: Vec<u32> = (0u32..).zip(&lengths).flat_map(|(row, &length)| std::iter::repeat_n(row, length as usize)).collect();
        Ok(Csr::from_coordinates(lengths.len(), num_columns, &rows, &columns, &values))
    }

    /// Reads an f32 array over `into`, which must have as many values.
    ///
    /// # Errors
    /// a data problem where the array is missing or of another size.
    pub fn floats_into(&self, name: &str, into: &mut [f32]) -> Result<()> {
        let (shape, values) = self.floats(name)?;
        require!(
            values.len() == into.len(),
            Data,
            "{}: `{name}` has the shape {shape:?}, this model needs {} values",
            self.path,
            into.len()
        );
        into.copy_from_slice(&values);
        Ok(())
    }

    /// Reads an f32 array over a tensor of the same shape.
    ///
    /// # Errors
    /// a data problem where the array is missing or of another shape.
    pub fn tensor_into(&self, name: &str, into: &mut Tensor) -> Result<()> {
        let (shape, values) = self.floats(name)?;
        let shape: Vec<i64> = shape.iter().map(|&s| s as i64).collect();
        require!(shape == into.size(), Data, "{}: `{name}` has the shape {shape:?}, this model needs {:?}", self.path, into.size());
        let from = Tensor::from_slice(&values).f_view(&shape[..])?;
        tch::no_grad(|| into.f_copy_(&from))?;
        Ok(())
    }

    /// A whole number.
    ///
    /// # Errors
    /// a data problem where it is missing.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.value(name)
    }

    /// A value.
    ///
    /// # Errors
    /// a data problem where it is missing or of another type.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let Some(value) = self.values.get(name) else { fail!(Data, "{} has no `{name}`: it is the state of another model", self.path) };
        serde_json::from_value(value.clone()).map_err(|e| problem!(Data, "{}: `{name}`: {e}", self.path))
    }
}

fn copied<T: bytemuck::Pod>(bytes: &[u8]) -> Vec<T> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => Cow::Borrowed(values).into_owned(),
        Err(_) => bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_as_it_went() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.safetensors");
        let mut out = StateWriter::default();
        out.floats("a", &[2, 2], &[1.0, -0.0, f32::MIN_POSITIVE, 4.0]);
        out.ids("b", &[1], &[7]);
        out.value("c", &("x", 0.1f64)).expect("serialises");
        out.write(&path).expect("written");
        let back = StateReader::open(&path).expect("read");
        assert_eq!(back.floats("a").expect("there"), (vec![2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 4.0]));
        assert_eq!(back.value::<(String, f64)>("c").expect("there"), ("x".into(), 0.1));
        assert_eq!(rec_data::Kind::exit_code_of(&back.floats("z").expect_err("missing")), 3);
    }

    #[test]
    fn a_cut_off_or_foreign_file_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.safetensors");
        let mut out = StateWriter::default();
        out.floats("a", &[4], &[1.0; 4]);
        out.write(&path).expect("written");
        let whole = fs::read(&path).expect("there");
        for cut in [0, 4, 20, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).expect("written");
            let Err(error) = StateReader::open(&path) else { panic!("{cut} bytes are no state") };
            assert!(error.to_string().contains("s.safetensors"), "{error}");
        }
    }
}
