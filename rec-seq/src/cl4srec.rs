//! CL4SRec: SASRec that also learns to tell its users apart by two views of each. Xie et al., Contrastive Learning for Sequential
//! Recommendation, ICDE 2022, arXiv:2010.14395.
//!
//! The paper's similarity is the dot product; the default here is the cosine, as in SimCLR, which later code takes: `contrastive` names
//! either. Both views come of one sequence without its last item, which is the target, and each by one augmentation of its own draw.

use std::sync::Arc;

use anyhow::Result;
use rec_core::loss::{Loss, LossConfig, LossInput, Similarity, Strangers};
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::{Init, Mean, Params};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::require;
use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::augment::Augmentation;
use crate::check_share;
use crate::sasrec::{SasRec, SasRecConfig};
use crate::transformer::last_rows;

/// Hyper-parameters. The paper searched each ratio from .1 to .9 and the weight from 0 to .5; the defaults are those of later code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cl4SRecConfig {
    /// The encoder, and the loss of the next item.
    pub backbone: SasRecConfig,
    /// What views are made by, each equally likely.
    pub augmentations: Vec<Augmentation>,
    /// η, the share of a sequence that a crop keeps.
    pub crop_ratio: f64,
    /// γ, the share of items that a mask hides.
    pub mask_ratio: f64,
    /// β, the share of a sequence that is reordered.
    pub reorder_ratio: f64,
    /// λ, the weight of the contrastive loss; 0 is SASRec.
    pub contrastive_weight: f64,
    /// How views are told apart: `info-nce` or `contrastive`.
    pub contrastive: LossConfig,
}

impl Default for Cl4SRecConfig {
    fn default() -> Self {
        Self {
            backbone: SasRecConfig::default(),
            augmentations: vec![Augmentation::Crop, Augmentation::Mask, Augmentation::Reorder],
            crop_ratio: 0.6,
            mask_ratio: 0.3,
            reorder_ratio: 0.6,
            contrastive_weight: 0.1,
            contrastive: LossConfig::InfoNce { temperature: 1.0, similarity: Similarity::Cosine, negatives: Strangers::AllViews },
        }
    }
}

impl ModelConfig for Cl4SRecConfig {
    fn check(&self) -> Result<()> {
        self.backbone.check()?;
        self.contrastive.check()?;
        require!(!self.augmentations.is_empty(), Usage, "`augmentations` is empty: name at least one of crop, mask, reorder");
        for (key, ratio) in [("crop_ratio", self.crop_ratio), ("mask_ratio", self.mask_ratio), ("reorder_ratio", self.reorder_ratio)] {
            check_share(key, ratio)?;
        }
        let weight = self.contrastive_weight;
        require!(weight >= 0.0 && weight.is_finite(), Usage, "`contrastive_weight` is {weight}: it must be at least 0");
        require!(
            matches!(self.contrastive, LossConfig::InfoNce { .. } | LossConfig::Contrastive { .. }),
            Usage,
            "`contrastive` must be `info-nce` or `contrastive`: the others do not judge two views"
        );
        Ok(())
    }
}

/// SASRec's loss + λ · the contrastive loss of two views of each sequence.
pub struct Cl4SRec {
    config: Cl4SRecConfig,
    sasrec: SasRec,
    /// What stands where an item is hidden, `[1, d]`.
    mask: Tensor,
    alignment: Mean,
    uniformity: Mean,
}

impl Model for Cl4SRec {
    type Config = Cl4SRecConfig;
    type Batch = SequencesBatch;

    fn new(config: &Cl4SRecConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let sasrec = SasRec::new(&config.backbone, data, params)?;
        let d = config.backbone.embedding_size;
        // As one more item's vector would start.
        let init = match config.backbone.init_std {
            Some(std) => Init::Normal { std },
            None => Init::Uniform { bound: (6.0 / (data.num_items() + d) as f64).sqrt() },
        };
        Ok(Self {
            config: config.clone(),
            sasrec,
            mask: params.dense("mask_embedding", &[1, d], init)?,
            alignment: params.mean("alignment"),
            uniformity: params.mean("uniformity"),
        })
    }

