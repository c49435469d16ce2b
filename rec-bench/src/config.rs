//! The config of a run: defaults < file < environment < `--set`, with the origin of each value.

use std::path::Path;

use anyhow::{Context, Result};
use rec_core::Registry;
use rec_core::protocol::{Protocol, Selection};
use rec_core::section::{overlay, read_section, read_section_with};
use rec_core::train::{GradientConfig, LoopConfig};
use rec_data::problem::did_you_mean;
use rec_data::{fail, problem, require};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Decides initial values, order, negatives, dropout.
    pub seed: u64,
    /// Which of the protocol's split seeds.
    pub split: usize,
    /// Folders of finished runs whose parameters the training starts from; a relative one lies beside the run's own folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<String>,
    /// Folder of a finished run whose trained model is ranked under this run's protocol, instead of training one; a relative one lies
    /// beside the run's own folder.
    pub ranks: Option<String>,
    /// The model's name.
    pub name: String,
    /// Its hyper-parameters.
    pub model: Table,
    /// Epochs and stopping.
    #[serde(rename = "loop")]
    pub looping: LoopConfig,
    /// Optimizer and batches of a gradient model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient: Option<GradientConfig>,
    /// What picks the epoch.
    pub selection: Selection,
    /// What makes the number comparable.
    pub protocol: Protocol,
}

pub use rec_core::section::Origins;

/// Layers of a config, not yet checked against a model.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: Table,
    origins: Origins,
}

/// The sections of a config file, and what is in the top level.
const KEYS: [&str; 10] = ["seed", "split", "start", "ranks", "model", "loop", "optimizer", "batch", "selection", "protocol"];
/// Environment variables that set values: `REC_SET_MODEL__EMBEDDING_SIZE=32`.
const ENVIRONMENT: &str = "REC_SET_";

impl Layers {
    /// Adds a table over what is there.
    pub fn add(&mut self, table: &Table, origin: &str) {
        overlay(&mut self.values, table, "", origin, &mut self.origins);
    }

    /// Adds other layers over what is there, each value with the origin it has.
    pub fn add_layers(&mut self, over: &Layers) {
        overlay(&mut self.values, &over.values, "", "", &mut Origins::new());
        self.origins.extend(over.origins.clone());
    }

