//! AutoRec: an autoencoder for ratings, by item or by user. Sedhain, Menon, Sanner, Xie, WWW 2015 Companion.

use anyhow::Result;
use rec_core::model::{Model, ModelConfig, PairScore, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::lane_dot;
use rec_core::sparse::{Pattern, products};
use rec_core::{Init, Params, Table};
use rec_data::batch::{ByItem, ByUser, RowsBatch, Side};
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::layers::{Encoded, Linear, SparseLayer, numbers, square_sum};
use crate::{Activation, check_l2, check_sizes, history};

/// Hyper-parameters. Defaults are the paper's, with the λ of its authors' code for MovieLens-1M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoRecConfig {
    /// Units of the hidden layers; `[500, 250, 500]` is the paper's deep variant.
    pub hidden_sizes: Vec<usize>,
    /// g, what hidden sums go through.
    pub activation: Activation,
    /// f, what the output goes through: `identity`, or `sigmoid`, whose range is then stretched to the ratings'.
    pub output_activation: Activation,
    /// λ of λ(Σ‖W‖²)/2 beside the sum of all squared errors; a weight row's share in a batch is that of its entries.
    pub l2: f64,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
}

impl Default for AutoRecConfig {
    fn default() -> Self {
        Self {
            hidden_sizes: vec![500],
            activation: Activation::Sigmoid,
            output_activation: Activation::Identity,
            l2: 400.0,
            init_std: 0.01,
        }
    }
}

impl ModelConfig for AutoRecConfig {
    fn check(&self) -> Result<()> {
        check_sizes("hidden_sizes", &self.hidden_sizes)?;
        check_l2(self.l2)?;
        require!(
            matches!(self.output_activation, Activation::Identity | Activation::Sigmoid),
            Usage,
            "`output_activation` must be `identity` or `sigmoid`"
        );
        require!(self.init_std > 0.0, Usage, "`init_std` is {}: it must be above 0", self.init_std);
        Ok(())
    }
}

/// r̂ = f(W·g(Vr + μ) + b), where r is the sparse row of an item's (or a user's) ratings; minimises Σ over observed ratings of
/// (r − r̂)² + λ(‖W‖² + ‖V‖²)/2 (eq. 1–3), shown as a mean over the batch's ratings.
///
/// Only observed outputs are computed. Predictions are clipped to the training ratings' range; a pair whose row or column has no training
/// rating gets the middle of the range, as in the paper.
pub struct AutoRec<S> {
    config: AutoRecConfig,
    input: SparseLayer,
    hidden: Vec<Linear>,
    output: Table,
    output_bias: Table,
    /// All training rows: what predictions start from.
    rows: Csr,
    /// Training ratings of each column.
    counts: Vec<u32>,
    low: f32,
    high: f32,
    side: std::marker::PhantomData<S>,
}

/// I-AutoRec: a row is an item.
pub type ItemAutoRec = AutoRec<ByItem>;
/// U-AutoRec: a row is a user.
pub type UserAutoRec = AutoRec<ByUser>;

impl<S: Side> AutoRec<S> {
    /// The hidden layers after the first one's sums.
    fn rest(&self, sums: &Tensor) -> Result<Tensor> {
        let mut hidden = self.config.activation.apply(sums)?;
        for layer in &self.hidden {
            hidden = self.config.activation.apply(&layer.forward(&hidden)?)?;
        }
        Ok(hidden)
    }

    /// The last hidden layer of `rows`, outside any graph.
    ///
    /// # Shapes
    /// `[rows, hidden]`
    fn encode(&self, rows: &Csr) -> Result<Tensor> {
        tch::no_grad(|| self.rest(&self.input.forward(rows, Some(&self.values(rows)?))?.sums))
    }

    fn values(&self, rows: &Csr) -> Result<Tensor> {
        Ok(Tensor::from_slice(rows.values()).f_to_device(self.input.device())?)
    }

    /// f, stretched to the ratings' range where it has one.
    fn link(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.config.output_activation {
            Activation::Sigmoid => x.f_sigmoid()? * f64::from(self.high - self.low) + f64::from(self.low),
            _ => x.shallow_clone(),
        })
    }

    fn link_one(&self, x: f32) -> f32 {
        match self.config.output_activation {
            Activation::Sigmoid => self.low + (self.high - self.low) / (1.0 + (-x).exp()),
            _ => x,
        }
    }

    /// Of each of the columns `ids`: its entries in the batch / its entries in all.
    fn shares(&self, ids: &[u32], pattern: &Pattern, device: Device) -> Result<Tensor> {
        let mut here = vec![0f32; ids.len()];
        pattern.columns().iter().for_each(|&column| here[column as usize] += 1.0);
        here.iter_mut().zip(ids).for_each(|(n, &id)| *n /= self.counts[id as usize] as f32);
        Ok(Tensor::from_slice(&here).f_to_device(device)?)
    }
}

impl<S: Orientation> Model for AutoRec<S> {
    type Config = AutoRecConfig;
    type Batch = RowsBatch<S>;

