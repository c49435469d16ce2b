//! Vectors in files of other programs: NumPy's arrays, the TEXMEX formats, ann-benchmarks' HDF5.

#[cfg(feature = "hdf5")]
mod hdf5;
mod npy;
mod texmex;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::Metric;
use crate::rng::{Rng, Stream};

pub use npy::{npy, npy_texts};

/// Vectors, and where a file has them, queries and what is nearest to these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorSet {
    /// The number of values in a vector.
    pub dim: usize,
    /// `[n, dim]`.
    pub values: Vec<f32>,
    /// `[queries, dim]`.
    pub queries: Option<Vec<f32>>,
    /// The numbers of the vectors nearest to each query, nearest first.
    pub neighbours: Option<Vec<Vec<u32>>>,
    /// The metric under which they are.
    pub metric: Option<Metric>,
}

impl VectorSet {
    /// Vectors without queries.
    pub fn new(values: Vec<f32>, dim: usize) -> Self {
        Self { dim, values, ..Self::default() }
    }

    /// Reads `.npy` (`float32` or `float64` in C order, two-dimensional), `.fvecs`, `.bvecs`, and with the feature `hdf5` also `.hdf5` and `.h5` in
    /// ann-benchmarks' layout (`train`, `test`, `neighbors`).
    ///
    /// # Errors
    /// where the file cannot be read or is none of these; the message says how a file is converted.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            let set = match &ending[..] {
                "npy" => npy::read(&std::fs::read(path)?)?,
                "fvecs" => texmex::read_fvecs(&std::fs::read(path)?)?,
                "bvecs" => texmex::read_bvecs(&std::fs::read(path)?)?,
                "hdf5" | "h5" => hdf5(path)?,
                _ => bail!("it must end in .npy, .fvecs, .bvecs or .hdf5; NumPy writes the first: np.save(\"vectors.npy\", array)"),
            };
            ensure!(set.dim > 0, "its vectors have no values");
            Ok(set)
        };
        read().with_context(|| format!("cannot read vectors from {}", path.display()))
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Keeps the first `rows` vectors; what was nearest among more of them is forgotten.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.len() {
            self.values.truncate(rows * self.dim);
            self.neighbours = None;
        }
    }

    /// Takes `count` vectors out at random, always the same ones, as the queries.
    pub fn hold_out(&mut self, count: usize) {
        let chosen = Rng::keyed(0, Stream::HeldOut, 0).sample(self.len(), count);
        let mut chosen = chosen.into_iter().peekable();
        let (mut kept, mut queries) = (Vec::new(), Vec::new());
        for (row, vector) in self.values.chunks_exact(self.dim.max(1)).enumerate() {
            let held_out = chosen.next_if_eq(&(row as u32)).is_some();
            (if held_out { &mut queries } else { &mut kept }).extend_from_slice(vector);
        }
        (self.values, self.queries, self.neighbours) = (kept, Some(queries), None);
    }
}

#[cfg(feature = "hdf5")]
fn hdf5(path: &Path) -> Result<VectorSet> {
    hdf5::read(path)
}

#[cfg(not(feature = "hdf5"))]
fn hdf5(_: &Path) -> Result<VectorSet> {
    bail!(
        "this program was built without HDF5: build it with `--features hdf5`, or convert the file with Python: \
         import h5py, numpy; f = h5py.File(\"file.hdf5\"); numpy.save(\"vectors.npy\", f[\"train\"]); numpy.save(\"queries.npy\", f[\"test\"])"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_is_taken_out_and_nothing_is_lost() {
        let values: Vec<f32> = (0..60).map(|v| v as f32).collect();
        let mut set = VectorSet { neighbours: Some(Vec::new()), ..VectorSet::new(values.clone(), 3) };
        set.hold_out(7);
        let queries = set.queries.clone().expect("held out");
        assert_eq!((set.len(), queries.len(), &set.neighbours), (13, 21, &None));
        let mut all: Vec<f32> = [&set.values[..], &queries].concat();
        all.sort_by(f32::total_cmp);
        assert_eq!(all, values);
        assert!(set.values.chunks_exact(3).chain(queries.chunks_exact(3)).all(|v| v[1] == v[0] + 1.0 && v[2] == v[0] + 2.0));
        set.truncate(5);
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_the_way_out() {
        let temp = tempfile::tempdir().expect("temp");
        let why = |name: &str, bytes: &[u8]| {
            let path = temp.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            format!("{:#}", VectorSet::read(&path).expect_err("refused"))
        };
        assert!(why("a.csv", b"1,2").contains("np.save"));
        assert!(why("a.npy", b"1,2").contains("does not begin as NumPy's files do"));
        assert!(why("a.hdf5", b"1,2").contains("cannot read vectors from"));
        assert!(format!("{:#}", VectorSet::read(&temp.path().join("none.npy")).expect_err("missing")).contains("none.npy"));
    }
}
