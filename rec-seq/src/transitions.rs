//! Sequences as steps of a Markov decision process: the state after an item, the item taken next, its reward.

use std::sync::Arc;

use anyhow::Result;
use rec_data::batch::SequencesBatch;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

use crate::next_item::asked;

/// What taking an item is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// 1, whatever the item.
    #[default]
    One,
    /// The value of the item's row: a rating, or what was made of clicks and purchases.
    Value,
}

impl Reward {
    /// # Errors
    /// a usage problem where the data has not what the reward is made of.
    pub(crate) fn check(self, data: &TrainView) -> Result<()> {
        require!(
            self == Reward::One || data.values().is_some(),
            Usage,
            "`reward` is \"value\", and the data has no values: \"one\" needs none"
        );
        Ok(())
    }
}

/// The steps of a batch's sequences: step t of a sequence is in the state after its items up to t and takes item t + 1. A batch holds the
/// last `max_len` + 1 items of a sequence, so that what came before those is no step and in no state.
pub(crate) struct Transitions {
    /// `[P]` the last item that the state has seen.
    pub(crate) items: Vec<u32>,
    /// `[B + 1]` sequence b's steps are `starts[b]..starts[b + 1]`.
    pub(crate) starts: Arc<Vec<usize>>,
    /// `[P]` the item taken.
    pub(crate) actions: Vec<u32>,
    /// `[P]`
    pub(crate) rewards: Vec<f32>,
}

impl Transitions {
    pub(crate) fn of(batch: &SequencesBatch, reward: Reward) -> Self {
        // A sequence's last item is taken and shown to nobody.
        let steps = || asked(batch);
        let rewards = match reward {
            Reward::One => vec![1.0; batch.items.len() + 1 - batch.starts.len()],
            Reward::Value => steps().map(|at| batch.values[at + 1]).collect(),
        };
        Self {
            items: steps().map(|at| batch.items[at]).collect(),
            starts: Arc::new(batch.starts.iter().enumerate().map(|(b, start)| start - b).collect()),
            actions: steps().map(|at| batch.items[at + 1]).collect(),
            rewards,
        }
    }

    /// The steps after which their sequence goes on: the next state of each is that of the step after it.
    pub(crate) fn not_last(&self) -> Vec<i64> {
        self.starts.windows(2).flat_map(|pair| pair[0] as i64..pair[1] as i64 - 1).collect()
    }

    /// R_t = Σ γ^(t' − t) r_t' over the steps t' ≥ t of the same sequence.
    pub(crate) fn returns(&self, discount: f64) -> Vec<f32> {
        let mut returns = self.rewards.clone();
        for step in self.not_last().into_iter().rev() {
            returns[step as usize] += discount as f32 * returns[step as usize + 1];
        }
        returns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_their_sequences_and_returns_too() {
        let batch = SequencesBatch {
            users: vec![0, 1],
            starts: vec![0, 4, 6],
            items: vec![3, 1, 4, 1, 5, 9],
            values: vec![7.0, 1.0, 2.0, 4.0, 7.0, 8.0],
            negatives: Vec::new(),
            keys: vec![0, 0],
        };
        let steps = Transitions::of(&batch, Reward::Value);
        assert_eq!((&steps.items[..], &steps.actions[..], &steps.starts[..]), (&[3, 1, 4, 5][..], &[1, 4, 1, 9][..], &[0, 3, 4][..]));
        assert_eq!((&steps.rewards[..], &steps.not_last()[..]), (&[1.0, 2.0, 4.0, 8.0][..], &[0, 1][..]));
        assert_eq!(steps.returns(0.5), [3.0, 4.0, 4.0, 8.0]);
        assert_eq!(Transitions::of(&batch, Reward::One).returns(1.0), [3.0, 2.0, 1.0, 1.0]);
    }
}
