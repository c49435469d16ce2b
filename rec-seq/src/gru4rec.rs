//! GRU4Rec: a recurrent network that walks through sessions and scores the next item. Hidasi et al., ICLR 2016, arXiv:1511.06939; losses
//! over many drawn items and shared embeddings: Hidasi and Karatzoglou, CIKM 2018, arXiv:1706.03847.
//!
//! Details are those of the authors' code (github.com/hidasib/GRU4Rec, Theano; GRU4Rec_PyTorch_Official): a step sees the state as a
//! constant, so gradients do not reach earlier steps; dropout acts on the state that is carried on; the sum of the sessions' losses is
//! divided by the number of lanes at the start of the epoch, also when fewer are left. Two things differ. Its BPR adds up what the
//! negatives lose and ours, as the papers', is their mean; its TOP1 counts the positive as one more: both differ by a factor, to which
//! Adagrad is blind. And a row that a step touches twice moves once, by the sum of its gradients, as in the PyTorch code.

use std::cell::RefCell;

use anyhow::Result;
use rec_core::dropout::dropout;
use rec_core::loss::{LossConfig, OutputActivation, shared_negatives};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::params::slice;
use rec_core::scores::{Factors, Scores};
use rec_core::state::{StateReader, StateWriter};
use rec_core::{Init, Params, Table};
use rec_data::batch::SessionStepBatch;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::recurrent::{Cell, Recurrence, part_init};
use crate::{check_rate, check_size};

/// Hyper-parameters. Defaults are those of the authors' PyTorch code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gru4RecConfig {
    /// What the first layer is shown of an item.
    pub input: Input,
    /// Length of an item's vector where `input` is `embedding`; else it says nothing.
    pub embedding_size: usize,
    /// What a layer computes; `gru-reset-before` is the Theano code's GRU.
    pub cell: Cell,
    /// Units of each layer, from the input on.
    pub hidden_sizes: Vec<usize>,
    /// Share of each layer's state that a step sets to 0. The state is carried on like that.
    pub dropout: f64,
    /// Share of the input vectors that a step sets to 0.
    pub embedding_dropout: f64,
    /// What scores go through before the loss; recommendations are ranked without it. `tanh` is the first paper's with TOP1 and BPR,
    /// `elu` the second's with BPR-max and TOP1-max.
    pub output_activation: OutputActivation,
    /// What is minimised. `sampled-softmax` is cross-entropy, with `log_q` corrected by ln popularity of other lanes' targets and
    /// `negative_alpha` times that of drawn items.
    pub loss: LossConfig,
}

/// What the first layer is shown of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// One of as many inputs as there are items: W has a column for each.
    OneHot,
    /// A vector of its own.
    Embedding,
    /// The vector by which the item is scored as a next one.
    #[default]
    Constrained,
}

impl Default for Gru4RecConfig {
    fn default() -> Self {
        Self {
            input: Input::default(),
            embedding_size: 100,
            cell: Cell::default(),
            hidden_sizes: vec![100],
            dropout: 0.0,
            embedding_dropout: 0.0,
            output_activation: OutputActivation::Identity {},
            loss: LossConfig::CrossEntropy {},
        }
    }
}

impl ModelConfig for Gru4RecConfig {
    fn check(&self) -> Result<()> {
        require!(!self.hidden_sizes.is_empty(), Usage, "`hidden_sizes` is empty: there must be a layer at least");
        self.hidden_sizes.iter().try_for_each(|&units| check_size("hidden_sizes", units))?;
        check_size("embedding_size", self.embedding_size)?;
        check_rate("dropout", self.dropout)?;
        check_rate("embedding_dropout", self.embedding_dropout)?;
        require!(
            self.input != Input::OneHot || self.embedding_dropout == 0.0,
            Usage,
            "`embedding_dropout` is {}, and `input = \"one-hot\"` has no embedding: set it to 0",
            self.embedding_dropout
        );
        let is_softmax = matches!(self.loss, LossConfig::CrossEntropy {} | LossConfig::SampledSoftmax { .. });
        require!(
            !is_softmax || self.output_activation == OutputActivation::Identity {},
            Usage,
            "`output_activation` must be `identity` where the loss is a softmax of the scores"
        );
        if let OutputActivation::Elu { alpha } = self.output_activation {
            require!(alpha > 0.0 && alpha.is_finite(), Usage, "elu's `alpha` is {alpha}: it must be above 0");
        }
        self.loss.check()
    }
}

