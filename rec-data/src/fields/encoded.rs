//! The features of all rows of a data set, each stored once a user, an item or a row.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Result;

use super::encoder::{Encoders, Field, FieldKind, RESERVED, UNKNOWN};
use super::history::{days, past};
use super::matrix::{Matrix, Words};
use super::raw::{Of, Raw, raw};
use super::spec::{Encoding, Source};
use crate::csr::Csr;
use crate::windows::Windows;
use crate::{Interactions, Rows};

/// Features of every row.
#[derive(Debug)]
pub struct Encoded {
    encoders: Encoders,
    /// In the order of the fields.
    columns: Vec<Column>,
    /// What rows have of their own, one word a field.
    words: Matrix,
    users: crate::Column<u32>,
    items: crate::Column<u32>,
    /// Days since the first row, of each row; empty where no field is a history.
    days: Vec<f32>,
}

/// The features of one field.
#[derive(Debug)]
struct Column {
    of: Of,
    features: Features,
    /// The feature of somebody of whom the field is not known.
    absent: u32,
}

/// Whose values a row of features shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// `None`: somebody who is not in the data.
    pub(super) user: Option<u32>,
    pub(super) item: u32,
    pub(super) at: When<'a>,
}

/// When that is.
#[derive(Clone, Copy, Debug)]
pub(super) enum When<'a> {
    /// When this row was.
    Row(u32),
    /// Now, after this past: for each history field its features, oldest first.
    Now(&'a [Vec<u32>]),
}

#[derive(Debug)]
enum Features {
    /// One a place.
    One(Vec<u32>),
    /// One a place, and its value; three where it is that of powers.
    Valued { features: Vec<u32>, values: Vec<f32>, powers: Option<u32> },
    /// Any number a place: where each place ends, and the features.
    Several(Vec<usize>, Vec<u32>),
    /// A list a row, oldest first, with the day of each.
    Past(Past),
    /// One a row: the word at this place of the row.
    Word(usize),
    /// One a row, and its value: the bits of the word at this place of the row, NaN where it is missing; three where it is that of powers.
    ValuedWord { at: usize, present: u32, missing: u32, powers: Option<u32> },
}

/// The histories of one field.
#[derive(Debug)]
struct Past {
    windows: Windows,
    /// The feature of each item.
    of_item: Vec<u32>,
    max_len: usize,
    /// Its place among the history fields.
    place: usize,
}

impl Encoded {
    /// Encodes every row of `data`. `positive` says which rows go into histories. What millions of rows have of their own is kept in a file
    /// in `folder` and mapped again where data, fields and training rows are the same; without a folder it is made in memory.
    ///
    /// # Errors
    /// a usage problem where the data has not what a field needs; an I/O error where the file cannot be written.
    pub fn new(encoders: Encoders, data: &Interactions, positive: &dyn Fn(u32) -> bool, folder: Option<&Path>) -> Result<Self> {
        let days = if encoders.histories().next().is_some() { days(data) } else { Vec::new() };
        let (mut columns, mut words, mut place): (Vec<Column>, Vec<Words<'_>>, usize) = (Vec::new(), Vec::new(), 0);
        for field in encoders.fields() {
            columns.push(match &field.spec.encoding {
                Encoding::Shared { field: shared, max_len } => {
                    let at = encoders.fields().iter().position(|other| other.spec.name == *shared).expect("checked: an earlier field");
                    let Features::One(of_item) = &columns[at].features else { unreachable!("ids are one category an item") };
                    let windows = past(data, &days, positive, of_item, *max_len);
                    let past = Past { windows, of_item: of_item.clone(), max_len: *max_len, place };
                    place += 1;
                    Column { of: Of::Row, features: Features::Past(past), absent: field.first }
                }
                _ => column(field, data, &mut words)?,
            });
        }
        let words = Matrix::new(&words, data.len(), folder)?;
        Ok(Self { encoders, columns, words, users: data.users.clone(), items: data.items.clone(), days })
    }

    /// How features were made.
    pub fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// The user of `row`.
    pub fn user(&self, row: u32) -> u32 {
        self.users[row as usize]
    }

    /// A row of the data.
    pub(super) fn place(&self, row: u32) -> Place<'static> {
        Place { user: Some(self.users[row as usize]), item: self.items[row as usize], at: When::Row(row) }
    }

