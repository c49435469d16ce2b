//! What answers requests: a trained run or pipeline, loaded once, on one thread of its own.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rec_ann::{Flat, Index, Metric};
use rec_core::eval::top_items;
use rec_core::model::{Score, Users};
use rec_core::protocol::Prepared;
use rec_core::train::Trainer;
use rec_data::problem;
use rec_data::view::TrainView;
use rec_data::windows::Windows;

use super::api::{Answer, Asked, Item, Served};
use crate::config::RunConfig;
use crate::pipeline::{Pipeline, Ranked, Spent, Stages, is_pipeline};
use crate::runner::{Bench, learned_from};
use crate::vectors::RunVectors;

/// A loaded run or pipeline.
pub struct Engine {
    loaded: Loaded,
    name: String,
}

enum Loaded {
    Run(Box<Run>),
    Pipeline(Box<Pipeline>),
}

struct Run {
    trainer: Box<dyn Trainer>,
    prepared: Prepared,
    config: RunConfig,
    /// Over the items' vectors, where scores are products of vectors.
    exact: Option<Flat>,
}

/// One user of a request, in numbers.
struct Known {
    user: u32,
    history: Vec<u32>,
    values: Vec<f32>,
}

impl Engine {
    /// Loads the run or pipeline in `folder`.
    ///
    /// # Errors
    /// as [`Bench::load`] and [`Pipeline::load`]; a usage problem where the model ranks no items.
    pub fn load(folder: &Path, bench: &Bench) -> Result<Self> {
        if is_pipeline(folder) {
            let pipeline = Pipeline::load(folder, bench)?;
            let name = format!("{}, then {}", pipeline.config.candidates.0.name, pipeline.config.ranker.0.name);
            return Ok(Self { loaded: Loaded::Pipeline(Box::new(pipeline)), name });
        }
        let (trainer, prepared, config) = bench.load(folder)?;
        let model = trainer.model();
        rec_data::require!(model.num_items() > 0, Usage, "`{}` ranks no items: there is nothing to serve", config.name);
        let vectors = RunVectors::of_products(model, learned_from(&config, &prepared))?;
        let flat = |vectors: RunVectors| Flat::new(&vectors.items.values, vectors.items.dim, Metric::InnerProduct);
        let exact = vectors.map(flat).transpose().map_err(|e| problem!(Data, "the items' vectors: {e:#}"))?;
        let name = config.name.clone();
        Ok(Self { loaded: Loaded::Run(Box::new(Run { trainer, prepared, config, exact })), name })
    }

    /// What it is, for those who ask.
    pub fn served(&self) -> Served {
        let (prepared, run) = self.data();
        Served {
            model: self.name.clone(),
            dataset: run.protocol.dataset.clone(),
            items: prepared.interactions.num_items(),
            users: prepared.interactions.num_users(),
            new_users: self.scores_histories(),
        }
    }

    /// The best items for each of `asked`, or what is wrong with it; and what the stages took in all.
    ///
    /// # Errors
    /// the models' own: none that a request could make.
    pub fn answer(&self, asked: &[Asked]) -> Result<(Vec<Answer>, Spent)> {
        let known: Vec<Result<Known, String>> = asked.iter().map(|one| self.known(one)).collect();
        let mut answers: Vec<Answer> =
            known.iter().map(|k| k.as_ref().err().map_or_else(Answer::default, |e| Answer::refused(e))).collect();
        let mut spent = Spent::default();
        for with_seen in [false, true] {
            let at: Vec<usize> = (0..asked.len()).filter(|&i| asked[i].with_seen == with_seen && known[i].is_ok()).collect();
            let users: Vec<&Known> = at.iter().filter_map(|&i| known[i].as_ref().ok()).collect();
            if users.is_empty() {
                continue;
            }
            let k = at.iter().map(|&i| asked[i].k).max().unwrap_or(0);
            let (best, took) = self.best(&users, k, with_seen)?;
            spent = spent + took;
            for (&i, items) in at.iter().zip(best) {
                answers[i].items = items.into_iter().take(asked[i].k).map(|(item, score)| self.item(item, score)).collect();
            }
        }
        Ok((answers, spent))
    }

