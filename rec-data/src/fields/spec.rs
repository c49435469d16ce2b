//! What a config says about a field.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::encoder::{MISSING, UNKNOWN};
use crate::{fail, require};

/// One field of a labelled row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Its name, another one than that of every other field.
    pub name: String,
    /// Where its raw values are.
    pub from: Source,
    /// How they become features.
    #[serde(default)]
    pub encoding: Encoding,
    /// What a missing value becomes. The default is left out of the canonical form.
    #[serde(default, skip_serializing_if = "Missing::is_default")]
    pub missing: Missing,
}

/// What a missing value becomes: an empty category, a number that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// A feature of the field's own, `missing = "own"`.
    #[default]
    Own,
    /// The feature of values that training rows do not have, `missing = "unknown"`.
    Unknown,
    /// A category like any other, which must occur as often as they: `missing = "value"`.
    Value,
    /// This number, which is then encoded as any other: `missing = 0.0`.
    #[serde(untagged)]
    Number(f64),
}

impl Missing {
    /// Whether it is what a config that says nothing means.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The feature of a missing value that is not encoded as others are, counted from the field's first one.
    pub(super) fn feature(self) -> u32 {
        if self == Self::Unknown { UNKNOWN } else { MISSING }
    }
}

/// Where raw values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user's id.
    User,
    /// The item's id.
    Item,
    /// The row's time, in seconds.
    Time,
    /// A side feature of the user, by name.
    OfUser(String),
    /// A side feature of the item, by name.
    OfItem(String),
    /// A feature of the row itself, by name.
    OfRow(String),
    /// The items of the user's earlier positive rows, oldest first: those whose time is before the row's. Rows of the same second are
    /// not seen, since nobody knows which came first.
    History,
    /// A number made of the user's earlier rows.
    OfHistory(Past),
}

/// A number made of the rows that the user has before the second of a row, whichever part of the split they are in: what a system that
/// serves the row would have seen by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// How often the user was shown the row's item: earlier rows with it, whatever their labels.
    Impressions,
    /// Days since the user's last positive row; missing where there is none.
    Age,
}

/// How raw values become features. Every field has two features of its own beside those named here: one for a value that was not there
/// (or not often enough) in training, and one for a value that is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encoding {
    /// A feature for each category that at least `min_count` training rows have.
    Vocabulary {
        /// The least number of training rows.
        #[serde(default = "one")]
        min_count: u32,
    },
    /// `buckets` features; a category's is a hash of its text.
    Hashed {
        /// The number of features.
        buckets: u32,
    },
    /// A number becomes one of the intervals between `bounds`: feature k where exactly k of them are at most the number.
    Bounds {
        /// Rising.
        bounds: Vec<f64>,
    },
    /// A number becomes one of `buckets` intervals that hold about as many training rows each.
    Quantiles {
        /// The number of intervals; fewer where training values repeat.
        buckets: u32,
    },
    /// A number x becomes the category ⌊(ln x)²⌋ where x > 2, else ⌊x⌋ towards 0, of which those that at least `min_count` training rows have
    /// are features: what made the published numbers of Criteo_x4, not the rule of its description.
    LogSquared {
        /// The least number of training rows.
        #[serde(default = "one")]
        min_count: u32,
    },
    /// A number stays one, (x − mean) / standard deviation of the training rows.
    Standardised {},
    /// A number stays one, scaled so that training rows lie in [0, 1].
    Scaled {},
    /// A number x becomes three: x̃, the share of training rows that are at most x, linear between `quantiles` + 1 of their values, which
    /// lies in 0 to 1, with its square and its root (Covington et al., RecSys 2016, section 4.1).
    Powers {
        /// Pieces of equally many training rows between which x̃ is linear.
        #[serde(default = "hundred")]
        quantiles: u32,
    },
    /// A number stays as it is.
    Number {},
    /// A history takes the features of a field of item ids, and its vectors with them.
    Shared {
        /// The name of that field.
        field: String,
        /// The most items, the last ones.
        #[serde(default = "fifty")]
        max_len: usize,
    },
}

