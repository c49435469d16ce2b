//! Two stages: an index finds candidates near a user's vector, a second model ranks them.

use std::time::Instant;

use anyhow::Result;
use rayon::prelude::*;
use rec_ann::{Index, Neighbour};
use rec_core::eval::dot;
use rec_core::model::{Score, Users};
use rec_core::scores::Scores;
use rec_core::tch::no_grad;
use rec_data::csr::Csr;
use rec_data::{fail, require};

/// The stages that a request goes through. Covington, Adams and Sargin, Deep neural networks for YouTube recommendations, RecSys 2016, figure 2.
pub struct Stages<'a> {
    /// Makes the vectors of users: its scores are products of vectors.
    pub candidates: &'a dyn Score,
    /// Over the vectors of all items, under the inner product; where items have biases, they are the last value.
    pub index: &'a dyn Index,
    /// Ranks what was found; without it the order of the search stays.
    pub ranker: Option<&'a dyn Score>,
    /// How many items are ranked.
    pub num_candidates: usize,
    /// Whether what a user has is no candidate.
    pub drop_seen: bool,
}

/// Items and their scores.
pub type Ranked = Vec<(u32, f32)>;

/// Seconds that each stage took.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spent {
    /// Vectors of users.
    pub vectors: f64,
    /// Search for candidates.
    pub search: f64,
    /// Ranking.
    pub ranking: f64,
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { vectors: self.vectors + other.vectors, search: self.search + other.search, ranking: self.ranking + other.ranking }
    }
}

impl Stages<'_> {
    /// The best `k` items for each of `users` with their scores, best first, of equal scores the lower number first; what each stage took.
    ///
    /// # Errors
    /// those of the models and the index; a usage problem where scores are no products of vectors.
    pub fn best(&self, users: &Users, k: usize) -> Result<(Vec<Ranked>, Spent)> {
        let start = Instant::now();
        let vectors = self.vectors(users)?;
        let after_vectors = Instant::now();
        let found = self.search(users, &vectors)?;
        let after_search = Instant::now();
        let mut ranked = self.ranked(users, &found)?;
        ranked.iter_mut().for_each(|items| {
            items.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            items.truncate(k);
        });
        let spent = Spent {
            vectors: (after_vectors - start).as_secs_f64(),
            search: (after_search - after_vectors).as_secs_f64(),
            ranking: after_search.elapsed().as_secs_f64(),
        };
        Ok((ranked, spent))
    }

    /// The candidates of each of `users`, nearest first.
    ///
    /// # Errors
    /// as [`best`](Self::best).
    pub fn found(&self, users: &Users) -> Result<Vec<Vec<Neighbour>>> {
        self.search(users, &self.vectors(users)?)
    }

    fn vectors(&self, users: &Users) -> Result<Vec<f32>> {
        let Scores::Factors(factors) = no_grad(|| self.candidates.score(users))? else {
            fail!(
                Usage,
                "the scores of the first stage are no products of vectors, so there is nothing to search: `youtube-candidates`, `sasrec`, `bpr` and others have such"
            )
        };
        let one = factors.item_bias.is_some().then_some(1.0);
        let (own, wanted) = (factors.dim + usize::from(one.is_some()), self.index.dim());
        require!(own == wanted, Data, "the first stage has vectors of {own} values, and the index of {wanted}: build it again");
        Ok(factors.users.chunks_exact(factors.dim).flat_map(|user| user.iter().copied().chain(one)).collect())
    }

    fn search(&self, users: &Users, vectors: &[f32]) -> Result<Vec<Vec<Neighbour>>> {
        let (index, wanted, drop_seen) = (self.index, self.num_candidates, self.drop_seen);
        let one = |(i, vector): (usize, &[f32])| -> Result<Vec<Neighbour>> {
            let mut seen = if drop_seen { users.history(i).to_vec() } else { Vec::new() };
            seen.sort_unstable();
            let mut found = index.search(vector, wanted + seen.len(), None)?;
            found.retain(|near| seen.binary_search(&near.id).is_err());
            found.truncate(wanted);
            Ok(found)
        };
        // A pool is woken for more than one user only.
        if users.len() == 1 {
            return Ok(vec![one((0, vectors))?]);
        }
        vectors.par_chunks_exact(index.dim()).enumerate().map(one).collect()
    }

    fn ranked(&self, users: &Users, found: &[Vec<Neighbour>]) -> Result<Vec<Ranked>> {
        let Some(ranker) = self.ranker else {
            return Ok(found.iter().map(|items| items.iter().map(|near| (near.id, -near.distance)).collect()).collect());
        };
        let ids = |items: &Vec<Neighbour>| {
            let mut ids: Vec<u32> = items.iter().map(|near| near.id).collect();
            ids.sort_unstable();
            ids
        };
        let listed = Csr::from_rows(ranker.num_items(), found.iter().map(ids));
        let scores = match no_grad(|| ranker.score_candidates(users, &listed))? {
            Some(scores) => scores,
            None => all_scores(ranker, users, &listed)?,
        };
        let of = |i: usize| listed.row(i).iter().copied().zip(scores[listed.range(i)].iter().copied()).collect::<Vec<_>>();
        let ranked: Vec<Ranked> = (0..users.len()).map(of).collect();
        if let Some(&(item, score)) = ranked.iter().flatten().find(|(_, score)| score.is_nan()) {
            fail!(Numeric, "the ranker's score of item number {item} is {score}");
        }
        Ok(ranked)
    }
}

/// Scores of listed items by a model that scores all at once.
fn all_scores(model: &dyn Score, users: &Users, listed: &Csr) -> Result<Vec<f32>> {
    fn row(values: &[f32], width: usize, at: usize) -> &[f32] {
        &values[at * width..][..width]
    }
    let pairs = (0..users.len()).flat_map(|i| listed.row(i).iter().map(move |&item| (i, item as usize)));
    Ok(match no_grad(|| model.score(users))? {
        Scores::Dense(all) => pairs.map(|(i, item)| row(&all, model.num_items(), i)[item]).collect(),
        Scores::Factors(factors) => {
            let bias = |item: usize| factors.item_bias.as_ref().map_or(0.0, |bias| bias[item]);
            let of = |(i, item)| dot(row(&factors.users, factors.dim, i), row(&factors.items, factors.dim, item)) + bias(item);
            pairs.map(of).collect()
        }
    })
}

impl Score for Stages<'_> {
    fn num_items(&self) -> usize {
        self.index.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = vec![f32::NEG_INFINITY; users.len() * self.num_items()];
        let (best, _) = self.best(users, self.num_candidates)?;
        for (row, items) in scores.chunks_exact_mut(self.num_items()).zip(best) {
            items.iter().for_each(|&(item, score)| row[item as usize] = score);
        }
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        self.candidates.scores_histories() && self.ranker.is_none_or(Score::scores_histories)
    }
}
