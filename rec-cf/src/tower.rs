//! The tower of the multi-layer perceptron models: z₁ = ReLU(W₁[p_u; q_i] + b₁), z_l = ReLU(W_l z_{l−1} + b_l). He et al., WWW 2017,
//! arXiv:1708.05031, eq. 10.
//!
//! The first layer is split, W₁[p; q] = W₁ᵘp + W₁ⁱq: its user half is computed once for all items of a user, its item half once for all
//! users.

use std::borrow::Cow;

use anyhow::Result;
use rayon::prelude::*;
use rec_core::dropout::relu_dropout;
use rec_core::eval::ItemPanels;
use rec_core::pair_layer::relu_of_sums;
use rec_core::params::slice;
use rec_core::simd::{lane_dot, vectorised};
use rec_core::sparse::Pattern;
use rec_core::state::StateReader;
use rec_core::{Init, Params, Table};
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use tch::{Device, Tensor};

use crate::check_size;

/// Items that pass through the tower together: a multiple of the rows of the product, and all layers stay in the cache.
const BLOCK: usize = 48;
/// Users of one unit of parallel work, who share each block's item halves.
const USERS: usize = 8;

/// Shape and start of a tower.
pub(crate) struct Shape<'a> {
    pub(crate) embedding_size: usize,
    pub(crate) hidden_sizes: &'a [usize],
    pub(crate) dropout: f64,
    pub(crate) init_std: f64,
}

impl Shape<'_> {
    /// Checks all but the embedding size.
    pub(crate) fn check(&self) -> Result<()> {
        require!(!self.hidden_sizes.is_empty(), Usage, "`hidden_sizes` is empty: give at least one layer");
        self.hidden_sizes.iter().try_for_each(|&size| check_size("hidden_sizes", size))?;
        require!((0.0..1.0).contains(&self.dropout), Usage, "`dropout` is {}: it must be at least 0 and below 1", self.dropout);
        check_init_std(self.init_std)
    }
}

pub(crate) fn check_init_std(std: f64) -> Result<()> {
    require!(std > 0.0 && std.is_finite(), Usage, "`init_std` is {std}: it must be above 0");
    Ok(())
}

/// The bound of LeCun's uniform initialisation of a layer of one output.
pub(crate) fn lecun(fan_in: usize) -> Init {
    Init::Uniform { bound: (3.0 / fan_in as f64).sqrt() }
}

/// Embeddings and layers up to z_L.
pub(crate) struct Tower {
    pub(crate) users: Table,
    pub(crate) items: Table,
    user_weight: Tensor,
    item_weight: Tensor,
    /// Weights of the layers after the first.
    weights: Vec<Tensor>,
    biases: Vec<Tensor>,
    dropout: f64,
}

impl Tower {
    /// Embeddings are called `{prefix}user_embedding` and `{prefix}item_embedding`.
    pub(crate) fn new(prefix: &str, shape: &Shape, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (d, sizes) = (shape.embedding_size, shape.hidden_sizes);
        let normal = Init::Normal { std: shape.init_std };
        let users = params.table(&format!("{prefix}user_embedding"), data.num_users(), d, normal)?;
        let items = params.table(&format!("{prefix}item_embedding"), data.num_items(), d, normal)?;
        // Glorot's bound of the whole layer, [h₁, 2d].
        let whole = Init::Uniform { bound: (6.0 / (sizes[0] + 2 * d) as f64).sqrt() };
        let user_weight = params.dense("hidden_1_user", &[sizes[0], d], whole)?;
        let item_weight = params.dense("hidden_1_item", &[sizes[0], d], whole)?;
        let mut biases = vec![params.dense("hidden_1_bias", &[sizes[0]], Init::Zeros)?];
        let mut weights = Vec::new();
        for (layer, pair) in (2..).zip(sizes.windows(2)) {
            weights.push(params.dense(&format!("hidden_{layer}"), &[pair[1], pair[0]], Init::XavierUniform)?);
            biases.push(params.dense(&format!("hidden_{layer}_bias"), &[pair[1]], Init::Zeros)?);
        }
        Ok(Self { users, items, user_weight, item_weight, weights, biases, dropout: shape.dropout })
    }

    /// Whether `state` is of a model that has a tower as its only part.
    pub(crate) fn is_in(state: &StateReader) -> bool {
        state.has("parameters/user_embedding") && state.has("parameters/hidden_1_user")
    }