    fn new(config: &AutoRecConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let Some(ratings) = data.values().filter(|v| !v.is_empty()) else {
            fail!(Usage, "AutoRec learns from ratings, and this data has none")
        };
        let range = ratings.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        require!(
            range.0 < range.1 || config.output_activation == Activation::Identity,
            Usage,
            "all training ratings are {}: a sigmoid has no range to be stretched to",
            range.0
        );
        let rows = S::rows(data).clone();
        let columns = rows.num_columns();
        let mut counts = vec![0; columns];
        rows.columns().iter().for_each(|&column| counts[column as usize] += 1);
        let (weights, sizes) = (Init::Normal { std: config.init_std }, &config.hidden_sizes);
        let input = SparseLayer::new(params, "input", columns, sizes[0], weights, Init::Zeros)?;
        let layer = |(at, pair): (usize, &[usize])| {
            Linear::new(params, &format!("hidden{}", at + 1), pair[0], pair[1], Init::XavierUniform, Init::Zeros)
        };
        let hidden = sizes.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
        let output = params.table("output_weights", columns, sizes[sizes.len() - 1], weights)?;
        let output_bias = params.table("output_bias", columns, 1, Init::Zeros)?;
        let side = std::marker::PhantomData;
        Ok(Self { config: config.clone(), input, hidden, output, output_bias, rows, counts, low: range.0, high: range.1, side })
    }

    fn loss(&self, batch: &RowsBatch<S>) -> Result<Tensor> {
        let values = self.values(&batch.rows)?;
        let encoded = self.input.forward(&batch.rows, Some(&values))?;
        let hidden = self.rest(&encoded.sums)?;
        let Encoded { ids, taken, pattern, .. } = &encoded;
        let (output, bias) = (self.output.rows(ids)?, self.output_bias.rows(ids)?);
        let ones = Tensor::f_ones([batch.rows.num_rows() as i64, 1], (Kind::Float, hidden.device()))?;
        let predicted = self.link(&products(pattern, &hidden, &output)?.f_add(&products(pattern, &ones, &bias)?)?)?;
        let mut sum = square_sum(&(predicted - values))?;
        if self.config.l2 > 0.0 {
            let share = self.shares(ids, pattern, hidden.device())?;
            let of = |rows: &Tensor| -> Result<Tensor> { Ok(rows.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?.f_dot(&share)?) };
            let mut squares = of(taken)? + of(&output)?;
            for layer in &self.hidden {
                squares += square_sum(&layer.weights)? * (batch.rows.len() as f64 / self.rows.len() as f64);
            }
            sum += squares * (0.5 * self.config.l2);
        }
        Ok(sum / batch.rows.len() as f64)
    }
}

impl<S: Side> AutoRec<S> {
    /// Ratings of (row, column) pairs.
    fn ratings(&self, rows: &[u32], columns: &[u32]) -> Result<Vec<f32>> {
        let known = |ids: &[u32], n: usize| ids.iter().all(|&id| (id as usize) < n);
        require!(
            known(rows, self.rows.num_rows()) && known(columns, self.counts.len()),
            Usage,
            "a pair names a user or an item that this model does not know"
        );
        let mut slots = vec![u32::MAX; self.rows.num_rows()];
        let mut ids = Vec::new();
        for &row in rows {
            if slots[row as usize] == u32::MAX {
                slots[row as usize] = ids.len() as u32;
                ids.push(row);
            }
        }
        let hidden = numbers(&self.encode(&self.rows.select(&ids))?)?;
        let (output, bias) = (self.output.to_slice(), self.output_bias.to_slice());
        let dim = self.output.num_columns();
        let one = |(&row, &column): (&u32, &u32)| {
            if self.rows.row(row as usize).is_empty() || self.counts[column as usize] == 0 {
                return 0.5 * (self.low + self.high);
            }
            let hidden = &hidden[slots[row as usize] as usize * dim..][..dim];
            let score = lane_dot(hidden, &output[column as usize * dim..][..dim]) + bias[column as usize];
            self.link_one(score).clamp(self.low, self.high)
        };
        Ok(rows.iter().zip(columns).map(one).collect())
    }
}

/// What differs between rows of users and rows of items.
pub trait Orientation: Side + Sized {
    /// (row, column) of a user and an item.
    fn place<T>(user: T, item: T) -> (T, T);

    /// The number of items.
    fn num_items(model: &AutoRec<Self>) -> usize;

    /// Scores of all items.
    ///
    /// # Errors
    /// a usage problem where a user who needs ratings has none.
    fn score<'a>(model: &'a AutoRec<Self>, users: &Users<'a>) -> Result<Scores<'a>>;

    /// A vector for each item.
    fn item_vectors(model: &AutoRec<Self>) -> Option<Vectors<'_>>;
}

impl<S: Orientation> PairScore for AutoRec<S> {
    fn predict(&self, users: &[u32], items: &[u32]) -> Result<Vec<f32>> {
        let (rows, columns) = S::place(users, items);
        self.ratings(rows, columns)
    }
}