/// score(session, i) = h · q_i + b_i, h the last layer's state after the session's items.
pub struct Gru4Rec {
    config: Gru4RecConfig,
    device: Device,
    /// Items' vectors as inputs, or W of the first layer; absent where the output's are shared.
    inputs: Option<Table>,
    layers: Vec<Layer>,
    /// q.
    items: Table,
    /// b, a table of one column.
    item_bias: Table,
    /// The states of all lanes after the last step, by layer: `[num_lanes, units]` each.
    states: RefCell<Vec<Vec<Tensor>>>,
}

/// W x + w, and what becomes of it.
struct Layer {
    /// Wᵀ, `[inputs, parts · units]`; absent where the input is one-hot.
    weights: Option<Tensor>,
    /// w.
    bias: Tensor,
    recurrence: Recurrence,
}

impl Layer {
    /// W x + w.
    fn inputs(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.weights {
            Some(weights) => self.bias.f_addmm(x, weights)?,
            None => x.f_add(&self.bias)?,
        })
    }
}

impl Model for Gru4Rec {
    type Config = Gru4RecConfig;
    type Batch = SessionStepBatch;

    /// Initial values: vectors and matrices uniform within ±√(6 / (rows + columns)), each part of a layer as a matrix of its own; biases 0.
    fn new(config: &Gru4RecConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (num_items, parts) = (data.num_items(), config.cell.num_parts());
        let (first, last) = (config.hidden_sizes[0], config.hidden_sizes[config.hidden_sizes.len() - 1]);
        let inputs = match config.input {
            Input::OneHot => Some(params.table("input_weights", num_items, parts * first, part_init(num_items, first))?),
            Input::Embedding => Some(params.table("input_embedding", num_items, config.embedding_size, Init::XavierUniform)?),
            Input::Constrained => None,
        };
        let mut width = match config.input {
            Input::OneHot => None,
            Input::Embedding => Some(config.embedding_size),
            Input::Constrained => Some(last),
        };
        let mut layers = Vec::new();
        for (at, &units) in config.hidden_sizes.iter().enumerate() {
            let prefix = format!("layer_{}_", at + 1);
            let weights = width
                .map(|width| params.dense(&format!("{prefix}weights"), &[width, parts * units], part_init(width, units)))
                .transpose()?;
            let bias = params.dense(&format!("{prefix}bias"), &[parts * units], Init::Zeros)?;
            layers.push(Layer { weights, bias, recurrence: Recurrence::new(&prefix, config.cell, units, params)? });
            width = Some(units);
        }
        let items = params.table("item_embedding", num_items, last, Init::XavierUniform)?;
        let item_bias = params.table("item_bias", num_items, 1, Init::Zeros)?;
        let (config, device, states) = (config.clone(), params.device(), RefCell::default());
        Ok(Self { config, device, inputs, layers, items, item_bias, states })
    }

    fn save_state(&self, out: &mut StateWriter) -> Result<()> {
        let states = self.states.borrow();
        for (name, state) in self.state_names().iter().zip(states.iter().flatten()) {
            out.tensor(name, state)?;
        }
        Ok(())
    }

    fn load_state(&mut self, from: &StateReader) -> Result<()> {
        let mut loaded = Vec::new();
        for name in self.state_names() {
            if !from.has(&name) {
                self.states.take();
                return Ok(());
            }
            let (shape, values) = from.floats(&name)?;
            let shape: Vec<i64> = shape.iter().map(|&s| s as i64).collect();
            loaded.push(Tensor::from_slice(&values).f_view(&shape[..])?.f_to_device(self.device)?);
        }
        self.states
            .replace(loaded.chunks(self.config.cell.num_states()).map(|layer| layer.iter().map(Tensor::shallow_clone).collect()).collect());
        Ok(())
    }

    fn loss(&self, batch: &SessionStepBatch) -> Result<Tensor> {
        let x = self.show(&batch.items)?;
        let x = if self.config.embedding_dropout > 0.0 { dropout(&x, self.config.embedding_dropout)? } else { x };
        let hidden = self.walk_on(batch, x)?;
        let ids = [&batch.targets[..], &batch.samples].concat();
        let mut bias = self.item_bias.rows(&ids)?.f_view([-1])?;
        if let LossConfig::SampledSoftmax { log_q: true } = self.config.loss {
            bias = bias.f_sub(&Tensor::from_slice(&batch.log_q).f_to_device(self.device)?)?;
        }
        let scores = hidden.f_mm(&self.items.rows(&ids)?.f_transpose(0, 1)?)?;
        let loss = shared_negatives(&self.config.loss, self.config.output_activation, &scores, &bias)?;
        if batch.lanes.len() == batch.num_lanes {
            return Ok(loss);
        }
        Ok(loss * (batch.lanes.len() as f64 / batch.num_lanes as f64))
    }
}

