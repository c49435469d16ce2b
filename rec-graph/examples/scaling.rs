//! How time and memory of a LightGCN epoch grow with the graph: one epoch in 20 steps on generated graphs of 1 to 10 million edges.
//!
//!     cargo run --workspace --example scaling -- 1 2 4 7 10     # millions of edges, rising; prints one JSON object a line
//!
//! A user has ten edges; items are drawn by Zipf's law. "data" is what nobody can do without: 8 bytes an edge and 4 bytes a number of the
//! embeddings. Memory is the largest resident set so far, so sizes must rise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rec_core::events::Events;
use rec_core::rec_data::batch::BatchOptions;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::tch::Device;
use rec_core::train::{GradientConfig, GradientTrainer, Interrupt, Pause, Trainer};
use rec_graph::LightGcn;
use rec_graph::lightgcn::LightGcnConfig;

const EDGES_OF_A_USER: usize = 10;
const STEPS: usize = 20;

fn main() -> Result<()> {
    for size in std::env::args().skip(1) {
        let millions: f64 = size.parse().with_context(|| format!("`{size}` is not a number of millions"))?;
        measure((millions * 1e6) as usize)?;
    }
    Ok(())
}

fn measure(edges: usize) -> Result<()> {
    let (users, items) = (edges / EDGES_OF_A_USER, edges / 25);
    let before = Instant::now();
    let data = Arc::new(TrainView::of_all(&generated(users, items)));
    let config = LightGcnConfig::default();
    let how = GradientConfig { batch: BatchOptions { batch_size: edges / STEPS, ..BatchOptions::default() }, ..GradientConfig::default() };
    let mut trainer = GradientTrainer::<LightGcn>::new(&config, &how, &data, Device::Cpu, 1)?;
    let made = before.elapsed().as_secs_f64();
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    let started = Instant::now();
    trainer.epoch(0, 0, &pause, &mut Events::default())?;
    let seconds = started.elapsed().as_secs_f64();
    let distinct = data.by_user().len();
    let least = 8 * distinct + 4 * config.embedding_size * (users + items);
    let peak = peak_bytes()?;
    println!(
        "{{\"edges\": {distinct}, \"nodes\": {}, \"seconds_to_make\": {made:.2}, \"seconds_of_an_epoch\": {seconds:.2}, \"data_bytes\": {least}, \"peak_bytes\": {peak}, \"peak_over_data\": {:.2}}}",
        users + items,
        peak as f64 / least as f64
    );
    Ok(())
}

/// Items by Zipf's law with the exponent 1, by the inverse of its continuous distribution; a user's repeated items stay repeated rows.
fn generated(users: usize, items: usize) -> Interactions {
    let rows = users * EDGES_OF_A_USER;
    let item = |row: usize| {
        let mut rng = Rng::keyed(1, Stream::Edges, 0, row as u64);
        (((items as f64 + 1.0).powf(rng.unit()) - 1.0) as u32).min(items as u32 - 1)
    };
    Interactions {
        users: (0..rows).map(|row| (row / EDGES_OF_A_USER) as u32).collect::<Vec<_>>().into(),
        items: (0..rows).map(item).collect::<Vec<_>>().into(),
        user_ids: Vocabulary::numbers(users),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    }
}

/// The largest resident set so far.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("the largest resident set is known on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
