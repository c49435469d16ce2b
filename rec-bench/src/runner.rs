//! One run: data, training, selection, test metrics, all written to the run's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rec_core::Registry;
use rec_core::eval::{Evaluation, Metric, Reliability, evaluate};
use rec_core::events::{Clock, Event, Events, Sink};
use rec_core::model::Score;
use rec_core::protocol::{JudgedBy, Prepared, Protocol};
use rec_core::state::StateReader;
use rec_core::tch::Device;
use rec_core::tensorboard::{EventWriter, HparamValue, SessionStatus, fenced, flatten_hparams};
use rec_core::train::{GradientConfig, Interrupt, Judge, LoopConfig, Outcome, Trainer, train};
use rec_data::dataset::{Dataset, Folders};
use rec_data::{fail, problem, require};

use crate::config::{Origins, RunConfig};
use crate::environment::Environment;
use crate::map::{Items, write_vectors};
use crate::report;
use crate::run_folder::{RunFolder, RunResult};
use crate::sinks::{Board, Lines, Progress};

/// What runs share.
pub struct Bench<'a> {
    /// The models.
    pub registry: &'a Registry,
    /// Where data lies.
    pub folders: Folders,
    /// Where tensors live.
    pub device: Device,
    /// Set by Ctrl-C.
    pub interrupt: Interrupt,
    /// Whether TensorBoard files are written.
    pub board: bool,
}

/// The state of a training that a judge or the last epoch picked, the first that is there.
const PICKED: [&str; 2] = ["checkpoints/best.safetensors", "checkpoints/last.safetensors"];
/// The description of a user's own file.
const OWN_FILE: &str = "data.toml";
/// The state of a training on all of train.
const RETRAINED: &str = "checkpoints/all-of-train/last.safetensors";

/// Opens the protocol's data.
///
/// # Errors
/// as [`rec_data::dataset::open`].
pub fn open_data(protocol: &Protocol, folders: &Folders, file: Option<&rec_data::readers::delimited::Config>) -> Result<Dataset> {
    match file {
        Some(file) => rec_data::dataset::open_file(file, folders),
        None => rec_data::dataset::open(&protocol.dataset, folders),
    }
}

/// Keeps the description of a user's own file beside the config of the run in `path`, so that the run can be loaded.
///
/// # Errors
/// a usage problem where the folder holds another run, which keeps its own description; an I/O problem.
pub fn keep_file(
    file: &rec_data::readers::delimited::Config,
    config: &RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    path: &Path,
) -> Result<()> {
    let config = RunConfig { protocol: config.protocol.of(dataset)?, ..config.clone() };
    RunFolder::open(path, &config, origins)?.write(OWN_FILE, toml::to_string(file)?.as_bytes())
}