impl Gru4Rec {
    /// What the first layer is shown of items.
    ///
    /// # Shapes
    /// `[items.len(), embedding size]`; where the input is one-hot, `[items.len(), parts · units]`, which is W x
    fn show(&self, items: &[u32]) -> Result<Tensor> {
        self.inputs.as_ref().unwrap_or(&self.items).rows(items)
    }

    /// One step of all lanes from where they are; returns what the last layer shows, `[B, units]`.
    fn walk_on(&self, batch: &SessionStepBatch, mut x: Tensor) -> Result<Tensor> {
        let mut all = self.states.borrow_mut();
        let fits = all.iter().flatten().all(|state| state.size()[0] == batch.num_lanes as i64);
        if all.is_empty() || !fits {
            *all = self.layers.iter().map(|l| l.recurrence.begin(batch.num_lanes, self.device)).collect::<Result<_>>()?;
        }
        let some_end = batch.lanes.len() < batch.num_lanes;
        let lanes = some_end
            .then(|| Tensor::from_slice(&batch.lanes.iter().map(|&l| i64::from(l)).collect::<Vec<_>>()).f_to_device(self.device))
            .transpose()?;
        let goes_on: Vec<f32> = batch.begins.iter().map(|&begins| f32::from(u8::from(!begins))).collect();
        let goes_on =
            batch.begins.contains(&true).then(|| Tensor::from_slice(&goes_on).f_view([-1, 1])?.f_to_device(self.device)).transpose()?;
        for (layer, all) in self.layers.iter().zip(all.iter_mut()) {
            let before = all
                .iter()
                .map(|state| {
                    let state = lanes.as_ref().map_or_else(|| Ok(state.shallow_clone()), |lanes| state.f_index_select(0, lanes))?;
                    goes_on.as_ref().map_or_else(|| Ok(state.shallow_clone()), |goes_on| state.f_mul(goes_on))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let mut after = layer.recurrence.step(&layer.inputs(&x)?, &before)?;
            if self.config.dropout > 0.0 {
                after[0] = dropout(&after[0], self.config.dropout)?;
            }
            for (all, after) in all.iter_mut().zip(&after) {
                let after = after.f_detach()?;
                *all = match &lanes {
                    Some(lanes) => all.f_index_copy(0, lanes, &after)?,
                    None => after,
                };
            }
            x = after.swap_remove(0);
        }
        Ok(x)
    }

    /// What the last layer shows after each history; zeros after an empty one.
    ///
    /// # Shapes
    /// `[users.len(), units]`
    fn walk(&self, users: &Users) -> Result<Tensor> {
        // Longest first: who still walks are always the first rows.
        let mut order: Vec<usize> = (0..users.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(users.history(i).len()));
        let mut states: Vec<Vec<Tensor>> =
            self.layers.iter().map(|l| l.recurrence.begin(users.len(), self.device)).collect::<Result<_>>()?;
        let steps = order.first().map_or(0, |&i| users.history(i).len());
        let mut walking = order.len();
        for step in 0..steps {
            while users.history(order[walking - 1]).len() <= step {
                walking -= 1;
            }
            let items: Vec<u32> = order[..walking].iter().map(|&i| users.history(i)[step]).collect();
            let mut x = self.show(&items)?;
            for (layer, states) in self.layers.iter().zip(&mut states) {
                let here: Vec<Tensor> = states.iter().map(|s| s.f_narrow(0, 0, walking as i64)).collect::<Result<_, _>>()?;
                let mut after = layer.recurrence.step(&layer.inputs(&x)?, &here)?;
                here.into_iter().zip(&after).try_for_each(|(mut here, after)| here.f_copy_(after))?;
                x = after.swap_remove(0);
            }
        }
        let mut places = vec![0i64; order.len()];
        order.iter().enumerate().for_each(|(place, &i)| places[i] = place as i64);
        let last = &states[states.len() - 1][0];
        Ok(last.f_index_select(0, &Tensor::from_slice(&places).f_to_device(self.device)?)?)
    }

    /// The names of the states in a checkpoint, layer after layer.
    fn state_names(&self) -> Vec<String> {
        let states = self.config.cell.num_states();
        (0..self.layers.len() * states).map(|at| format!("lanes/layer_{}_{}", at / states + 1, ["h", "c"][at % states])).collect()
    }
}

impl Score for Gru4Rec {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let hidden = tch::no_grad(|| self.walk(users))?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let factors =
            Factors { dim: self.items.num_columns(), users: slice(&hidden).to_vec().into(), items: self.items.to_slice(), item_bias: None };
        Ok(Scores::Factors(factors.with_bias(self.item_bias.to_slice())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.items.num_columns(), values: self.items.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