    /// Takes embeddings and layers from a trained MLP.
    pub(crate) fn start_from(&self, mlp: &StateReader) -> Result<()> {
        let layers = self.biases.len();
        require!(
            !mlp.has(&format!("parameters/hidden_{}", layers + 1)),
            Data,
            "{} has more hidden layers than this model, which has {layers}",
            mlp.path()
        );
        let copy = |name: &str, to: &Tensor| mlp.tensor_into(&format!("parameters/{name}"), &mut to.shallow_clone());
        copy("user_embedding", &self.users.all())?;
        copy("item_embedding", &self.items.all())?;
        copy("hidden_1_user", &self.user_weight)?;
        copy("hidden_1_item", &self.item_weight)?;
        for (layer, weight) in (2..).zip(&self.weights) {
            copy(&format!("hidden_{layer}"), weight)?;
        }
        (1..).zip(&self.biases).try_for_each(|(layer, bias)| copy(&format!("hidden_{layer}_bias"), bias))
    }

    /// z_L of pairs of rows of users and of items.
    ///
    /// # Shapes
    /// `users` `[pairs.num_rows(), d]`, `items` `[pairs.num_columns(), d]`; returns `[pairs.len(), h_L]`
    pub(crate) fn forward(&self, users: &Tensor, items: &Tensor, pairs: &Pattern) -> Result<Tensor> {
        let user_half = users.f_linear(&self.user_weight, None::<&Tensor>)?;
        let item_half = items.f_linear(&self.item_weight, Some(&self.biases[0]))?;
        let mut z = relu_of_sums(&user_half, &pairs.rows(), &item_half, pairs.columns(), self.dropout)?;
        for (weight, bias) in self.weights.iter().zip(&self.biases[1..]) {
            z = relu_dropout(&z.f_linear(weight, Some(bias))?, self.dropout)?;
        }
        Ok(z)
    }

    /// The size of z_L.
    pub(crate) fn last_size(&self) -> usize {
        self.biases[self.biases.len() - 1].size()[0] as usize
    }

    /// All weights, without biases.
    pub(crate) fn weights(&self) -> Vec<&Tensor> {
        [&self.user_weight, &self.item_weight].into_iter().chain(&self.weights).collect()
    }
}

/// A weighted product of factors beside the tower: Σ_k w_k·p_uk·q_ik. Without factors it is 0.
#[derive(Default)]
pub(crate) struct Product<'a> {
    pub(crate) users: Cow<'a, [f32]>,
    pub(crate) items: Cow<'a, [f32]>,
    pub(crate) weights: Vec<f32>,
}

