//! The two-stage pipeline: candidates by nearest-neighbour search, then a ranker; trained, measured and kept in one folder.
//!
//! The folder holds the runs `candidates` and `ranker`, `items.index`, `pipeline.toml`, and what was measured: `pipeline.json` and
//! `report.html`.

mod config;
mod measure;
mod stages;

use std::path::Path;

use anyhow::{Context, Result};
use rec_ann::{Index, Metric, RawIds};
use rec_core::protocol::Prepared;
use rec_core::train::Trainer;
use rec_data::view::Mask;
use rec_data::{problem, require};

pub use config::{FILE, PipelineConfig};
pub use measure::{Measured, Recall, Timed, measure, page, text};
pub use stages::{Ranked, Spent, Stages};

use crate::config::RunConfig;
use crate::run_folder::write_whole;
use crate::runner::{Bench, keep_file, learned_from, open_data};
use crate::vectors::RunVectors;

/// The folder of the first stage's run.
const CANDIDATES: &str = "candidates";
/// The folder of the second stage's run.
const RANKER: &str = "ranker";
const INDEX: &str = "items.index";

/// A trained pipeline.
pub struct Pipeline {
    /// The trained first stage.
    pub candidates: Box<dyn Trainer>,
    /// The trained second stage.
    pub ranker: Box<dyn Trainer>,
    /// Over the items' vectors.
    pub index: Box<dyn Index>,
    /// The data, as the first stage's protocol prepares it.
    pub prepared: Prepared,
    /// The first stage's run.
    pub run: RunConfig,
    /// The pipeline's config.
    pub config: PipelineConfig,
}

impl Pipeline {
    /// Trains both stages in `folder` and builds the index, or goes on where it was cut off; what is finished is not repeated.
    ///
    /// # Errors
    /// those of data, training and disk; a usage problem where the folder holds another pipeline, or the first stage has no vectors.
    pub fn train(config: PipelineConfig, folder: &Path, bench: &Bench) -> Result<Self> {
        let dataset = open_data(&config.candidates.0.protocol, &bench.folders, config.file.as_ref())?;
        for (label, (run, origins)) in [(CANDIDATES, &config.candidates), (RANKER, &config.ranker)] {
            let path = folder.join(label);
            if let Some(file) = &config.file {
                keep_file(file, run, origins, &dataset, &path)?;
            }
            bench.run(label, run, origins, &dataset, &path)?;
        }
        write_whole(&folder.join(FILE), toml::to_string(&config.table)?.as_bytes())?;
        let (trainer, prepared, run) = bench.load(&folder.join(CANDIDATES))?;
        let vectors = RunVectors::of_products(trainer.model(), learned_from(&run, &prepared))?;
        let no_products = || problem!(Usage, "the scores of `{}` are no products of vectors: it cannot be a first stage", run.name);
        let items = vectors.ok_or_else(no_products)?.items;
        let index = config.index.build(&items.values, items.dim, Metric::InnerProduct).map_err(|e| problem!(Data, "the index: {e:#}"))?;
        let ids: RawIds = items.ids.iter().map(String::as_str).collect();
        index.save_with_ids(&folder.join(INDEX), Some(&ids))?;
        Self::load(folder, bench)
    }

    /// The pipeline in `folder`.
    ///
    /// # Errors
    /// a usage problem where there is none that is finished; a data problem where the index is damaged or another model's.
    pub fn load(folder: &Path, bench: &Bench) -> Result<Self> {
        let config = PipelineConfig::read(&folder.join(FILE), &[], bench.registry)?;
        let (candidates, prepared, run) = bench.load(&folder.join(CANDIDATES))?;
        let (ranker, _, _) = bench.load(&folder.join(RANKER)).context("the ranker")?;
        let index = rec_ann::open(folder.join(INDEX)).map_err(|e| problem!(Data, "{e:#}"))?;
        let (indexed, items) = (index.len(), candidates.model().num_items());
        require!(indexed == items, Data, "the index has {indexed} items and the model {items}: build it again by `rec-bench pipeline`");
        let ranked = ranker.model().num_items();
        require!(
            ranked == items,
            Usage,
            "`{}` ranks no items: a ranker scores items, and a model of labels does where all its fields are of users, items and histories",
            config.ranker.0.name
        );
        Ok(Self { candidates, ranker, index, prepared, run, config })
    }

    /// The stages, ready for requests.
    pub fn stages(&self) -> Stages<'_> {
        Stages {
            candidates: self.candidates.model(),
            index: self.index.as_ref(),
            ranker: Some(self.ranker.model()),
            num_candidates: self.config.num_candidates,
            drop_seen: self.run.protocol.mask == Mask::Seen,
        }
    }
}

/// Whether `folder` holds a pipeline.
pub fn is_pipeline(folder: &Path) -> bool {
    folder.join(FILE).exists()
}
