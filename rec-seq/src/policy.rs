//! π(a | s) = softmax over items of a head on the state of a history: what recommends, and what every agent of this crate learns.

use anyhow::Result;
use rec_core::Params;
use rec_core::model::{Users, Vectors};
use rec_core::scores::Scores;
use rec_data::view::TrainView;
use tch::Tensor;

use crate::encoder::{Backbone, Encoder};
use crate::item_head::ItemHead;
use crate::transitions::Transitions;

/// An encoder and a head over its states.
pub(crate) struct Policy {
    encoder: Encoder,
    head: ItemHead,
}

impl Policy {
    /// `tie_embeddings`: whether the head's vectors are those that the encoder is shown.
    pub(crate) fn new(backbone: &Backbone, max_len: usize, tie_embeddings: bool, data: &TrainView, params: &mut Params) -> Result<Self> {
        let encoder = Encoder::new(backbone, max_len, data.num_items(), params)?;
        let head = if tie_embeddings {
            ItemHead::over("output", encoder.items().clone(), params)?
        } else {
            ItemHead::new("output", data.num_items(), encoder.size(), params)?
        };
        Ok(Self { encoder, head })
    }

    pub(crate) fn head(&self) -> &ItemHead {
        &self.head
    }

    /// The length of a state.
    pub(crate) fn state_size(&self) -> usize {
        self.encoder.size()
    }

    /// The states in which `steps` are made.
    ///
    /// # Shapes
    /// returns `[P, state_size]`
    pub(crate) fn states(&self, steps: &Transitions) -> Result<Tensor> {
        self.encoder.states(&steps.items, &steps.starts, true)
    }

    pub(crate) fn num_items(&self) -> usize {
        self.head.items().num_rows()
    }

    /// A user without a history is scored by the items' biases alone.
    pub(crate) fn score(&self, users: &Users) -> Result<Scores<'_>> {
        self.head.scores(self.encoder.after(users)?)
    }

    pub(crate) fn item_vectors(&self) -> Vectors<'_> {
        Vectors { dim: self.head.items().num_columns(), values: self.head.items().to_slice() }
    }
}
