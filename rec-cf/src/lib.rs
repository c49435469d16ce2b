//! Collaborative filtering: popularity, neighbours, matrix factorisation, closed forms, and perceptrons.
//!
//! Each file is one model; a model is a config, its parameters, and how they are learned.

pub mod biased_mf;
pub mod bpr;
pub mod bpr_sgd;
mod common_users;
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
pub mod rp3_beta;
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
pub use rp3_beta::Rp3Beta;
pub use slim::Slim;
pub use svd_pp::SvdPp;

use anyhow::Result;
use rec_core::Registry;
use rec_data::require;

/// Adds the models of this crate.
pub fn register(registry: &mut Registry) {
    registry.fit::<Popularity>("popularity", "what most training rows have");
    registry.fit::<ItemKnn>("item-knn", "items like those of the history");
    registry.fit::<UserKnn>("user-knn", "items of the users most alike");
    registry.fit::<Rp3Beta>("rp3-beta", "random walk of three steps, popular ends held back");
    registry.fit::<Ease>("ease", "item–item linear model in closed form");
    registry.fit::<Ials>("ials", "implicit alternating least squares");
    registry.fit::<PureSvd>("pure-svd", "items by truncated singular vectors");
    registry.fit::<Item2Vec>("item2vec", "skip-gram and CBOW over histories, as sets or in order");
    registry.fit::<BprSgd>("bpr-sgd", "matrix factorisation, pairwise loss, one update a triple");
    registry.fit::<LogisticMf>("logistic-mf", "matrix factorisation, logistic loss, one update a sample");
    registry.fit::<BiasedMf>("biased-mf", "matrix factorisation with biases, for ratings");
    registry.fit::<SvdPp>("svd-pp", "SVD++, for ratings");
    registry.gradient::<Bpr>("bpr", "matrix factorisation, pairwise loss, mini-batches");
    registry.gradient::<Gmf>("gmf", "matrix factorisation, weighted product, log loss");
    registry.gradient::<Mlp>("mlp", "perceptron over a user's and an item's vector");
    registry.gradient::<NeuMf>("neumf", "GMF and MLP joined in one prediction");
    registry.fit::<Slim>("slim", "item–item linear model with few weights, by coordinate descent");
}

/// The longest vector that a config may ask for: more would be a slip of the keyboard.
const LONGEST: usize = 65_536;

fn check_embedding_size(size: usize) -> Result<()> {
    check_size("embedding_size", size)
}

fn check_size(key: &str, size: usize) -> Result<()> {
    require!((1..=LONGEST).contains(&size), Usage, "`{key}` is {size}: it must be at least 1 and at most {LONGEST}");
    Ok(())
}
