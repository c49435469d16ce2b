//! Bags of categories as means of their vectors: histories, and side features of users.

use std::sync::Arc;

use anyhow::Result;
use rec_core::sparse::{Pattern, sum_rows};
use rec_core::{Init, Params, Table};
use rec_data::csr::Csr;
use rec_data::features::Feature;
use rec_data::problem::did_you_mean;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use tch::{Device, Kind, Tensor};

/// The mean of each bag's vectors; zeros of an empty bag.
///
/// # Shapes
/// `bags` `[B, table.num_rows()]`; returns `[B, d]`
pub(crate) fn means(table: &Table, bags: &Csr) -> Result<Tensor> {
    let device = table.all().device();
    if bags.is_empty() {
        return Ok(Tensor::f_zeros([bags.num_rows() as i64, table.num_columns() as i64], (Kind::Float, device))?);
    }
    let (pattern, ids) = Pattern::compact(bags);
    let lengths = bags.starts().windows(2).map(|pair| pair[1] - pair[0]);
    let shares: Vec<f32> = lengths.flat_map(|n| std::iter::repeat_n(1.0 / n as f32, n)).collect();
    sum_rows(&Arc::new(pattern), Some(&Tensor::from_slice(&shares).f_to_device(device)?), &table.rows(&ids)?)
}

/// Side features of users as inputs of a layer. Users who were not there in training have zeros.
pub(crate) struct UserFeatures(Vec<UserFeature>);

enum UserFeature {
    /// The mean of the vectors of the user's categories.
    Categories { table: Table, bags: Csr },
    /// A number, its mean over the users subtracted, divided by its standard deviation; 0 where it is missing.
    Number { scaled: Vec<f32> },
}

impl UserFeatures {
    /// The features `names`, those of categories with vectors of `size` numbers.
    ///
    /// # Errors
    /// a usage problem where a feature is unknown, named twice, or free text.
    pub(crate) fn new(names: &[String], size: usize, init: Init, data: &TrainView, params: &mut Params) -> Result<Self> {
        let known = || data.user_features().columns.iter().map(|(name, _)| name.as_str());
        let mut all = Vec::new();
        for (at, name) in names.iter().enumerate() {
            require!(!names[..at].contains(name), Usage, "`user_features` names `{name}` twice");
            let mut categories = |count: usize, bags| -> Result<UserFeature> {
                Ok(UserFeature::Categories { table: params.table(&format!("user_{name}_embedding"), count, size, init)?, bags })
            };
            all.push(match data.user_features().get(name) {
                Some(Feature::Token { values, vocabulary }) => {
                    let count = vocabulary.len();
                    categories(count, Csr::from_rows(count, values.chunks(1)))?
                }
                Some(Feature::Tokens { ends, values, vocabulary }) => {
                    let starts = std::iter::once(0).chain(ends.iter().copied());
                    let rows = starts.zip(ends.iter()).map(|(start, &end)| &values[start as usize..end as usize]);
                    categories(vocabulary.len(), Csr::from_rows(vocabulary.len(), rows))?
                }
                Some(Feature::Number(values)) => UserFeature::Number { scaled: scaled(values) },
                Some(Feature::Text(_)) => {
                    fail!(Usage, "`user_features` names `{name}`, which is free text: only categories and numbers can be used")
                }
                None => fail!(
                    Usage,
                    "`user_features` names `{name}`, and users have no such feature{}; there are: {}",
                    did_you_mean(name, known()),
                    if known().next().is_none() { "none".into() } else { known().collect::<Vec<_>>().join(", ") }
                ),
            });
        }
        Ok(Self(all))
    }

    /// The number of columns that they make together.
    pub(crate) fn width(&self) -> usize {
        let width = |feature: &UserFeature| match feature {
            UserFeature::Categories { table, .. } => table.num_columns(),
            UserFeature::Number { .. } => 1,
        };
        self.0.iter().map(width).sum()
    }

    /// The columns of each feature, for `users`.
    ///
    /// # Shapes
    /// `[users.len(), …]` each, [`width`](Self::width) columns together
    pub(crate) fn columns(&self, users: &[u32], device: Device) -> Result<Vec<Tensor>> {
        let one = |feature: &UserFeature| match feature {
            UserFeature::Categories { table, bags } => {
                let bag = |&user: &u32| if (user as usize) < bags.num_rows() { bags.row(user as usize) } else { &[] };
                means(table, &Csr::from_rows(bags.num_columns(), users.iter().map(bag)))
            }
            UserFeature::Number { scaled } => {
                let values: Vec<f32> = users.iter().map(|&user| scaled.get(user as usize).copied().unwrap_or(0.0)).collect();
                Ok(Tensor::from_slice(&values).f_view([users.len() as i64, 1])?.f_to_device(device)?)
            }
        };
        self.0.iter().map(one).collect()
    }
}

/// Numbers with a mean of 0 and a variance of 1; missing ones are 0.
fn scaled(values: &[f32]) -> Vec<f32> {
    let there = || values.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v));
    let count = there().count().max(1) as f64;
    let mean = there().sum::<f64>() / count;
    let deviation = (there().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let one = |&v: &f32| if v.is_finite() && deviation > 0.0 { ((f64::from(v) - mean) / deviation) as f32 } else { 0.0 };
    values.iter().map(one).collect()
}