    /// Adds a TOML file.
    ///
    /// # Errors
    /// an I/O problem, or a usage problem that names file, line and text.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        let table: Table = text.parse().map_err(|e: toml::de::Error| problem!(Usage, "{name}: {e}"))?;
        self.add(&table, &name);
        Ok(())
    }

    /// Adds the environment's values.
    ///
    /// # Errors
    /// a usage problem where a name is no path of keys, or is not UTF-8, or its value is not.
    pub fn add_environment(&mut self) -> Result<()> {
        let mut variables = Vec::new();
        for (name, text) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(ENVIRONMENT)) {
            match (name.to_str(), text.to_str()) {
                (Some(name), Some(text)) => variables.push((name.to_owned(), text.to_owned())),
                _ => fail!(Usage, "{} is {}, which is not UTF-8", name.to_string_lossy(), text.to_string_lossy()),
            }
        }
        variables.sort();
        for (name, text) in variables {
            let path = name[ENVIRONMENT.len()..].to_lowercase().replace("__", ".");
            self.add(&value_at(&path, &text)?, &name);
        }
        Ok(())
    }

    /// Adds `key=value`.
    ///
    /// # Errors
    /// a usage problem where there is no `=`, or the key is not a path.
    pub fn add_setting(&mut self, setting: &str) -> Result<()> {
        self.add(&setting_of(setting, "model.embedding_size=32")?, "--set");
        Ok(())
    }

    /// The model's name, where one is set.
    pub fn model_name(&self) -> Option<&str> {
        self.values.get("model")?.get("name")?.as_str()
    }

    /// Whether a value lies at `path`.
    pub fn has(&self, path: &str) -> bool {
        let mut parts = path.split('.');
        let first = parts.next().and_then(|p| self.values.get(p));
        parts.fold(first, |value, part| value.and_then(|v| v.get(part))).is_some()
    }

    /// The checked config, every default filled in, and the origin of each value.
    ///
    /// # Errors
    /// a usage problem that names the key, what it may be, and the nearest known one.
    pub fn resolve(&self, registry: &Registry) -> Result<(RunConfig, Origins)> {
        for key in self.values.keys() {
            require!(
                KEYS.contains(&key.as_str()),
                Usage,
                "`{key}` is no section of a config{}; there are {}",
                did_you_mean(key, KEYS),
                KEYS.join(", ")
            );
        }
        let section = |name: &str| -> Result<Table> {
            match self.values.get(name) {
                None => Ok(Table::new()),
                Some(Value::Table(table)) => Ok(table.clone()),
                Some(other) => fail!(Usage, "`{name}` is of type {}, it must be a section: `[{name}]`", other.type_str()),
            }
        };
        let number = |name: &str, default: i64| -> Result<u64> {
            let value = self.values.get(name).map_or(Some(default), Value::as_integer);
            value.and_then(|v| u64::try_from(v).ok()).ok_or_else(|| problem!(Usage, "`{name}` must be a whole number, at least 0"))
        };
        let start = match self.values.get("start").cloned().map(Value::try_into) {
            None => Vec::new(),
            Some(Ok(start)) => start,
            Some(Err(_)) => fail!(Usage, "`start` must be a list of run folders, such as `[\"gmf\", \"mlp\"]`"),
        };
        let ranks = match self.values.get("ranks") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => fail!(Usage, "`ranks` must be the folder of a finished run, such as `\"../ml-1m-sasrec/bert4rec\"`"),
        };
        let mut model = section("model")?;
        let name = match model.remove("name") {
            Some(Value::String(name)) => name,
            Some(_) => fail!(Usage, "`model.name` must be a model's name in quotes"),
            None => fail!(
                Usage,
                "no model is named: `--model NAME`, or `name = \"…\"` in `[model]`; there are {}",
                registry.names().collect::<Vec<_>>().join(", ")
            ),
        };
        let entry = registry.get(&name)?;
        let gradient = if entry.by_gradients {
            Some(GradientConfig {
                optimizer: read_section("optimizer", &section("optimizer")?)?,
                batch: read_section("batch", &section("batch")?)?,
            })
        } else {
            for key in ["optimizer", "batch"] {
                require!(
                    !self.values.contains_key(key),
                    Usage,
                    "`{name}` does not learn by gradients: `[{key}]` would be ignored, so leave it out"
                );
            }
            None
        };
        if let Some(gradient) = &gradient {
            gradient.optimizer.check()?;
        }
        let looping: LoopConfig = read_section("loop", &section("loop")?)?;
        looping.check()?;
        let selection = read_section_with("selection", &section("selection")?, &["by", "nested", "candidates", "retrain"])?;
        let protocol = section("protocol")?;
        require!(
            !protocol.is_empty(),
            Usage,
            "no data is named: `--dataset ID`, or `[protocol]` in a file; `rec-bench data list` tells what there is"
        );
        let protocol = read_section_with(
            "protocol",
            &protocol,
            &[
                "version",
                "dataset",
                "content_hash",
                "filters",
                "split",
                "questions",
                "split_seeds",
                "relevant_at_least",
                "mask",
                "candidates",
                "drop_cold",
                "metrics",
                "ties",
            ],
        )?;
        check_metrics(&protocol)?;
        let config = RunConfig {
            seed: number("seed", 1)?,
            split: number("split", 0)? as usize,
            start,
            ranks,
            model: entry.resolve(&model)?,
            name,
            looping,
            gradient,
            selection,
            protocol,
        };
        let mut origins = Origins::new();
        let resolved = Table::try_from(config.layout()?)?;
        overlay(&mut Table::new(), &resolved, "", "default", &mut origins);
        for (path, origin) in &mut origins {
            if let Some(set) = self.origins.get(path) {
                origin.clone_from(set);
            }
        }
        Ok((config, origins))
    }
}

