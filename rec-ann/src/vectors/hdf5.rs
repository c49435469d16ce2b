//! The files of ann-benchmarks (Aumüller, Bernhardsson and Faithfull, Information Systems 2020, arXiv:1807.05614): `train` is searched, `test` holds
//! the queries, `neighbors` what is nearest to them, and the attribute `distance` names the metric.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::{Dataset, Hdf5File, dtype_element_size};

use super::VectorSet;
use crate::Metric;

pub(super) fn read(path: &Path) -> Result<VectorSet> {
    let file = Hdf5File::open(path)?;
    let (values, dim) = matrix(&file.dataset("train").context("it has no dataset `train`, as ann-benchmarks' files have")?)?;
    let mut set = VectorSet::new(values, dim);
    if let Ok(test) = file.dataset("test") {
        let (queries, query_dim) = matrix(&test)?;
        ensure!(query_dim == dim, "`train` has vectors of {dim} values and `test` of {query_dim}");
        set.queries = Some(queries);
    }
    if let Ok(neighbours) = file.dataset("neighbors") {
        let width = neighbours.shape().last().map_or(0, |&width| width as usize).max(1);
        let ids = neighbours.read_array::<i32>()?.into_raw_vec_and_offset().0;
        let len = set.len();
        ensure!(ids.iter().all(|&id| usize::try_from(id).is_ok_and(|id| id < len)), "`neighbors` names vectors that `train` does not have");
        set.neighbours = Some(ids.chunks_exact(width).map(|ids| ids.iter().map(|&id| id as u32).collect()).collect());
    }
    let distance = file.root_group()?.attribute("distance").and_then(|distance| distance.read_string());
    set.metric = match distance.as_deref() {
        Ok("euclidean") => Some(Metric::L2),
        Ok("angular") => Some(Metric::Cosine),
        Ok("dot" | "ip") => Some(Metric::InnerProduct),
        _ => None,
    };
    Ok(set)
}

/// The values of a dataset of two dimensions, and how many stand in a row.
fn matrix(dataset: &Dataset) -> Result<(Vec<f32>, usize)> {
    let &[_, dim] = dataset.shape() else { bail!("`{}` has the shape {:?}: vectors are one a row", dataset.name(), dataset.shape()) };
    let values = match dtype_element_size(dataset.dtype())? {
        8 => dataset.read_array::<f64>()?.iter().map(|&value| value as f32).collect(),
        _ => dataset.read_array::<f32>()?.into_raw_vec_and_offset().0,
    };
    Ok((values, dim as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_queries_neighbours_and_metric_are_those_that_h5py_wrote() {
        let set = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny.hdf5"))).expect("whole");
        assert_eq!((set.dim, set.values), (3, (0..24).map(|v| v as f32).collect()));
        assert_eq!(set.queries, Some(vec![0.0, 1.0, 2.0, 21.0, 22.0, 24.0]));
        assert_eq!((set.neighbours, set.metric), (Some(vec![vec![0, 1], vec![7, 6]]), Some(Metric::L2)));
    }
}
