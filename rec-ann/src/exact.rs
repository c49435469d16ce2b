//! Vectors beside their codes, for a last comparison of what the codes found.

use anyhow::{Result, ensure};

use crate::file::{Reader, Writer, inconsistent};
use crate::nearest::Nearest;
use crate::rows::Rows;
use crate::storage::Distances;
use crate::{Metric, Neighbour};

/// Cache lines of a vector that are asked for ahead.
const LINES_AHEAD: usize = 8;

/// The vectors as they are, or none.
pub(crate) struct Exact {
    rows: Option<Rows>,
}

impl Exact {
    /// Keeps `rows` where any are to be compared.
    pub(crate) fn new(rows: Rows, rerank: usize) -> Self {
        Self { rows: (rerank > 0).then_some(rows) }
    }

    /// # Errors
    /// where something is to be compared and no vectors are kept.
    pub(crate) fn check(&self, rerank: usize) -> Result<()> {
        ensure!(rerank == 0 || self.rows.is_some(), "rerank is {rerank}: the index was made with 0, so it keeps no vectors to compare");
        Ok(())
    }

    /// How many vectors the codes have to find.
    pub(crate) fn candidates(&self, k: usize, rerank: usize) -> usize {
        k.saturating_mul(rerank.max(1))
    }

    /// The `k` nearest of what the codes found.
    pub(crate) fn reranked(&self, found: Nearest, query: &[f32], metric: Metric, k: usize, rerank: usize) -> Vec<Neighbour> {
        let found = found.into_sorted();
        let Some(rows) = self.rows.as_ref().filter(|_| rerank > 0) else { return found };
        let distances = Distances::Float { metric, rows: rows.values(), query };
        found.iter().for_each(|n| distances.prefetch(n.id, LINES_AHEAD));
        let mut nearest = Nearest::new(k);
        distances.each(found.iter().map(|n| n.id), |distance, id| nearest.show(distance, id));
        nearest.into_sorted()
    }

    pub(crate) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        if let Some(rows) = &self.rows {
            sections.add(rows.values());
        }
    }

    /// Takes the vectors, where there are any, from a file.
    pub(crate) fn read(dim: usize, len: usize, rerank: usize, sections: &mut Reader) -> Result<Self> {
        if !sections.has_more() {
            ensure!(rerank == 0, inconsistent("no vectors to compare"));
            return Ok(Self { rows: None });
        }
        let rows = Rows::stored(sections.take()?, dim).filter(|rows| rows.len() == len);
        Ok(Self { rows: Some(rows.ok_or_else(|| inconsistent("vectors that are not whole or not finite"))?) })
    }
}