    /// The features of a past of `items`, oldest first, of each history field.
    pub(super) fn past(&self, items: &[u32]) -> Vec<Vec<u32>> {
        let of = |past: &Past| items[items.len().saturating_sub(past.max_len)..].iter().map(|&i| past.of_item[i as usize]).collect();
        self.pasts().map(of).collect()
    }

    fn pasts(&self) -> impl Iterator<Item = &Past> {
        self.columns.iter().filter_map(|column| if let Features::Past(past) = &column.features { Some(past) } else { None })
    }

    /// The first field that nobody knows before there is a row.
    pub(super) fn only_of_rows(&self) -> Option<&Field> {
        let of_rows = |column: &Column| column.of == Of::Row && !matches!(column.features, Features::Past(_));
        self.columns.iter().zip(self.encoders.fields()).find(|(column, _)| of_rows(column)).map(|(_, field)| field)
    }

    /// The features of `places`: row i·F + f has those of field f (of F) of the i-th of them; values are absent where all are 1. Of a history
    /// that is the mean, or, where `lists` says so, nothing: such fields are left out.
    ///
    /// # Panics
    /// where a place is now and a field is [`only_of_rows`](Self::only_of_rows).
    pub(super) fn entries(&self, places: &[Place], lists: bool) -> Csr {
        let kept: Vec<&Column> = self.columns.iter().filter(|c| !(lists && matches!(c.features, Features::Past(_)))).collect();
        let valued = kept.iter().any(|column| !matches!(column.features, Features::One(_) | Features::Word(_)));
        let entries = places.len() * kept.len();
        let (mut starts, mut ids) = (Vec::with_capacity(entries + 1), Vec::with_capacity(entries));
        let mut values: Vec<f32> = Vec::with_capacity(if valued { entries } else { 0 });
        starts.push(0);
        for place in places {
            let words = if let When::Row(row) = place.at { self.words.row(row) } else { &[] };
            for column in &kept {
                let mut one = |feature: u32, value: f32| {
                    ids.push(feature);
                    if valued {
                        values.push(value);
                    }
                };
                let at = match (column.of, place.at) {
                    (Of::User, _) => place.user,
                    (Of::Item, _) => Some(place.item),
                    (Of::Row, When::Row(row)) => Some(row),
                    (Of::Row, When::Now(_)) => None,
                };
                match (&column.features, at.map(|at| at as usize)) {
                    (Features::One(features), Some(at)) => one(features[at], 1.0),
                    (Features::Valued { features, values: numbers, powers }, Some(at)) => {
                        number(features[at], numbers[at], *powers).for_each(|(feature, value)| one(feature, value));
                    }
                    (Features::Several(ends, features), Some(at)) => {
                        let some = &features[if at == 0 { 0 } else { ends[at - 1] }..ends[at]];
                        some.iter().for_each(|&feature| one(feature, 1.0 / some.len() as f32));
                    }
                    (Features::Past(past), _) => {
                        let some = past.at(place.at);
                        some.iter().for_each(|&feature| one(feature, 1.0 / some.len() as f32));
                    }
                    (Features::Word(at), Some(_)) => one(words[*at], 1.0),
                    (Features::ValuedWord { at, present, missing, powers }, Some(_)) => {
                        let value = f32::from_bits(words[*at]);
                        let (feature, value) = if value.is_nan() { (*missing, 1.0) } else { (*present, value) };
                        number(feature, value, *powers).for_each(|(feature, value)| one(feature, value));
                    }
                    (_, None) => {
                        assert!(column.of == Of::User, "a field that only rows have was asked for without a row");
                        one(column.absent, 1.0);
                    }
                }
                starts.push(ids.len());
            }
        }
        Csr::from_parts(starts, ids, values, self.encoders.num_features())
    }

