//! `rec-bench train` and `rec-bench models`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rec_core::Registry;
use rec_data::readers::delimited;
use rec_data::require;
use toml::Value;

use super::{say, say_json};
use crate::config::{Layers, annotated};
use crate::runner::{Bench, keep_file, open_data};
use crate::table;
use rec_data::notes::note;

#[derive(Args)]
pub(super) struct TrainArgs {
    /// The model's name; `rec-bench models` lists them
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A data set's id, split 8:1:1 at random per user unless the config says otherwise
    #[arg(long, value_name = "ID")]
    dataset: Option<String>,
    /// A CSV or TSV file of your own instead
    #[arg(long, value_name = "FILE", conflicts_with = "dataset")]
    file: Option<PathBuf>,
    /// Columns of that file: user,item[,rating[,time]]
    #[arg(long, value_name = "NAMES", requires = "file", value_delimiter = ',', default_value = "user,item")]
    columns: Vec<String>,
    /// Takes protocol and selection from a table
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["dataset", "file"])]
    table: Option<String>,
    /// A config file (TOML: seed, split, start, [model], [loop], [optimizer], [batch], [selection], [protocol])
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One value over all others; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The run's folder; a run that was cut off goes on there
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Prints the resolved config with each value's origin, and ends
    #[arg(long)]
    dry_run: bool,
    /// Prints the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ModelsArgs {
    /// Hyper-parameters of this one
    name: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a run measures where nothing else is said.
const METRICS: [&str; 10] =
    ["ndcg@10", "recall@10", "mrr@10", "hit@10", "precision@10", "ndcg@20", "recall@20", "coverage@10", "gini@10", "novelty@10"];

pub(super) fn run(args: TrainArgs, bench: &Bench) -> Result<()> {
    let mut layers = Layers::default();
    if let Some(table) = &args.table {
        let table = table::find(table)?;
        let mut layer = toml::Table::new();
        layer.insert("protocol".into(), Value::try_from(&table.protocol)?);
        layer.insert("selection".into(), Value::try_from(&table.selection)?);
        layers.add(&layer, &format!("table {}", table.id));
    }
    if let Some(file) = &args.config {
        layers.add_file(file)?;
    }
    layers.add_environment()?;
    let own = own_file(&args)?;
    let named =
        args.dataset.clone().or_else(|| own.as_ref().map(|f| format!("file:{}", f.path.file_stem().unwrap_or_default().to_string_lossy())));
    if let Some(dataset) = &named {
        layers.add_setting(&format!("protocol.dataset={}", Value::String(dataset.clone())))?;
    }
    if let Some(model) = &args.model {
        layers.add_setting(&format!("model.name={}", Value::String(model.clone())))?;
    }
    args.settings.iter().try_for_each(|s| layers.add_setting(s))?;
    let layers = with_default_protocol(layers)?;
    let (config, origins) = layers.resolve(bench.registry)?;
    if let Some(named) = named {
        let set = &config.protocol.dataset;
        require!(*set == named, Usage, "`protocol.dataset` is set to `{set}`, but the command line names `{named}`: leave one of them out");
    }
    note(annotated(&config, &origins)?.trim_end());
    if args.dry_run {
        return Ok(());
    }
    let dataset = open_data(&config.protocol, &bench.folders, own.as_ref())?;
    if let Some(own) = &own {
        keep_file(own, &config, &origins, &dataset, &args.out)?;
    }
    let result = bench.run(&config.name, &config, &origins, &dataset, &args.out)?;
    if args.json {
        return say_json(&result);
    }
    for (metric, value) in &result.metrics {
        say(&format!("{:14} {value:.4}\n", metric.to_string()))?;
    }
    say(&format!(
        "epoch {} of {}, {:.1} s; {}\n",
        result.outcome.best_epoch,
        result.outcome.epochs,
        result.seconds,
        args.out.join("report.html").display()
    ))
}

/// Where only data is named, the protocol is RecBole's general one: 8:1:1 at random per user, full ranking.
fn with_default_protocol(layers: Layers) -> Result<Layers> {
    let mut all = Layers::default();
    let mut protocol = toml::Table::new();
    // The split is there to be changed in part: `protocol.split.by`. One of another kind takes its place.
    if layers.has("protocol.dataset") {
        protocol.insert(
            "split".into(),
            "v = { kind = \"random\", by = \"user\", ratios = [0.8, 0.1, 0.1] }".parse::<toml::Table>()?["v"].clone(),
        );
    }
    if layers.has("protocol.dataset") && !layers.has("protocol.metrics") {
        protocol.insert("metrics".into(), Value::try_from(METRICS)?);
    }
    let mut layer = toml::Table::new();
    if !protocol.is_empty() {
        layer.insert("protocol".into(), Value::Table(protocol));
        all.add(&layer, "train's default");
    }
    all.add_layers(&layers);
    Ok(all)
}

fn own_file(args: &TrainArgs) -> Result<Option<delimited::Config>> {
    let Some(path) = &args.file else { return Ok(None) };
    require!(
        (2..=4).contains(&args.columns.len()),
        Usage,
        "`--columns` names user and item, then rating and time where there are such: {} names were given",
        args.columns.len()
    );
    let column = |at: usize| args.columns.get(at).cloned();
    Ok(Some(delimited::Config {
        path: std::path::absolute(path)?,
        user: args.columns[0].clone(),
        item: args.columns[1].clone(),
        rating: column(2),
        time: column(3),
        ..delimited::Config::default()
    }))
}

pub(super) fn models(args: &ModelsArgs, registry: &Registry) -> Result<()> {
    if let Some(name) = &args.name {
        let entry = registry.get(name)?;
        let defaults = entry.defaults()?;
        if args.json {
            return say_json(&defaults);
        }
        let mut model = toml::Table::new();
        model.insert("name".into(), Value::String(name.clone()));
        model.extend(defaults);
        let section: toml::Table = [("model".to_owned(), Value::Table(model))].into_iter().collect();
        return say(&format!("# {}\n{}", entry.about, toml::to_string(&section)?));
    }
    if args.json {
        let all: Vec<_> = registry
            .iter()
            .map(|(name, e)| serde_json::json!({ "name": name, "about": e.about, "by_gradients": e.by_gradients }))
            .collect();
        return say_json(&all);
    }
    registry.iter().try_for_each(|(name, entry)| say(&format!("{name:14} {}\n", entry.about)))
}
