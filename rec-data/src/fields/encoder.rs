//! From raw values to features: what training rows decide, once.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::raw::{Of, Raw, raw};
use super::spec::{Encoding, FieldSpec, Missing};
use crate::{Interactions, Rows, fail, require};

/// The version of the written form; a reader refuses others.
const VERSION: u32 = 1;

/// The fields of a data set and how their values become features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoders {
    version: u32,
    /// In the order of the config.
    fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// What the config says.
    pub spec: FieldSpec,
    /// How it was fitted.
    pub encoder: Encoder,
    /// What a row has of it.
    pub kind: FieldKind,
    /// Its features are `first..first + size`.
    pub first: u32,
    /// The number of its features; a history has none of its own.
    pub size: u32,
}

/// What a row has of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    /// One feature, with the value 1.
    Category,
    /// Any number of features, whose values sum to 1: their vectors are averaged.
    Categories,
    /// One feature, whose value is the number.
    Number,
    /// Three features, whose values are the number, its square and its root.
    Powers,
    /// A list of features, oldest first.
    History,
}

/// How a raw value becomes a feature, counted from the field's first one: 0 is a value that training rows do not have, 1 a missing one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encoder {
    /// Categories by text, the first of which is feature 2.
    Vocabulary {
        /// In the order of the data.
        texts: Vec<String>,
    },
    /// 2 + a hash of the text.
    Hashed {
        /// What the hash is taken modulo.
        buckets: u32,
    },
    /// 2 + the number of bounds that are at most x.
    Bounds {
        /// Rising.
        bounds: Vec<f64>,
    },
    /// The classes of [`Encoding::LogSquared`], the first of which is feature 2.
    Classes {
        /// Rising.
        classes: Vec<i64>,
    },
    /// Feature 2 with the value (x − shift) · scale.
    Number {
        /// What is taken off.
        shift: f64,
        /// What the rest is multiplied by.
        scale: f64,
    },
    /// Features 2, 3 and 4 with the values x̃, x̃² and √x̃ of [`Encoding::Powers`].
    Powers {
        /// The values that the same share of training rows lies between: the smallest, …, the largest.
        quantiles: Vec<f64>,
    },
    /// Features of another field.
    Shared {
        /// The place of that field.
        field: usize,
    },
}

/// The feature of a value that training rows do not have.
pub(super) const UNKNOWN: u32 = 0;
/// The feature of a missing value.
pub(super) const MISSING: u32 = 1;
/// The features that every field has.
pub(super) const RESERVED: u32 = 2;

impl Encoders {
    /// Fits `specs` on `rows` of `data`, which are training rows. What fields with `from = "history.…"` are made of is a feature of rows
    /// by then ([`with_pasts`](super::with_pasts)).
    ///
    /// # Errors
    /// a usage problem where the data has not what a field needs, or an encoding does not fit its values.
    pub fn fit(specs: &[FieldSpec], data: &Interactions, rows: &Rows) -> Result<Self> {
        for (at, spec) in specs.iter().enumerate() {
            spec.check(&specs[..at])?;
        }
        let fit = |spec: &FieldSpec| match &spec.encoding {
            Encoding::Shared { field, .. } => {
                require!(data.times.is_some(), Usage, "the field `{}` needs times, and this data has none", spec.name);
                let field = specs.iter().position(|other| other.name == *field).expect("checked: it is an earlier field");
                Ok((Encoder::Shared { field }, FieldKind::History))
            }
            _ => fit_one(spec, data, rows),
        };
        // The first field that does not fit is named, whichever thread finds another first.
        let fitted: Vec<Result<_>> = specs.par_iter().map(fit).collect();
        let mut fields: Vec<Field> = Vec::new();
        let mut first = 0u32;
        for (spec, fitted) in specs.iter().zip(fitted) {
            let (encoder, kind) = fitted?;
            let size = encoder.size();
            fields.push(Field { spec: spec.clone(), encoder, kind, first, size });
            first = first.checked_add(size).ok_or_else(|| crate::problem!(Usage, "the fields have more than {} features", u32::MAX))?;
        }
        Ok(Self { version: VERSION, fields })
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Fields of which a row has a list of features.
    pub fn histories(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.kind == FieldKind::History)
    }

    /// The number of features of all fields, the unknown and the missing ones too.
    pub fn num_features(&self) -> usize {
        self.fields.iter().map(|field| field.size as usize).sum()
    }

    /// The number of features that stand for values, without those for unknown and missing ones.
    pub fn num_values(&self) -> usize {
        self.fields.iter().map(|field| field.size.saturating_sub(RESERVED) as usize).sum()
    }

    /// As JSON.
    ///
    /// # Errors
    /// none in practice: it is plain data.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// What [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// a data problem where it is something else, or of another version.
    pub fn from_json(text: &str) -> Result<Self> {
        let read: Self = serde_json::from_str(text).map_err(|e| crate::problem!(Data, "these are no encoders: {e}"))?;
        require!(read.version == VERSION, Data, "the encoders have version {}, this program reads {VERSION}", read.version);
        Ok(read)
    }
}

