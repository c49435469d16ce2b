//! Scores of all items for some users: as numbers, or as the factors that they are products of.

use std::borrow::Cow;

/// What a model answers when asked for scores.
pub enum Scores<'a> {
    /// score(u, i) = p_u · q_i + b_i; the evaluator makes the products itself, with a fixed order of summation.
    Factors(Factors<'a>),
    /// `[users, items]`, row after row.
    Dense(Cow<'a, [f32]>),
}

impl Scores<'_> {
    /// Each user's scores so many times in a row, for `num_items` items.
    pub(crate) fn repeated(self, times: usize, num_items: usize) -> Self {
        let rows = |values: &[f32], width: usize| -> Cow<'static, [f32]> {
            values.chunks_exact(width).flat_map(|row| std::iter::repeat_n(row, times)).flatten().copied().collect()
        };
        match self {
            same if times == 1 => same,
            Scores::Factors(factors) => Scores::Factors(Factors { users: rows(&factors.users, factors.dim), ..factors }),
            Scores::Dense(scores) => Scores::Dense(rows(&scores, num_items)),
        }
    }
}

/// Factors of users and items.
pub struct Factors<'a> {
    /// The number of columns of both.
    pub dim: usize,
    /// p: `[users, dim]`.
    pub users: Cow<'a, [f32]>,
    /// q: `[items, dim]`.
    pub items: Cow<'a, [f32]>,
    /// b: `[items]`.
    pub item_bias: Option<Cow<'a, [f32]>>,
}

impl<'a> Factors<'a> {
    /// The rows `ids` of a table of users against a table of items.
    ///
    /// # Panics
    /// where an id is out of range.
    pub fn gather(dim: usize, user_table: &[f32], ids: &[u32], items: Cow<'a, [f32]>) -> Self {
        let mut users = Vec::with_capacity(ids.len() * dim);
        for &id in ids {
            users.extend_from_slice(&user_table[id as usize * dim..][..dim]);
        }
        Self { dim, users: users.into(), items, item_bias: None }
    }

    /// The same with a bias an item.
    pub fn with_bias(self, bias: Cow<'a, [f32]>) -> Self {
        Self { item_bias: Some(bias), ..self }
    }
}