fn one() -> u32 {
    1
}

fn hundred() -> u32 {
    100
}

fn fifty() -> usize {
    50
}

impl Default for Encoding {
    fn default() -> Self {
        Self::Vocabulary { min_count: 1 }
    }
}

impl FieldSpec {
    /// Checks ranges, of a field that comes after `before`.
    ///
    /// # Errors
    /// a usage problem that names the field and what it may be.
    pub fn check(&self, before: &[FieldSpec]) -> Result<()> {
        let name = &self.name;
        require!(!name.is_empty(), Usage, "a field has no name");
        require!(before.iter().all(|field| field.name != *name), Usage, "two fields are called `{name}`");
        if let Missing::Number(number) = self.missing {
            require!(number.is_finite(), Usage, "`missing` of the field `{name}` is {number}: it must be a finite number");
        }
        match (&self.encoding, &self.from) {
            (Encoding::Shared { field, max_len }, Source::History) => {
                require!((1..=10_000).contains(max_len), Usage, "`max_len` of the field `{name}` is {max_len}: it must lie in 1 to 10,000");
                require!(
                    before.iter().any(|other| other.name == *field && other.from == Source::Item),
                    Usage,
                    "the field `{name}` shares the features of `{field}`, which is no earlier field with `from = \"item\"`"
                );
            }
            (Encoding::Shared { .. }, _) | (_, Source::History) => {
                fail!(
                    Usage,
                    "the field `{name}`: `from = \"history\"` and `encoding = {{ kind = \"shared\", field = \"item\" }}` belong together"
                )
            }
            (Encoding::Hashed { buckets } | Encoding::Quantiles { buckets }, _) => {
                require!(*buckets > 0, Usage, "`buckets` of the field `{name}` is 0: it must be at least 1");
            }
            (Encoding::Powers { quantiles }, _) => {
                require!(*quantiles > 0, Usage, "`quantiles` of the field `{name}` is 0: it must be at least 1");
            }
            (Encoding::Vocabulary { min_count } | Encoding::LogSquared { min_count }, _) => {
                require!(*min_count > 0, Usage, "`min_count` of the field `{name}` is 0: it must be at least 1");
            }
            (Encoding::Bounds { bounds }, _) => {
                let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|b| b.is_finite());
                require!(rising && !bounds.is_empty(), Usage, "`bounds` of the field `{name}` must be numbers that rise, at least one");
            }
            (Encoding::Standardised {} | Encoding::Scaled {} | Encoding::Number {}, _) => {}
        }
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::User => f.write_str("user"),
            Source::Item => f.write_str("item"),
            Source::Time => f.write_str("time"),
            Source::History => f.write_str("history"),
            Source::OfHistory(Past::Impressions) => f.write_str("history.impressions"),
            Source::OfHistory(Past::Age) => f.write_str("history.age"),
            Source::OfUser(name) => write!(f, "user.{name}"),
            Source::OfItem(name) => write!(f, "item.{name}"),
            Source::OfRow(name) => write!(f, "row.{name}"),
        }
    }
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match (text, text.split_once('.')) {
            ("user", _) => Source::User,
            ("item", _) => Source::Item,
            ("time", _) => Source::Time,
            ("history", _) => Source::History,
            (_, Some(("history", "impressions"))) => Source::OfHistory(Past::Impressions),
            (_, Some(("history", "age"))) => Source::OfHistory(Past::Age),
            (_, Some(("user", name))) => Source::OfUser(name.into()),
            (_, Some(("item", name))) => Source::OfItem(name.into()),
            (_, Some(("row", name))) => Source::OfRow(name.into()),
            _ => fail!(
                Usage,
                "a field is `from` one of `user`, `item`, `time`, `history`, `history.impressions`, `history.age`, `user.FEATURE`, `item.FEATURE`, `row.FEATURE`, not `{text}`"
            ),
        })
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