impl Bench<'_> {
    /// Runs `config` on `dataset` in `folder`, or goes on where it was cut off; a finished run is read, not repeated.
    ///
    /// # Errors
    /// those of data, training, evaluation and disk.
    pub fn run(&self, label: &str, config: &RunConfig, origins: &Origins, dataset: &Dataset, path: &Path) -> Result<RunResult> {
        let mut config = config.clone();
        config.protocol = config.protocol.of(dataset)?;
        let folder = RunFolder::open(path, &config, origins)?;
        if let Some(result) = folder.result()? {
            return Ok(result);
        }
        let clock = Clock::new();
        let environment = Environment::now(&device_name(self.device));
        folder.write_json("env.json", &environment)?;
        let prepared = config.protocol.prepare(dataset, config.split, &config.selection)?;
        let mut events = Events::default();
        events.add(Box::new(Progress::new(label)));
        for warning in &prepared.split.warnings {
            events.send(&Event::Note(warning))?;
        }
        let (trainer, outcome) = match &config.ranks {
            None => self.fit(&config, &prepared, &folder, events)?,
            Some(source) => self.trained_for(source, &config, &folder)?,
        };
        let test = Clock::new();
        let learned = learned_from(&config, &prepared);
        // A protocol may measure rankings, ratings and labels; a model is measured where it can be.
        let model = trainer.model();
        let can = |m: &&Metric| match m {
            m if m.is_rating() => model.pair_score().is_some(),
            m if m.is_of_labels() => model.label_score().is_some_and(|p| p.gives_odds() || m.is_of_label_order()),
            _ => model.num_items() > 0,
        };
        let metrics: Vec<Metric> = config.protocol.metrics.iter().filter(can).copied().collect();
        require!(!metrics.is_empty(), Usage, "`{}` predicts nothing that the protocol measures", config.name);
        let evaluation = evaluate(trainer.model(), &prepared.views.test, learned, &metrics)?;
        let result = RunResult {
            config_hash: config.hash()?,
            protocol_hash: config.protocol.hash(),
            content_hash: dataset.content_hash.clone(),
            seed: config.seed,
            split: config.split,
            outcome,
            metrics: evaluation.values.clone(),
            test_seconds: test.seconds(),
            seconds: clock.seconds(),
            environment,
        };
        folder.write_per_user(&evaluation, learned.user_ids())?;
        if let Ok(rows) = learned.labelled() {
            folder.write("encoders.json", rows.encoders().to_json()?.as_bytes())?;
        }
        let reliability = Reliability::new(trainer.model(), &prepared.views.test)?;
        let vectors = trainer.model().item_vectors();
        let map = match &vectors {
            Some(vectors) => Items::new(&prepared.interactions, &learned.popularity())
                .map(|items| items.map(vectors).map(|map| (items, map)))
                .transpose()?,
            None => None,
        };
        if self.board {
            write_board(&folder, &config, trainer.model(), &prepared, (&evaluation, reliability.as_ref()), &result)?;
            if let Some(vectors) = &vectors {
                write_vectors(&folder.file("tb/run"), &prepared.interactions, vectors, map.as_ref())?;
            }
        }
        folder.write("report.html", report::run_page(&folder, &config, &result, reliability.as_ref(), map.as_ref())?.as_bytes())?;
        folder.write_json("result.json", &result)?;
        Ok(result)
    }

    /// Trains with the judge that the selection names, and again on train and valid together where it says so.
    fn fit(&self, config: &RunConfig, prepared: &Prepared, folder: &RunFolder, mut events: Events) -> Result<(Box<dyn Trainer>, Outcome)> {
        let views = &prepared.views;
        let entry = self.registry.get(&config.name)?;
        let gradient = config.gradient.clone().unwrap_or_default();
        let checkpoints = folder.file("checkpoints");
        let judge = match config.selection.by {
            _ if entry.one_pass => None,
            JudgedBy::Last => None,
            JudgedBy::Test => Some(Judge { held: &views.test, part: "test" }),
            JudgedBy::Valid => match &views.valid {
                Some(valid) => Some(Judge { held: valid, part: "valid" }),
                None => fail!(
                    Usage,
                    "validation is to pick the epoch, but the split has no validation part: give `selection.nested`, or select by `last`"
                ),
            },
        };
        let retrain = config.selection.retrain;
        let (again, judged) = (checkpoints.join("all-of-train"), judge.is_some() || !retrain);
        let sources = |phase: &Path, asked: bool, states: &[&str]| {
            if asked && !phase.join("last.safetensors").exists() { self.sources(config, folder, states) } else { Ok(Vec::new()) }
        };
        // Both before any training: a source that lacks the second is refused now, not after the first.
        let first_sources = sources(&checkpoints, judged, &PICKED)?;
        let second_sources = sources(&again, retrain, &[RETRAINED])?;
        let mut epochs_of_retraining = config.looping.epochs;
        let mut picked = None;
        if judged {
            let mut trainer = self.trainer(config, &gradient, &views.train)?;
            start(trainer.as_ref(), &first_sources)?;
            self.listen(folder, &checkpoints, "", &mut events)?;
            let outcome = train(trainer.as_mut(), &views.train, judge, &config.looping, &checkpoints, &self.interrupt, &mut events)?;
            if !retrain {
                return Ok((trainer, outcome));
            }
            epochs_of_retraining = outcome.best_epoch;
            picked = Some(outcome);
        }
        let mut trainer = self.trainer(config, &gradient, &views.all_of_train)?;
        start(trainer.as_ref(), &second_sources)?;
        let mut events = Events::default();
        events.add(Box::new(Progress::new("… on all of train")));
        self.listen(folder, &again, "all-of-train-", &mut events)?;
        let looping = LoopConfig { epochs: epochs_of_retraining, ..config.looping.clone() };
        let mut outcome = train(trainer.as_mut(), &views.all_of_train, None, &looping, &again, &self.interrupt, &mut events)?;
        if let Some(picked) = picked {
            outcome.best_value = picked.best_value;
            outcome.train_seconds += picked.train_seconds;
            outcome.eval_seconds += picked.eval_seconds;
        }
        Ok((trainer, outcome))
    }

    /// The checkpoints that `config` starts from: of each source the first of `states` that is there. A source learned from the rows that
    /// this run learns from, and from no others.
    fn sources(&self, config: &RunConfig, folder: &RunFolder, states: &[&str]) -> Result<Vec<PathBuf>> {
        let one = |name: &String| -> Result<PathBuf> {
            let source = RunFolder::existing(&beside(folder.path(), name)?).context("`start`")?;
            require!(source.result()?.is_some(), Usage, "`start`: {name} is not finished: train it to the end first");
            let theirs = source.config(self.registry)?;
            if let Some((key, there, here)) = theirs.protocol.first_difference(&config.protocol) {
                fail!(Usage, "`start`: {name} was trained under another protocol: its `{key}` is {there}, here it is {here}");
            }
            let (there, here) = (theirs.split, config.split);
            require!(there == here, Usage, "`start`: {name} was trained on split number {there}, this run is on {here}");
            require!(
                theirs.selection.nested == config.selection.nested,
                Usage,
                "`start`: {name} has another `selection.nested`: it may have learned from the rows that judge this run"
            );
            require!(
                theirs.selection.by != JudgedBy::Test || config.selection.by == JudgedBy::Test,
                Usage,
                "`start`: {name} picked its epoch on the test rows, which this run does not"
            );
            let state = states.iter().map(|state| source.file(state)).find(|file| file.exists());
            state.ok_or_else(|| {
                let way = if states == [RETRAINED] {
                    "was not trained again on all of train, as this run is: give it `selection.retrain = true`"
                } else {
                    "was trained on all of train only, valid included, and this run is not: select its epoch as this run's"
                };
                problem!(Usage, "`start`: {name} {way}")
            })
        };
        config.start.iter().map(one).collect()
    }

    /// The model of the finished run `source`, which learned from the rows that this run would learn from, as this run would.
    fn trained_for(&self, source: &str, config: &RunConfig, folder: &RunFolder) -> Result<(Box<dyn Trainer>, Outcome)> {
        let path = beside(folder.path(), source)?;
        let (trainer, _, theirs) = self.load(&path).context("`ranks`")?;
        // What is ranked and measured is this run's own.
        let here = Protocol {
            candidates: theirs.protocol.candidates.clone(),
            mask: theirs.protocol.mask,
            metrics: theirs.protocol.metrics.clone(),
            ..config.protocol.clone()
        };
        if let Some((key, there, here)) = theirs.protocol.first_difference(&here) {
            fail!(Usage, "`ranks`: {source} was trained under another protocol: its `{key}` is {there}, here it is {here}");
        }
        let as_theirs = RunConfig { protocol: theirs.protocol.clone(), ranks: None, ..config.clone() };
        let (there, here) = (theirs.layout()?, as_theirs.layout()?);
        let keys = || there.keys().chain(here.keys());
        if let Some(key) = keys().find(|key| there.get(*key) != here.get(*key) && *key != "loop") {
            fail!(Usage, "`ranks`: {source} was trained with another `{key}`: leave it out here, or make it the same");
        }
        let result = RunFolder::existing(&path)?.result()?.context("the run is not finished")?;
        Ok((trainer, result.outcome))
    }

    fn trainer(
        &self,
        config: &RunConfig,
        gradient: &GradientConfig,
        data: &std::sync::Arc<rec_data::view::TrainView>,
    ) -> Result<Box<dyn Trainer>> {
        self.registry.get(&config.name)?.build(&config.model, gradient, data, self.device, config.seed)
    }

    /// Adds the readers that write to the run's folder, each going on where the checkpoint stands.
    fn listen(&self, folder: &RunFolder, checkpoints: &Path, prefix: &str, events: &mut Events) -> Result<()> {
        let last = checkpoints.join("last.safetensors");
        let epoch = if last.exists() {
            StateReader::open(&last)?.value::<serde_json::Value>("progress")?["epoch"].as_u64().unwrap_or(0)
        } else {
            0
        };
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Lines::open(&folder.file(&format!("{prefix}metrics.jsonl")), epoch)?)];
        if self.board {
            sinks.push(Box::new(Board::open(&folder.file(&format!("tb/{prefix}train")), epoch)?));
        }
        sinks.into_iter().for_each(|sink| events.add(sink));
        Ok(())
    }

    /// The trained model of a finished run, its data, and its config.
    ///
    /// # Errors
    /// a usage problem where the run is not finished.
    pub fn load(&self, path: &Path) -> Result<(Box<dyn Trainer>, Prepared, RunConfig)> {
        let folder = RunFolder::existing(path)?;
        require!(folder.result()?.is_some(), Usage, "{} is not finished: train it to the end first", path.display());
        let config = folder.config(self.registry)?;
        let dataset = open_data(&config.protocol, &self.folders, self.own_file(&folder)?.as_ref())?;
        config.protocol.of(&dataset)?;
        let prepared = config.protocol.prepare(&dataset, config.split, &config.selection)?;
        let learned = match &config.ranks {
            None => folder,
            Some(source) => RunFolder::existing(&beside(path, source)?).context("`ranks`")?,
        };
        let again = learned.file(RETRAINED);
        let (state, data) = if again.exists() {
            (again, &prepared.views.all_of_train)
        } else {
            let found = PICKED.iter().map(|name| learned.file(name)).find(|file| file.exists());
            (found.with_context(|| format!("{} has no checkpoint", path.display()))?, &prepared.views.train)
        };
        let mut trainer = self.trainer(&config, &config.gradient.clone().unwrap_or_default(), data)?;
        trainer.load(&StateReader::open(&state)?)?;
        Ok((trainer, prepared, config))
    }

    /// The file description of a run on a user's own file, kept beside its config.
    fn own_file(&self, folder: &RunFolder) -> Result<Option<rec_data::readers::delimited::Config>> {
        let file = folder.file(OWN_FILE);
        if !file.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Some(toml::from_str(&text).map_err(|e| problem!(Data, "{}: {e}", file.display()))?))
    }
}