    fn shape_batches(config: &Cl4SRecConfig, options: &mut BatchOptions) {
        SasRec::shape_batches(&config.backbone, options);
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let next_item = self.sasrec.loss(batch)?;
        if self.config.contrastive_weight == 0.0 {
            return Ok(next_item);
        }
        let of_views = self.contrastive_loss(&self.views(batch))?;
        Ok(next_item + of_views * self.config.contrastive_weight)
    }
}

impl Cl4SRec {
    /// The first views of all sequences, then the second ones.
    fn views(&self, batch: &SequencesBatch) -> Vec<Vec<Option<u32>>> {
        let view = |side: u64, b: usize| {
            let mut rng = Rng::keyed(batch.keys[b], Stream::Views, 0, side);
            let augmentation = self.config.augmentations[rng.below(self.config.augmentations.len() as u32) as usize];
            let ratio = match augmentation {
                Augmentation::Crop => self.config.crop_ratio,
                Augmentation::Mask => self.config.mask_ratio,
                Augmentation::Reorder => self.config.reorder_ratio,
            };
            augmentation.apply(&batch.items[batch.starts[b]..batch.starts[b + 1] - 1], ratio, &mut rng)
        };
        (0..2).flat_map(|side| (0..batch.users.len()).map(move |b| (side, b))).map(|(side, b)| view(side, b)).collect()
    }

    /// The contrastive loss of views, `views[b]` and `views[b + B]` being of one sequence.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn contrastive_loss(&self, views: &[Vec<Option<u32>>]) -> Result<Tensor> {
        let mut starts = vec![0];
        views.iter().for_each(|view| starts.push(starts[starts.len() - 1] + view.len()));
        let shown: Vec<u32> = views.iter().flatten().flatten().copied().collect();
        // Rows of the shown items, and the mask's behind them.
        let mut next = 0..shown.len() as i64;
        let hidden = shown.len() as i64;
        let places: Vec<i64> = views.iter().flatten().map(|item| item.and_then(|_| next.next()).unwrap_or(hidden)).collect();
        let rows = Tensor::f_cat(&[&self.sasrec.items().rows(&shown)?, &self.mask], 0)?;
        let vectors = rows.f_index_select(0, &Tensor::from_slice(&places).f_to_device(rows.device())?)?;
        let starts = Arc::new(starts);
        let last = last_rows(&self.sasrec.encode(vectors, &starts, true)?, &starts)?;
        let half = views.len() as i64 / 2;
        let (left, right) = (last.f_narrow(0, 0, half)?, last.f_narrow(0, half, half)?);
        self.watch(&left.f_detach()?, &right.f_detach()?)?;
        self.config.contrastive.loss(&LossInput::Views { left: &left, right: &right })
    }

    /// Alignment and uniformity of the epoch so far; absent before its first step.
    pub fn watched(&self) -> [Option<f64>; 2] {
        [self.alignment.value(), self.uniformity.value()]
    }

    /// Alignment, mean ‖a − b‖² of two views of a sequence, and uniformity, ln mean exp(−2 ‖a − a′‖²) over pairs of sequences, of vectors
    /// of length 1. Wang and Isola, ICML 2020, arXiv:2005.10242.
    fn watch(&self, left: &Tensor, right: &Tensor) -> Result<()> {
        let unit = |x: &Tensor| -> Result<Tensor> { Ok(x / x.f_norm_scalaropt_dim(2.0, [1i64], true)?.f_clamp_min(1e-12)?) };
        let (left, right) = (unit(left)?, unit(right)?);
        let apart = (&left - &right).f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        self.alignment.add(apart / left.size()[0] as f64);
        if left.size()[0] > 1 {
            let uniform = |x: &Tensor| -> Result<f64> {
                Ok(((x.f_pdist(2.0)?.f_square()? * -2.0).f_exp()?.f_mean(Kind::Double)?.f_double_value(&[])?).ln())
            };
            self.uniformity.add((uniform(&left)? + uniform(&right)?) / 2.0);
        }
        Ok(())
    }
}

impl Score for Cl4SRec {
    fn num_items(&self) -> usize {
        self.sasrec.num_items()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        self.sasrec.score(users)
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        self.sasrec.item_vectors()
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