/// Scores of users: `bias` + `prediction`ᵀz_L + the product. Every sum has one order, so a score is the same bits wherever it is asked
/// for.
pub(crate) struct Scorer<'a> {
    ids: &'a [u32],
    users: Cow<'a, [f32]>,
    user_weight: ItemPanels,
    /// Item halves of the first layer, bias included: `[items, h₁]`.
    items: Vec<f32>,
    num_items: usize,
    /// h₁, …, h_L.
    sizes: Vec<usize>,
    layers: Vec<ItemPanels>,
    prediction: Vec<f32>,
    bias: f32,
    product: Product<'a>,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(tower: &'a Tower, ids: &'a [u32], prediction: &Tensor, bias: &Tensor, product: Product<'a>) -> Self {
        let d = tower.users.num_columns();
        let panels = |weight: &Tensor, bias: Option<&Tensor>| {
            ItemPanels::new(&values(weight), weight.size()[1] as usize, bias.map(values).as_deref())
        };
        let sizes: Vec<usize> = tower.biases.iter().map(|b| b.size()[0] as usize).collect();
        let item_weight = panels(&tower.item_weight, Some(&tower.biases[0]));
        let num_items = tower.items.num_rows();
        let mut items = vec![0f32; num_items * sizes[0]];
        items.par_chunks_mut(BLOCK * sizes[0]).zip(tower.items.to_slice().par_chunks(BLOCK * d)).for_each_init(
            Vec::new,
            |wide, (out, rows)| {
                layer(&item_weight, rows, sizes[0], wide, out, |x| x);
            },
        );
        Self {
            ids,
            users: tower.users.to_slice(),
            user_weight: panels(&tower.user_weight, None),
            items,
            num_items,
            layers: tower.weights.iter().zip(&tower.biases[1..]).map(|(w, b)| panels(w, Some(b))).collect(),
            sizes,
            prediction: values(prediction),
            bias: values(bias)[0],
            product,
        }
    }

    /// Scores of all items: `[ids, items]`.
    pub(crate) fn all(&self) -> Vec<f32> {
        let all: Vec<u32> = (0..self.num_items as u32).collect();
        let mut scores = vec![0f32; self.ids.len() * self.num_items];
        scores.par_chunks_mut(USERS * self.num_items).zip(self.ids.par_chunks(USERS)).for_each_init(
            Scratch::default,
            |scratch, (out, ids)| {
                let users: Vec<User> = ids.iter().map(|&id| self.user(id, scratch)).collect();
                for block in all.chunks(BLOCK) {
                    for (user, out) in users.iter().zip(out.chunks_mut(self.num_items)) {
                        self.score(user, block, scratch, &mut out[block[0] as usize..][..block.len()]);
                    }
                }
            },
        );
        scores
    }

    /// Scores of row `i` of `candidates` for user `i`, row after row.
    pub(crate) fn listed(&self, candidates: &Csr) -> Vec<f32> {
        let rows: Vec<Vec<f32>> = (0..self.ids.len())
            .into_par_iter()
            .map_init(Scratch::default, |scratch, at| {
                let (user, items) = (self.user(self.ids[at], scratch), candidates.row(at));
                let mut out = vec![0f32; items.len()];
                for (items, out) in items.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                    self.score(&user, items, scratch, out);
                }
                out
            })
            .collect();
        rows.concat()
    }

    fn user(&self, id: u32, scratch: &mut Scratch) -> User {
        let row = |table: &[f32], columns: usize| table[id as usize * columns..][..columns].to_vec();
        let mut half = vec![0f32; self.sizes[0]];
        layer(&self.user_weight, &row(&self.users, self.user_weight.dim()), self.sizes[0], &mut scratch.wide, &mut half, |x| x);
        let factors = row(&self.product.users, self.product.weights.len());
        User { half, factors: factors.iter().zip(&self.product.weights).map(|(p, w)| p * w).collect() }
    }

    /// Scores of at most [`BLOCK`] items.
    fn score(&self, user: &User, items: &[u32], scratch: &mut Scratch, out: &mut [f32]) {
        let (n, mut width) = (items.len(), self.sizes[0]);
        let Scratch { z, next, wide } = scratch;
        z.resize(n * width, 0.0);
        vectorised(
            #[inline(always)]
            || {
                for (z, &item) in z.chunks_exact_mut(width).zip(items) {
                    let half = &self.items[item as usize * width..][..width];
                    for ((z, a), b) in z.iter_mut().zip(&user.half).zip(half) {
                        *z = relu(a + b);
                    }
                }
            },
        );
        for (panels, &size) in self.layers.iter().zip(&self.sizes[1..]) {
            next.resize(n * size, 0.0);
            layer(panels, z, size, wide, next, relu);
            std::mem::swap(z, next);
            width = size;
        }
        let columns = self.product.weights.len();
        vectorised(
            #[inline(always)]
            || {
                for ((out, z), &item) in out.iter_mut().zip(z.chunks_exact(width)).zip(items) {
                    let factors = &self.product.items[item as usize * columns..][..columns];
                    *out = self.bias + lane_dot(z, &self.prediction) + lane_dot(&user.factors, factors);
                }
            },
        );
    }
}

/// A user's half of the first layer, and weighted factors.
struct User {
    half: Vec<f32>,
    factors: Vec<f32>,
}

/// What a worker needs again and again.
#[derive(Default)]
struct Scratch {
    z: Vec<f32>,
    next: Vec<f32>,
    wide: Vec<f32>,
}

/// max(x, 0); NaN stays NaN, so that the evaluator sees it.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `out` = f(rows·Wᵀ + b), `[n, size]`; the product itself is as wide as its panels.
#[inline(always)]
fn layer(panels: &ItemPanels, rows: &[f32], size: usize, wide: &mut Vec<f32>, out: &mut [f32], f: impl Fn(f32) -> f32) {
    let width = panels.num_panels() * ItemPanels::LANES;
    wide.resize(out.len() / size * width, 0.0);
    panels.scores(rows, 0, panels.num_panels(), wide);
    vectorised(
        #[inline(always)]
        || {
            for (out, wide) in out.chunks_exact_mut(size).zip(wide.chunks_exact(width)) {
                out.iter_mut().zip(wide).for_each(|(out, &x)| *out = f(x));
            }
        },
    );
}

/// A tensor's values on the CPU.
pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    slice(&tensor.detach().to_device(Device::Cpu).contiguous()).to_vec()
}
