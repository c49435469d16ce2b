//! Items as vectors, and users as the mean of the vectors of their items.

use rec_core::model::{Users, Vectors};
use rec_core::scores::Factors;
use rec_core::simd::vectorised;
use serde::{Deserialize, Serialize};

use crate::history::distinct;

/// How near an item's vector is to a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closeness {
    /// Their inner product.
    Dot,
    /// Their cosine; 0 where either is the vector 0.
    Cosine,
}

/// A vector for each item.
pub(crate) struct ItemVectors {
    dim: usize,
    values: Vec<f32>,
    /// The vectors divided by their lengths, where users are met by cosine.
    units: Option<Vec<f32>>,
}

impl ItemVectors {
    /// `values` `[items, dim]`.
    pub fn new(dim: usize, values: Vec<f32>, closeness: Closeness) -> Self {
        let units = (closeness == Closeness::Cosine).then(|| {
            let mut units = values.clone();
            units.chunks_exact_mut(dim).for_each(to_unit);
            units
        });
        Self { dim, values, units }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    pub fn vectors(&self) -> Vectors<'_> {
        Vectors { dim: self.dim, values: (&self.values[..]).into() }
    }

    /// Each user is the mean of the vectors of the history's items, each item once; without a history, 0.
    pub fn score(&self, users: &Users) -> Factors<'_> {
        let mut means = vec![0f32; users.len() * self.dim];
        vectorised(
            #[inline(always)]
            || {
                for (u, mean) in means.chunks_exact_mut(self.dim).enumerate() {
                    let history = distinct(users.history(u));
                    for &item in &*history {
                        mean.iter_mut().zip(&self.values[item as usize * self.dim..]).for_each(|(sum, v)| *sum += v);
                    }
                    if self.units.is_some() {
                        to_unit(mean);
                    } else {
                        mean.iter_mut().for_each(|m| *m /= history.len().max(1) as f32);
                    }
                }
            },
        );
        Factors { dim: self.dim, users: means.into(), items: self.units.as_ref().unwrap_or(&self.values)[..].into(), item_bias: None }
    }
}

#[inline(always)]
fn to_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
}
