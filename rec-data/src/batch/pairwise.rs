//! (user, positive, negatives).

use std::sync::Arc;

use anyhow::Result;

use super::{Batch, BatchOptions, BatchSource, EpochBatches, Negatives, Positives, Shuffled};
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// Each training row once an epoch (or as many drawn ones, see [`Positives`]), with `num_negatives` items that the user has no training row with.
///
/// A user who has every item gets random items as negatives: there is no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairwiseBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B]` items that the user has.
    pub positives: Vec<u32>,
    /// `[B, num_negatives]` items that the user has not, row after row.
    pub negatives: Vec<u32>,
}

/// The most negatives of a positive that a config may ask for: more would be a slip of the keyboard.
const MOST_NEGATIVES: usize = 65_536;

struct Source {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    /// Of drawn positives: the users that have a training row.
    active: Arc<Vec<u32>>,
}

struct Epoch {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    shuffled: Shuffled,
    active: Arc<Vec<u32>>,
    epoch: u64,
}

impl Batch for PairwiseBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        if options.num_negatives > 0 {
            check_negatives(options.num_negatives, options.negative_alpha, "num_negatives")?;
        }
        let by_user = data.by_user();
        let sampler = Arc::new(Sampler::new(options.negative_alpha, &data.popularity()));
        let active = Arc::new((0..data.num_users() as u32).filter(|&user| !by_user.row(user as usize).is_empty()).collect());
        Ok(Arc::new(Source { data: Arc::clone(data), options: options.clone(), sampler, active }))
    }
}

impl BatchSource<PairwiseBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<PairwiseBatch>> {
        Box::new(Epoch {
            data: Arc::clone(&self.data),
            options: self.options.clone(),
            sampler: Arc::clone(&self.sampler),
            shuffled: Shuffled::new(self.data.len(), self.options.batch_size, self.options.seed, epoch),
            active: Arc::clone(&self.active),
            epoch,
        })
    }
}

impl EpochBatches<PairwiseBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> PairwiseBatch {
        let rows = self.shuffled.rows(index);
        let pairs: Vec<(u32, u32)> = rows.iter().map(|&row| self.pair(row)).collect();
        let positives: Vec<u32> = pairs.iter().map(|pair| pair.1).collect();
        let mut negatives = Vec::with_capacity(rows.len() * self.options.num_negatives);
        for (&row, &(user, _)) in rows.iter().zip(&pairs) {
            let mut rng = Rng::keyed(self.options.seed, Stream::Negatives, self.epoch, u64::from(row));
            for _ in 0..self.options.num_negatives {
                let in_batch = match self.options.negatives {
                    Negatives::Drawn => None,
                    Negatives::InBatch => draw_from(&positives, &self.data, user, &mut rng),
                };
                negatives.push(in_batch.unwrap_or_else(|| draw_negative(&self.data, &self.sampler, user, &mut rng)));
            }
        }
        PairwiseBatch { users: pairs.iter().map(|pair| pair.0).collect(), positives, negatives }
    }
}

impl Epoch {
    /// User and item of the place that `row` has among an epoch's rows.
    fn pair(&self, row: u32) -> (u32, u32) {
        match self.options.positives {
            Positives::EachOnce => (self.data.users()[row as usize], self.data.items()[row as usize]),
            Positives::ByUser => {
                let mut rng = Rng::keyed(self.options.seed, Stream::Positives, self.epoch, u64::from(row));
                let user = self.active[rng.below(self.active.len() as u32) as usize];
                let items = self.data.by_user().row(user as usize);
                (user, items[rng.below(items.len() as u32) as usize])
            }
        }
    }
}

/// Checks how negatives are drawn.
pub(super) fn check_negatives(negatives: usize, alpha: f64, key: &str) -> Result<()> {
    require!(
        (1..=MOST_NEGATIVES).contains(&negatives),
        Usage,
        "`{key}` is {negatives}: it must be at least 1 and at most {MOST_NEGATIVES}"
    );
    require!(alpha.is_finite() && alpha >= 0.0, Usage, "`negative_alpha` is {alpha}: it must be at least 0");
    Ok(())
}

/// One of `items` that `user` has no training row with, where there is such a one.
fn draw_from(items: &[u32], data: &TrainView, user: u32, rng: &mut Rng) -> Option<u32> {
    for _ in 0..32 {
        let item = items[rng.below(items.len() as u32) as usize];
        if !data.has(user, item) {
            return Some(item);
        }
    }
    // Hardly any is left: look at all of them, from a random one on.
    let start = rng.below(items.len() as u32) as usize;
    items[start..].iter().chain(&items[..start]).copied().find(|&item| !data.has(user, item))
}

