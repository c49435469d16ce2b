//! The commands.

mod ann;
mod compare;
mod curves;
mod data;
mod doctor;
mod eval;
mod export;
mod map;
mod new_model;
mod pipeline;
mod recommend;
mod serve;
mod table;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rec_core::Registry;
use rec_core::device::{DeviceChoice, set_threads};
use rec_core::shim::set_deterministic;
use rec_core::train::Interrupt;
use rec_data::dataset::Folders;
use rec_data::{Kind, problem, require};

use crate::runner::Bench;
use rec_data::notes::note;

const ABOUT: &str = "Recommender systems: published tables beside measured ones, and your own model under the same protocol";

const AFTER: &str = "\
With no words: runs what is missing of the quickstart table and prints it.

Examples:
  rec-bench table list
  rec-bench table run ml-1m-recbole-gnn
  rec-bench train --model bpr --dataset ml-100k --out runs/mine --set model.embedding_size=32
  rec-bench recommend runs/mine --user 196
  rec-bench recommend runs/mine --history 50,181,172 -k 5

Exit codes:
  0 done   1 unexpected   2 wrong word, key or value   3 wrong data   4 cannot be fetched
  5 disk   6 a number left its range   130 stopped by Ctrl-C, with a checkpoint

Environment:
  REC_DATA_DIR   a folder with data sets, looked into first
  REC_CACHE_DIR  where fetched and parsed data is kept (default ~/.cache/rec)
  REC_SET_…      a config value: REC_SET_MODEL__EMBEDDING_SIZE=32";

/// More threads than any machine has cores; libtorch takes any number and crashes where they cannot be made.
const MOST_THREADS: usize = 1024;

#[derive(Parser)]
#[command(name = "rec-bench", version, about = ABOUT, after_help = AFTER, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Common {
    /// Where tensors live: cpu, cuda:N or auto
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Threads; 0 takes all cores
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Folder of the tables' runs
    #[arg(long, global = true, default_value = "runs", value_name = "FOLDER")]
    runs: PathBuf,
    /// Writes no TensorBoard files
    #[arg(long, global = true)]
    no_board: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Published tables: what there is, run them, show them
    Table(table::TableArgs),
    /// Trains a model under a protocol and measures it
    Train(train::TrainArgs),
    /// Measures the model of a finished run again
    Eval(eval::EvalArgs),
    /// Recommends items to a user of a finished run, or to a history
    Recommend(recommend::RecommendArgs),
    /// Compares two finished runs user by user
    Compare(compare::CompareArgs),
    /// Draws the item vectors of finished runs beside each other, with their neighbour purity by genre
    Map(map::MapArgs),
    /// Draws loss and judged metric of runs by epoch and by second
    Curves(curves::CurvesArgs),
    /// Nearest-neighbour search over vectors: recall against speed of every index, or one index saved
    Ann(ann::AnnArgs),
    /// Writes the vectors of a finished run for other programs
    Export(export::ExportArgs),
    /// Trains two stages, candidates and a ranker, and measures them together
    Pipeline(pipeline::PipelineArgs),
    /// Serves a finished run or a pipeline over HTTP
    Serve(serve::ServeArgs),
    /// Data sets: what there is, fetch, verify, describe, write a split out
    Data(data::DataArgs),
    /// Models: what there is, and their hyper-parameters
    Models(train::ModelsArgs),
    /// Writes a crate of your own with a model to start from
    NewModel(new_model::NewModelArgs),
    /// Looks for what is wrong with this set-up, and says the way out
    Doctor(doctor::DoctorArgs),
}

/// Runs the command line with the workspace's models and those that `add` registers.
pub fn main_with(add: impl FnOnce(&mut Registry)) -> ExitCode {
    if let Some(code) = again_with_settings() {
        return code;
    }
    let mut registry = crate::models();
    add(&mut registry);
    // clap ends the process itself on --help (0) and on a wrong flag (2).
    let cli = Cli::parse();
    match run(cli, &registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {}", sentence(&error)));
            ExitCode::from(Kind::exit_code_of(&error))
        }
    }
}

/// What is read from the environment before `main`, so that the program starts itself again with it set.
///
/// libtorch's OpenMP threads spin without end between two operations, and take the cores from our own kernels and from the thread that makes
/// batches: a step of BPR takes twice as long. Threads that sleep at once are slow to wake: a step of NeuMF takes half as long again. So
/// they spin for a moment, some tens of microseconds. Memory of large tensors is kept: giving it back and asking for it again in each step
/// costs a tenth of the time.
const SETTINGS: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("GOMP_SPINCOUNT", "10000"),
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
];

/// Starts the program again with [`SETTINGS`]; whoever sets `OMP_WAIT_POLICY` keeps the environment as it is.
fn again_with_settings() -> Option<ExitCode> {
    use std::os::unix::process::CommandExt;
    if std::env::var_os(SETTINGS[0].0).is_some() {
        return None;
    }
    let missing = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let program = std::env::current_exe().ok()?;
    let failed = std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(missing).exec();
    note(&format!("note: the program could not start itself again ({failed}): threads will spin"));
    None
}

/// The chain of causes in one line each; of libtorch's messages the first line only, the rest is a C++ backtrace.
fn sentence(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let mut text = cause.to_string();
        if cause.is::<rec_core::tch::TchError>() {
            text = text.lines().next().unwrap_or_default().to_owned();
        }
        if parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|c| c.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
}

fn run(cli: Cli, registry: &Registry) -> Result<()> {
    let choice: DeviceChoice = cli.common.device.parse()?;
    let threads = cli.common.threads;
    require!(threads <= MOST_THREADS, Usage, "`--threads` is {threads}: it must be at most {MOST_THREADS}");
    set_threads(threads)?;
    set_deterministic(true);
    if let Some(Command::Doctor(args)) = &cli.command {
        return doctor::run(args, choice);
    }
    let interrupt = Interrupt::default();
    let seen = interrupt.clone();
    ctrlc::set_handler(move || {
        if seen.is_set() {
            // A second Ctrl-C does not wait for the step to end.
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
        note("stopping after this step; Ctrl-C again to stop at once");
        seen.set();
    })
    .map_err(|e| problem!(Io, "Ctrl-C cannot be handled: {e}"))?;
    let bench = Bench { registry, folders: Folders::from_env()?, device: choice.open()?, interrupt, board: !cli.common.no_board };
    let runs = &cli.common.runs;
    match cli.command {
        None => table::quickstart(&bench, runs),
        Some(Command::Table(args)) => table::run(args, &bench, runs),
        Some(Command::Train(args)) => train::run(args, &bench),
        Some(Command::Eval(args)) => eval::run(&args, &bench),
        Some(Command::Recommend(args)) => recommend::run(&args, &bench),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Map(args)) => map::run(&args, &bench),
        Some(Command::Serve(args)) => serve::run(&args, &bench),
        Some(Command::Pipeline(args)) => pipeline::run(&args, &bench),
        Some(Command::Curves(args)) => curves::run(&args, registry),
        Some(Command::Ann(args)) => ann::run(&args, &bench),
        Some(Command::Export(args)) => export::run(&args, &bench),
        Some(Command::Data(args)) => data::run(args, &bench),
        Some(Command::Models(args)) => train::models(&args, registry),
        Some(Command::NewModel(args)) => new_model::run(&args),
        Some(Command::Doctor(_)) => unreachable!("answered above"),
    }
}

/// Writes to standard output; a reader that went away is an error, not a panic.
fn say(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing to standard output")
}

/// Writes JSON to standard output.
fn say_json<T: serde::Serialize>(value: &T) -> Result<()> {
    say(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
