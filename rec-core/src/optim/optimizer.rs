//! Applies a rule to all parameters of a model.

use anyhow::{Context, Result};
use rayon::prelude::*;
use rec_data::problem::did_you_mean;
use rec_data::{fail, require};
use tch::{Device, Kind, Tensor};

use super::rule::{Rule, Step};
use super::{OptimizerConfig, Rows};
use crate::params::{Parameter, Params, slice, slice_mut};
use crate::simd::vectorised;
use crate::state::{StateReader, StateWriter};

/// Numbers that one unit of parallel work moves.
const BLOCK: usize = 32_768;
/// Numbers from which on the work is shared among threads: waking one costs as much as moving some ten thousand numbers.
const PARALLEL_FROM: usize = 8 * BLOCK;

/// Moves the parameters of a model, and keeps what the rule remembers.
pub struct Optimizer {
    config: OptimizerConfig,
    /// How each parameter moves, in the order of the model's parameters: which of `ways`.
    way_of: Vec<usize>,
    /// The config of those that no part names, then that of each part.
    ways: Vec<OptimizerConfig>,
    /// Steps made.
    steps: u64,
    /// What the schedule's step sizes are multiplied by.
    scale: f64,
    /// State arrays of each parameter, in the order of the model's parameters.
    states: Vec<Vec<Tensor>>,
}

/// What a step did, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepReport {
    /// L2 norm of the gradient of all parameters together, before clipping; absent where nobody asked.
    pub gradient_norm: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// The gradient of one parameter.
enum Gradient {
    Dense(Tensor),
    /// Distinct rows and the sum of their gradients.
    Rows(Vec<u32>, Tensor),
    None,
}

impl Optimizer {
    /// An optimizer for `params`, which are all made by now.
    ///
    /// # Errors
    /// a usage problem of the config, or libtorch has no memory left.
    pub fn new(config: &OptimizerConfig, params: &Params) -> Result<Self> {
        config.check()?;
        let names: Vec<String> = params.list().iter().map(Parameter::name).collect();
        let mut way_of = vec![0; names.len()];
        for (way, part) in (1..).zip(&config.parts) {
            for name in &part.parameters {
                let Some(at) = names.iter().position(|other| other == name) else {
                    let near = did_you_mean(name, names.iter().map(String::as_str));
                    fail!(Usage, "`optimizer.parts` names the parameter `{name}`, which there is not{near}; there are {}", names.join(", "))
                };
                require!(way_of[at] == 0, Usage, "`optimizer.parts` names the parameter `{name}` twice");
                way_of[at] = way;
            }
        }
        let ways: Vec<OptimizerConfig> =
            std::iter::once(config.clone()).chain(config.parts.iter().map(|part| config.of_part(part))).collect();
        let mut states = Vec::new();
        for (parameter, &way) in params.list().iter().zip(&way_of) {
            let (like, way) = (parameter.tensor(), &ways[way]);
            let of = |(index, _)| -> Result<Tensor> {
                Ok(Tensor::f_full(like.size(), way.rule.initial(index, way.learning_rate), (Kind::Float, like.device()))?)
            };
            states.push(way.rule.states().iter().enumerate().map(of).collect::<Result<_>>()?);
        }
        Ok(Self { config: config.clone(), way_of, ways, steps: 0, scale: 1.0, states })
    }

    /// Moves every parameter by the gradients that `backward` left, and clears them.
    ///
    /// # Errors
    /// a numeric problem that names the first parameter whose gradient is not finite.
    pub fn step(&mut self, params: &Params, epoch: u64, want_norm: bool) -> Result<StepReport> {
        tch::no_grad(|| self.step_without_graph(params, epoch, want_norm))
    }

    fn step_without_graph(&mut self, params: &Params, epoch: u64, want_norm: bool) -> Result<StepReport> {
        let mut gradients = Vec::with_capacity(params.list().len());
        for parameter in params.list() {
            gradients.push(gradient_of(parameter)?);
        }
        let limit = self.config.max_gradient_norm;
        let factor = self.scale * self.config.schedule.factor(epoch, self.steps);
        let mut report = StepReport { gradient_norm: None, learning_rate: self.config.learning_rate * factor };
        if want_norm || limit > 0.0 {
            let norm = norm(&gradients, params)?;
            if limit > 0.0 && norm > limit {
                for gradient in &mut gradients {
                    if let Gradient::Dense(g) | Gradient::Rows(_, g) = gradient {
                        let _ = g.f_mul_scalar_(limit / norm)?;
                    }
                }
            }
            report.gradient_norm = Some(norm);
        }
        self.steps += 1;
        let steps: Vec<Step> = self.ways.iter().map(|way| way.rule.step(self.steps, way.learning_rate * factor, way.l2)).collect();
        if params.device() == Device::Cpu {
            let parameters: Vec<Tensor> = params.list().iter().map(Parameter::tensor).collect();
            for (at, (way, &step)) in self.ways.iter().zip(&steps).enumerate() {
                let moving = parameters.iter().zip(&gradients).zip(&self.states).zip(&self.way_of);
                let moving = moving.filter(|(_, way)| **way == at).map(|(((p, g), s), _)| Moving { parameter: p, gradient: g, states: s });
                match way.rows {
                    Rows::All => way.move_all_on_cpu(step, &moving.collect::<Vec<_>>()),
                    Rows::Touched => moving.for_each(|one| way.move_touched_on_cpu(step, &one)),
                }
            }
            return Ok(report);
        }
        for (((parameter, gradient), states), &way) in params.list().iter().zip(gradients).zip(&mut self.states).zip(&self.way_of) {
            let moved = self.ways[way].move_by_tensors(steps[way], parameter, &gradient, states);
            moved.with_context(|| format!("moving `{}`", parameter.name()))?;
        }
        Ok(report)
    }

