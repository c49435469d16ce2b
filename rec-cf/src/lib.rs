//! Collaborative filtering: popularity, neighbours, matrix factorisation, closed forms, and perceptrons.
//!
//! Each file is one model; a model is a config, its parameters, and how they are learned.

pub mod biased_mf;
pub mod bpr;
pub mod bpr_sgd;
pub mod ease;
pub mod gmf;
mod history;
pub mod ials;
pub mod item2vec;
pub mod item_vectors;
pub mod knn;
pub mod logistic_mf;
pub mod mlp;
pub mod neumf;
mod online;
mod pairs;
pub mod popularity;
pub mod pure_svd;
pub mod slim;
pub mod svd_pp;
mod tower;

pub use biased_mf::BiasedMf;
pub use bpr::Bpr;
pub use bpr_sgd::BprSgd;
pub use ease::Ease;
pub use gmf::Gmf;
pub use ials::Ials;
pub use item2vec::Item2Vec;
pub use knn::{ItemKnn, UserKnn};
pub use logistic_mf::LogisticMf;
pub use mlp::Mlp;
pub use neumf::NeuMf;
pub use popularity::Popularity;
pub use pure_svd::PureSvd;
pub use slim::Slim;
pub use svd_pp::SvdPp;

use anyhow::Result;
use rec_data::require;

/// The longest vector that a config may ask for: more would be a slip of the keyboard.
const LONGEST: usize = 65_536;

fn check_embedding_size(size: usize) -> Result<()> {
    check_size("embedding_size", size)
}

fn check_size(key: &str, size: usize) -> Result<()> {
    require!((1..=LONGEST).contains(&size), Usage, "`{key}` is {size}: it must be at least 1 and at most {LONGEST}");
    Ok(())
}
