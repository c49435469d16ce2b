//! SVD++: ratings from explicit and implicit feedback. Koren, KDD 2008.

use anyhow::Result;
use rec_core::Init;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, ModelConfig, PairScore, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::{lane_dot as dot, vectorised};
use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;

use crate::biased_mf::RatingScale;
use crate::online::{Factor, shuffled};

/// Hyper-parameters. Defaults are Surprise's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SvdPpConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Step size.
    pub learning_rate: f64,
    /// λ on vectors and biases.
    pub l2: f64,
    /// Standard deviation of the initial vectors.
    pub init_std: f64,
}

impl Default for SvdPpConfig {
    fn default() -> Self {
        Self { embedding_size: 20, learning_rate: 0.007, l2: 0.02, init_std: 0.1 }
    }
}

impl ModelConfig for SvdPpConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.learning_rate > 0.0, Usage, "`learning_rate` is {}: it must be above 0", self.learning_rate);
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        require!(self.init_std > 0.0, Usage, "`init_std` is {}: it must be above 0", self.init_std);
        Ok(())
    }
}

/// r̂ = μ + b_u + b_i + q_i · (p_u + |N(u)|^-½ Σ_{j∈N(u)} y_j), N(u) the items that u rated; clipped to the training range.
///
/// With e = r − r̂ and z = |N(u)|^-½ Σ y, for each user in shuffled order and each of their ratings, from the values before it:
/// p ← p + η(eq − λp), q ← q + η(e(p + z) − λq), y_j ← y_j + η(e|N|^-½ q − λy_j) for all j ∈ N(u).
///
/// The last update is the same linear map for every y_j of the user, so it is applied to z at once and to each y_j when the user's
/// ratings are done: y ← s·y + d with s and d gathered on the way. The results differ from the plain form by rounding only.
pub struct SvdPp {
    config: SvdPpConfig,
    seed: u64,
    users: Factor,
    items: Factor,
    implicit: Factor,
    user_bias: Vec<f32>,
    item_bias: Vec<f32>,
    scale: RatingScale,
    rated: Csr,
}

impl Fit for SvdPp {
    type Config = SvdPpConfig;
    const ONE_PASS: bool = false;

    fn new(config: &SvdPpConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let init = Init::Normal { std: config.init_std };
        let factor = |rows: usize, index: u64| Factor::new(rows, config.embedding_size, init, seed, index);
        Ok(Self {
            scale: RatingScale::of(data)?,
            config: config.clone(),
            seed,
            users: factor(data.num_users(), 0),
            items: factor(data.num_items(), 1),
            implicit: factor(data.num_items(), 2),
            user_bias: vec![0.0; data.num_users()],
            item_bias: vec![0.0; data.num_items()],
            rated: data.by_user().clone(),
        })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let order = shuffled(data.num_users(), self.seed, epoch);
        let squares = vectorised(
            #[inline(always)]
            || order.iter().map(|&user| self.user_epoch(user)).sum::<f64>(),
        );
        let loss = squares / data.len() as f64;
        if !loss.is_finite() {
            fail!(Numeric, "the squared error is {loss} in epoch {}: lower `learning_rate`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/loss", epoch: epoch + 1, value: loss })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        for (name, factor) in [("user_factors", &self.users), ("item_factors", &self.items), ("implicit_factors", &self.implicit)] {
            factor.save(name, out);
        }
        out.floats("user_bias", &[self.user_bias.len()], &self.user_bias);
        out.floats("item_bias", &[self.item_bias.len()], &self.item_bias);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("user_factors", &mut self.users.values)?;
        from.floats_into("item_factors", &mut self.items.values)?;
        from.floats_into("implicit_factors", &mut self.implicit.values)?;
        from.floats_into("user_bias", &mut self.user_bias)?;
        from.floats_into("item_bias", &mut self.item_bias)
    }
}