    /// Multiplies the schedule's step sizes by `factor`, in place of an earlier one.
    pub fn scale_steps(&mut self, factor: f64) {
        self.scale = factor;
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Writes the state under `optimizer/`.
    ///
    /// # Errors
    /// libtorch's own, when copying from a device.
    pub fn save(&self, params: &Params, out: &mut StateWriter) -> Result<()> {
        out.number("optimizer/steps", self.steps);
        for ((parameter, states), &way) in params.list().iter().zip(&self.states).zip(&self.way_of) {
            for (name, state) in self.ways[way].rule.states().iter().zip(states) {
                out.tensor(&format!("optimizer/{}/{name}", parameter.name()), state)?;
            }
        }
        Ok(())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// a data problem where an array is missing or has another shape.
    pub fn load(&mut self, params: &Params, from: &StateReader) -> Result<()> {
        self.steps = from.number("optimizer/steps")?;
        for ((parameter, states), &way) in params.list().iter().zip(&mut self.states).zip(&self.way_of) {
            for (name, state) in self.ways[way].rule.states().iter().zip(states) {
                from.tensor_into(&format!("optimizer/{}/{name}", parameter.name()), state)?;
            }
        }
        Ok(())
    }
}

/// A parameter with its gradient and what the rule remembers of it.
struct Moving<'a> {
    parameter: &'a Tensor,
    gradient: &'a Gradient,
    states: &'a [Tensor],
}

/// Where the gradient of a parameter's numbers is found.
enum Source<'g> {
    /// All of them, in order.
    Dense(&'g [f32]),
    /// Of row r the `slots[r]`-th row, none where that is [`u32::MAX`].
    Slots(Vec<u32>, &'g [f32]),
    /// There is none: a gradient of zeros.
    None,
}

impl<'g> Source<'g> {
    fn of(gradient: &'g Gradient, parameter: &Tensor) -> Self {
        match gradient {
            Gradient::None => Source::None,
            Gradient::Dense(g) => Source::Dense(slice(g)),
            Gradient::Rows(ids, g) => {
                let mut slots = vec![u32::MAX; parameter.size()[0] as usize];
                ids.iter().enumerate().for_each(|(slot, &row)| slots[row as usize] = slot as u32);
                Source::Slots(slots, slice(g))
            }
        }
    }
}

/// Some rows of a parameter, to be moved by one thread.
struct Block<'a> {
    /// Where its numbers begin in the parameter.
    start: usize,
    columns: usize,
    values: &'a mut [f32],
    states: [&'a mut [f32]; 2],
    source: &'a Source<'a>,
}

impl Block<'_> {
    fn moved(self, rule: &Rule, step: Step) {
        let Block { start, columns, values, mut states, source } = self;
        vectorised(
            #[inline(always)]
            || match source {
                Source::None => rule.update(step, values, None, states),
                Source::Dense(g) => rule.update(step, values, Some(&g[start..start + values.len()]), states),
                Source::Slots(slots, g) => {
                    for (row, (values, &slot)) in values.chunks_mut(columns).zip(&slots[start / columns..]).enumerate() {
                        let at = row * columns..row * columns + values.len();
                        let here = states.each_mut().map(|s| if s.is_empty() { &mut s[..] } else { &mut s[at.clone()] });
                        let g = (slot != u32::MAX).then(|| &g[slot as usize * columns..][..columns]);
                        rule.update(step, values, g, here);
                    }
                }
            },
        );
    }
}

/// Values, states, and the number of columns.
type ToMove<'a> = (&'a mut [f32], [&'a mut [f32]; 2], usize);

/// The values of a parameter and of its states, to be moved, and its number of columns.
fn to_move<'a>(parameter: &'a Tensor, states: &'a [Tensor]) -> ToMove<'a> {
    let columns = parameter.size().last().map_or(1, |&c| c as usize).max(1);
    // SAFETY: parameters and states are this thread's alone during a step, and no two of them share memory.
    let (values, mut states) = unsafe { (slice_mut(parameter), states.iter().map(|s| slice_mut(s))) };
    (values, [states.next().unwrap_or(&mut []), states.next().unwrap_or(&mut [])], columns)
}

impl OptimizerConfig {
    /// Moves every row of all that is moving, in blocks on all cores; rows are independent, so the blocks change nothing.
    fn move_all_on_cpu(&self, step: Step, moving: &[Moving]) {
        let sources: Vec<Source> = moving.iter().map(|one| Source::of(one.gradient, one.parameter)).collect();
        let mut blocks = Vec::new();
        for (one, source) in moving.iter().zip(&sources) {
            let (values, [a, b], columns) = to_move(one.parameter, one.states);
            let size = (BLOCK / columns).max(1) * columns;
            let (mut a, mut b) = (a.chunks_mut(size), b.chunks_mut(size));
            for (index, values) in values.chunks_mut(size).enumerate() {
                let states = [a.next().unwrap_or(&mut []), b.next().unwrap_or(&mut [])];
                blocks.push(Block { start: index * size, columns, values, states, source });
            }
        }
        let numbers: usize = blocks.iter().map(|b| b.values.len()).sum();
        let moved = |block: Block| block.moved(&self.rule, step);
        if numbers < PARALLEL_FROM { blocks.into_iter().for_each(moved) } else { blocks.into_par_iter().for_each(moved) }
    }

    /// Moves the rows that have a gradient.
    fn move_touched_on_cpu(&self, step: Step, moving: &Moving) {
        let (values, mut states, columns) = to_move(moving.parameter, moving.states);
        vectorised(
            #[inline(always)]
            || match moving.gradient {
                Gradient::None => {}
                Gradient::Dense(g) => self.rule.update(step, values, Some(slice(g)), states),
                Gradient::Rows(ids, g) => {
                    let g = slice(g);
                    for (slot, &row) in ids.iter().enumerate() {
                        let at = row as usize * columns..(row as usize + 1) * columns;
                        let here = states.each_mut().map(|s| if s.is_empty() { &mut s[..] } else { &mut s[at.clone()] });
                        self.rule.update(step, &mut values[at.clone()], Some(&g[slot * columns..(slot + 1) * columns]), here);
                    }
                }
            },
        );
    }

    fn move_by_tensors(&self, step: Step, parameter: &Parameter, gradient: &Gradient, states: &mut [Tensor]) -> Result<()> {
        let p = parameter.tensor();
        let whole = |g: &Tensor, states: &mut [Tensor]| -> Result<()> {
            let (new, new_states) = self.rule.update_tensor(step, &p, g, states)?;
            p.shallow_clone().f_copy_(&new)?;
            states.iter_mut().zip(new_states).try_for_each(|(s, new)| s.f_copy_(&new))?;
            Ok(())
        };
        match gradient {
            Gradient::None if self.rows == Rows::Touched => Ok(()),
            Gradient::None => whole(&p.f_zeros_like()?, states),
            Gradient::Dense(g) => whole(g, states),
            Gradient::Rows(ids, g) => {
                let index = Tensor::from_slice(&ids.iter().map(|&i| i64::from(i)).collect::<Vec<_>>()).f_to_device(p.device())?;
                if self.rows == Rows::All {
                    let all = p.f_zeros_like()?.f_index_copy(0, &index, g)?;
                    return whole(&all, states);
                }
                let here: Vec<Tensor> = states.iter().map(|s| s.f_index_select(0, &index)).collect::<Result<_, _>>()?;
                let (new, new_states) = self.rule.update_tensor(step, &p.f_index_select(0, &index)?, g, &here)?;
                let _ = p.shallow_clone().f_index_copy_(0, &index, &new)?;
                states.iter_mut().zip(new_states).try_for_each(|(s, new)| s.f_index_copy_(0, &index, &new).map(drop))?;
                Ok(())
            }
        }
    }
}

/// Collects a parameter's gradient and clears it.
fn gradient_of(parameter: &Parameter) -> Result<Gradient> {
    match parameter {
        Parameter::Dense { tensor, .. } => {
            let g = tensor.grad();
            if !g.defined() {
                return Ok(Gradient::None);
            }
            let g = g.f_detach()?.f_contiguous()?.copy();
            tensor.shallow_clone().zero_grad();
            Ok(Gradient::Dense(g))
        }
        Parameter::Table(table) => {
            let gradients = table.row_gradients()?;
            table.forget_step();
            Ok(gradients.map_or(Gradient::None, |(ids, sum)| Gradient::Rows(ids, sum)))
        }
    }
}

/// The L2 norm of all gradients together; squares are added in a fixed order, in f64.
fn norm(gradients: &[Gradient], params: &Params) -> Result<f64> {
    let mut total = 0.0;
    for (gradient, parameter) in gradients.iter().zip(params.list()) {
        let squares = match gradient {
            Gradient::None => 0.0,
            Gradient::Dense(g) | Gradient::Rows(_, g) if g.device() == Device::Cpu => {
                slice(g).iter().map(|&v| f64::from(v) * f64::from(v)).sum()
            }
            Gradient::Dense(g) | Gradient::Rows(_, g) => g.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?,
        };
        if !squares.is_finite() {
            fail!(Numeric, "the gradient of `{}` is not finite: lower `learning_rate` or set `max_gradient_norm`", parameter.name());
        }
        total += squares;
    }
    Ok(total.sqrt())
}

#[cfg(test)]
#[path = "optimizer_tests.rs"]
mod tests;
