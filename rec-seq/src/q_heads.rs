//! Q-learning of two heads that judge each other's choices (double Q-learning, van Hasselt, NeurIPS 2010), over the states of an encoder.

use anyhow::Result;
use rec_core::largest_product::largest_product;
use rec_core::{Init, Params, Table};
use tch::{Device, Kind, Tensor};

use crate::transitions::Transitions;

/// Q(s, a) = e_a·s + b_a
struct QHead {
    items: Table,
    /// A table of one column.
    bias: Table,
}

impl QHead {
    fn new(prefix: &str, num_items: usize, size: usize, params: &mut Params) -> Result<Self> {
        let items = params.table(&format!("{prefix}_embedding"), num_items, size, Init::XavierUniform)?;
        Ok(Self { items, bias: params.table(&format!("{prefix}_bias"), num_items, 1, Init::Zeros)? })
    }

    /// Q(s, a) of one action a state.
    ///
    /// # Shapes
    /// `states` `[P, size]`, `actions` `[P]`; returns `[P]`
    fn values(&self, states: &Tensor, actions: &[u32]) -> Result<Tensor> {
        let products = (states * self.items.rows(actions)?).f_sum_dim_intlist(1, false, None::<Kind>)?;
        Ok(products.f_add(&self.bias.rows(actions)?.f_view([-1])?)?)
    }

    /// argmax_a Q(s, a).
    fn best(&self, states: &Tensor) -> Result<Vec<u32>> {
        largest_product(states, &self.items.all(), &self.bias.all().f_view([-1])?)
    }
}

/// Two heads, of which each step moves one.
pub(crate) struct QHeads {
    heads: [QHead; 2],
}

impl QHeads {
    pub(crate) fn new(num_items: usize, size: usize, params: &mut Params) -> Result<Self> {
        Ok(Self { heads: [QHead::new("q_1", num_items, size, params)?, QHead::new("q_2", num_items, size, params)?] })
    }

    /// Q_a(s_t, a_t) of the head a that a coin picks, and mean (r_t + γ Q_b(s_t+1, argmax_a' Q_a(s_t+1, a')) − Q_a(s_t, a_t))². What is
    /// aimed at is a constant, and r_t alone after a sequence's last step.
    ///
    /// # Shapes
    /// `states` `[P, size]`, those of `steps`; returns `[P]` and a scalar
    pub(crate) fn loss(&self, states: &Tensor, steps: &Transitions, discount: f64) -> Result<(Tensor, Tensor)> {
        // Libtorch's generator starts each step from the seed, the epoch and the step.
        let coin = Tensor::f_rand([1], (Kind::Float, Device::Cpu))?.f_double_value(&[0])?;
        let [first, second] = &self.heads;
        let (moved, other) = if coin < 0.5 { (first, second) } else { (second, first) };
        let mut target = Tensor::from_slice(&steps.rewards).f_to_device(states.device())?;
        let not_last = steps.not_last();
        if discount > 0.0 && !not_last.is_empty() {
            target = tch::no_grad(|| -> Result<Tensor> {
                let at = Tensor::from_slice(&not_last).f_to_device(states.device())?;
                let next = states.f_index_select(0, &(&at + 1))?;
                Ok(target.f_index_add(0, &at, &(other.values(&next, &moved.best(&next)?)? * discount))?)
            })?;
        }
        let values = moved.values(states, &steps.actions)?;
        let loss = values.f_sub(&target)?.f_square()?.f_mean(None::<Kind>)?;
        Ok((values, loss))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rec_core::optim::{Optimizer, OptimizerConfig, Rule};
    use rec_core::params::slice;

    use super::*;

    /// Three steps; whoever takes the item after the last one (of three, in a circle) gets 1. The best that is left is worth 1 + γ + γ²,
    /// 1 + γ and 1, and who goes on as the data does gets a third of it.
    #[test]
    fn values_of_a_small_process_are_those_of_its_best_policy() {
        let (discount, mut items, mut actions, mut states) = (0.5, Vec::new(), Vec::new(), Vec::new());
        for sequence in 0..81u32 {
            let taken: Vec<u32> = [27, 9, 3, 1].iter().map(|power| sequence / power % 3).collect();
            for step in 0..3 {
                items.push(taken[step]);
                actions.push(taken[step + 1]);
                states.push((step * 3) as i64 + i64::from(taken[step]));
            }
        }
        let rewards = items.iter().zip(&actions).map(|(&item, &action)| f32::from(u8::from(action == (item + 1) % 3))).collect();
        let steps = Transitions { items, starts: Arc::new((0..=81).map(|s| 3 * s).collect()), actions, rewards };
        let each_state = Tensor::eye(9, (Kind::Float, Device::Cpu));
        let states = each_state.index_select(0, &Tensor::from_slice(&states));

        let mut params = Params::new(Device::Cpu, 1);
        let heads = QHeads::new(3, 9, &mut params).expect("made");
        let config =
            OptimizerConfig { rule: Rule::Sgd { momentum: 0.0, nesterov: false }, learning_rate: 1.0, ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(&config, &params).expect("made");
        for step in 0..600 {
            tch::manual_seed(step);
            heads.loss(&states, &steps, discount).expect("fits").1.backward();
            optimizer.step(&params, 0, false).expect("finite");
        }
        for head in &heads.heads {
            for action in 0..3u32 {
                let values = tch::no_grad(|| head.values(&each_state, &[action; 9])).expect("in range");
                for (state, &found) in slice(&values).iter().enumerate() {
                    let (step, item) = (state / 3, state as u32 % 3);
                    let after = [1.5, 1.0, 0.0][step];
                    let expected = f64::from(u8::from(action == (item + 1) % 3)) + discount * after;
                    assert!((f64::from(found) - expected).abs() < 0.01, "Q({step}, {item}; {action}) = {found} for {expected}");
                }
            }
        }
    }
}