impl SvdPp {
    /// z = |N(u)|^-½ Σ y_j.
    fn implicit_part(&self, items: &[u32]) -> Vec<f32> {
        let mut z = vec![0.0; self.implicit.dim];
        for &j in items {
            z.iter_mut().zip(self.implicit.row(j)).for_each(|(z, y)| *z += y);
        }
        let norm = (items.len().max(1) as f32).sqrt().recip();
        z.iter_mut().for_each(|z| *z *= norm);
        z
    }

    /// All ratings of one user; returns the sum of squared errors.
    #[inline(always)]
    fn user_epoch(&mut self, u: u32) -> f64 {
        let (eta, l2) = (self.config.learning_rate as f32, self.config.l2 as f32);
        let (items, values) = (self.rated.row(u as usize).to_vec(), self.rated.row_values(u as usize).to_vec());
        if items.is_empty() {
            return 0.0;
        }
        let count = items.len() as f32;
        let norm = count.sqrt().recip();
        let mut z = self.implicit_part(&items);
        // y_j is now shrink·y_j + shift.
        let (mut shrink, mut shift) = (1f32, vec![0f32; z.len()]);
        let mut squares = 0.0;
        for (&i, &value) in items.iter().zip(&values) {
            let (p, q) = (self.users.row_mut(u), self.items.row_mut(i));
            let predicted = self.scale.mean + self.user_bias[u as usize] + self.item_bias[i as usize] + dot(q, p) + dot(q, &z);
            let error = value - predicted;
            squares += f64::from(error) * f64::from(error);
            let keep = 1.0 - eta * l2;
            shrink *= keep;
            for (((p, q), z), d) in p.iter_mut().zip(q).zip(&mut z).zip(&mut shift) {
                let (old_p, old_q, old_z) = (*p, *q, *z);
                *p += eta * (error * old_q - l2 * old_p);
                *q += eta * (error * (old_p + old_z) - l2 * old_q);
                let push = eta * error * norm * old_q;
                *d = keep * *d + push;
                *z = keep * old_z + norm * count * push;
            }
            let (user, item) = (&mut self.user_bias[u as usize], &mut self.item_bias[i as usize]);
            *user += eta * (error - l2 * *user);
            *item += eta * (error - l2 * *item);
        }
        for &j in &items {
            self.implicit.row_mut(j).iter_mut().zip(&shift).for_each(|(y, d)| *y = shrink * *y + d);
        }
        squares
    }

    /// p_u + z_u.
    fn user_vector(&self, u: u32) -> Vec<f32> {
        let mut vector = self.implicit_part(self.rated.row(u as usize));
        vector.iter_mut().zip(self.users.row(u)).for_each(|(v, p)| *v += p);
        vector
    }
}

impl PairScore for SvdPp {
    fn predict(&self, users: &[u32], items: &[u32]) -> Result<Vec<f32>> {
        let mut vectors = vec![None; self.user_bias.len()];
        let one = |(&u, &i): (&u32, &u32)| {
            let vector = vectors[u as usize].get_or_insert_with(|| self.user_vector(u));
            let raw = self.scale.mean + self.user_bias[u as usize] + self.item_bias[i as usize] + dot(self.items.row(i), vector);
            raw.clamp(self.scale.low, self.scale.high)
        };
        Ok(users.iter().zip(items).map(one).collect())
    }
}

impl Score for SvdPp {
    fn num_items(&self) -> usize {
        self.item_bias.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let vectors: Vec<f32> = users.known()?.iter().flat_map(|&u| self.user_vector(u)).collect();
        let factors = Factors { dim: self.items.dim, users: vectors.into(), items: (&self.items.values[..]).into(), item_bias: None };
        Ok(Scores::Factors(factors.with_bias((&self.item_bias[..]).into())))
    }

    fn pair_score(&self) -> Option<&dyn PairScore> {
        Some(self)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.items.vectors())
    }
}
