//! The config of a pipeline: one file for both stages and the index between them.

use std::path::Path;

use anyhow::{Context, Result};
use rec_ann::IndexConfig;
use rec_core::Registry;
use rec_core::section::{Origins, overlay, read_section, read_section_with};
use rec_data::problem::did_you_mean;
use rec_data::readers::delimited;
use rec_data::{fail, problem, require};
use toml::{Table, Value};

use crate::config::{Layers, RunConfig, setting_of};

/// The name of the file in a pipeline's folder.
pub const FILE: &str = "pipeline.toml";
/// Sections that both stages have in common, each of which a stage may change in part.
const SHARED: [&str; 4] = ["seed", "split", "protocol", "selection"];
/// What a stage's own section holds.
const OWN: [&str; 6] = ["model", "loop", "optimizer", "batch", "protocol", "selection"];
/// The most candidates: more than any ranker is fast enough for.
const MOST: usize = 100_000;

/// A pipeline, checked.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// A file of one's own that both learn from, instead of a data set of the catalogue.
    pub file: Option<delimited::Config>,
    /// How many items the second stage ranks.
    pub num_candidates: usize,
    /// What finds them.
    pub index: IndexConfig,
    /// The run of the first stage, whose scores are products of vectors.
    pub candidates: (RunConfig, Origins),
    /// The run of the second stage.
    pub ranker: (RunConfig, Origins),
    /// The file as it was read, settings over it.
    pub table: Table,
}

impl PipelineConfig {
    /// Reads `path`, `settings` (`key=value`) over it.
    ///
    /// # Errors
    /// an I/O problem, or a usage problem that names the key.
    pub fn read(path: &Path, settings: &[String], registry: &Registry) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| problem!(Usage, "{name}: {e}"))?;
        for setting in settings {
            overlay(&mut table, &setting_of(setting, "num_candidates=200")?, "", "", &mut Origins::new());
        }
        Self::of(table, &name, registry)
    }

    fn of(table: Table, name: &str, registry: &Registry) -> Result<Self> {
        let keys: Vec<&str> = SHARED.into_iter().chain(["file", "num_candidates", "index", "candidates", "ranker"]).collect();
        for key in table.keys() {
            require!(
                keys.contains(&key.as_str()),
                Usage,
                "`{key}` is no key of a pipeline{}; there are {}",
                did_you_mean(key, keys.iter().copied()),
                keys.join(", ")
            );
        }
        let num_candidates = match table.get("num_candidates") {
            None => 200,
            Some(value) => value
                .as_integer()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=MOST).contains(n))
                .ok_or_else(|| problem!(Usage, "`num_candidates` is {value}: it must be a whole number from 1 to {MOST}"))?,
        };
        let index = match table.get("index") {
            None => IndexConfig::Hnsw(rec_ann::HnswConfig::default()),
            Some(Value::Table(index)) => read_section_with("index", index, &[])?,
            Some(_) => fail!(Usage, "`index` must be a section, such as `index = {{ kind = \"hnsw\" }}`"),
        };
        index.check().map_err(|e| problem!(Usage, "[index] {e}"))?;
        let file: Option<delimited::Config> = match table.get("file") {
            None => None,
            Some(Value::Table(file)) => Some(read_section("file", file)?),
            Some(_) => {
                fail!(Usage, "`file` must be a section, such as `file = {{ path = \"clicks.csv\", user = \"user\", item = \"item\" }}`")
            }
        };
        let file = file.map(|file| anyhow::Ok(delimited::Config { path: std::path::absolute(&file.path)?, ..file })).transpose()?;
        let stage = |stage: &str| -> Result<(RunConfig, Origins)> {
            let Some(Value::Table(own)) = table.get(stage) else {
                fail!(Usage, "there is no section `[{stage}]`: it holds a stage's `[{stage}.model]` and how that is trained")
            };
            for key in own.keys() {
                require!(
                    OWN.contains(&key.as_str()),
                    Usage,
                    "`{stage}.{key}` is no key{}; there are {}",
                    did_you_mean(key, OWN),
                    OWN.join(", ")
                );
            }
            let shared: Table =
                table.iter().filter(|(key, _)| SHARED.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
            let mut layers = Layers::default();
            if let Some(file) = &file {
                let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
                layers.add_setting(&format!("protocol.dataset={}", Value::String(format!("file:{stem}"))))?;
            }
            layers.add(&shared, name);
            layers.add(own, &format!("{name} [{stage}]"));
            layers.resolve(registry).with_context(|| format!("[{stage}]"))
        };
        let config = Self {
            file: file.clone(),
            num_candidates,
            index,
            candidates: stage("candidates")?,
            ranker: stage("ranker")?,
            table: table.clone(),
        };
        let config = match &file {
            // The folder is read from anywhere.
            Some(file) => Self { table: with_file(table, file)?, ..config },
            None => config,
        };
        config.check()?;
        Ok(config)
    }

    /// Both stages learn from the same rows and are asked about the same ones.
    fn check(&self) -> Result<()> {
        let (first, second) = (&self.candidates.0, &self.ranker.0);
        require!(first.split == second.split, Usage, "the stages are on different splits: {} and {}", first.split, second.split);
        let (a, b) = (&first.protocol, &second.protocol);
        // What a stage looks at, and what it is judged by, is its own.
        let b = rec_core::protocol::Protocol {
            fields: a.fields.clone(),
            metrics: a.metrics.clone(),
            candidates: a.candidates.clone(),
            relevant_at_least: a.relevant_at_least,
            ..b.clone()
        };
        if let Some((key, here, there)) = a.first_difference(&b) {
            fail!(Usage, "the stages have different protocols: `{key}` of the candidates is {here}, of the ranker {there}");
        }
        let ranks = |stage: &RunConfig| stage.protocol.metrics.iter().any(|m| m.is_ranking());
        require!(ranks(first), Usage, "the candidates' protocol measures no ranking: name a metric such as `ndcg@10`");
        Ok(())
    }
}

