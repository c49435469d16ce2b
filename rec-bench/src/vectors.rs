//! The vectors of a trained model, as nearest-neighbour search and other programs take them.

use anyhow::Result;
use rec_core::model::{Score, Users};
use rec_core::scores::{Factors, Scores};
use rec_core::tch::no_grad;
use rec_data::problem;
use rec_data::view::TrainView;
use rec_data::windows::Windows;

/// Users that are scored at a time.
const TILE: usize = 256;

/// A vector for each of some users or items.
pub struct IdVectors {
    /// Raw ids.
    pub ids: Vec<String>,
    /// The number of values in a vector.
    pub dim: usize,
    /// `[ids, dim]`.
    pub values: Vec<f32>,
}

/// Vectors of a model's items, and those of its users where a score is a product of the two.
pub struct RunVectors {
    /// All items.
    pub items: IdVectors,
    /// The users with a training row; the inner product of a user's and an item's vector is the score. Where the model has a bias for each item, it
    /// is the last value of the item's vector, and that of each user's is 1.
    pub users: Option<IdVectors>,
}

impl RunVectors {
    /// The vectors of `model`, which learned from `train`.
    ///
    /// # Errors
    /// a usage problem where it has none; the model's own.
    pub fn new(name: &str, model: &dyn Score, train: &TrainView) -> Result<Self> {
        if let Some(found) = Self::of_products(model, train)? {
            return Ok(found);
        }
        let vectors = model
            .item_vectors()
            .ok_or_else(|| problem!(Usage, "`{name}` has no vectors: models that learn some, such as `bpr`, `ials` or `lightgcn`, have"))?;
        Ok(Self { items: IdVectors { ids: item_ids(train), dim: vectors.dim, values: vectors.values.into_owned() }, users: None })
    }

    /// What scores are products of; `None` where they are none.
    ///
    /// # Errors
    /// the model's own.
    pub fn of_products(model: &dyn Score, train: &TrainView) -> Result<Option<Self>> {
        let sequences = train.sequences();
        let known: Vec<u32> = (0..train.num_users() as u32).filter(|&user| !sequences.row(user as usize).is_empty()).collect();
        if model.num_items() == 0 || known.is_empty() {
            return Ok(None);
        }
        let histories = Windows::from(sequences.select(&known));
        let asked = Users::new(&known, &histories);
        let mut items = None;
        let mut users =
            IdVectors { ids: known.iter().map(|&user| train.user_ids().raw(user).to_owned()).collect(), dim: 0, values: Vec::new() };
        for from in (0..known.len()).step_by(TILE) {
            let tile = asked.range(from, (from + TILE).min(known.len()));
            let Scores::Factors(factors) = no_grad(|| model.score(&tile))? else { return Ok(None) };
            let bias = factors.item_bias.is_some();
            users.dim = factors.dim + usize::from(bias);
            users.values.extend(factors.users.chunks_exact(factors.dim).flat_map(|user| user.iter().copied().chain(bias.then_some(1.0))));
            items.get_or_insert_with(|| IdVectors { ids: item_ids(train), dim: users.dim, values: with_bias(&factors) });
        }
        Ok(items.map(|items| Self { items, users: Some(users) }))
    }
}

fn item_ids(train: &TrainView) -> Vec<String> {
    train.item_ids().iter().map(str::to_owned).collect()
}

/// Vectors of items, each with its bias behind it where there are biases.
fn with_bias(factors: &Factors) -> Vec<f32> {
    let bias = |item: usize| factors.item_bias.as_ref().map(|bias| bias[item]);
    factors.items.chunks_exact(factors.dim).enumerate().flat_map(|(item, vector)| vector.iter().copied().chain(bias(item))).collect()
}
