//! Collaborative filtering: popularity, neighbours, matrix factorisation, and closed forms.
//!
//! Each file is one model; a model is a config, its parameters, and how they are learned.

pub mod biased_mf;
pub mod bpr;
pub mod bpr_sgd;
pub mod ease;
mod history;
pub mod ials;
pub mod knn;
pub mod logistic_mf;
mod online;
pub mod popularity;
pub mod svd_pp;

pub use biased_mf::BiasedMf;
pub use bpr::Bpr;
pub use bpr_sgd::BprSgd;
pub use ease::Ease;
pub use ials::Ials;
pub use knn::{ItemKnn, UserKnn};
pub use logistic_mf::LogisticMf;
pub use popularity::Popularity;
pub use svd_pp::SvdPp;

use anyhow::Result;
use rec_data::require;

/// The longest vector that a config may ask for: more would be a slip of the keyboard.
const LONGEST: usize = 65_536;

fn check_embedding_size(size: usize) -> Result<()> {
    require!((1..=LONGEST).contains(&size), Usage, "`embedding_size` is {size}: it must be at least 1 and at most {LONGEST}");
    Ok(())
}
