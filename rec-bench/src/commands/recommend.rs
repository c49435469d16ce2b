//! `rec-bench recommend`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rec_core::eval::top_items;
use rec_core::model::Users;
use rec_data::windows::Windows;
use rec_data::{Interactions, problem, require};

use super::{say, say_json};
use crate::runner::{Bench, learned_from};

#[derive(Args)]
pub(super) struct RecommendArgs {
    /// A finished run's folder
    run: PathBuf,
    /// Raw id of a user that the model was trained with
    #[arg(long, value_name = "ID", required_unless_present = "history", conflicts_with = "history")]
    user: Option<String>,
    /// Raw ids of items, oldest first, of a user who is new; for a model of ratings each with its rating: 1193:5,661:3
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    history: Vec<String>,
    /// How many items
    #[arg(short, long, default_value_t = 10, value_name = "K")]
    k: usize,
    /// Also recommends what the user has already
    #[arg(long)]
    with_seen: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RecommendArgs, bench: &Bench) -> Result<()> {
    require!(args.k > 0, Usage, "`-k` is 0: it must be at least 1");
    let (trainer, prepared, config) = bench.load(&args.run)?;
    let data = &prepared.interactions;
    let (user, histories) = match &args.user {
        Some(raw) => {
            let user = data.user_ids.number(raw).ok_or_else(|| problem!(Usage, "{} has no user `{raw}`", config.protocol.dataset))?;
            let train = learned_from(&config, &prepared);
            (user, Windows::from(train.sequences().select(&[user])))
        }
        None => {
            require!(
                trainer.model().scores_histories(),
                Usage,
                "`{}` scores users that it was trained with only: give `--user`, or train a model that scores histories, such as `ease` or `ials`",
                config.name
            );
            (Users::NEW, history(&args.history, data, &config.protocol.dataset)?)
        }
    };
    let masked = if args.with_seen { Vec::new() } else { histories.row(0).to_vec() };
    let best = top_items(trainer.model(), &Users::new(&[user], &histories), &[masked], args.k)?.swap_remove(0);
    let title = |item: u32| data.item_features.get("title").map(|f| f.text(item as usize));
    if args.json {
        let items: Vec<_> =
            best.iter().map(|&(i, score)| serde_json::json!({ "item": data.item_ids.raw(i), "score": score, "title": title(i) })).collect();
        return say_json(&items);
    }
    for (rank, &(i, score)) in best.iter().enumerate() {
        say(&format!("{:>3}  {:>10.4}  {:<10}  {}\n", rank + 1, score, data.item_ids.raw(i), title(i).unwrap_or_default()))?;
    }
    Ok(())
}

/// A history as one row: items, or items with their ratings.
fn history(entries: &[String], data: &Interactions, dataset: &str) -> Result<Windows> {
    let (mut items, mut ratings) = (Vec::new(), Vec::new());
    for entry in entries {
        // An id may hold a colon itself.
        let (raw, rating) = match entry.rsplit_once(':') {
            Some((raw, rating)) if data.item_ids.number(entry).is_none() => (raw, Some(rating)),
            _ => (entry.as_str(), None),
        };
        items.push(data.item_ids.number(raw).ok_or_else(|| problem!(Usage, "{dataset} has no item `{raw}`"))?);
        if let Some(rating) = rating {
            let value = rating.parse::<f32>().ok().filter(|r| r.is_finite());
            ratings.push(value.ok_or_else(|| problem!(Usage, "`{entry}`: the rating `{rating}` is no number"))?);
        }
    }
    require!(
        ratings.is_empty() || ratings.len() == items.len(),
        Usage,
        "{} of the {} items of the history have a rating: give all of them one, such as `1193:5`, or none",
        ratings.len(),
        items.len()
    );
    let all = 0..items.len();
    Ok(Windows::new(items, ratings, vec![all]))
}
