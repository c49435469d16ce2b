//! `rec-bench map`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rec_core::model::Vectors;
use rec_data::{Interactions, problem, require};
use serde::Serialize;

use super::{say, say_json};
use crate::map::{FEWEST, ItemMap, Items, NEIGHBOURS, Purity, purities};
use crate::page::{escape, page};
use crate::run_folder::write_whole;
use crate::runner::{Bench, learned_from};

#[derive(Args)]
pub(super) struct MapArgs {
    /// Folders of finished runs on the same items, of models with item vectors
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Prints the purities as JSON
    #[arg(long)]
    json: bool,
}

/// What a map needs of a run.
struct Run {
    path: PathBuf,
    model: String,
    data: Interactions,
    /// Training rows of each item.
    rows: Vec<u32>,
    vectors: Vectors<'static>,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Found<'a> {
    run: &'a Path,
    model: &'a str,
    items: usize,
    drawn: usize,
    neighbours: usize,
    purity: Option<&'a Purity>,
}

pub(super) fn run(args: &MapArgs, bench: &Bench) -> Result<()> {
    let runs: Vec<Run> = args.runs.iter().map(|path| load(path, bench)).collect::<Result<_>>()?;
    let first = &runs[0];
    for run in &runs {
        require!(
            run.data.item_ids.iter().eq(first.data.item_ids.iter()),
            Usage,
            "{} has other items than {}: their maps do not compare",
            run.path.display(),
            first.path.display()
        );
    }
    // Of splits that differ, an item counts that all runs have learned from.
    let rows: Vec<u32> = (0..first.rows.len()).map(|item| runs.iter().map(|run| run.rows[item]).min().unwrap_or(0)).collect();
    let items = Items::new(&first.data, &rows)
        .ok_or_else(|| problem!(Usage, "a map needs at least {FEWEST} items with a training row in every run"))?;
    let maps: Vec<ItemMap> = runs.iter().map(|run| items.map(&run.vectors)).collect::<Result<_>>()?;
    write_whole(&args.out, maps_page(&items, &runs, &maps)?.as_bytes())?;
    if args.json {
        let found = runs.iter().zip(&maps).map(|(run, map)| Found {
            run: &run.path,
            model: &run.model,
            items: items.all().len(),
            drawn: items.drawn().len(),
            neighbours: NEIGHBOURS,
            purity: map.purity.as_ref(),
        });
        return say_json(&found.collect::<Vec<_>>());
    }
    for (run, map) in runs.iter().zip(&maps) {
        say(&format!("{}: {}\n", run.label(), map.purity.as_ref().map_or_else(|| "no genres, no purity".into(), in_words)))?;
    }
    say(&format!("{}\n", args.out.display()))
}

impl Run {
    fn label(&self) -> String {
        format!("{} ({})", self.path.display(), self.model)
    }
}

fn load(path: &Path, bench: &Bench) -> Result<Run> {
    let (trainer, prepared, config) = bench.load(path)?;
    let vectors = trainer.model().item_vectors().ok_or_else(|| {
        problem!(
            Usage,
            "`{}` of {} has no item vectors to draw: models that learn some, such as `bpr`, `ials` or `lightgcn`, have",
            config.name,
            path.display()
        )
    })?;
    Ok(Run {
        path: path.to_owned(),
        rows: learned_from(&config, &prepared).popularity(),
        vectors: Vectors { dim: vectors.dim, values: vectors.values.into_owned().into() },
        data: prepared.interactions.clone(),
        model: config.name,
    })
}

fn maps_page(items: &Items, runs: &[Run], maps: &[ItemMap]) -> Result<String> {
    let labels: Vec<String> = runs.iter().map(Run::label).collect();
    let table: Vec<(&str, Option<&Purity>)> = labels.iter().zip(maps).map(|(label, map)| (label.as_str(), map.purity.as_ref())).collect();
    let mut pictures = String::new();
    for (label, map) in labels.iter().zip(maps) {
        pictures += &format!("<div><h2>{}</h2>{}</div>", escape(label), items.picture(map)?);
    }
    Ok(page("Maps of items", &format!("{}<div class=beside>{pictures}</div>{}", purities(&table), items.legend())))
}

fn in_words(purity: &Purity) -> String {
    let share = |s: &crate::map::Share| format!("{:.4} (chance {:.4})", s.purity, s.chance);
    format!("purity {}; popular half {}, rare half {}", share(&purity.all), share(&purity.popular), share(&purity.rare))
}
