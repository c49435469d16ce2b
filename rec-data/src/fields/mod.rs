//! Fields: what a labelled row shows a model that predicts its label, as numbered features.
//!
//! A [`FieldSpec`] says where a field's raw values are (the user, the item, features of either or of the row, the time, the user's past)
//! and how they become features. [`Encoders`] are fitted on training rows only and can be written down; [`Encoded`] are the features of all rows, each
//! stored once a user, an item or a row. [`LabelledRows`] are some rows of it with their labels: what a view holds and batches are made of.

mod encoded;
mod encoder;
mod history;
mod labelled;
mod matrix;
mod raw;
mod spec;

pub use encoded::Encoded;
pub use encoder::{Encoder, Encoders, Field, FieldKind};
pub use history::with_pasts;
pub use labelled::LabelledRows;
pub use spec::{Encoding, FieldSpec, Missing, Past, Source};

#[cfg(test)]
mod tests;
