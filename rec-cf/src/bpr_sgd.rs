//! BPR-MF as the paper learns it: one sampled triple, one update. Rendle et al., UAI 2009, arXiv:1205.2618, with an item bias as in
//! the implementations that followed (MyMediaLite, Cornac).

use anyhow::Result;
use rec_core::Init;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::{lane_dot as dot, vectorised};
use rec_core::state::{StateReader, StateWriter};
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;

use crate::online::Factor;

/// Hyper-parameters. Defaults are those of Cornac's README on MovieLens-100K.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BprSgdConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Step size.
    pub learning_rate: f64,
    /// λ on vectors and biases.
    pub l2: f64,
    /// Whether items have a bias.
    pub use_bias: bool,
}

impl Default for BprSgdConfig {
    fn default() -> Self {
        Self { embedding_size: 10, learning_rate: 0.001, l2: 0.01, use_bias: true }
    }
}

impl ModelConfig for BprSgdConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.learning_rate > 0.0, Usage, "`learning_rate` is {}: it must be above 0", self.learning_rate);
        require!(self.l2 >= 0.0, Usage, "`l2` is {}: it must be at least 0", self.l2);
        Ok(())
    }
}

/// score(u, i) = p_u · q_i + b_i.
///
/// An epoch is as many draws as there are training rows: (u, i) uniformly from the rows, j uniformly from all items; where u has j, the
/// draw is passed over. With x = score(u, i) − score(u, j) and z = 1/(1 + eˣ), all from the values before the draw:
/// p ← p + η(z(q_i − q_j) − λp), q_i ← q_i + η(zp − λq_i), q_j ← q_j + η(−zp − λq_j), b likewise.
pub struct BprSgd {
    config: BprSgdConfig,
    seed: u64,
    users: Factor,
    items: Factor,
    bias: Vec<f32>,
}

impl Fit for BprSgd {
    type Config = BprSgdConfig;
    const ONE_PASS: bool = false;

    fn new(config: &BprSgdConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let dim = config.embedding_size;
        let init = Init::Uniform { bound: 0.5 / dim as f64 };
        Ok(Self {
            config: config.clone(),
            seed,
            users: Factor::new(data.num_users(), dim, init, seed, 0),
            items: Factor::new(data.num_items(), dim, init, seed, 1),
            bias: vec![0.0; data.num_items()],
        })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let (correct, drawn) = vectorised(
            #[inline(always)]
            || self.draws(data, epoch),
        );
        if self.users.values.iter().chain(&self.items.values).any(|v| !v.is_finite()) {
            fail!(Numeric, "a vector is not finite after epoch {}: lower `learning_rate`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/pairs_in_order", epoch: epoch + 1, value: correct as f64 / drawn.max(1) as f64 })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.users.save("user_factors", out);
        self.items.save("item_factors", out);
        out.floats("item_bias", &[self.bias.len()], &self.bias);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("user_factors", &mut self.users.values)?;
        from.floats_into("item_factors", &mut self.items.values)?;
        from.floats_into("item_bias", &mut self.bias)
    }
}

impl BprSgd {
    /// One epoch of draws; returns how many pairs were in order before their update, of how many.
    #[inline(always)]
    fn draws(&mut self, data: &TrainView, epoch: u64) -> (u64, u64) {
        let (eta, l2) = (self.config.learning_rate as f32, self.config.l2 as f32);
        let mut rng = Rng::keyed(self.seed, Stream::Shuffle, epoch, 1);
        let (mut correct, mut drawn) = (0u64, 0u64);
        for _ in 0..data.len() {
            let row = rng.below(data.len() as u32) as usize;
            let (u, i) = (data.users()[row], data.items()[row]);
            let j = rng.below(data.num_items() as u32);
            if data.has(u, j) {
                continue;
            }
            let user = self.users.row_mut(u);
            let (positive, negative) = self.items.two_rows_mut(i, j);
            let x = dot(user, positive) - dot(user, negative) + self.bias[i as usize] - self.bias[j as usize];
            let z = 1.0 / (1.0 + x.exp());
            drawn += 1;
            correct += u64::from(x > 0.0);
            for ((p, a), b) in user.iter_mut().zip(positive).zip(negative) {
                let old = *p;
                *p += eta * (z * (*a - *b) - l2 * old);
                *a += eta * (z * old - l2 * *a);
                *b += eta * (-z * old - l2 * *b);
            }
            if self.config.use_bias {
                self.bias[i as usize] += eta * (z - l2 * self.bias[i as usize]);
                self.bias[j as usize] += eta * (-z - l2 * self.bias[j as usize]);
            }
        }
        (correct, drawn)
    }
}

impl Score for BprSgd {
    fn num_items(&self) -> usize {
        self.bias.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let factors = Factors::gather(self.users.dim, &self.users.values, users.known()?, (&self.items.values[..]).into());
        Ok(Scores::Factors(factors.with_bias((&self.bias[..]).into())))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.items.vectors())
    }
}
