//! Autoencoders: a user (or an item) is a sparse row that goes through a narrow layer and comes back whole.
//!
//! Inputs are sparse rows, so the first layer costs what a row's entries cost; where a loss looks at some outputs only, so does the
//! product behind it. All models here score a user from a history alone.

pub mod activation;
pub mod autoencoder;
pub mod autorec;
pub mod cdae;
mod history;
mod layers;
pub mod mult_dae;
pub mod mult_vae;
mod network;
pub mod noise;

pub use activation::Activation;
pub use autoencoder::{Autoencoder, DenoisingAutoencoder};
pub use autorec::{ItemAutoRec, UserAutoRec};
pub use cdae::Cdae;
pub use mult_dae::MultDae;
pub use mult_vae::MultVae;

use anyhow::Result;
use rec_core::Registry;
use rec_data::require;

/// Adds the models of this crate.
pub fn register(registry: &mut Registry) {
    registry.gradient::<Autoencoder>("autoencoder", "autoencoder over users' rows, every item an output");
    registry.gradient::<DenoisingAutoencoder>("denoising-autoencoder", "the same, shown a corrupted row");
    registry.gradient::<ItemAutoRec>("i-autorec", "AutoRec by item, for ratings");
    registry.gradient::<UserAutoRec>("u-autorec", "AutoRec by user, for ratings");
    registry.gradient::<Cdae>("cdae", "denoising autoencoder with a user node, sampled outputs");
    registry.gradient::<MultDae>("mult-dae", "denoising autoencoder, multinomial likelihood");
    registry.gradient::<MultVae>("mult-vae", "variational autoencoder, multinomial likelihood");
}

/// The widest layer that a config may ask for: more would be a slip of the keyboard.
const WIDEST: usize = 65_536;

fn check_sizes(key: &str, sizes: &[usize]) -> Result<()> {
    require!(!sizes.is_empty(), Usage, "`{key}` is empty: name at least one layer, such as [200]");
    for size in sizes {
        require!((1..=WIDEST).contains(size), Usage, "`{key}` holds {size}: a layer must have at least 1 unit and at most {WIDEST}");
    }
    Ok(())
}

fn check_l2(l2: f64) -> Result<()> {
    require!(l2 >= 0.0 && l2.is_finite(), Usage, "`l2` is {l2}: it must be at least 0");
    Ok(())
}

fn check_rate(key: &str, rate: f64) -> Result<()> {
    require!((0.0..1.0).contains(&rate), Usage, "`{key}` is {rate}: it must lie in [0, 1)");
    Ok(())
}
