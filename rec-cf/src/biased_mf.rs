//! Matrix factorisation with biases for ratings, one update a rating. Koren, Bell, Volinsky, IEEE Computer 2009.

use anyhow::Result;
use rec_core::Init;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, ModelConfig, PairScore, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::{lane_dot as dot, vectorised};
use rec_core::state::{StateReader, StateWriter};
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;

use crate::online::{Factor, shuffled};

/// Hyper-parameters. Defaults are those of Cornac's README on MovieLens-100K.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BiasedMfConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Step size.
    pub learning_rate: f64,
    /// λ on vectors and biases.
    pub l2: f64,
    /// Standard deviation of the initial vectors.
    pub init_std: f64,
}

impl Default for BiasedMfConfig {
    fn default() -> Self {
        Self { embedding_size: 10, learning_rate: 0.01, l2: 0.02, init_std: 0.01 }
    }
}

impl ModelConfig for BiasedMfConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.learning_rate > 0.0, Usage, "`learning_rate` is {}: it must be above 0", self.learning_rate);
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        require!(self.init_std > 0.0, Usage, "`init_std` is {}: it must be above 0", self.init_std);
        Ok(())
    }
}

/// r̂ = μ + b_u + b_i + p_u · q_i, clipped to the training ratings' range.
///
/// With e = r − r̂ (not clipped), for each rating of the shuffled epoch, all from the values before it: p ← p + η(eq − λp),
/// q ← q + η(ep − λq), b_u ← b_u + η(e − λb_u), b_i likewise.
pub struct BiasedMf {
    config: BiasedMfConfig,
    seed: u64,
    users: Factor,
    items: Factor,
    user_bias: Vec<f32>,
    item_bias: Vec<f32>,
    scale: RatingScale,
}

/// Mean and range of the training ratings.
pub(crate) struct RatingScale {
    pub mean: f32,
    pub low: f32,
    pub high: f32,
}

impl RatingScale {
    pub(crate) fn of(data: &TrainView) -> Result<Self> {
        let Some(values) = data.values().filter(|v| !v.is_empty()) else {
            fail!(Usage, "this model learns from ratings, and this data has none")
        };
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let range = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        Ok(Self { mean: mean as f32, low: range.0, high: range.1 })
    }
}

impl Fit for BiasedMf {
    type Config = BiasedMfConfig;
    const ONE_PASS: bool = false;

    fn new(config: &BiasedMfConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let init = Init::Normal { std: config.init_std };
        Ok(Self {
            scale: RatingScale::of(data)?,
            config: config.clone(),
            seed,
            users: Factor::new(data.num_users(), config.embedding_size, init, seed, 0),
            items: Factor::new(data.num_items(), config.embedding_size, init, seed, 1),
            user_bias: vec![0.0; data.num_users()],
            item_bias: vec![0.0; data.num_items()],
        })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let order = shuffled(data.len(), self.seed, epoch);
        let squares = vectorised(
            #[inline(always)]
            || order.iter().map(|&row| self.update(data, row as usize)).sum::<f64>(),
        );
        let loss = squares / data.len() as f64;
        if !loss.is_finite() {
            fail!(Numeric, "the squared error is {loss} in epoch {}: lower `learning_rate`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/loss", epoch: epoch + 1, value: loss })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.users.save("user_factors", out);
        self.items.save("item_factors", out);
        out.floats("user_bias", &[self.user_bias.len()], &self.user_bias);
        out.floats("item_bias", &[self.item_bias.len()], &self.item_bias);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("user_factors", &mut self.users.values)?;
        from.floats_into("item_factors", &mut self.items.values)?;
        from.floats_into("user_bias", &mut self.user_bias)?;
        from.floats_into("item_bias", &mut self.item_bias)
    }
}

impl BiasedMf {
    /// One rating; returns its squared error before the update.
    #[inline(always)]
    fn update(&mut self, data: &TrainView, row: usize) -> f64 {
        let (eta, l2) = (self.config.learning_rate as f32, self.config.l2 as f32);
        let (u, i) = (data.users()[row], data.items()[row]);
        let error = data.values().map_or(0.0, |v| v[row]) - self.raw(u, i);
        for (p, q) in self.users.row_mut(u).iter_mut().zip(self.items.row_mut(i)) {
            let (old_p, old_q) = (*p, *q);
            *p += eta * (error * old_q - l2 * old_p);
            *q += eta * (error * old_p - l2 * old_q);
        }
        let (user, item) = (&mut self.user_bias[u as usize], &mut self.item_bias[i as usize]);
        *user += eta * (error - l2 * *user);
        *item += eta * (error - l2 * *item);
        f64::from(error) * f64::from(error)
    }

    #[inline(always)]
    fn raw(&self, u: u32, i: u32) -> f32 {
        self.scale.mean + self.user_bias[u as usize] + self.item_bias[i as usize] + dot(self.users.row(u), self.items.row(i))
    }
}

impl PairScore for BiasedMf {
    fn predict(&self, users: &[u32], items: &[u32]) -> Result<Vec<f32>> {
        Ok(users.iter().zip(items).map(|(&u, &i)| self.raw(u, i).clamp(self.scale.low, self.scale.high)).collect())
    }
}

impl Score for BiasedMf {
    fn num_items(&self) -> usize {
        self.item_bias.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let factors = Factors::gather(self.users.dim, &self.users.values, users.known()?, (&self.items.values[..]).into());
        Ok(Scores::Factors(factors.with_bias((&self.item_bias[..]).into())))
    }

    fn pair_score(&self) -> Option<&dyn PairScore> {
        Some(self)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.items.vectors())
    }
}
