//! Side features as they are read: texts by row, made into typed columns at the end.

use std::borrow::Cow;

use crate::features::{Feature, Features};
use crate::vocabulary::Numbering;

/// What a feature's texts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// One category.
    Token,
    /// Categories separated by this character.
    Tokens(char),
    /// A number; anything else is missing.
    Number,
    /// Free text.
    Text,
}

/// Features under construction. Rows that are never set stay missing: no category, NaN, or the empty text.
pub struct Side<'a> {
    set: Vec<bool>,
    columns: Vec<(String, Meaning, Vec<Cow<'a, str>>)>,
}

impl<'a> Side<'a> {
    /// `rows` rows of the named features.
    pub fn new<N: Into<String>>(rows: usize, columns: impl IntoIterator<Item = (N, Meaning)>) -> Self {
        let columns = columns.into_iter().map(|(name, meaning)| (name.into(), meaning, vec![Cow::Borrowed(""); rows])).collect();
        Self { set: vec![false; rows], columns }
    }

    /// Sets a row's texts, one a column; `false` where the row was set before.
    pub fn set<T: Into<Cow<'a, str>>>(&mut self, row: u32, texts: impl IntoIterator<Item = T>) -> bool {
        for ((_, _, values), text) in self.columns.iter_mut().zip(texts) {
            values[row as usize] = text.into();
        }
        !std::mem::replace(&mut self.set[row as usize], true)
    }

    /// The typed columns.
    pub fn finish(self) -> Features {
        Features { columns: self.columns.into_iter().map(|(name, meaning, texts)| (name, column(meaning, &texts))).collect() }
    }
}

fn column(meaning: Meaning, texts: &[Cow<'_, str>]) -> Feature {
    match meaning {
        Meaning::Token => {
            let mut numbering = Numbering::default();
            let values: Vec<u32> = texts.iter().map(|t| numbering.number(t)).collect();
            Feature::Token { values: values.into(), vocabulary: numbering.finish() }
        }
        Meaning::Tokens(separator) => {
            let (mut numbering, mut values, mut ends) = (Numbering::default(), Vec::new(), Vec::with_capacity(texts.len()));
            for text in texts {
                values.extend(text.split(separator).filter(|t| !t.is_empty()).map(|t| numbering.number(t)));
                ends.push(values.len() as u64);
            }
            Feature::Tokens { ends: ends.into(), values: values.into(), vocabulary: numbering.finish() }
        }
        Meaning::Number => {
            let finite = |t: &Cow<'_, str>| t.trim().parse::<f32>().ok().filter(|v| v.is_finite()).unwrap_or(f32::NAN);
            Feature::Number(texts.iter().map(finite).collect::<Vec<_>>().into())
        }
        Meaning::Text => Feature::Text(texts.iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meaning_keeps_its_texts_and_missing_rows_are_missing() {
        let mut side =
            Side::new(3, [("sex", Meaning::Token), ("genres", Meaning::Tokens('|')), ("year", Meaning::Number), ("title", Meaning::Text)]);
        assert!(side.set(2, ["F", "War|Drama", "1995", "A"]));
        assert!(side.set(0, ["M", "", "?", "B"]));
        assert!(!side.set(0, ["M", "Drama", "1990.5", "C"]));
        let features = side.finish();
        let row = |r: usize| features.columns.iter().map(|(_, f)| f.text(r)).collect::<Vec<_>>();
        assert_eq!(row(0), ["M", "Drama", "1990.5", "C"]);
        assert_eq!(row(1), ["", "", "NaN", ""]);
        assert_eq!(row(2), ["F", "War|Drama", "1995", "A"]);
    }
}
