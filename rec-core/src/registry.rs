//! Models by name. Each family's crate registers its own, so that its trainers are compiled there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use rec_data::problem::did_you_mean;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use tch::Device;

use crate::model::{Fit, Model, ModelConfig};
use crate::section::read_section;
use crate::train::{FitTrainer, GradientConfig, GradientTrainer, Trainer};

/// Models that the command line knows.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
}

/// One model.
pub struct Entry {
    /// What it is, in a few words.
    pub about: String,
    /// Whether it learns by gradients, and so has `[optimizer]` and `[batch]`.
    pub by_gradients: bool,
    /// Whether one pass is all there is.
    pub one_pass: bool,
    defaults: fn() -> Result<toml::Table>,
    resolve: fn(&toml::Table) -> Result<toml::Table>,
    build: Build,
}

/// Makes a trainer from `[model]`, the gradient sections, data, device and seed.
type Build = fn(&toml::Table, &GradientConfig, &Arc<TrainView>, Device, u64) -> Result<Box<dyn Trainer>>;

impl Registry {
    /// Adds a model that learns by gradients.
    pub fn gradient<M: Model>(&mut self, name: &str, about: &str) {
        let entry = Entry {
            about: about.into(),
            by_gradients: true,
            one_pass: false,
            defaults: defaults::<M::Config>,
            resolve: resolve::<M::Config>,
            build: |model, how, data, device, seed| {
                Ok(Box::new(GradientTrainer::<M>::new(&read_section("model", model)?, how, data, device, seed)?))
            },
        };
        self.entries.insert(name.into(), entry);
    }

    /// Adds a model that knows itself how it learns.
    pub fn fit<M: Fit>(&mut self, name: &str, about: &str) {
        let entry = Entry {
            about: about.into(),
            by_gradients: false,
            one_pass: M::ONE_PASS,
            defaults: defaults::<M::Config>,
            resolve: resolve::<M::Config>,
            build: |model, _, data, _, seed| Ok(Box::new(FitTrainer::<M>::new(&read_section("model", model)?, data, seed)?)),
        };
        self.entries.insert(name.into(), entry);
    }

    /// The model called `name`.
    ///
    /// # Errors
    /// a usage problem that names the nearest one.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        match self.entries.get(name) {
            Some(entry) => Ok(entry),
            None => fail!(
                Usage,
                "no model is called `{name}`{}; there are {}",
                did_you_mean(name, self.names()),
                self.names().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// Names of all models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// All models by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}

impl Entry {
    /// The hyper-parameters' default values.
    ///
    /// # Errors
    /// where they cannot be written as TOML.
    pub fn defaults(&self) -> Result<toml::Table> {
        (self.defaults)()
    }

    /// `model` with defaults filled in, checked.
    ///
    /// # Errors
    /// a usage problem that names the key.
    pub fn resolve(&self, model: &toml::Table) -> Result<toml::Table> {
        (self.resolve)(model)
    }

    /// A trainer for `data`.
    ///
    /// # Errors
    /// a usage problem of the config, or where the data has not what the model needs.
    pub fn build(
        &self,
        model: &toml::Table,
        how: &GradientConfig,
        data: &Arc<TrainView>,
        device: Device,
        seed: u64,
    ) -> Result<Box<dyn Trainer>> {
        require!(seed <= i64::MAX as u64, Usage, "`seed` is {seed}: it must be at most {}", i64::MAX);
        (self.build)(model, how, data, device, seed)
    }
}

fn defaults<C: ModelConfig>() -> Result<toml::Table> {
    Ok(toml::Table::try_from(C::default())?)
}

fn resolve<C: ModelConfig>(model: &toml::Table) -> Result<toml::Table> {
    let config: C = read_section("model", model)?;
    config.check()?;
    Ok(toml::Table::try_from(config)?)
}