    /// The histories of `places`, one matrix a history field: features, oldest first, and how many days ago each was; of a past that is
    /// told without times, 0.
    pub(super) fn histories(&self, places: &[Place]) -> Vec<Csr> {
        let list = |past: &Past| {
            let (mut starts, mut ids, mut ages) = (vec![0], Vec::new(), Vec::new());
            for place in places {
                let some = past.at(place.at);
                ids.extend_from_slice(some);
                match place.at {
                    When::Row(row) => {
                        let now = self.days[row as usize];
                        ages.extend(past.windows.row_values(row as usize).iter().map(|day| now - day));
                    }
                    When::Now(_) => ages.extend(std::iter::repeat_n(0.0, some.len())),
                }
                starts.push(ids.len());
            }
            Csr::from_parts(starts, ids, ages, self.encoders.num_features())
        };
        self.pasts().map(list).collect()
    }

    /// How many of `rows` have each feature, in a history too.
    pub(super) fn counts(&self, rows: &Rows) -> Vec<u32> {
        // Rows that are encoded at once.
        const TILE: usize = 1024;
        let mut counts = vec![0; self.encoders.num_features()];
        let mut tile = Vec::with_capacity(TILE);
        let mut rows = rows.iter();
        loop {
            tile.clear();
            tile.extend(rows.by_ref().take(TILE).map(|row| self.place(row)));
            if tile.is_empty() {
                return counts;
            }
            self.entries(&tile, false).columns().iter().for_each(|&feature| counts[feature as usize] += 1);
        }
    }
}

/// A feature with its value; of `powers`, this one with the value and the next two with its square and its root.
fn number(feature: u32, value: f32, powers: Option<u32>) -> impl Iterator<Item = (u32, f32)> {
    let all = [(feature, value), (feature + 1, value * value), (feature + 2, value.sqrt())];
    all.into_iter().take(if powers == Some(feature) { 3 } else { 1 })
}

impl Past {
    /// The features of the past of a place.
    fn at<'a>(&'a self, when: When<'a>) -> &'a [u32] {
        match when {
            When::Row(row) => self.windows.row(row as usize),
            When::Now(past) => &past[self.place],
        }
    }
}

/// The features of a field; where each row has one of its own, its word is left to be made.
fn column<'a>(field: &'a Field, data: &'a Interactions, words: &mut Vec<Words<'a>>) -> Result<Column> {
    let (of, raw) = raw(data, &field.spec)?;
    let (first, missing) = (field.first, field.spec.missing);
    let is_number = matches!(field.kind, FieldKind::Number | FieldKind::Powers);
    let powers = (field.kind == FieldKind::Powers).then_some(first + RESERVED);
    let features = match raw {
        Raw::Category(Cow::Borrowed(of_row), vocabulary) if of == Of::Row => {
            let features = field.encoder.texts(vocabulary.iter(), missing).into_iter().map(|feature| first + feature).collect();
            words.push(Words::Categories { of_row, features });
            Features::Word(words.len() - 1)
        }
        Raw::Number(of_row) if of == Of::Row && is_number => {
            words.push(Words::Numbers { of_row, field });
            Features::ValuedWord { at: words.len() - 1, present: first + RESERVED, missing: first + missing.feature(), powers }
        }
        Raw::Number(of_row) if of == Of::Row => {
            words.push(Words::Intervals { of_row, field });
            Features::Word(words.len() - 1)
        }
        Raw::Category(values, vocabulary) => {
            let texts = field.encoder.texts(vocabulary.iter(), missing);
            Features::One(values.iter().map(|&c| first + texts[c as usize]).collect())
        }
        Raw::Categories(ends, values, vocabulary) => {
            let texts = field.encoder.texts(vocabulary.iter(), missing);
            let (mut new_ends, mut features, mut start) = (Vec::with_capacity(ends.len()), Vec::with_capacity(values.len()), 0);
            for &end in ends {
                features.extend(values[start..end as usize].iter().map(|&c| first + texts[c as usize]));
                if start == end as usize {
                    features.push(first + missing.feature());
                }
                new_ends.push(features.len());
                start = end as usize;
            }
            Features::Several(new_ends, features)
        }
        Raw::Number(values) => {
            let (features, values): (Vec<u32>, Vec<f32>) = (0..values.len())
                .map(|place| field.encoder.number(values.get(place), missing))
                .map(|(feature, value)| (first + feature, value))
                .unzip();
            if is_number { Features::Valued { features, values, powers } } else { Features::One(features) }
        }
    };
    let absent = first + if field.spec.from == Source::User { UNKNOWN } else { missing.feature() };
    Ok(Column { of, features, absent })
}
