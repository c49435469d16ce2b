//! The features of all rows of a data set, each stored once a user, an item or a row.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Result;

use super::encoder::{Encoders, Field, FieldKind, RESERVED};
use super::history::{days, past};
use super::matrix::{Matrix, Words};
use super::raw::{Of, Raw, raw};
use super::spec::Encoding;
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
    Past(Windows),
    /// One a row: the word at this place of the row.
    Word(usize),
    /// One a row, and its value: the bits of the word at this place of the row, NaN where it is missing; three where it is that of powers.
    ValuedWord { at: usize, present: u32, missing: u32, powers: Option<u32> },
}

impl Encoded {
    /// Encodes every row of `data`. `positive` says which rows go into histories. What millions of rows have of their own is kept in a file
    /// in `folder` and mapped again where data, fields and training rows are the same; without a folder it is made in memory.
    ///
    /// # Errors
    /// a usage problem where the data has not what a field needs; an I/O error where the file cannot be written.
    pub fn new(encoders: Encoders, data: &Interactions, positive: &dyn Fn(u32) -> bool, folder: Option<&Path>) -> Result<Self> {
        let days = if encoders.histories().next().is_some() { days(data) } else { Vec::new() };
        let (mut columns, mut words): (Vec<Column>, Vec<Words<'_>>) = (Vec::new(), Vec::new());
        for field in encoders.fields() {
            columns.push(match &field.spec.encoding {
                Encoding::Shared { field: shared, max_len } => {
                    let at = encoders.fields().iter().position(|other| other.spec.name == *shared).expect("checked: an earlier field");
                    let Features::One(of_item) = &columns[at].features else { unreachable!("ids are one category an item") };
                    Column { of: Of::Row, features: Features::Past(past(data, &days, positive, of_item, *max_len)) }
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

    /// The features of `rows`: row i·F + f has those of field f (of F) of the i-th row; values are absent where all are 1. Of a history
    /// that is the mean, or, where `lists` says so, nothing: such fields are left out.
    pub(super) fn entries(&self, rows: &[u32], lists: bool) -> Csr {
        let kept: Vec<&Column> = self.columns.iter().filter(|c| !(lists && matches!(c.features, Features::Past(_)))).collect();
        let valued = kept.iter().any(|column| !matches!(column.features, Features::One(_) | Features::Word(_)));
        let places = rows.len() * kept.len();
        let (mut starts, mut ids) = (Vec::with_capacity(places + 1), Vec::with_capacity(places));
        let mut values: Vec<f32> = Vec::with_capacity(if valued { places } else { 0 });
        starts.push(0);
        for &row in rows {
            let words = self.words.row(row);
            for column in &kept {
                let place = match column.of {
                    Of::User => self.users[row as usize],
                    Of::Item => self.items[row as usize],
                    Of::Row => row,
                } as usize;
                let mut several = |some: &[u32]| {
                    ids.extend_from_slice(some);
                    values.extend(std::iter::repeat_n(1.0 / some.len() as f32, some.len()));
                };
                match &column.features {
                    Features::One(features) => {
                        ids.push(features[place]);
                        if valued {
                            values.push(1.0);
                        }
                    }
                    Features::Valued { features, values: numbers, powers } => {
                        let feature = features[place];
                        push_number(feature, numbers[place], *powers == Some(feature), &mut ids, &mut values);
                    }
                    Features::Several(ends, features) => several(&features[if place == 0 { 0 } else { ends[place - 1] }..ends[place]]),
                    Features::Past(windows) => several(windows.row(place)),
                    Features::Word(at) => {
                        ids.push(words[*at]);
                        if valued {
                            values.push(1.0);
                        }
                    }
                    Features::ValuedWord { at, present, missing, powers } => {
                        let value = f32::from_bits(words[*at]);
                        let (feature, value) = if value.is_nan() { (*missing, 1.0) } else { (*present, value) };
                        push_number(feature, value, *powers == Some(feature), &mut ids, &mut values);
                    }
                }
                starts.push(ids.len());
            }
        }
        Csr::from_parts(starts, ids, values, self.encoders.num_features())
    }

    /// The histories of `rows`, one matrix a history field: features, oldest first, and how many days ago each was.
    pub(super) fn histories(&self, rows: &[u32]) -> Vec<Csr> {
        let list = |windows: &Windows| {
            let (mut starts, mut ids, mut ages) = (vec![0], Vec::new(), Vec::new());
            for &row in rows {
                ids.extend_from_slice(windows.row(row as usize));
                let now = self.days[row as usize];
                ages.extend(windows.row_values(row as usize).iter().map(|day| now - day));
                starts.push(ids.len());
            }
            Csr::from_parts(starts, ids, ages, self.encoders.num_features())
        };
        let of = |column: &Column| if let Features::Past(windows) = &column.features { Some(list(windows)) } else { None };
        self.columns.iter().filter_map(of).collect()
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
            tile.extend(rows.by_ref().take(TILE));
            if tile.is_empty() {
                return counts;
            }
            self.entries(&tile, false).columns().iter().for_each(|&feature| counts[feature as usize] += 1);
        }
    }
}

/// Adds a feature with its value, or, of `powers`, this one and the next two with the value, its square and its root.
fn push_number(feature: u32, value: f32, powers: bool, ids: &mut Vec<u32>, values: &mut Vec<f32>) {
    ids.push(feature);
    values.push(value);
    if powers {
        ids.extend([feature + 1, feature + 2]);
        values.extend([value * value, value.sqrt()]);
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
    Ok(Column { of, features })
}