/// The table with a description of the file whose path is whole.
fn with_file(mut table: Table, file: &delimited::Config) -> Result<Table> {
    table.insert("file".into(), Value::try_from(file)?);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "num_candidates = 50\n[protocol]\ndataset = \"ml-100k\"\nmetrics = [\"ndcg@10\"]\nsplit = { kind = \"leave-last\", test = 1, valid = 1 }\n\
        [index]\nkind = \"hnsw\"\nm = 8\n[candidates.model]\nname = \"bpr\"\n[ranker.model]\nname = \"fm\"\n[ranker.protocol]\nfields = [{ name = \"item\", from = \"item\" }]\n";

    fn of(text: &str) -> Result<PipelineConfig> {
        PipelineConfig::of(text.parse().expect("TOML"), "file", &crate::models())
    }

    #[test]
    fn a_stage_has_what_is_shared_and_its_own() {
        let config = of(FINE).expect("fine");
        assert_eq!((config.num_candidates, config.candidates.0.name.as_str(), config.ranker.0.name.as_str()), (50, "bpr", "fm"));
        assert_eq!((config.candidates.0.protocol.fields.len(), config.ranker.0.protocol.fields.len()), (0, 1));
        assert_eq!(config.ranker.0.protocol.dataset, "ml-100k");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (from, to, expected) in [
            ("num_candidates = 50", "num_candidate = 50", "did you mean `num_candidates`"),
            ("num_candidates = 50", "num_candidates = 0", "from 1 to"),
            ("m = 8", "mm = 8", "[index]"),
            ("m = 8", "m = 1", "[index]"),
            ("[ranker.model]", "[rankers.model]", "did you mean `ranker`"),
            ("[ranker.protocol]", "[ranker.protocols]", "did you mean `protocol`"),
            ("name = \"bpr\"", "name = \"bprr\"", "did you mean `bpr`"),
            ("[ranker.protocol]", "[ranker.protocol]\nmask = \"nothing\"", "`mask`"),
            ("\"ndcg@10\"", "\"auc\"", "measures no ranking"),
        ] {
            let error = of(&FINE.replace(from, to)).expect_err(to);
            assert!(format!("{error:#}").contains(expected), "{to}: {error:#}");
            assert_eq!(rec_data::Kind::exit_code_of(&error), 2, "{to}");
        }
    }
}