    fn best(&self, users: &[&Known], k: usize, with_seen: bool) -> Result<(Vec<Ranked>, Spent)> {
        let ids: Vec<u32> = users.iter().map(|known| known.user).collect();
        let (mut items, mut values, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        // Values stand beside all items or beside none.
        let valued = users.iter().all(|known| known.values.len() == known.history.len());
        for known in users {
            ranges.push(items.len()..items.len() + known.history.len());
            items.extend_from_slice(&known.history);
            if valued {
                values.extend_from_slice(&known.values);
            }
        }
        let histories = Windows::new(items, values, ranges);
        let users = Users::new(&ids, &histories);
        match &self.loaded {
            Loaded::Pipeline(pipeline) => Stages { drop_seen: !with_seen, ..pipeline.stages() }.best(&users, k),
            Loaded::Run(run) => run.best(&users, k, with_seen),
        }
    }

    /// The numbers of raw ids.
    fn known(&self, asked: &Asked) -> Result<Known, String> {
        let (prepared, run) = self.data();
        let data = &prepared.interactions;
        let Some(history) = &asked.history else {
            let Some(raw) = &asked.user else { return Err("give `user` or `history`".into()) };
            let (sequences, number) = (self.learned().sequences(), data.user_ids.number(raw));
            let Some(user) = number.filter(|&user| !sequences.row(user as usize).is_empty()) else {
                return Err(format!("there is no user `{raw}` among those trained with: give a history instead"));
            };
            return Ok(Known {
                user,
                history: sequences.row(user as usize).to_vec(),
                values: sequences.row_values(user as usize).to_vec(),
            });
        };
        if !self.scores_histories() {
            return Err(format!("`{}` scores users that it was trained with only: give `user` without `history`", self.name));
        }
        let number = |raw: &String| data.item_ids.number(raw).ok_or_else(|| format!("{} has no item `{raw}`", run.protocol.dataset));
        let history = history.iter().map(number).collect::<Result<Vec<u32>, String>>()?;
        let values = asked.ratings.clone().unwrap_or_default();
        if !values.is_empty() && values.len() != history.len() {
            return Err(format!("there are {} ratings for {} items", values.len(), history.len()));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err("a rating is no finite number".into());
        }
        // A history that was told is a new user's, whoever tells it: a known one's vector would not know of it.
        Ok(Known { user: Users::NEW, history, values })
    }

    fn item(&self, item: u32, score: f32) -> Item {
        let data = &self.data().0.interactions;
        let title = data.item_features.get("title").map(|f| f.text(item as usize));
        Item { item: data.item_ids.raw(item).to_owned(), score, title }
    }

    fn data(&self) -> (&Prepared, &RunConfig) {
        match &self.loaded {
            Loaded::Run(run) => (&run.prepared, &run.config),
            Loaded::Pipeline(pipeline) => (&pipeline.prepared, &pipeline.run),
        }
    }

    fn learned(&self) -> &TrainView {
        let (prepared, run) = self.data();
        learned_from(run, prepared)
    }

    fn scores_histories(&self) -> bool {
        match &self.loaded {
            Loaded::Run(run) => run.trainer.model().scores_histories(),
            Loaded::Pipeline(pipeline) => pipeline.stages().scores_histories(),
        }
    }
}

impl Run {
    /// All items by their scores.
    fn best(&self, users: &Users, k: usize, with_seen: bool) -> Result<(Vec<Ranked>, Spent)> {
        let candidates = self.trainer.model();
        if let Some(flat) = &self.exact {
            let num_candidates = k.min(flat.len());
            return Stages { candidates, index: flat, ranker: None, num_candidates, drop_seen: !with_seen }.best(users, k);
        }
        let start = Instant::now();
        let seen = |i: usize| if with_seen { Vec::new() } else { users.history(i).to_vec() };
        let masked: Vec<Vec<u32>> = (0..users.len()).map(seen).collect();
        let best = top_items(candidates, users, &masked, k)?;
        Ok((best, Spent { ranking: start.elapsed().as_secs_f64(), ..Spent::default() }))
    }
}