impl RunConfig {
    /// The config as a file would hold it: `[model]` with its name, `[optimizer]`, `[batch]`.
    ///
    /// # Errors
    /// where a value cannot be written as TOML.
    pub fn layout(&self) -> Result<Table> {
        let mut table = Table::new();
        table.insert("seed".into(), Value::Integer(self.seed as i64));
        table.insert("split".into(), Value::Integer(self.split as i64));
        if !self.start.is_empty() {
            table.insert("start".into(), Value::try_from(&self.start)?);
        }
        if let Some(ranks) = &self.ranks {
            table.insert("ranks".into(), Value::String(ranks.clone()));
        }
        let mut model = Table::new();
        model.insert("name".into(), Value::String(self.name.clone()));
        model.extend(self.model.clone());
        table.insert("model".into(), Value::Table(model));
        table.insert("loop".into(), Value::try_from(&self.looping)?);
        if let Some(gradient) = &self.gradient {
            table.insert("optimizer".into(), Value::try_from(&gradient.optimizer)?);
            // The batches' seed is the run's.
            let mut batch = Table::try_from(&gradient.batch)?;
            batch.remove("seed");
            table.insert("batch".into(), Value::Table(batch));
        }
        table.insert("selection".into(), Value::try_from(&self.selection)?);
        table.insert("protocol".into(), Value::try_from(&self.protocol)?);
        Ok(table)
    }

