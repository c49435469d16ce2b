//! `rec-bench export`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::say;
use crate::export::{upsert, write_vectors};
use crate::runner::{Bench, learned_from};
use crate::vectors::RunVectors;

const AFTER: &str = "\
Writes items.npy (float32, one vector a row), item_ids.npy (raw ids in the same order) and
items.parquet (id, vector); of a model whose scores are products of two vectors also users.npy,
user_ids.npy and users.parquet. The inner product of a user's and an item's vector is then the
score: where the model has a bias for each item, it is the last value of the item's vector, and
the last value of each user's is 1.

In Python: items, ids = numpy.load(\"items.npy\"), numpy.load(\"item_ids.npy\")";

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct ExportArgs {
    /// A finished run's folder
    run: PathBuf,
    /// The folder to write into
    #[arg(long, value_name = "FOLDER", required_unless_present = "qdrant")]
    out: Option<PathBuf>,
    /// Sends the items' vectors to a Qdrant server, each with its raw id
    #[arg(long, value_name = "URL", requires = "collection")]
    qdrant: Option<String>,
    /// The collection there; it is made where it is missing
    #[arg(long, value_name = "NAME", requires = "qdrant")]
    collection: Option<String>,
}

pub(super) fn run(args: &ExportArgs, bench: &Bench) -> Result<()> {
    let (trainer, prepared, config) = bench.load(&args.run)?;
    let vectors = RunVectors::new(&config.name, trainer.model(), learned_from(&config, &prepared))?;
    if let Some(out) = &args.out {
        for (name, vectors) in [("item", Some(&vectors.items)), ("user", vectors.users.as_ref())] {
            if let Some(vectors) = vectors {
                let files = write_vectors(out, name, vectors)?;
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                say(&format!("{} {name}s, {} values each: {}\n", vectors.ids.len(), vectors.dim, files.join(", ")))?;
            }
        }
    }
    if let (Some(url), Some(collection)) = (&args.qdrant, &args.collection) {
        // Without users the items are compared with each other.
        let distance = if vectors.users.is_some() { "Dot" } else { "Cosine" };
        upsert(url, collection, &vectors.items, distance)?;
        say(&format!("{} items sent to {url}, collection {collection}\n", vectors.items.ids.len()))?;
    }
    Ok(())
}