/// The folder that a run in `folder` names: a relative one lies beside it.
fn beside(folder: &Path, name: &str) -> Result<PathBuf> {
    let own = std::path::absolute(folder)?;
    Ok(own.parent().unwrap_or(&own).join(name))
}

/// Takes the initial parameters from the checkpoints `sources`, where there are any.
fn start(trainer: &dyn Trainer, sources: &[PathBuf]) -> Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    trainer.start_from(&sources.iter().map(|file| StateReader::open(file)).collect::<Result<Vec<_>>>()?)
}

/// The rows that the tested model learned from.
pub fn learned_from<'a>(config: &RunConfig, prepared: &'a Prepared) -> &'a rec_data::view::TrainView {
    if config.selection.retrain { &prepared.views.all_of_train } else { &prepared.views.train }
}

/// `cpu` or `cuda:N`.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => "cpu".into(),
    }
}

/// What runs share that differ in seed and split only: TensorBoard shows them as one row.
fn group(config: &RunConfig) -> Result<String> {
    // The sources' folders differ from run to run.
    let (start, ranks) = (vec![String::new(); config.start.len()], config.ranks.as_ref().map(|_| String::new()));
    let hash = RunConfig { seed: 0, split: 0, start, ranks, ..config.clone() }.hash()?;
    Ok(format!("{}-{}", config.name, &hash[..8]))
}

