//! Graph recommenders: vectors of users and items that move along the edges between them.
//!
//! Each file is one model; a model is a config, its parameters, and how a layer makes vectors from those of the neighbours.

pub mod gcn;
pub mod lightgcn;
mod linear;
pub mod ngcf;
mod nodes;
mod objective;
pub mod simgcl;
pub mod ultragcn;
pub mod xsimgcl;

pub use gcn::Gcn;
pub use lightgcn::LightGcn;
pub use ngcf::Ngcf;
pub use simgcl::SimGcl;
pub use ultragcn::UltraGcn;
pub use xsimgcl::XSimGcl;

use anyhow::Result;
use rec_core::Registry;
use rec_data::require;

/// Adds the models of this crate.
pub fn register(registry: &mut Registry) {
    registry.gradient::<LightGcn>("lightgcn", "vectors that move along the graph's edges as they are");
    registry.gradient::<Gcn>("gcn", "graph convolutions with a transform and an activation");
    registry.gradient::<Ngcf>("ngcf", "messages along edges that hold the product of both ends");
    registry.gradient::<SimGcl>("simgcl", "LightGCN that knows its nodes again under noise");
    registry.gradient::<UltraGcn>("ultragcn", "a weighted loss instead of propagation");
    registry.gradient::<XSimGcl>("xsimgcl", "the same with one noisy pass");
}

/// The largest size that a config may ask for: more would be a slip of the keyboard.
const LARGEST: usize = 65_536;
/// The most layers.
const MOST_LAYERS: usize = 64;

fn check_size(key: &str, size: usize) -> Result<()> {
    require!((1..=LARGEST).contains(&size), Usage, "`{key}` is {size}: it must be at least 1 and at most {LARGEST}");
    Ok(())
}

fn check_layers(layers: usize, least: usize) -> Result<()> {
    require!(
        (least..=MOST_LAYERS).contains(&layers),
        Usage,
        "`num_layers` is {layers}: it must be at least {least} and at most {MOST_LAYERS}"
    );
    Ok(())
}

fn check_hidden_sizes(sizes: &[usize]) -> Result<()> {
    require!(
        (1..=MOST_LAYERS).contains(&sizes.len()),
        Usage,
        "`hidden_sizes` {}: it must have one number for each layer, at least 1 and at most {MOST_LAYERS}",
        if sizes.is_empty() { "is empty".into() } else { format!("has {} numbers", sizes.len()) }
    );
    sizes.iter().try_for_each(|&size| check_size("hidden_sizes", size))
}

fn check_rate(key: &str, value: f64) -> Result<()> {
    require!((0.0..1.0).contains(&value), Usage, "`{key}` is {value}: it must be at least 0 and below 1");
    Ok(())
}

fn check_not_negative(key: &str, value: f64) -> Result<()> {
    require!(value >= 0.0 && value.is_finite(), Usage, "`{key}` is {value}: it must be at least 0");
    Ok(())
}

fn check_above_0(key: &str, value: f64) -> Result<()> {
    require!(value > 0.0 && value.is_finite(), Usage, "`{key}` is {value}: it must be above 0");
    Ok(())
}
