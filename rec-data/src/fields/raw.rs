//! The raw values of a field: a column of users, items or rows, and which of its places each row has.

use std::borrow::Cow;

use anyhow::Result;

use super::spec::{FieldSpec, Source};
use crate::features::{Feature, Features};
use crate::problem::did_you_mean;
use crate::{Interactions, Vocabulary, fail, problem};

/// What a place of a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    User,
    Item,
    Row,
}

impl Of {
    /// The place of each row; `None` where that is the row itself.
    pub(super) fn places(self, data: &Interactions) -> Option<&[u32]> {
        match self {
            Of::User => Some(&data.users),
            Of::Item => Some(&data.items),
            Of::Row => None,
        }
    }
}

/// A column of raw values.
pub(super) enum Raw<'a> {
    /// One category a place.
    Category(Cow<'a, [u32]>, &'a Vocabulary),
    /// Any number of categories a place: ends and categories.
    Categories(&'a [u64], &'a [u32], &'a Vocabulary),
    /// One number a place.
    Number(Numbers<'a>),
}

/// A column of numbers as it is stored.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    /// NaN where one is missing.
    Feature(&'a [f32]),
    /// In seconds.
    Times(&'a [i64]),
}

impl Numbers<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Numbers::Feature(values) => values.len(),
            Numbers::Times(times) => times.len(),
        }
    }

    #[inline]
    pub(super) fn get(self, place: usize) -> f64 {
        match self {
            Numbers::Feature(values) => f64::from(values[place]),
            Numbers::Times(times) => times[place] as f64,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Numbers::Feature(values) => bytemuck::cast_slice(values),
            Numbers::Times(times) => bytemuck::cast_slice(times),
        }
    }
}

/// The raw values of `field`, which is no history.
///
/// # Errors
/// a usage problem where the data has no such feature or no times.
pub(super) fn raw<'a>(data: &'a Interactions, field: &FieldSpec) -> Result<(Of, Raw<'a>)> {
    let all = |n: usize| Cow::Owned((0..n as u32).collect::<Vec<_>>());
    Ok(match &field.from {
        Source::User => (Of::User, Raw::Category(all(data.num_users()), &data.user_ids)),
        Source::Item => (Of::Item, Raw::Category(all(data.num_items()), &data.item_ids)),
        Source::OfUser(name) => (Of::User, of_feature(&data.user_features, "users", name)?),
        Source::OfItem(name) => (Of::Item, of_feature(&data.item_features, "items", name)?),
        Source::OfRow(name) => (Of::Row, of_feature(&data.row_features, "rows", name)?),
        Source::Time => {
            let times =
                data.times.as_deref().ok_or_else(|| problem!(Usage, "the field `{}` needs times, and this data has none", field.name))?;
            (Of::Row, Raw::Number(Numbers::Times(times)))
        }
        Source::OfHistory(_) => (Of::Row, of_feature(&data.row_features, "rows", &field.from.to_string())?),
        Source::History => fail!(Usage, "a history has no raw values of its own"),
    })
}

fn of_feature<'a>(features: &'a Features, whose: &str, name: &str) -> Result<Raw<'a>> {
    let Some(feature) = features.get(name) else {
        let names = || features.columns.iter().map(|(name, _)| name.as_str());
        fail!(
            Usage,
            "{whose} have no feature called `{name}`{}; there are {}",
            did_you_mean(name, names()),
            names().collect::<Vec<_>>().join(", ")
        )
    };
    Ok(match feature {
        Feature::Token { values, vocabulary } => Raw::Category(Cow::Borrowed(values), vocabulary),
        Feature::Tokens { ends, values, vocabulary } => Raw::Categories(ends, values, vocabulary),
        Feature::Number(values) => Raw::Number(Numbers::Feature(values)),
        Feature::Text(_) => fail!(Usage, "the feature `{name}` is free text: a field is made of categories or numbers"),
    })
}
