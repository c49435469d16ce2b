//! Where an index keeps its vectors, and distances from one vector to many of them.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::Metric;
use crate::byte_rows::ByteRows;
use crate::file::{Reader, Writer, inconsistent};
use crate::kernels::{self, prefetch};
use crate::rows::Rows;

/// How the values of vectors are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// As they are, 32 bits each.
    #[default]
    Float,
    /// In 256 even steps from the smallest to the largest value of the dimension: a quarter of the memory, and distances that are nearly right.
    Byte,
}

/// The vectors of an index.
#[derive(Clone)]
pub(crate) enum Storage {
    Float(Rows),
    Byte(ByteRows),
}

impl Storage {
    pub(crate) fn new(rows: Rows, precision: Precision, metric: Metric) -> Self {
        match precision {
            Precision::Float => Self::Float(rows),
            Precision::Byte => Self::Byte(ByteRows::new(&rows, metric)),
        }
    }

    /// The number of vectors.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Float(rows) => rows.len(),
            Self::Byte(rows) => rows.len(),
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::Float(_) => Precision::Float,
            Self::Byte(_) => Precision::Byte,
        }
    }

    /// A vector as it is kept.
    pub(crate) fn bytes(&self, row: u32) -> &[u8] {
        match self {
            Self::Float(rows) => bytemuck::cast_slice(rows.row(row as usize)),
            Self::Byte(rows) => rows.codes(row as usize),
        }
    }

    /// Appends vectors; of bytes the steps stay as they are.
    pub(crate) fn append(&mut self, rows: &Rows, metric: Metric) {
        match self {
            Self::Float(old) => old.append(rows),
            Self::Byte(old) => old.append(rows, metric),
        }
    }

    /// Adds the arrays to a file.
    pub(crate) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        match self {
            Self::Float(rows) => sections.add(rows.values()),
            Self::Byte(rows) => {
                sections.add(&rows.codes);
                sections.add(&rows.squares);
                sections.add(&rows.low);
                sections.add(&rows.step);
            }
        }
    }

    /// Takes the arrays from a file.
    pub(crate) fn read(precision: Precision, metric: Metric, dim: usize, sections: &mut Reader) -> Result<Self> {
        let storage = match precision {
            Precision::Float => Rows::stored(sections.take()?, dim).map(Self::Float),
            Precision::Byte => {
                ByteRows::stored(sections.take()?, sections.take()?, sections.take()?, sections.take()?, dim, metric).map(Self::Byte)
            }
        };
        storage.ok_or_else(|| inconsistent("vectors that are not whole or not finite"))
    }

    /// Distances from `query`, which is padded as the rows are.
    pub(crate) fn distances<'a>(&'a self, query: &'a [f32], metric: Metric) -> Distances<'a> {
        match self {
            Self::Float(rows) => Distances::Float { metric, rows: rows.values(), query },
            Self::Byte(rows) => Distances::Byte { metric, rows, asked: rows.asked(query, metric) },
        }
    }

    /// Distances from the vector `row`.
    pub(crate) fn distances_from(&self, row: u32, metric: Metric) -> Distances<'_> {
        match self {
            Self::Float(rows) => Distances::Float { metric, rows: rows.values(), query: rows.row(row as usize) },
            Self::Byte(rows) => Distances::Byte { metric, rows, asked: rows.asked(&rows.decoded(row as usize), metric) },
        }
    }
}

/// Distances from one vector to the rows of a storage.
pub(crate) enum Distances<'a> {
    Float { metric: Metric, rows: &'a [f32], query: &'a [f32] },
    Byte { metric: Metric, rows: &'a ByteRows, asked: Asked },
}

/// A query as [`Distances::Byte`] needs it: the distance is `constant` + the row's own term + Σ `weights`ᵢcᵢ.
pub(crate) struct Asked {
    pub(crate) weights: Vec<f32>,
    pub(crate) constant: f32,
}

impl Distances<'_> {
    /// The distance to one row.
    #[inline(always)]
    pub(crate) fn to(&self, row: u32) -> f32 {
        match self {
            Self::Float { metric, rows, query } => metric.between(query, of(rows, query.len(), row)),
            Self::Byte { metric, rows, asked } => {
                rows.distance(*metric, asked, kernels::dot_bytes(&asked.weights, rows.codes(row as usize)), row)
            }
        }
    }

    /// The distances to four rows: the bits that [`to`](Self::to) gives.
    #[inline(always)]
    pub(crate) fn to_four(&self, ids: [u32; 4]) -> [f32; 4] {
        match self {
            Self::Float { metric, rows, query } => metric.between_four(query, ids.map(|id| of(rows, query.len(), id))),
            Self::Byte { metric, rows, asked } => {
                let sums = kernels::dot_bytes_four(&asked.weights, ids.map(|id| rows.codes(id as usize)));
                std::array::from_fn(|i| rows.distance(*metric, asked, sums[i], ids[i]))
            }
        }
    }

    /// Brings the first cache lines of a row near.
    #[inline(always)]
    pub(crate) fn prefetch(&self, row: u32, lines: usize) {
        match self {
            Self::Float { rows, query, .. } => prefetch(of(rows, query.len(), row), lines),
            Self::Byte { rows, .. } => prefetch(rows.codes(row as usize), lines),
        }
    }

    /// Names each of `rows` with its distance, four at a time.
    #[inline(always)]
    pub(crate) fn each(&self, rows: impl Iterator<Item = u32>, mut found: impl FnMut(f32, u32)) {
        let (mut four, mut count) = ([0u32; 4], 0);
        for row in rows {
            four[count] = row;
            count += 1;
            if count == 4 {
                for (distance, row) in self.to_four(four).into_iter().zip(four) {
                    found(distance, row);
                }
                count = 0;
            }
        }
        for &row in &four[..count] {
            found(self.to(row), row);
        }
    }
}

#[inline(always)]
fn of(rows: &[f32], stride: usize, row: u32) -> &[f32] {
    &rows[row as usize * stride..][..stride]
}
