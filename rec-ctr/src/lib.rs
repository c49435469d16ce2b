//! Models that predict the label of a row, a click say, from its fields.
//!
//! Each file is one model: a config, parameters, and the logits of a batch ([`Network`]). All that such models share is in `clicks.rs`.
//! A field's features have vectors in one table; a field of several features has their mean, a number its vector times the number.

pub mod activation;
pub mod autoint;
pub mod bst;
mod clicks;
mod crosses;
pub mod dcn;
pub mod deepfm;
pub mod din;
mod embedding;
pub mod ffm;
pub mod ffm_sgd;
pub mod fm;
pub mod fwfm;
mod layers;
mod lists;
pub mod lr;
pub mod poly2;
pub mod rate;
pub mod wide_deep;
pub mod youtube_ranker;

pub use autoint::AutoInt;
pub use bst::Bst;
pub use clicks::{Clicks, Network};
pub use dcn::Dcn;
pub use deepfm::DeepFm;
pub use din::Din;
pub use ffm::Ffm;
pub use ffm_sgd::FfmSgd;
pub use fm::Fm;
pub use fwfm::FwFm;
pub use lr::Lr;
pub use poly2::Poly2;
pub use rate::Rate;
pub use wide_deep::WideDeep;
pub use youtube_ranker::YoutubeRanker;

use anyhow::Result;
use rec_data::require;

/// What such a model answers when it is asked for scores of items.
fn ranks_nothing<T>() -> Result<T> {
    rec_data::fail!(Usage, "this model predicts labels of rows, it ranks no items: measure `auc` or `logloss`")
}

/// The largest size that a config may ask for: more would be a slip of the keyboard.
const LARGEST: usize = 65_536;

fn check_size(key: &str, size: usize) -> Result<()> {
    require!((1..=LARGEST).contains(&size), Usage, "`{key}` is {size}: it must be at least 1 and at most {LARGEST}");
    Ok(())
}

fn check_rate(key: &str, value: f64) -> Result<()> {
    require!((0.0..1.0).contains(&value), Usage, "`{key}` is {value}: it must be at least 0 and below 1");
    Ok(())
}

fn check_above_0(key: &str, value: f64) -> Result<()> {
    require!(value > 0.0 && value.is_finite(), Usage, "`{key}` is {value}: it must be above 0");
    Ok(())
}
