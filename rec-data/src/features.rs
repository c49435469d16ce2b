//! Features of users, items or rows: one column a feature, one value each.

use crate::{Column, Vocabulary};

/// The features of users, of items or of rows, by name, in the order of the source.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Name and column of each feature.
    pub columns: Vec<(String, Feature)>,
}

impl Features {
    /// The feature called `name`.
    pub fn get(&self, name: &str) -> Option<&Feature> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, f)| f)
    }
}

/// One feature's values.
#[derive(Clone, Debug)]
pub enum Feature {
    /// One category a row (gender, occupation).
    Token {
        /// The category's number of each row.
        values: Column<u32>,
        /// The categories.
        vocabulary: Vocabulary,
    },
    /// Any number of categories a row (genres).
    Tokens {
        /// `ends[i]` is where row `i` ends in `values`.
        ends: Column<u64>,
        /// The categories' numbers, row after row.
        values: Column<u32>,
        /// The categories.
        vocabulary: Vocabulary,
    },
    /// A number a row; NaN where it is missing.
    Number(Column<f32>),
    /// A free text a row (a title).
    Text(Vocabulary),
}

impl Feature {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Feature::Token { values, .. } => values.len(),
            Feature::Tokens { ends, .. } => ends.len(),
            Feature::Number(values) => values.len(),
            Feature::Text(texts) => texts.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `row` as text, categories joined by `|`.
    pub fn text(&self, row: usize) -> String {
        match self {
            Feature::Token { values, vocabulary } => vocabulary.raw(values[row]).to_owned(),
            Feature::Tokens { ends, values, vocabulary } => {
                let start = if row == 0 { 0 } else { ends[row - 1] as usize };
                values[start..ends[row] as usize].iter().map(|&v| vocabulary.raw(v)).collect::<Vec<_>>().join("|")
            }
            Feature::Number(values) => values[row].to_string(),
            Feature::Text(texts) => texts.raw(row as u32).to_owned(),
        }
    }
}

impl Features {
    /// The features of `rows`, in that order.
    pub fn select(&self, rows: &[u32]) -> Self {
        Self { columns: self.columns.iter().map(|(name, feature)| (name.clone(), feature.select(rows))).collect() }
    }
}

impl Feature {
    /// The values of `rows`, in that order; vocabularies stay whole.
    pub fn select(&self, rows: &[u32]) -> Self {
        match self {
            Feature::Token { values, vocabulary } => Feature::Token {
                values: rows.iter().map(|&r| values[r as usize]).collect::<Vec<_>>().into(),
                vocabulary: vocabulary.clone(),
            },
            Feature::Tokens { ends, values, vocabulary } => {
                let (mut new_ends, mut new_values) = (Vec::new(), Vec::new());
                for &r in rows {
                    let start = if r == 0 { 0 } else { ends[r as usize - 1] as usize };
                    new_values.extend_from_slice(&values[start..ends[r as usize] as usize]);
                    new_ends.push(new_values.len() as u64);
                }
                Feature::Tokens { ends: new_ends.into(), values: new_values.into(), vocabulary: vocabulary.clone() }
            }
            Feature::Number(values) => Feature::Number(rows.iter().map(|&r| values[r as usize]).collect::<Vec<_>>().into()),
            Feature::Text(texts) => Feature::Text(rows.iter().map(|&r| texts.raw(r)).collect()),
        }
    }
}
