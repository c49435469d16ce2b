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
use rec_core::Registry;
use rec_data::require;

/// Adds the models of this crate.
pub fn register(registry: &mut Registry) {
    registry.fit::<Rate>("rate", "how often rows with a feature have the label");
    registry.gradient::<Lr>("lr", "logistic regression over all features of a row");
    registry.gradient::<Poly2>("poly2", "the same with a weight for every pair of features");
    registry.gradient::<Fm>("fm", "factorisation machine: products of the fields' vectors");
    registry.gradient::<FwFm>("fwfm", "the same, each pair of fields weighted");
    registry.gradient::<Ffm>("ffm", "the same, a vector for each field that a feature meets");
    registry.fit::<FfmSgd>("ffm-sgd", "FFM by one AdaGrad update a row, as libffm");
    registry.gradient::<WideDeep>("wide-deep", "linear with declared crosses, beside a perceptron");
    registry.gradient::<DeepFm>("deepfm", "factorisation machine beside a perceptron, vectors shared");
    registry.gradient::<Dcn>("dcn", "cross layers beside a perceptron (DCNv2)");
    registry.gradient::<AutoInt>("autoint", "self-attention among the fields of a row");
    registry.gradient::<Din>("din", "past items weighted by the item asked about");
    registry.gradient::<YoutubeRanker>("youtube-ranker", "perceptron whose odds are the expected watch time");
    registry.gradient::<Bst>("bst", "transformer over past items and the item asked about");
}

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
