//! Recurrent cells: Elman's (Cognitive Science 1990), the LSTM (Hochreiter and Schmidhuber 1997, with a forget gate), and two GRUs (Cho
//! et al., EMNLP 2014, arXiv:1406.1078).

use anyhow::Result;
use rec_core::gru_cell::gru_cell;
use rec_core::{Init, Params};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// What a layer does with an input x and its state h. a, b, … are the parts of W x + w and of V h + v, one of each gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// h′ = tanh(a + a′). As `torch.nn.RNNCell`.
    Rnn,
    /// i, f, o = σ(…), g = tanh(…); c′ = f∘c + i∘g; h′ = o∘tanh(c′). Parts in the order i, f, g, o. As `torch.nn.LSTMCell`.
    Lstm,
    /// r, z = σ(…), n = tanh(a + r∘a′); h′ = (1 − z)∘n + z∘h: the reset gate is applied after the product with V. Parts in the order
    /// r, z, n. As `torch.nn.GRUCell`, which GRU4Rec_PyTorch_Official takes wherever its input is an embedding.
    #[default]
    Gru,
    /// r, z = σ(…), n = tanh(a + V(r∘h)); h′ = (1 − z)∘h + z∘n: the reset gate is applied before the product with V, and there is no v.
    /// Parts in the order r, z, n. As in GRU4Rec's Theano code, and in GRU4Rec_PyTorch_Official where the input is one-hot.
    GruResetBefore,
}

impl Cell {
    /// Parts of W x + w, each as large as the state.
    pub fn num_parts(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Lstm => 4,
            Cell::Gru | Cell::GruResetBefore => 3,
        }
    }

    /// Tensors that are carried from step to step: h, and the LSTM's c.
    pub fn num_states(self) -> usize {
        if self == Cell::Lstm { 2 } else { 1 }
    }
}

/// The recurrent half of a layer: what it does with its own state. W x + w is made outside, because x may be one-hot.
pub struct Recurrence {
    cell: Cell,
    size: usize,
    /// Vᵀ, `[size, parts · size]`.
    weights: Tensor,
    /// v, `[parts · size]`.
    bias: Option<Tensor>,
}

impl Recurrence {
    /// A layer of `size` units; V is uniform within ±√(6 / (2 size)), each part as a matrix of its own, and v is 0.
    ///
    /// # Errors
    /// where a name is taken, or libtorch has no memory left.
    pub fn new(prefix: &str, cell: Cell, size: usize, params: &mut Params) -> Result<Self> {
        let width = cell.num_parts() * size;
        let weights = params.dense(&format!("{prefix}recurrent_weights"), &[size, width], part_init(size, size))?;
        let bias =
            (cell != Cell::GruResetBefore).then(|| params.dense(&format!("{prefix}recurrent_bias"), &[width], Init::Zeros)).transpose()?;
        Ok(Self { cell, size, weights, bias })
    }

    /// Units.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The state of `rows` sessions that have not begun: zeros.
    ///
    /// # Errors
    /// where libtorch has no memory left.
    pub fn begin(&self, rows: usize, device: Device) -> Result<Vec<Tensor>> {
        let zeros = |_| Ok(Tensor::f_zeros([rows as i64, self.size as i64], (Kind::Float, device))?);
        (0..self.cell.num_states()).map(zeros).collect()
    }

    /// The state after a step; the first tensor is what the layer shows.
    ///
    /// # Shapes
    /// `inputs` `[B, parts · size]`, W x + w; each tensor of `state`, and of the result, `[B, size]`
    ///
    /// # Errors
    /// libtorch's own, where shapes do not fit.
    pub fn step(&self, inputs: &Tensor, state: &[Tensor]) -> Result<Vec<Tensor>> {
        let h = &state[0];
        let size = self.size as i64;
        let part = |of: &Tensor, first: i64, parts: i64| of.f_narrow(1, first * size, parts * size);
        // V h + v.
        let own = || self.bias.as_ref().map_or_else(|| h.f_mm(&self.weights), |v| v.f_addmm(h, &self.weights));
        Ok(match self.cell {
            Cell::Rnn => vec![inputs.f_add(&own()?)?.f_tanh()?],
            Cell::Lstm => {
                let sums = inputs.f_add(&own()?)?;
                let gates = part(&sums, 0, 2)?.f_sigmoid()?;
                let (i, f) = (part(&gates, 0, 1)?, part(&gates, 1, 1)?);
                let (g, o) = (part(&sums, 2, 1)?.f_tanh()?, part(&sums, 3, 1)?.f_sigmoid()?);
                let c = f.f_mul(&state[1])?.f_addcmul(&i, &g)?;
                vec![o.f_mul(&c.f_tanh()?)?, c]
            }
            Cell::Gru => vec![gru_cell(inputs, &own()?, h)?],
            Cell::GruResetBefore => {
                let gates = part(inputs, 0, 2)?.f_addmm(h, &part(&self.weights, 0, 2)?)?.f_sigmoid()?;
                let (r, z) = (part(&gates, 0, 1)?, part(&gates, 1, 1)?);
                let n = part(inputs, 2, 1)?.f_addmm(&r.f_mul(h)?, &part(&self.weights, 2, 1)?)?.f_tanh()?;
                vec![h.f_lerp_tensor(&n, &z)?]
            }
        })
    }
}

/// Uniform within ±√(6 / (inputs + units)): each part of W and V starts as a matrix of its own, as in GRU4Rec's code.
pub(crate) fn part_init(inputs: usize, units: usize) -> Init {
    Init::Uniform { bound: (6.0 / (inputs + units) as f64).sqrt() }
}