/// Config, protocol, hyper-parameters with their results, precision–recall curve of the first evaluated users, calibration of labels: the
/// observed share of each bucket stands at its predicted one, in percent.
fn write_board(
    folder: &RunFolder,
    config: &RunConfig,
    model: &dyn Score,
    prepared: &Prepared,
    (evaluation, reliability): (&Evaluation, Option<&Reliability>),
    result: &RunResult,
) -> Result<()> {
    let mut board = EventWriter::create(&folder.file("tb/run"))?;
    let epoch = result.outcome.best_epoch;
    board.text("config", epoch, &fenced("toml", &toml::to_string(&config.layout()?)?))?;
    board.text("protocol", epoch, &fenced("json", &serde_json::to_string_pretty(&config.protocol)?))?;
    let mut hparams: Vec<(String, HparamValue)> =
        vec![("model".into(), HparamValue::from(config.name.as_str())), ("seed".into(), HparamValue::Number(config.seed as f64))];
    hparams.extend(flatten_hparams(&serde_json::to_value(&config.model)?));
    if let Some(gradient) = &config.gradient {
        hparams.push(("learning_rate".into(), HparamValue::Number(gradient.optimizer.learning_rate)));
        hparams.push(("batch_size".into(), HparamValue::Number(gradient.batch.batch_size as f64)));
    }
    board.session_start(&group(config)?, &hparams)?;
    for (metric, value) in &evaluation.values {
        board.scalar(&format!("test/{metric}"), epoch, *value)?;
    }
    if evaluation.values.iter().any(|(m, _)| m.is_ranking())
        && let Some((labels, probabilities)) = report::labelled_scores(model, &prepared.views.test)?
    {
        board.pr_curve("test/relevant_among_all", epoch, &labels, &probabilities, None, 201)?;
    }
    if let Some(reliability) = reliability {
        for group in &reliability.buckets {
            board.scalar("test/observed_by_predicted_percent", (100.0 * group.predicted).round() as u64, group.observed)?;
        }
        board.text("calibration", epoch, &report::calibration_markdown(reliability))?;
    }
    board.session_end(SessionStatus::Success)?;
    board.flush()
}
