//! Deep interest network: what the user did before, each past item weighted by what it has to do with the item asked about. Zhou et al., KDD
//! 2018, arXiv:1706.06978.

use anyhow::Result;
use rec_core::model::ModelConfig;
use rec_core::{Init, Params};
use rec_data::fields::LabelledRows;
use rec_data::require;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::activation::{Activation, Activations};
use crate::embedding::{Embedding, Taken};
use crate::layers::{Dense, check_hidden_sizes};
use crate::lists::{List, targets};
use crate::{Clicks, Network, check_above_0, check_size};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DinConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Units of the hidden layers that weigh a past item.
    pub attention_sizes: Vec<usize>,
    /// What those layers go through.
    pub attention_activation: Activation,
    /// Units of the hidden layers over all fields.
    pub hidden_sizes: Vec<usize>,
    /// What those layers go through.
    pub activation: Activation,
    /// λ of the mini-batch aware penalty λ/2 Σ ‖v_j‖²/n_j over the features j of the batch, n_j being the training rows that have j (eq. 6).
    pub embedding_l2: f64,
    /// Standard deviation of the vectors' initial values.
    pub init_std: f64,
}

impl Default for DinConfig {
    fn default() -> Self {
        Self {
            embedding_size: 16,
            attention_sizes: vec![80, 40],
            attention_activation: Activation::Dice,
            hidden_sizes: vec![200, 80],
            activation: Activation::Dice,
            embedding_l2: 0.0,
            init_std: 0.01,
        }
    }
}

impl ModelConfig for DinConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_hidden_sizes(&self.attention_sizes)?;
        check_hidden_sizes(&self.hidden_sizes)?;
        require!(
            self.embedding_l2 >= 0.0 && self.embedding_l2.is_finite(),
            Usage,
            "`embedding_l2` is {}: it must be at least 0",
            self.embedding_l2
        );
        check_above_0("init_std", self.init_std)
    }
}

/// Deep interest network.
pub type Din = Clicks<DinNetwork>;

/// Its parameters.
pub struct DinNetwork {
    vectors: Embedding,
    /// For each history the item's place among the fields, and what weighs a past item.
    interests: Vec<(usize, ActivationUnit)>,
    deep: Layers,
    embedding_l2: f64,
    /// n_j; empty where nothing is penalised.
    counts: Vec<u32>,
}

/// a(h, t): how much a past item h counts where the item t is asked about, from [t; h; t − h; t ⊙ h]. Weights are not normalised (section 4.3).
struct ActivationUnit(Layers);

/// Layers with activations, and one output.
struct Layers {
    hidden: Vec<(Dense, Activations)>,
    output: Dense,
}

impl Layers {
    fn new(name: &str, inputs: usize, sizes: &[usize], activation: Activation, params: &mut Params) -> Result<Self> {
        let mut hidden = Vec::new();
        let mut size = inputs;
        for (at, &next) in sizes.iter().enumerate() {
            let name = format!("{name}_{}", at + 1);
            hidden.push((Dense::new(&name, size, next, params)?, Activations::new(activation, &name, next, params)?));
            size = next;
        }
        Ok(Self { hidden, output: Dense::new(&format!("{name}_output"), size, 1, params)? })
    }

    /// # Shapes
    /// `[n, inputs]` to `[n, 1]`
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let mut z = x.shallow_clone();
        for (layer, activation) in &self.hidden {
            z = activation.of(&layer.of(&z)?)?;
        }
        self.output.of(&z)
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        self.hidden.iter().flat_map(|(_, activation)| activation.carried()).collect()
    }
}

impl ActivationUnit {
    /// The weighted sum of each row's past items.
    ///
    /// # Shapes
    /// `targets` `[B, d]`, returns the same
    fn interest(&self, targets: &Tensor, past: &List) -> Result<Tensor> {
        if past.vectors.size()[0] == 0 {
            return Ok(targets.f_zeros_like()?);
        }
        let (t, h) = (targets.f_index_select(0, &past.rows)?, &past.vectors);
        let weights = self.0.of(&Tensor::f_cat(&[&t, h, &(&t - h), &(&t * h)], 1)?)?;
        past.sum(&(weights * h))
    }
}

impl Network for DinNetwork {
    type Config = DinConfig;
    const LISTS: bool = true;

    fn new(config: &DinConfig, rows: &LabelledRows, params: &mut Params) -> Result<Self> {
        let (fields, d) = (rows.encoders(), config.embedding_size);
        let targets = targets("din", fields)?;
        let vectors = Embedding::beside_lists("vectors", fields, d, Init::Normal { std: config.init_std }, params)?;
        let mut interests = Vec::new();
        for (at, target) in targets.into_iter().enumerate() {
            let name = format!("attention_{}", at + 1);
            let unit = Layers::new(&name, 4 * d, &config.attention_sizes, config.attention_activation, params)?;
            interests.push((target, ActivationUnit(unit)));
        }
        let inputs = (vectors.num_fields() + interests.len()) * d;
        let deep = Layers::new("deep", inputs, &config.hidden_sizes, config.activation, params)?;
        let counts = if config.embedding_l2 > 0.0 { rows.feature_counts() } else { Vec::new() };
        Ok(Self { vectors, interests, deep, embedding_l2: config.embedding_l2, counts })
    }

    fn logits(&self, rows: &Taken) -> Result<Tensor> {
        let vectors = self.vectors.of(rows)?;
        let mut seen = vec![vectors.f_flatten(1, -1)?];
        for ((target, unit), history) in self.interests.iter().zip(&rows.batch.histories) {
            let past = List::new(history, &self.vectors.table, rows)?;
            seen.push(unit.interest(&vectors.f_select(1, *target as i64)?, &past)?);
        }
        Ok(self.deep.of(&Tensor::f_cat(&seen, 1)?)?.f_squeeze_dim(1)?)
    }

    fn penalty(&self, rows: &Taken) -> Result<Option<Tensor>> {
        if self.embedding_l2 == 0.0 {
            return Ok(None);
        }
        let mut features = rows.features().to_vec();
        rows.batch.histories.iter().for_each(|history| features.extend_from_slice(history.columns()));
        features.sort_unstable();
        features.dedup();
        let weights: Vec<f32> = features.iter().map(|&j| 1.0 / self.counts[j as usize].max(1) as f32).collect();
        let weights = Tensor::from_slice(&weights).f_to_device(rows.device())?;
        let squares = self.vectors.table.rows(&features)?.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        Ok(Some(squares.f_mul(&weights)?.f_sum(None::<Kind>)? * (0.5 * self.embedding_l2)))
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        self.interests.iter().flat_map(|(_, unit)| unit.0.carried()).chain(self.deep.carried()).collect()
    }
}
