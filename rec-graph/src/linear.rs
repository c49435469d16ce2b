//! Propagation without weights, activations or own edges: LightGCN's, and what builds on it.

use std::rc::Rc;

use anyhow::Result;
use rec_core::sparse::{Matrix, Storage, polynomial, times};
use rec_data::graph::{Graph, Normalisation};
use rec_data::view::TrainView;
use tch::Tensor;

/// Σ_k α_k Aᵏ with A = D^−½ (edges) D^−½.
pub(crate) struct Linear {
    adjacency: Rc<Matrix>,
    /// α_0 … α_K
    weights: Vec<f32>,
    storage: Storage,
}

impl Linear {
    pub(crate) fn new(data: &TrainView, weights: Vec<f32>, storage: Storage) -> Self {
        Self { adjacency: Rc::new(Matrix::of(Graph::of(data).adjacency(Normalisation::Symmetric, false))), weights, storage }
    }

    /// The mean of the layers 1 … K, without the layer 0.
    pub(crate) fn mean_of_moved(data: &TrainView, num_layers: usize) -> Self {
        let weight = |layer| if layer == 0 { 0.0 } else { 1.0 / num_layers as f32 };
        Self::new(data, (0..=num_layers).map(weight).collect(), Storage::F32)
    }

    /// A x, one layer.
    pub(crate) fn step(&self, x: &Tensor) -> Result<Tensor> {
        times(&self.adjacency, x)
    }

    /// Rows `ids` of the sum, for training.
    pub(crate) fn rows(&self, first: &Tensor, ids: &[u32]) -> Result<Tensor> {
        polynomial(&self.adjacency, &self.weights, first, ids, self.storage)
    }

    /// The whole sum, for scores: never rounded.
    pub(crate) fn all(&self, first: &Tensor) -> Result<Tensor> {
        let ids: Vec<u32> = (0..self.adjacency.num_rows() as u32).collect();
        polynomial(&self.adjacency, &self.weights, first, &ids, Storage::F32)
    }
}
