//! The trainer of models whose parameters move by gradients.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rec_data::batch::{Batch, BatchOptions, BatchSource, Prefetch};
use rec_data::fail;
use rec_data::rng::torch_seed;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::{EpochEnd, Pause, Trainer};
use crate::events::{Event, Events};
use crate::model::{Model, ModelConfig, Score};
use crate::optim::{Optimizer, OptimizerConfig};
use crate::params::{Params, slice};
use crate::state::{StateReader, StateWriter};

/// Batches waiting while one computes.
const AHEAD: usize = 4;
/// On a device, the loss is looked at once in so many steps: a look waits for the device.
const LOOK_EVERY: u64 = 100;

/// How a gradient model is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientConfig {
    /// Optimizer and step size.
    pub optimizer: OptimizerConfig,
    /// Batches and negatives.
    pub batch: BatchOptions,
}

/// Runs a [`Model`]'s epochs: batch, loss, backward, step.
pub struct GradientTrainer<M: Model> {
    model: M,
    params: Params,
    optimizer: Optimizer,
    source: Arc<dyn BatchSource<M::Batch>>,
    data: Arc<TrainView>,
    seed: u64,
    /// Sum of the losses of this epoch so far, and their number.
    sum: f64,
    count: u64,
}

impl<M: Model> GradientTrainer<M> {
    /// The model with its initial parameters.
    ///
    /// # Errors
    /// a usage problem of the config, or where the data has not what the model needs.
    pub fn new(config: &M::Config, how: &GradientConfig, data: &Arc<TrainView>, device: Device, seed: u64) -> Result<Self> {
        config.check()?;
        how.optimizer.check()?;
        let mut params = Params::new(device, seed);
        let model = M::new(config, data, &mut params)?;
        let optimizer = Optimizer::new(&how.optimizer, &params)?;
        let mut options = BatchOptions { seed, ..how.batch.clone() };
        M::shape_batches(config, &mut options);
        let source = M::Batch::source(data, &options)?;
        Ok(Self { model, params, optimizer, source, data: Arc::clone(data), seed, sum: 0.0, count: 0 })
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    fn check_loss(&mut self, loss: &Tensor, epoch: u64, step: u64) -> Result<()> {
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            let culprit = self.params.list().iter().find(|p| !p.tensor().isfinite().all().int64_value(&[]).is_positive());
            let where_ = culprit.map_or("no parameter has such a value yet".into(), |p| format!("`{}` holds such values", p.name()));
            fail!(
                Numeric,
                "the loss is {value} at step {step} of epoch {}, and {where_}: lower `learning_rate` or set `max_gradient_norm`",
                epoch + 1
            );
        }
        self.sum += value;
        self.count += 1;
        Ok(())
    }

    fn send_histograms(&self, epoch: u64, events: &mut Events) -> Result<()> {
        for parameter in self.params.list() {
            let here = parameter.tensor().f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
            events.send(&Event::Histogram { tag: &format!("parameters/{}", parameter.name()), epoch, values: slice(&here) })?;
        }
        Ok(())
    }

    /// Gradients of the last batch, before the optimizer takes them.
    fn send_gradients(&self, epoch: u64, events: &mut Events) -> Result<()> {
        for (name, gradient) in self.params.gradients()? {
            events.send(&Event::Histogram { tag: &format!("gradients/{name}"), epoch, values: slice(&gradient) })?;
        }
        Ok(())
    }
}

impl<M: Model> Trainer for GradientTrainer<M> {
    fn model(&self) -> &dyn Score {
        &self.model
    }

    fn epochs(&self) -> Option<u64> {
        None
    }

    fn start_from(&self, sources: &[StateReader]) -> Result<()> {
        self.model.start_from(sources)
    }

    fn scale_steps(&mut self, factor: f64) -> Result<()> {
        self.optimizer.scale_steps(factor);
        Ok(())
    }

    fn epoch(&mut self, epoch: u64, step: u64, pause: &Pause, events: &mut Events) -> Result<EpochEnd> {
        let started = Instant::now();
        let batches = self.source.epoch(epoch);
        let steps = batches.len() as u64;
        if step == 0 {
            (self.sum, self.count) = (0.0, 0);
            self.params.means().iter().for_each(|(_, mean)| mean.set((0.0, 0)));
        }
        let on_cpu = self.params.device() == Device::Cpu;
        let histograms = events.want_histograms(epoch + 1);
        let mut report = crate::optim::StepReport::default();
        let first = step;
        for (step, batch) in (step..).zip(Prefetch::new(batches, step as usize, AHEAD)) {
            // At least one step between two checkpoints: where making the epoch takes longer than `after`, nothing would ever be learned.
            if pause.interrupt.is_set() || (step > first && started.elapsed() >= pause.after) {
                return Ok(EpochEnd::Paused { next: step });
            }
            tch::manual_seed(torch_seed(self.seed, epoch, step));
            self.model.begin_step(self.optimizer.steps());
            let loss = self.model.loss(&batch)?;
            if on_cpu || step % LOOK_EVERY == 0 || step + 1 == steps {
                self.check_loss(&loss.detach(), epoch, step)?;
            }
            loss.f_backward()?;
            let last = step + 1 == steps;
            if last && histograms {
                self.send_gradients(epoch + 1, events)?;
            }
            report = self.optimizer.step(&self.params, epoch, last)?;
            events.send(&Event::Step { epoch, step, steps })?;
        }
        let loss = (self.count > 0).then(|| self.sum / self.count as f64);
        for (tag, value) in
            [("train/loss", loss), ("train/learning_rate", Some(report.learning_rate)), ("train/gradient_norm", report.gradient_norm)]
        {
            if let Some(value) = value {
                events.send(&Event::Scalar { tag, epoch: epoch + 1, value })?;
            }
        }
        for (name, mean) in self.params.means() {
            if let Some(value) = mean.value() {
                events.send(&Event::Scalar { tag: &format!("train/{name}"), epoch: epoch + 1, value })?;
            }
        }
        if histograms {
            self.send_histograms(epoch + 1, events)?;
        }
        Ok(EpochEnd::Done { loss, rows: self.data.len() as u64 })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        for parameter in self.params.list() {
            out.tensor(&format!("parameters/{}", parameter.name()), &parameter.tensor())?;
        }
        out.value("epoch_loss", &(self.sum.to_bits(), self.count))?;
        for (name, mean) in self.params.means() {
            let (sum, count) = mean.get();
            out.value(&format!("epoch_means/{name}"), &(sum.to_bits(), count))?;
        }
        self.model.save_state(out)?;
        self.optimizer.save(&self.params, out)
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        for parameter in self.params.list() {
            from.tensor_into(&format!("parameters/{}", parameter.name()), &mut parameter.tensor())?;
        }
        let (sum, count): (u64, u64) = from.value("epoch_loss")?;
        (self.sum, self.count) = (f64::from_bits(sum), count);
        for (name, mean) in self.params.means() {
            let (sum, count): (u64, u64) = from.value(&format!("epoch_means/{name}"))?;
            mean.set((f64::from_bits(sum), count));
        }
        self.params.forget_step();
        self.model.load_state(from)?;
        self.optimizer.load(&self.params, from)
    }
}
