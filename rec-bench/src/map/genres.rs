//! Genres of items, where the data has such a feature.

use rec_data::features::{Feature, Features};

/// The genres of each item.
#[derive(Clone, Debug)]
pub struct Genres {
    names: Vec<String>,
    of: Vec<Vec<u32>>,
}

impl Genres {
    /// The categories of the feature `genres`, or else of `genre`; `None` where neither is there.
    pub fn new(features: &Features) -> Option<Self> {
        let (vocabulary, of) = match features.get("genres").or_else(|| features.get("genre"))? {
            Feature::Token { values, vocabulary } => {
                let named = |&genre: &u32| (!vocabulary.raw(genre).is_empty()).then_some(genre).into_iter().collect();
                (vocabulary, values.iter().map(named).collect())
            }
            Feature::Tokens { ends, values, vocabulary } => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                (vocabulary, starts.zip(ends.iter()).map(|(from, &to)| values[from as usize..to as usize].to_vec()).collect())
            }
            Feature::Number(_) | Feature::Text(_) => return None,
        };
        Some(Self { names: vocabulary.iter().map(str::to_owned).collect(), of })
    }

    /// The genres of an item, in the order of the source; empty where it has none.
    pub fn of(&self, item: u32) -> &[u32] {
        &self.of[item as usize]
    }

    /// What a genre is called.
    pub fn name(&self, genre: u32) -> &str {
        &self.names[genre as usize]
    }
}