impl<S: Orientation> Score for AutoRec<S> {
    fn num_items(&self) -> usize {
        S::num_items(self)
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        S::score(self, users)
    }

    fn pair_score(&self) -> Option<&dyn PairScore> {
        Some(self)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        S::item_vectors(self)
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

impl Orientation for ByUser {
    fn place<T>(user: T, item: T) -> (T, T) {
        (user, item)
    }

    fn num_items(model: &UserAutoRec) -> usize {
        model.output.num_rows()
    }

    fn score<'a>(model: &'a UserAutoRec, users: &Users<'a>) -> Result<Scores<'a>> {
        let hidden = model.encode(&history::rated_rows(users, Self::num_items(model))?)?;
        let dim = model.output.num_columns();
        let factors = Factors { dim, users: numbers(&hidden)?.into(), items: model.output.to_slice(), item_bias: None };
        Ok(Scores::Factors(factors.with_bias(model.output_bias.to_slice())))
    }

    fn item_vectors(model: &UserAutoRec) -> Option<Vectors<'_>> {
        Some(Vectors { dim: model.output.num_columns(), values: model.output.to_slice() })
    }
}

impl Orientation for ByItem {
    fn place<T>(user: T, item: T) -> (T, T) {
        (item, user)
    }

    fn num_items(model: &ItemAutoRec) -> usize {
        model.rows.num_rows()
    }

    /// Known users have a row of W; for others it is found from their ratings: the minimum over w and c of
    /// Σ (f⁻¹(r) − w·h_i − c)² + λ‖w‖²/2. With f the identity that is what training minimises in this row while all else stands still;
    /// with a sigmoid, ratings nearer than a hundredth of the range to its ends are moved there, where f⁻¹ is finite.
    fn score<'a>(model: &'a ItemAutoRec, users: &Users<'a>) -> Result<Scores<'a>> {
        let hidden = model.encode(&model.rows)?;
        let (output, bias) = (model.output.to_slice(), model.output_bias.to_slice());
        let dim = model.output.num_columns();
        let mut factors = Vec::with_capacity(users.len() * (dim + 1));
        for (at, &user) in users.ids().iter().enumerate() {
            if model.counts.get(user as usize).is_some_and(|&n| n > 0) {
                factors.extend_from_slice(&output[user as usize * dim..][..dim]);
                factors.push(bias[user as usize]);
            } else {
                let ratings = history::rated_rows(&users.range(at, at + 1), Self::num_items(model))?;
                factors.extend(model.fold_in(&hidden, &ratings)?);
            }
        }
        // The user's bias is one more factor, that of every item being 1.
        let items = numbers(&hidden)?.chunks_exact(dim).flat_map(|h| h.iter().copied().chain(std::iter::once(1.0))).collect::<Vec<f32>>();
        Ok(Scores::Factors(Factors { dim: dim + 1, users: factors.into(), items: items.into(), item_bias: None }))
    }

    fn item_vectors(model: &ItemAutoRec) -> Option<Vectors<'_>> {
        let hidden = model.encode(&model.rows).ok()?;
        Some(Vectors { dim: model.output.num_columns(), values: numbers(&hidden).ok()?.into() })
    }
}

impl ItemAutoRec {
    /// w and c of a new user, from one row of ratings: in f64, with a ridge of at least 10⁻³ so that few ratings have one answer.
    fn fold_in(&self, hidden: &Tensor, ratings: &Csr) -> Result<Vec<f32>> {
        let dim = hidden.size()[1];
        if ratings.is_empty() {
            return Ok(vec![0.0; dim as usize + 1]);
        }
        let options = (Kind::Double, Device::Cpu);
        let items: Vec<i64> = ratings.columns().iter().map(|&item| i64::from(item)).collect();
        let h = hidden.f_to_device(Device::Cpu)?.f_index_select(0, &Tensor::from_slice(&items))?.f_to_kind(Kind::Double)?;
        let h = Tensor::f_cat(&[h, Tensor::f_ones([items.len() as i64, 1], options)?], 1)?;
        let inverse = |r: f32| match self.config.output_activation {
            Activation::Sigmoid => {
                let share = f64::from((r - self.low) / (self.high - self.low)).clamp(0.01, 0.99);
                (share / (1.0 - share)).ln()
            }
            _ => f64::from(r),
        };
        let wanted = Tensor::from_slice(&ratings.values().iter().map(|&r| inverse(r)).collect::<Vec<_>>()).f_unsqueeze(1)?;
        let ridge = Tensor::f_full([dim + 1], (0.5 * self.config.l2).max(1e-3), options)?;
        let _ = ridge.f_narrow(0, dim, 1)?.f_zero_()?;
        let gram = h.f_tr()?.f_matmul(&h)?.f_add(&Tensor::f_diag(&ridge, 0)?)?;
        let solved = Tensor::f_linalg_solve(&gram, &h.f_tr()?.f_matmul(&wanted)?, true)?;
        numbers(&solved.f_to_kind(Kind::Float)?)
    }
}
