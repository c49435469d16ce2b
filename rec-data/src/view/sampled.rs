//! Candidates that are drawn, for tables that ranked such.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::csr::Csr;
use crate::interactions::Interactions;
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;

/// `n` different items for each user, the targets added; drawn once by the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampledCandidates {
    /// How many.
    pub n: usize,
    /// 0 draws uniformly, 100 in proportion to training popularity.
    pub popularity_percent: u32,
    /// What is never drawn for a user.
    #[serde(default, skip_serializing_if = "Excluded::is_default")]
    pub excluded: Excluded,
    /// Independent draws. Each question is asked once with each of them, so that a metric is the mean over the draws.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub sets: u32,
}

/// What is never drawn for a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excluded {
    /// Whatever the user has in any part.
    #[default]
    Ever,
    /// What the user has in train; validation items may be drawn for the test. The draw of SASRec's authors.
    Train,
}

impl Excluded {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(sets: &u32) -> bool {
    *sets == 1
}

impl SampledCandidates {
    /// `n` items, uniformly, none that the user ever had, once.
    pub fn uniform(n: usize) -> Self {
        Self { n, popularity_percent: 0, excluded: Excluded::Ever, sets: 1 }
    }

    /// The lists of each of `users` in set after set, none of them with an item of the user's row of `taken`.
    pub(super) fn draw(
        &self,
        users: &[u32],
        taken: &Csr,
        popularity: &[u32],
        seed: u64,
        data: &Interactions,
    ) -> Result<Vec<Vec<Vec<u32>>>> {
        require!(self.sets > 0, Usage, "`candidates.sets` is 0: it must be at least 1");
        let sampler = Sampler::new(f64::from(self.popularity_percent) / 100.0, popularity);
        let mut all = Vec::with_capacity(users.len());
        for (row, &user) in users.iter().enumerate() {
            let is_taken = |item: u32| taken.contains(row, item);
            let free = (0..data.num_items() as u32).filter(|&i| !is_taken(i) && sampler.can_draw(i)).count();
            require!(
                free >= self.n,
                Usage,
                "user `{}` has {free} items left that were never theirs, fewer than the {} candidates asked for",
                data.user_ids.raw(user),
                self.n
            );
            let one_set = |set: u32| {
                let mut rng = Rng::keyed(seed, Stream::Candidates, u64::from(set), u64::from(user));
                let mut drawn: Vec<u32> = Vec::with_capacity(self.n);
                while drawn.len() < self.n {
                    let item = sampler.draw(&mut rng);
                    if !is_taken(item) && !drawn.contains(&item) {
                        drawn.push(item);
                    }
                }
                drawn
            };
            all.push((0..self.sets).map(one_set).collect());
        }
        Ok(all)
    }
}
