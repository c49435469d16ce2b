//! Matrix factorisation by dot product under the logistic loss with sampled negatives, one update a sample: the tuned baseline of
//! Rendle, Krichene, Zhang, Anderson, RecSys 2020, arXiv:2005.09683.

use anyhow::Result;
use rec_core::Init;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::{lane_dot as dot, prefetch, vectorised};
use rec_core::state::{StateReader, StateWriter};
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;

use crate::online::{Factor, shuffled};

/// Hyper-parameters. Defaults are the authors' for MovieLens-1M.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticMfConfig {
    /// Length of a vector. The authors count the bias as one of their 192.
    pub embedding_size: usize,
    /// Step size.
    pub learning_rate: f64,
    /// λ on vectors and biases.
    pub l2: f64,
    /// Negatives drawn for each positive, uniformly from all items; a positive may be among them.
    pub num_negatives: usize,
    /// Standard deviation of the initial vectors.
    pub init_std: f64,
}

impl Default for LogisticMfConfig {
    fn default() -> Self {
        Self { embedding_size: 191, learning_rate: 0.002, l2: 0.005, num_negatives: 8, init_std: 0.1 }
    }
}

impl ModelConfig for LogisticMfConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.learning_rate > 0.0, Usage, "`learning_rate` is {}: it must be above 0", self.learning_rate);
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        require!(self.init_std > 0.0, Usage, "`init_std` is {}: it must be above 0", self.init_std);
        Ok(())
    }
}

/// Samples that are drawn before they are learned from.
const CHUNK: usize = 4096;
/// How many samples ahead their vectors are asked for.
const AHEAD: usize = 4;

/// score(u, i) = b + b_u + b_i + p_u · q_i.
///
/// An epoch shuffles all positives and their freshly drawn negatives together. With g = y − σ(score), for each sample in turn:
/// p ← p + η(gq − λp), then q ← q + η(gp − λq) with the new p, and the three biases likewise.
pub struct LogisticMf {
    config: LogisticMfConfig,
    seed: u64,
    users: Factor,
    items: Factor,
    user_bias: Vec<f32>,
    item_bias: Vec<f32>,
    bias: f32,
}

impl Fit for LogisticMf {
    type Config = LogisticMfConfig;
    const ONE_PASS: bool = false;

    fn new(config: &LogisticMfConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let init = Init::Normal { std: config.init_std };
        Ok(Self {
            config: config.clone(),
            seed,
            users: Factor::new(data.num_users(), config.embedding_size, init, seed, 0),
            items: Factor::new(data.num_items(), config.embedding_size, init, seed, 1),
            user_bias: vec![0.0; data.num_users()],
            item_bias: vec![0.0; data.num_items()],
            bias: 0.0,
        })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let order = shuffled(data.len() * (1 + self.config.num_negatives), self.seed, epoch);
        let loss = vectorised(
            #[inline(always)]
            || order.chunks(CHUNK).map(|samples| self.samples(data, epoch, samples)).sum::<f64>(),
        );
        let mean = loss / order.len().max(1) as f64;
        if !mean.is_finite() {
            fail!(Numeric, "the loss is {mean} in epoch {}: lower `learning_rate`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/loss", epoch: epoch + 1, value: mean })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.users.save("user_factors", out);
        self.items.save("item_factors", out);
        out.floats("user_bias", &[self.user_bias.len()], &self.user_bias);
        out.floats("item_bias", &[self.item_bias.len()], &self.item_bias);
        out.floats("bias", &[1], &[self.bias]);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("user_factors", &mut self.users.values)?;
        from.floats_into("item_factors", &mut self.items.values)?;
        from.floats_into("user_bias", &mut self.user_bias)?;
        from.floats_into("item_bias", &mut self.item_bias)?;
        from.floats_into("bias", std::slice::from_mut(&mut self.bias))
    }
}

impl LogisticMf {
    /// Some samples of an epoch, one after the other; returns the sum of their losses.
    #[inline(always)]
    fn samples(&mut self, data: &TrainView, epoch: u64, samples: &[u32]) -> f64 {
        let per_row = 1 + self.config.num_negatives;
        let (seed, items) = (self.seed, data.num_items() as u32);
        // A positive, then the negatives that belong to it.
        let pair = |&sample: &u32| {
            let (row, which) = (sample as usize / per_row, sample as usize % per_row);
            let item =
                if which == 0 { data.items()[row] } else { Rng::keyed(seed, Stream::Negatives, epoch, u64::from(sample)).below(items) };
            (data.users()[row], item, which == 0)
        };
        let pairs: Vec<(u32, u32, bool)> = samples.iter().map(pair).collect();
        let mut loss = 0.0;
        for (at, &(user, item, positive)) in pairs.iter().enumerate() {
            if let Some(&(user, item, _)) = pairs.get(at + AHEAD) {
                prefetch(self.users.row(user));
                prefetch(self.items.row(item));
            }
            loss += self.update(user, item, positive);
        }
        loss
    }

    /// One update; returns the loss before it.
    #[inline(always)]
    fn update(&mut self, u: u32, i: u32, positive: bool) -> f64 {
        let (eta, l2) = (self.config.learning_rate as f32, self.config.l2 as f32);
        let (user, item) = (self.users.row_mut(u), self.items.row_mut(i));
        let score = self.bias + self.user_bias[u as usize] + self.item_bias[i as usize] + dot(user, item);
        // 1 − σ(s) for a positive, −σ(s) for a negative, each from an exponential that does not overflow.
        let small = (-score.abs()).exp();
        let (near, far) = (1.0 / (1.0 + small), small / (1.0 + small));
        let sigmoid = if score >= 0.0 { near } else { far };
        let g = if positive { 1.0 - sigmoid } else { -sigmoid };
        for (p, q) in user.iter_mut().zip(item) {
            *p += eta * (g * *q - l2 * *p);
            *q += eta * (g * *p - l2 * *q);
        }
        let move_bias = |b: &mut f32| *b += eta * (g - l2 * *b);
        move_bias(&mut self.user_bias[u as usize]);
        move_bias(&mut self.item_bias[i as usize]);
        move_bias(&mut self.bias);
        let margin = if positive { score } else { -score };
        f64::from(small.ln_1p() + (-margin).max(0.0))
    }
}

impl Score for LogisticMf {
    fn num_items(&self) -> usize {
        self.item_bias.len()
    }

    /// Global and user bias do not change a user's ranking and are left out.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let factors = Factors::gather(self.users.dim, &self.users.values, users.known()?, (&self.items.values[..]).into());
        Ok(Scores::Factors(factors.with_bias((&self.item_bias[..]).into())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.items.vectors())
    }
}
