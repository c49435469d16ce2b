//! `rec-bench ann`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rec_ann::speed::Truth;
use rec_ann::{IndexConfig, IndexKind, Metric, RawIds, VectorSet};
use rec_core::section::{Origins, overlay, read_section_with};
use rec_data::{Kind, problem, require};
use toml::{Table, Value};

use super::{say, say_json};
use crate::ann::{Task, measure, picture, speed_page, text};
use crate::config::setting_of;
use crate::environment::Environment;
use crate::run_folder::{RunFolder, write_whole};
use crate::runner::{Bench, device_name, learned_from};
use crate::vectors::RunVectors;

/// Queries that are taken out of the vectors: at most so many, and at most one vector in ten.
const QUERIES: usize = 1000;
const SHARE: usize = 10;

const AFTER: &str = "\
Builds each index in a few ways, searches with a few settings each, and prints recall, queries a
second, latencies, seconds of the build and size. No other row is better in recall or speed than
one with a star without being worse in the other. Writes ann.json, ann.svg and ann.html. What is
nearest is taken from an exact search, or from the file where it says so.

Examples:
  rec-bench ann runs/bpr32
  rec-bench ann runs/bpr32 --queries users
  rec-bench ann vectors.npy --queries queries.npy --metric cosine --index hnsw,ivf
  rec-bench ann runs/bpr32 --index hnsw --set m=32 --save items.index";

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct AnnArgs {
    /// A finished run's folder, or a file of vectors: .npy, .fvecs, .bvecs, or .hdf5 of ann-benchmarks
    source: PathBuf,
    /// A file of vectors to search for, or `users`: those of a run whose scores are products [default: the file's own, else vectors taken out at
    /// random]
    #[arg(long, value_name = "FILE")]
    queries: Option<String>,
    /// At most so many queries [default: 1000]
    #[arg(long, value_name = "N")]
    num_queries: Option<usize>,
    /// What is near: l2, cosine or inner-product [default: the file's own, else l2; cosine of items; inner-product for users]
    #[arg(long)]
    metric: Option<Metric>,
    /// How many nearest vectors
    #[arg(short, long, default_value_t = 10, value_name = "K")]
    k: usize,
    /// Which indexes, of flat, hnsw, forest, ivf, pq, ivf-pq [default: all that apply]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    index: Vec<IndexKind>,
    /// Takes the first N vectors
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where the results go [default: `ann` in the run's folder; beside a file a folder named after it]
    #[arg(long, value_name = "FOLDER", conflicts_with = "save")]
    out: Option<PathBuf>,
    /// Builds the one index that `--index` names over all vectors, and saves it here with the raw ids of a run's items; measures nothing. With
    /// `--queries users` the nearest items to a user's vector are those of the highest scores
    #[arg(long, value_name = "FILE", requires = "index")]
    save: Option<PathBuf>,
    /// A setting of the index to be saved, such as m=32
    #[arg(long, value_name = "KEY=VALUE", requires = "save")]
    set: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Vectors, with their raw ids where they are a run's.
struct Source {
    set: VectorSet,
    ids: Option<Vec<String>>,
    /// Where results go.
    beside: PathBuf,
    metric: Metric,
}

pub(super) fn run(args: &AnnArgs, bench: &Bench) -> Result<()> {
    require!(args.k > 0, Usage, "`-k` is 0: it must be at least 1");
    require!(args.num_queries != Some(0), Usage, "`--num-queries` is 0: it must be at least 1");
    let mut source = read(args, bench)?;
    if let Some(limit) = args.limit {
        source.set.truncate(limit);
        source.ids = source.ids.map(|ids| ids.into_iter().take(limit).collect());
    }
    source.metric = args.metric.unwrap_or(source.metric);
    require!(!source.set.is_empty(), Data, "{} holds no vectors", args.source.display());
    match &args.save {
        Some(file) => save(args, &source, file),
        None => compare(args, source, bench),
    }
}

fn read(args: &AnnArgs, bench: &Bench) -> Result<Source> {
    if args.source.is_dir() {
        return of_run(args, bench);
    }
    require!(args.source.exists(), Usage, "there is no {}: give a run's folder or a file of vectors", args.source.display());
    require!(args.queries.as_deref() != Some("users"), Usage, "`--queries users` is for a run: a file has no users");
    let set = VectorSet::read(&args.source).map_err(in_data)?;
    let metric = set.metric.unwrap_or(Metric::L2);
    let beside = args.source.with_extension("ann");
    Ok(Source { set: with_queries(set, args)?, ids: None, beside, metric })
}

fn of_run(args: &AnnArgs, bench: &Bench) -> Result<Source> {
    let (trainer, prepared, config) = bench.load(&args.source)?;
    let train = learned_from(&config, &prepared);
    let beside = RunFolder::existing(&args.source)?.file("ann");
    if args.queries.as_deref() == Some("users") {
        let vectors = RunVectors::new(&config.name, trainer.model(), train)?;
        let users = vectors.users.ok_or_else(|| problem!(Usage, "the scores of `{}` are no products of users' vectors", config.name))?;
        let mut users = VectorSet::new(users.values, users.dim);
        users.hold_out(args.num_queries.unwrap_or(QUERIES));
        let set = VectorSet { queries: users.queries, ..VectorSet::new(vectors.items.values, vectors.items.dim) };
        return Ok(Source { set, ids: Some(vectors.items.ids), beside, metric: Metric::InnerProduct });
    }
    let vectors = trainer.model().item_vectors().ok_or_else(|| {
        problem!(Usage, "`{}` has no item vectors: models that learn some, such as `bpr`, `ials` or `lightgcn`, have", config.name)
    })?;
    let set = with_queries(VectorSet::new(vectors.values.into_owned(), vectors.dim), args)?;
    Ok(Source { set, ids: Some(train.item_ids().iter().map(str::to_owned).collect()), beside, metric: Metric::Cosine })
}

/// The queries of another file, where one is named.
fn with_queries(set: VectorSet, args: &AnnArgs) -> Result<VectorSet> {
    let Some(file) = &args.queries else { return Ok(set) };
    let queries = VectorSet::read(Path::new(file)).map_err(in_data)?;
    let (found, wanted) = (queries.dim, set.dim);
    require!(found == wanted, Usage, "{file} has vectors of {found} values, {} of {wanted}", args.source.display());
    Ok(VectorSet { queries: Some(queries.values), neighbours: None, ..set })
}

fn save(args: &AnnArgs, source: &Source, file: &Path) -> Result<()> {
    let [kind] = args.index[..] else {
        return Err(problem!(Usage, "`--save` takes one index, and `--index` names {}", args.index.len()));
    };
    let config = config_of(kind, &args.set)?;
    let index = config.build(&source.set.values, source.set.dim, source.metric).map_err(in_data)?;
    let ids = source.ids.as_ref().map(|ids| ids.iter().map(String::as_str).collect::<RawIds>());
    index.save_with_ids(file, ids.as_ref())?;
    let with = if ids.is_some() { "with raw ids" } else { "without raw ids" };
    say(&format!("{}: {kind} of {} vectors, {with}, {:.1} MB\n", file.display(), index.len(), index.size() as f64 / 1e6))
}

/// The defaults of `kind` with `settings` over them.
fn config_of(kind: IndexKind, settings: &[String]) -> Result<IndexConfig> {
    let own = Table::from_iter([("kind".to_owned(), Value::String(kind.to_string()))]);
    let mut table = Table::try_from(read_section_with::<IndexConfig>("index", &own, &[])?)?;
    let known: Vec<String> = table.keys().cloned().collect();
    for setting in settings {
        overlay(&mut table, &setting_of(setting, "m=32")?, "", "", &mut Origins::new());
    }
    let config: IndexConfig = read_section_with("index", &table, &known.iter().map(String::as_str).collect::<Vec<_>>())?;
    config.check().map_err(|e| problem!(Usage, "[index] {e}"))?;
    Ok(config)
}

fn compare(args: &AnnArgs, source: Source, bench: &Bench) -> Result<()> {
    let Source { mut set, beside, metric, .. } = source;
    let most = args.num_queries.unwrap_or(QUERIES);
    if set.queries.is_none() {
        set.hold_out(most.min(set.len() / SHARE).max(1));
        require!(!set.is_empty(), Data, "{} holds one vector, which is not enough to search", args.source.display());
    }
    let (mut queries, mut known) = (set.queries.take().unwrap_or_default(), set.neighbours.take());
    queries.truncate(most * set.dim);
    // The file's own neighbours hold under its own metric.
    known = known.filter(|known| set.metric == Some(metric) && known.iter().all(|known| known.len() >= args.k.min(set.len())));
    if let Some(known) = &mut known {
        known.truncate(queries.len() / set.dim);
    }
    let truth = Truth::new(&set.values, set.dim, metric, queries, args.k, known.as_deref()).map_err(in_data)?;
    let task = Task {
        source: args.source.display().to_string(),
        metric,
        k: args.k,
        vectors: set.len(),
        dim: set.dim,
        queries: truth.num_queries(),
        threads: rayon::current_num_threads(),
        hardware: Environment::now(&device_name(bench.device)).hardware(),
    };
    let kinds = if args.index.is_empty() { &IndexKind::ALL[..] } else { &args.index };
    let rows = measure(&task, kinds, &set.values, &truth, &bench.interrupt).map_err(in_data)?;
    require!(!rows.is_empty(), Usage, "{} vectors are too few for codes: name another `--index`", task.vectors);
    let out = args.out.as_ref().unwrap_or(&beside);
    let (report, picture) = (serde_json::json!({ "task": task, "rows": rows }), picture(&task, &rows)?);
    write_whole(&out.join("ann.json"), format!("{}\n", serde_json::to_string_pretty(&report)?).as_bytes())?;
    write_whole(&out.join("ann.svg"), picture.as_bytes())?;
    let page = out.join("ann.html");
    write_whole(&page, speed_page(&task, &rows, &picture).as_bytes())?;
    if args.json {
        return say_json(&report);
    }
    say(&format!("{}{}\n", text(&task, &rows), page.display()))
}

/// What an index refuses is a fault of the vectors.
fn in_data(error: anyhow::Error) -> anyhow::Error {
    if Kind::exit_code_of(&error) == 1 { problem!(Data, "{error:#}") } else { error }
}