    /// sha256 of all that decides the run's numbers, in hexadecimal: checkpoints are no part of it.
    ///
    /// # Errors
    /// where a value cannot be written as TOML.
    pub fn hash(&self) -> Result<String> {
        use sha2::Digest;
        let mut table = self.layout()?;
        if let Some(Value::Table(looping)) = table.get_mut("loop") {
            looping.remove("checkpoint_seconds");
        }
        let text = toml::to_string(&table)?;
        Ok(sha2::Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// `key=value`, with dots between nested keys, as a table; `example` is a right one.
///
/// # Errors
/// as [`Layers::add_setting`].
pub(crate) fn setting_of(setting: &str, example: &str) -> Result<Table> {
    let Some((path, text)) = setting.split_once('=') else { fail!(Usage, "`--set {setting}` is not key=value, such as `--set {example}`") };
    value_at(path.trim(), text.trim())
}

/// A table that has the value at a path of keys. A bare word is a string: `model.name=bpr`.
fn value_at(path: &str, text: &str) -> Result<Table> {
    let value = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| Value::String(text.into()));
    let mut parts = path.rsplit('.');
    let mut nested = Table::from_iter([(parts.next().unwrap_or_default().to_owned(), value)]);
    for part in parts {
        nested = Table::from_iter([(part.to_owned(), Value::Table(nested))]);
    }
    require!(path.split('.').all(|part| !part.is_empty()), Usage, "`{path}` is not a path of keys, such as `model.embedding_size`");
    Ok(nested)
}

/// The config as TOML, with the origin of each value that is not a default beside it.
///
/// # Errors
/// where a value cannot be written as TOML.
pub fn annotated(config: &RunConfig, origins: &Origins) -> Result<String> {
    let mut out = String::new();
    let mut section = String::new();
    for line in toml::to_string(&config.layout()?)?.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']).to_owned();
        }
        let path = line.split_once(" = ").map(|(key, _)| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        match path.and_then(|p| origins.get(&p)).filter(|origin| *origin != "default") {
            Some(origin) => out.push_str(&format!("{line}  # {origin}\n")),
            None => out.push_str(&format!("{line}\n")),
        }
    }
    Ok(out)
}

/// A metric that stands twice would be two columns of one name in the users' file.
fn check_metrics(protocol: &Protocol) -> Result<()> {
    require!(!protocol.metrics.is_empty(), Usage, "[protocol] metrics is empty: name at least one, such as `ndcg@10`");
    for (at, metric) in protocol.metrics.iter().enumerate() {
        require!(!protocol.metrics[..at].contains(metric), Usage, "[protocol] metrics has `{metric}` twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::default();
        layers.add(&text.parse().expect("TOML"), "file.toml");
        layers
    }

    const BASE: &str = "[model]\nname = \"bpr\"\n[protocol]\ndataset = \"ml-100k\"\nmetrics = [\"ndcg@10\"]\nsplit = { kind = \"leave-last\", test = 1, valid = 1 }\n";

    #[test]
    fn later_layers_win_and_say_so() {
        let mut layers = layers(BASE);
        layers.add_setting("model.embedding_size=32").expect("a setting");
        layers.add_setting("optimizer.rule.name=adagrad").expect("a setting");
        let (config, origins) = layers.resolve(&crate::models()).expect("a fine config");
        assert_eq!(config.model["embedding_size"].as_integer(), Some(32));
        assert_eq!(
            (origins["model.embedding_size"].as_str(), origins["model.name"].as_str(), origins["seed"].as_str()),
            ("--set", "file.toml", "default")
        );
        assert!(annotated(&config, &origins).expect("TOML").contains("embedding_size = 32  # --set\n"));
    }

    #[test]
    fn every_misspelling_is_an_error_with_the_nearest_name() {
        let registry = crate::models();
        for (setting, expected) in [
            ("model.embeding_size=3", "did you mean `embedding_size`"),
            ("modell.x=3", "did you mean `model`"),
            ("loop.epoch=3", "did you mean `epochs`"),
            ("optimizer.learning_rat=3", "did you mean `learning_rate`"),
            ("batch.batchsize=3", "did you mean `batch_size`"),
            ("protocol.metric=3", "did you mean `metrics`"),
            ("protocol.metrics=[\"ndgc@10\"]", "did you mean `ndcg`"),
            ("model.name=bprr", "did you mean `bpr`"),
            ("model.embedding_size=\"many\"", "[model] embedding_size"),
            ("model.embedding_size=0", "it must be at least 1"),
            ("seed=-1", "at least 0"),
            ("start=gmf", "`start` must be a list of run folders"),
            ("ranks=3", "`ranks` must be the folder of a finished run"),
        ] {
            let mut layers = layers(BASE);
            layers.add_setting(setting).expect("a setting");
            let error = layers.resolve(&registry).expect_err(setting);
            assert!(error.to_string().contains(expected), "{setting}: {error}");
            assert_eq!(rec_data::Kind::exit_code_of(&error), 2, "{setting}");
        }
    }

    #[test]
    fn an_option_that_is_absent_by_default_is_a_key_however_near_it_is_to_another() {
        for setting in ["batch.positives=by-user", "batch.session_order=shuffled"] {
            let mut layers = layers(BASE);
            layers.add_setting(setting).expect("a setting");
            layers.resolve(&crate::models()).expect(setting);
        }
    }

    #[test]
    fn a_section_that_would_be_ignored_is_refused() {
        let mut layers = layers(BASE);
        layers.add_setting("model.name=ease").expect("a setting");
        layers.add_setting("optimizer.learning_rate=0.1").expect("a setting");
        let error = layers.resolve(&crate::models()).expect_err("ignored");
        assert!(error.to_string().contains("would be ignored"), "{error}");
    }

    #[test]
    fn the_printed_config_gives_the_same_run() {
        let (config, origins) = layers(BASE).resolve(&crate::models()).expect("a fine config");
        let (again, _) = layers(&annotated(&config, &origins).expect("TOML")).resolve(&crate::models()).expect("a fine config");
        assert_eq!(config, again);
        assert_eq!(config.hash().expect("hashes"), again.hash().expect("hashes"));
    }
}
