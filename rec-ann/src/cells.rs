//! Vectors in cells, each with a centroid: which cells a query looks into.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::file::{Reader, Writer, inconsistent};
use crate::kmeans::{KmeansConfig, Points, assign, train};
use crate::nearest::Nearest;
use crate::rows::Rows;
use crate::storage::Distances;
use crate::{Metric, Subset};

/// Which vectors lie in which cell.
///
/// Under L2 a cell is what is nearest to its centroid. Under cosine and inner product it is what has the direction nearest to the centroid's
/// (spherical k-means); the centroid is then the direction itself, and under inner product the mean of the cell's vectors: the product with it is
/// the mean of theirs, so cells of long vectors come first.
pub(crate) struct Cells {
    centroids: Rows,
    /// Where each cell starts in `ids`, and after the last one their number.
    starts: Column<u32>,
    ids: Column<u32>,
}

/// Settings that every index with cells has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CellSizes {
    pub(crate) cells: usize,
    pub(crate) probes: usize,
}

impl CellSizes {
    pub(crate) fn check(self) -> Result<()> {
        ensure!(self.probes >= 1, "probes is 0: it must be at least 1");
        Ok(())
    }

    /// As many cells as asked for; 4·√n where that is 0.
    fn for_len(self, len: usize) -> usize {
        if self.cells > 0 { self.cells } else { (4.0 * (len as f64).sqrt()) as usize }
    }
}

impl Cells {
    pub(crate) fn new(rows: &Rows, metric: Metric, sizes: CellSizes, kmeans: &KmeansConfig) -> Self {
        let (stride, k) = (rows.stride(), sizes.for_len(rows.len()));
        let points = Points { values: rows.values(), stride };
        let by_direction = metric != Metric::L2;
        let trained = train(points, k, kmeans, by_direction);
        let assigned = assign(points, &trained, by_direction);
        let k = trained.len() / stride;
        let mut starts = vec![0u32; k + 1];
        assigned.iter().for_each(|&cell| starts[cell as usize + 1] += 1);
        for cell in 0..k {
            starts[cell + 1] += starts[cell];
        }
        let mut next = starts.clone();
        let mut ids = vec![0u32; rows.len()];
        for (id, &cell) in assigned.iter().enumerate() {
            ids[next[cell as usize] as usize] = id as u32;
            next[cell as usize] += 1;
        }
        let mut centroids = Rows::zeros(k, rows.dim());
        centroids.values_mut().copy_from_slice(&trained);
        if metric == Metric::InnerProduct {
            for (cell, centroid) in centroids.values_mut().chunks_exact_mut(stride).enumerate() {
                let members = &ids[starts[cell] as usize..starts[cell + 1] as usize];
                centroid.fill(0.0);
                for &id in members {
                    centroid.iter_mut().zip(rows.row(id as usize)).for_each(|(c, v)| *c += v / members.len() as f32);
                }
            }
        }
        Self { centroids, starts: starts.into(), ids: ids.into() }
    }

    /// The number of vectors.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The vectors' numbers, cell after cell.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The places of a cell's vectors.
    pub(crate) fn places(&self, cell: u32) -> std::ops::Range<u32> {
        self.starts[cell as usize]..self.starts[cell as usize + 1]
    }

    /// The number of cells.
    pub(crate) fn num_cells(&self) -> usize {
        self.centroids.len()
    }

    /// A cell's centroid, padded.
    pub(crate) fn centroid(&self, cell: u32) -> &[f32] {
        self.centroids.row(cell as usize)
    }

    /// The `probes` cells nearest to a query, nearest first, with their distances. Cells without any vector of `within` are not among them.
    pub(crate) fn nearest(&self, query: &[f32], metric: Metric, probes: usize, within: Option<&Subset>) -> Vec<(u32, f32)> {
        let mut nearest = Nearest::new(probes);
        let used = |cell: &u32| match within {
            None => !self.places(*cell).is_empty(),
            Some(within) => self.places(*cell).any(|place| within.contains(self.ids[place as usize])),
        };
        let distances = Distances::Float { metric, rows: self.centroids.values(), query };
        distances.each((0..self.num_cells() as u32).filter(used), |distance, cell| nearest.show(distance, cell));
        nearest.into_sorted().into_iter().map(|n| (n.id, n.distance)).collect()
    }

    pub(crate) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        sections.add(self.centroids.values());
        sections.add(&self.starts);
        sections.add(&self.ids);
    }

    pub(crate) fn read(dim: usize, sections: &mut Reader) -> Result<Self> {
        let centroids = Rows::stored(sections.take()?, dim).ok_or_else(|| inconsistent("centroids that are not whole or not finite"))?;
        let out = Self { centroids, starts: sections.take()?, ids: sections.take()? };
        let ordered = out.starts.windows(2).all(|pair| pair[0] <= pair[1]);
        let ends = out.starts.last().is_some_and(|&end| end as usize == out.ids.len());
        ensure!(ordered && ends && out.starts.len() == out.num_cells() + 1, inconsistent("cells that do not fit"));
        ensure!(out.ids.iter().all(|&id| (id as usize) < out.ids.len()), inconsistent("a cell with what is no vector"));
        Ok(out)
    }
}