impl Field {
    /// What its feature number `feature`, counted from its first one, stands for: a category, an interval, or that a value was `unknown`
    /// or `missing`; of a number that stays one, nothing.
    ///
    /// # Panics
    /// where there is no such feature.
    pub fn value(&self, feature: u32) -> String {
        let at = match feature {
            UNKNOWN => return "unknown".into(),
            MISSING => return "missing".into(),
            other => (other - RESERVED) as usize,
        };
        match &self.encoder {
            Encoder::Vocabulary { texts } => texts[at].clone(),
            Encoder::Hashed { .. } => format!("bucket {at}"),
            Encoder::Bounds { bounds } => match (at.checked_sub(1).map(|low| bounds[low]), bounds.get(at)) {
                (None, None) => "any".into(),
                (None, Some(high)) => format!("below {high}"),
                (Some(low), None) => format!("from {low}"),
                (Some(low), Some(high)) => format!("{low} to below {high}"),
            },
            Encoder::Classes { classes } => format!("class {}", classes[at]),
            Encoder::Number { .. } | Encoder::Powers { .. } | Encoder::Shared { .. } => String::new(),
        }
    }
}

impl Encoder {
    fn size(&self) -> u32 {
        let values = match self {
            Encoder::Vocabulary { texts } => texts.len() as u32,
            Encoder::Hashed { buckets } => *buckets,
            Encoder::Bounds { bounds } => bounds.len() as u32 + 1,
            Encoder::Classes { classes } => classes.len() as u32,
            Encoder::Number { .. } => 1,
            Encoder::Powers { .. } => 3,
            Encoder::Shared { .. } => return 0,
        };
        RESERVED + values
    }

    /// The feature of a number, counted from the field's first one, and its value.
    #[inline]
    pub(super) fn number(&self, x: f64, missing: Missing) -> (u32, f32) {
        let x = match missing {
            _ if !x.is_nan() => x,
            Missing::Number(instead) => instead,
            _ => return (missing.feature(), 1.0),
        };
        match self {
            Encoder::Bounds { bounds } => (RESERVED + bounds.partition_point(|&b| b <= x) as u32, 1.0),
            Encoder::Classes { classes } => (classes.binary_search(&log_squared(x)).map_or(UNKNOWN, |at| RESERVED + at as u32), 1.0),
            Encoder::Number { shift, scale } => (RESERVED, ((x - shift) * scale) as f32),
            Encoder::Powers { quantiles } => (RESERVED, cumulative(quantiles, x) as f32),
            _ => (UNKNOWN, 1.0),
        }
    }

    /// The feature of each text of a vocabulary, counted from the field's first one; an empty text is a missing value.
    pub(super) fn texts<'a>(&self, vocabulary: impl Iterator<Item = &'a str>, missing: Missing) -> Vec<u32> {
        let known: HashMap<&str, u32> = match self {
            Encoder::Vocabulary { texts } => texts.iter().zip(RESERVED..).map(|(text, at)| (text.as_str(), at)).collect(),
            _ => HashMap::new(),
        };
        let feature = |text: &str| match self {
            _ if text.is_empty() && missing != Missing::Value => missing.feature(),
            Encoder::Hashed { buckets } => RESERVED + (xxh3_64(text.as_bytes()) % u64::from(*buckets)) as u32,
            _ => known.get(text).copied().unwrap_or(UNKNOWN),
        };
        vocabulary.map(feature).collect()
    }
}

/// ⌊(ln x)²⌋ where x > 2, else x without what is after the point.
fn log_squared(x: f64) -> i64 {
    if x > 2.0 { (x.ln() * x.ln()).floor() as i64 } else { x as i64 }
}

/// The share of training rows that are at most x, linear between the quantiles.
fn cumulative(quantiles: &[f64], x: f64) -> f64 {
    let (next, last) = (quantiles.partition_point(|&q| q <= x), quantiles.len() - 1);
    if next == 0 {
        0.0
    } else if next > last {
        1.0
    } else {
        let (low, high) = (quantiles[next - 1], quantiles[next]);
        ((next - 1) as f64 + (x - low) / (high - low)) / last as f64
    }
}

