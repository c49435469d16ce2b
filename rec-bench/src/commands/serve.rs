//! `rec-bench serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rec_data::notes::note;
use rec_data::require;

use crate::runner::Bench;
use crate::serve::{Limits, serve};

const AFTER: &str = "\
POST /recommend answers, GET / describes the API, GET /health and GET /metrics (Prometheus) watch it, and POST /reload
takes a new state of the folder without dropping a request. Ctrl-C lets open requests end.

Examples:
  rec-bench serve runs/two-stages
  curl -s localhost:8080/recommend -d '{\"requests\": [{\"user\": \"196\"}, {\"history\": [\"50\", \"181\"], \"k\": 5}]}'";

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct ServeArgs {
    /// A finished run's folder, or a pipeline's
    run: PathBuf,
    /// Where to listen; whoever can reach it may ask and reload
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    address: SocketAddr,
    /// Bytes of a request's body at most
    #[arg(long, default_value_t = Limits::default().body, value_name = "BYTES")]
    max_body: usize,
    /// Items asked for at once at most
    #[arg(long, default_value_t = Limits::default().k, value_name = "K")]
    max_k: usize,
    /// Users of one request at most
    #[arg(long, default_value_t = Limits::default().users, value_name = "N")]
    max_users: usize,
    /// Items of a history at most
    #[arg(long, default_value_t = Limits::default().history, value_name = "N")]
    max_history: usize,
    /// Requests that wait for the model at most; others are turned away with 503
    #[arg(long, default_value_t = Limits::default().waiting, value_name = "N")]
    max_waiting: usize,
    /// Open connections at most
    #[arg(long, default_value_t = Limits::default().connections, value_name = "N")]
    max_connections: usize,
    /// Seconds that a request may take
    #[arg(long, default_value_t = Limits::default().time.as_secs_f64(), value_name = "SECONDS")]
    max_seconds: f64,
}

pub(super) fn run(args: &ServeArgs, bench: &Bench) -> Result<()> {
    let numbers = [
        ("max-body", args.max_body),
        ("max-k", args.max_k),
        ("max-users", args.max_users),
        ("max-history", args.max_history),
        ("max-waiting", args.max_waiting),
        ("max-connections", args.max_connections),
    ];
    for (name, number) in numbers {
        require!(number > 0, Usage, "`--{name}` is 0: it must be at least 1");
    }
    require!(args.max_seconds > 0.0 && args.max_seconds < 1e6, Usage, "`--max-seconds` is {}: it must be above 0", args.max_seconds);
    let limits = Limits {
        body: args.max_body,
        k: args.max_k,
        users: args.max_users,
        history: args.max_history,
        waiting: args.max_waiting,
        connections: args.max_connections,
        time: Duration::from_secs_f64(args.max_seconds),
    };
    serve(&args.run, args.address, &limits, bench, |address| note(&format!("serving {} at http://{address}", args.run.display())))
}