/// An item that `user` has no training row with.
pub(crate) fn draw_negative(data: &TrainView, sampler: &Sampler, user: u32, rng: &mut Rng) -> u32 {
    if data.by_user().row(user as usize).len() >= data.num_items() {
        return sampler.draw(rng);
    }
    // Rejection ends with probability 1, except where every drawable item is the user's: give up after so many that chance is excluded.
    for _ in 0..1_000_000 {
        let item = sampler.draw(rng);
        if !data.has(user, item) {
            return item;
        }
    }
    sampler.draw(rng)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interactions, Vocabulary};

    fn data() -> Arc<TrainView> {
        let users: Vec<u32> = (0..50).map(|i| i % 5).collect();
        let items: Vec<u32> = (0..50).map(|i| (i * 7) % 20).collect();
        Arc::new(TrainView::of_all(&Interactions {
            users: users.into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(5),
            item_ids: Vocabulary::numbers(20),
            ..Interactions::default()
        }))
    }

    #[test]
    fn every_row_comes_once_and_no_negative_is_a_positive() {
        let data = data();
        let options = BatchOptions { batch_size: 8, num_negatives: 3, ..BatchOptions::default() };
        let epoch = PairwiseBatch::source(&data, &options).expect("has what it needs").epoch(4);
        let mut pairs = Vec::new();
        for i in 0..epoch.len() {
            let batch = epoch.batch(i);
            for (row, &user) in batch.users.iter().enumerate() {
                pairs.push((user, batch.positives[row]));
                for &n in &batch.negatives[row * 3..row * 3 + 3] {
                    assert!(!data.by_user().contains(user as usize, n));
                }
            }
        }
        let mut rows: Vec<_> = data.users().iter().copied().zip(data.items().iter().copied()).collect();
        pairs.sort_unstable();
        rows.sort_unstable();
        assert_eq!(pairs, rows);
    }

    #[test]
    fn drawn_positives_see_every_user_equally_often() {
        // User 0 has one row, user 1 has nine, user 2 none.
        let data = Arc::new(TrainView::of_all(&Interactions {
            users: [vec![0], vec![1; 9]].concat().into(),
            items: (0..10).collect::<Vec<u32>>().into(),
            user_ids: Vocabulary::numbers(3),
            item_ids: Vocabulary::numbers(12),
            ..Interactions::default()
        }));
        let options = BatchOptions { batch_size: 10, positives: Positives::ByUser, ..BatchOptions::default() };
        let source = PairwiseBatch::source(&data, &options).expect("has what it needs");
        let mut seen = [0; 3];
        for epoch in 0..200 {
            let batch = source.epoch(epoch).batch(0);
            assert_eq!(batch.users.len(), 10);
            for ((&user, &positive), &negative) in batch.users.iter().zip(&batch.positives).zip(&batch.negatives) {
                seen[user as usize] += 1;
                assert!(data.has(user, positive) && !data.has(user, negative));
            }
        }
        assert!(seen[2] == 0 && (900..1100).contains(&seen[0]), "{seen:?}");
    }

    #[test]
    fn negatives_in_batch_are_other_rows_positives_and_never_the_users() {
        let data = data();
        let options = BatchOptions { batch_size: 25, num_negatives: 3, negatives: Negatives::InBatch, ..BatchOptions::default() };
        let batch = PairwiseBatch::source(&data, &options).expect("has what it needs").epoch(0).batch(0);
        for (row, &user) in batch.users.iter().enumerate() {
            for n in &batch.negatives[row * 3..row * 3 + 3] {
                assert!(!data.has(user, *n));
                let others_left = batch.positives.iter().any(|&p| !data.has(user, p));
                assert!(batch.positives.contains(n) || !others_left, "user {user}, negative {n}");
            }
        }
    }

    #[test]
    fn a_batch_depends_on_seed_epoch_and_index_only() {
        let data = data();
        let options = BatchOptions { batch_size: 8, ..BatchOptions::default() };
        let source = PairwiseBatch::source(&data, &options).expect("has what it needs");
        let (a, b) = (source.epoch(2), source.epoch(2));
        let forwards: Vec<_> = (0..a.len()).map(|i| a.batch(i)).collect();
        let backwards: Vec<_> = (0..b.len()).rev().map(|i| b.batch(i)).rev().collect();
        assert_eq!(forwards, backwards);
        assert_ne!(forwards[0], source.epoch(3).batch(0));
    }
}
