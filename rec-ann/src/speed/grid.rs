//! Settings that are worth a look, from small and quick to large and thorough.

use crate::{
    Bits, FlatConfig, ForestConfig, HnswConfig, IndexConfig, IndexKind, IvfConfig, IvfPqConfig, PqConfig, Precision, QuantiserConfig,
};

/// Codes of eight bits have as many centroids; with fewer vectors there is nothing to learn.
const FEWEST_FOR_CODES: usize = 256;

/// An index to build, and how far its search goes, one measurement each: `None` as it was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// What is built.
    pub config: IndexConfig,
    /// Values for [`Index::set_effort`](crate::Index::set_effort).
    pub efforts: Vec<Option<usize>>,
}

/// What is tried of a kind on `n` vectors, for searches for `k`; nothing where it does not apply: codes need 256 vectors.
pub fn grid(kind: IndexKind, n: usize, k: usize) -> Vec<Attempt> {
    let attempt = |config, efforts: &[usize]| {
        let mut efforts: Vec<Option<usize>> = efforts.iter().copied().map(Some).collect();
        efforts.dedup();
        if efforts.is_empty() {
            efforts.push(None);
        }
        Attempt { config, efforts }
    };
    let probes = [1, 2, 4, 8, 16, 32, 64];
    let four_bits = QuantiserConfig { bits: Bits::Four, ..QuantiserConfig::default() };
    match kind {
        IndexKind::Flat => {
            [Precision::Float, Precision::Byte].map(|precision| attempt(IndexConfig::Flat(FlatConfig { precision }), &[])).into()
        }
        IndexKind::Hnsw => {
            let efs = [10, 20, 40, 80, 160, 320].map(|ef: usize| ef.max(k));
            let shapes = [(16, Precision::Float), (32, Precision::Float), (16, Precision::Byte)];
            shapes.map(|(m, precision)| attempt(IndexConfig::Hnsw(HnswConfig { m, precision, ..HnswConfig::default() }), &efs)).into()
        }
        IndexKind::Forest => [20, 100]
            .map(|trees| {
                let config = IndexConfig::Forest(ForestConfig { trees, ..ForestConfig::default() });
                attempt(config, &[1, 4, 16].map(|times| times * k * trees))
            })
            .into(),
        IndexKind::Ivf => vec![attempt(IndexConfig::Ivf(IvfConfig::default()), &probes)],
        IndexKind::Pq | IndexKind::IvfPq if n < FEWEST_FOR_CODES => Vec::new(),
        IndexKind::Pq => vec![
            attempt(IndexConfig::Pq(PqConfig::default()), &[]),
            attempt(IndexConfig::Pq(PqConfig { quantiser: four_bits, rerank: 10 }), &[2, 5, 10, 20]),
        ],
        IndexKind::IvfPq => vec![
            attempt(IndexConfig::IvfPq(IvfPqConfig::default()), &probes),
            attempt(IndexConfig::IvfPq(IvfPqConfig { quantiser: four_bits, rerank: 10, ..IvfPqConfig::default() }), &probes),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::index::tests::drawn;

    #[test]
    fn all_that_is_tried_can_be_built_and_searched() {
        let vectors = drawn(300, 7, 1);
        for kind in IndexKind::ALL {
            assert_eq!(grid(kind, 255, 10).is_empty(), matches!(kind, IndexKind::Pq | IndexKind::IvfPq));
            for Attempt { config, efforts } in grid(kind, 300, 50) {
                let mut index = config.build(&vectors, 7, Metric::InnerProduct).expect("built");
                for effort in efforts {
                    assert_eq!(effort.is_some(), index.set_effort(effort.unwrap_or(1)).is_ok(), "{config:?} {effort:?}");
                    assert!(!index.search(&vectors[..7], 50, None).expect("finite").is_empty(), "{config:?}");
                }
            }
        }
    }
}