fn fit_one(spec: &FieldSpec, data: &Interactions, rows: &Rows) -> Result<(Encoder, FieldKind)> {
    let (of, raw) = raw(data, spec)?;
    match (&raw, spec.missing) {
        (Raw::Number(_), Missing::Value) => {
            fail!(Usage, "`missing = \"value\"` of the field `{}` is for categories: of a number, say which", spec.name)
        }
        (Raw::Category(..) | Raw::Categories(..), Missing::Number(_)) => {
            fail!(Usage, "`missing` of the field `{}`, a category, is `own`, `unknown` or `value`, not a number", spec.name)
        }
        _ => {}
    }
    match (&raw, &spec.encoding) {
        (Raw::Category(..) | Raw::Categories(..), Encoding::Hashed { buckets }) => {
            Ok((Encoder::Hashed { buckets: *buckets }, kind_of(&raw)))
        }
        (Raw::Category(_, vocabulary) | Raw::Categories(_, _, vocabulary), Encoding::Vocabulary { min_count }) => {
            let counts = counts(&raw, of, data, rows, vocabulary.len());
            let kept = (0..vocabulary.len() as u32).filter(|&c| counts[c as usize] >= *min_count);
            let texts =
                kept.map(|c| vocabulary.raw(c).to_owned()).filter(|text| !text.is_empty() || spec.missing == Missing::Value).collect();
            Ok((Encoder::Vocabulary { texts }, kind_of(&raw)))
        }
        (Raw::Number(values), encoding) => {
            let place = of.places(data);
            let filled = |x: f64| match spec.missing {
                Missing::Number(instead) if x.is_nan() => instead,
                _ => x,
            };
            let at = move |r: u32| place.map_or(r, |p| p[r as usize]) as usize;
            let seen = || rows.iter().map(|r| filled(values.get(at(r)))).filter(|x| !x.is_nan());
            require!(seen().next().is_some(), Usage, "the field `{}` has no value in any training row", spec.name);
            let encoder = match encoding {
                Encoding::Bounds { bounds } => Encoder::Bounds { bounds: bounds.clone() },
                Encoding::Quantiles { buckets } => Encoder::Bounds { bounds: quantiles(seen().collect(), *buckets) },
                Encoding::LogSquared { min_count } => {
                    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
                    seen().for_each(|x| *counts.entry(log_squared(x)).or_default() += 1);
                    let often = counts.into_iter().filter(|(_, n)| *n >= u64::from(*min_count));
                    Encoder::Classes { classes: often.map(|(class, _)| class).collect() }
                }
                Encoding::Standardised {} => {
                    let n = seen().count() as f64;
                    let mean = seen().sum::<f64>() / n;
                    let deviation = (seen().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
                    Encoder::Number { shift: mean, scale: if deviation > 0.0 { 1.0 / deviation } else { 0.0 } }
                }
                Encoding::Scaled {} => {
                    let (low, high) = seen().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
                    Encoder::Number { shift: low, scale: if high > low { 1.0 / (high - low) } else { 0.0 } }
                }
                Encoding::Number {} => Encoder::Number { shift: 0.0, scale: 1.0 },
                Encoding::Powers { quantiles } => {
                    let mut values: Vec<f64> = seen().collect();
                    values.sort_unstable_by(f64::total_cmp);
                    let (last, of) = (values.len() - 1, *quantiles as usize);
                    Encoder::Powers { quantiles: (0..=of).map(|k| values[k * last / of]).collect() }
                }
                _ => fail!(
                    Usage,
                    "the field `{}` is a number (`{}`): its encoding is one of bounds, quantiles, log-squared, standardised, scaled, powers, number",
                    spec.name,
                    spec.from
                ),
            };
            let kind = match encoder {
                Encoder::Number { .. } => FieldKind::Number,
                Encoder::Powers { .. } => FieldKind::Powers,
                _ => FieldKind::Category,
            };
            Ok((encoder, kind))
        }
        _ => fail!(Usage, "the field `{}` is a category (`{}`): its encoding is vocabulary or hashed", spec.name, spec.from),
    }
}

fn kind_of(raw: &Raw) -> FieldKind {
    if matches!(raw, Raw::Categories(..)) { FieldKind::Categories } else { FieldKind::Category }
}

/// How many of `rows` have each category.
fn counts(raw: &Raw, of: Of, data: &Interactions, rows: &Rows, categories: usize) -> Vec<u32> {
    let mut counts = vec![0u32; categories];
    if let (Raw::Category(values, _), Of::Row) = (raw, of) {
        rows.iter().for_each(|r| counts[values[r as usize] as usize] += 1);
        return counts;
    }
    // Rows of each place first: there are fewer places than rows.
    let place = of.places(data);
    let places = match raw {
        Raw::Category(values, _) => values.len(),
        Raw::Categories(ends, ..) => ends.len(),
        Raw::Number(values) => values.len(),
    };
    let mut rows_of = vec![0u32; places];
    rows.iter().for_each(|r| rows_of[place.map_or(r, |p| p[r as usize]) as usize] += 1);
    match raw {
        Raw::Category(values, _) => values.iter().zip(&rows_of).for_each(|(&c, n)| counts[c as usize] += n),
        Raw::Categories(ends, values, _) => {
            let mut start = 0;
            for (&end, n) in ends.iter().zip(&rows_of) {
                values[start..end as usize].iter().for_each(|&c| counts[c as usize] += n);
                start = end as usize;
            }
        }
        Raw::Number(_) => {}
    }
    counts
}

/// Bounds between `buckets` intervals of about as many of `values` each; equal bounds are one.
fn quantiles(mut values: Vec<f64>, buckets: u32) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let mut bounds: Vec<f64> = (1..buckets as usize).map(|k| values[(k * values.len() / buckets as usize).min(values.len() - 1)]).collect();
    bounds.dedup();
    // A bound at the smallest value would leave the first interval empty.
    bounds.retain(|&b| b > values[0]);
    bounds
}
