//! (user, history, next item), with negatives that all rows of a batch share.

use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::pairwise::check_negatives;
use super::{Batch, BatchOptions, BatchSource, EpochBatches, Negatives, Shuffled};
use crate::csr::Csr;
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// What the history of a training row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// The user's rows before it, as in [`TrainView::sequences`].
    #[default]
    Before,
    /// All the user's other rows, for data whose rows have no order.
    Others,
}

/// Training rows as what comes next, in random order, each once an epoch. Rows without a history are left out.
///
/// Negatives are drawn once a batch for all its rows, with replacement and with probability ∝ popularity^`negative_alpha` (0: all items
/// with a training row alike). They may be a row's own target or items of its history: nothing is rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct NextItemBatch {
    /// `[B]` users.
    pub users: Vec<u32>,
    /// `[B]` items.
    pub targets: Vec<u32>,
    /// `[B]` rows of items, oldest first: the last `max_len` of each target's history.
    pub histories: Csr,
    /// `[B]` times from each target to the latest training row, in shares of the time from the earliest to the latest; empty where
    /// nobody asked.
    pub ages: Vec<f32>,
    /// `[num_negatives]` drawn items.
    pub samples: Vec<u32>,
    /// `[B + num_negatives]` ln of the probability by which each target, and then each sample, is drawn as a sample.
    pub log_q: Vec<f32>,
}

/// Whose row an example is, and where it lies in [`TrainView::sequences`].
#[derive(Clone, Copy)]
struct Example {
    user: u32,
    place: u32,
}

struct Source(Arc<Shared>);

/// What all epochs share.
struct Shared {
    data: Arc<TrainView>,
    options: BatchOptions,
    sampler: Sampler,
    examples: Vec<Example>,
    /// The age of each row of the sequences, or nothing.
    ages: Vec<f32>,
}

struct Epoch {
    shared: Arc<Shared>,
    shuffled: Shuffled,
    epoch: u64,
}

impl Batch for NextItemBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        require!(options.max_len > 0, Usage, "`max_len` is 0: it must be at least 1");
        require!(
            options.negatives == Negatives::Drawn,
            Usage,
            "`negatives = \"in-batch\"` is not for this model: its negatives are drawn once for all rows of a batch"
        );
        if options.num_negatives > 0 {
            check_negatives(options.num_negatives, options.negative_alpha, "num_negatives")?;
        }
        let examples = examples(data.sequences(), options.history);
        require!(!examples.is_empty(), Usage, "no training user has two rows or more: there is no next item to learn");
        let ages = if options.example_age { ages(data)? } else { Vec::new() };
        let sampler = Sampler::of_trained(options.negative_alpha, data.popularity());
        Ok(Arc::new(Source(Arc::new(Shared { data: Arc::clone(data), options: options.clone(), sampler, examples, ages }))))
    }
}

/// The rows that have a history.
fn examples(sequences: &Csr, history: History) -> Vec<Example> {
    let of_user = |user: usize| {
        let all = sequences.range(user);
        let first = match history {
            History::Before => all.start + 1,
            History::Others if all.len() == 1 => all.end,
            History::Others => all.start,
        };
        (first..all.end).map(move |place| Example { user: user as u32, place: place as u32 })
    };
    (0..sequences.num_rows()).flat_map(of_user).collect()
}

/// The age of each row of the sequences.
fn ages(data: &TrainView) -> Result<Vec<f32>> {
    let Some(times) = data.times() else {
        crate::fail!(Usage, "`example_age` is true, and the data has no times: set it to false");
    };
    let mut rows: Vec<u32> = (0..data.len() as u32).collect();
    // The order of the sequences: users, each one's rows by time.
    rows.sort_by_key(|&row| (data.users()[row as usize], times[row as usize]));
    let (earliest, latest) = times.iter().fold((i64::MAX, i64::MIN), |(low, high), &t| (low.min(t), high.max(t)));
    let span = latest.abs_diff(earliest).max(1) as f64;
    Ok(rows.iter().map(|&row| (latest.abs_diff(times[row as usize]) as f64 / span) as f32).collect())
}

impl BatchSource<NextItemBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<NextItemBatch>> {
        let options = &self.0.options;
        let shuffled = Shuffled::new(self.0.examples.len(), options.batch_size, options.seed, epoch);
        Box::new(Epoch { shared: Arc::clone(&self.0), shuffled, epoch })
    }
}

impl Shared {
    fn history(&self, example: Example) -> Vec<u32> {
        let sequences = self.data.sequences();
        let at = example.place as usize - sequences.range(example.user as usize).start;
        let all = sequences.row(example.user as usize);
        let after = match self.options.history {
            History::Before => &[],
            History::Others => &all[at + 1..],
        };
        let too_many = (at + after.len()).saturating_sub(self.options.max_len);
        all[..at].iter().chain(after).skip(too_many).copied().collect()
    }
}

impl EpochBatches<NextItemBatch> for Epoch {
    fn len(&self) -> usize {
        self.shuffled.len()
    }

    fn batch(&self, index: usize) -> NextItemBatch {
        let shared = &*self.shared;
        let examples = || self.shuffled.rows(index).iter().map(|&at| shared.examples[at as usize]);
        let targets: Vec<u32> = examples().map(|example| shared.data.sequences().columns()[example.place as usize]).collect();
        let mut rng = Rng::keyed(shared.options.seed, Stream::Negatives, self.epoch, index as u64);
        let samples: Vec<u32> = (0..shared.options.num_negatives).map(|_| shared.sampler.draw(&mut rng)).collect();
        NextItemBatch {
            users: examples().map(|example| example.user).collect(),
            histories: Csr::from_rows(shared.data.num_items(), examples().map(|example| shared.history(example))),
            ages: if shared.ages.is_empty() { Vec::new() } else { examples().map(|e| shared.ages[e.place as usize]).collect() },
            log_q: targets.iter().chain(&samples).map(|&item| shared.sampler.probability(item).ln() as f32).collect(),
            targets,
            samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interactions, Vocabulary};

    /// Rows in no order of users, each with a time of its own.
    const ROWS: [(u32, u32, i64); 10] =
        [(0, 3, 50), (2, 1, 10), (0, 1, 20), (1, 6, 30), (0, 4, 40), (2, 1, 60), (0, 1, 90), (3, 2, 70), (3, 5, 80), (0, 5, 100)];

    fn view(with_times: bool) -> Arc<TrainView> {
        Arc::new(TrainView::of_all(&Interactions {
            users: ROWS.iter().map(|r| r.0).collect::<Vec<_>>().into(),
            items: ROWS.iter().map(|r| r.1).collect::<Vec<_>>().into(),
            times: with_times.then(|| ROWS.iter().map(|r| r.2).collect::<Vec<_>>().into()),
            user_ids: Vocabulary::numbers(5),
            item_ids: Vocabulary::numbers(8),
            ..Interactions::default()
        }))
    }

    fn options(history: History, max_len: usize) -> BatchOptions {
        BatchOptions { batch_size: 3, num_negatives: 4, history, max_len, example_age: true, ..BatchOptions::default() }
    }

    fn batches(options: &BatchOptions, epoch: u64) -> Vec<NextItemBatch> {
        let epoch = NextItemBatch::source(&view(true), options).expect("has what it needs").epoch(epoch);
        (0..epoch.len()).map(|i| epoch.batch(i)).collect()
    }

    /// User, history, target and age in hundredths of each example, sorted.
    fn examples(batches: &[NextItemBatch]) -> Vec<(u32, Vec<u32>, u32, i64)> {
        let one = |batch: &NextItemBatch, at: usize| {
            let age = (batch.ages[at] * 90.0).round() as i64;
            (batch.users[at], batch.histories.row(at).to_vec(), batch.targets[at], age)
        };
        let mut all: Vec<_> = batches.iter().flat_map(|b| (0..b.users.len()).map(move |at| one(b, at))).collect();
        all.sort();
        all
    }

    #[test]
    fn each_row_comes_once_after_what_was_before_it() {
        let found = examples(&batches(&options(History::Before, 3), 2));
        let expected = [
            (0, vec![1], 4, 60),
            (0, vec![1, 4], 3, 50),
            (0, vec![1, 4, 3], 1, 10),
            (0, vec![4, 3, 1], 5, 0),
            (2, vec![1], 1, 40),
            (3, vec![2], 5, 20),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn or_once_beside_all_others_of_the_user() {
        let found = examples(&batches(&options(History::Others, 9), 2));
        let expected = [
            (0, vec![1, 4, 3, 1], 5, 0),
            (0, vec![1, 4, 3, 5], 1, 10),
            (0, vec![1, 4, 1, 5], 3, 50),
            (0, vec![1, 3, 1, 5], 4, 60),
            (0, vec![4, 3, 1, 5], 1, 80),
            (2, vec![1], 1, 40),
            (2, vec![1], 1, 90),
            (3, vec![2], 5, 20),
            (3, vec![5], 2, 30),
        ];
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected);
        let short = batches(&options(History::Others, 2), 2);
        assert!(short.iter().all(|b| (0..b.users.len()).all(|at| b.histories.row(at).len() <= 2)));
    }

    #[test]
    fn a_batch_depends_on_seed_epoch_and_index_only() {
        let source = NextItemBatch::source(&view(true), &options(History::Before, 3)).expect("has what it needs");
        let (a, b) = (source.epoch(2), source.epoch(2));
        let backwards: Vec<_> = (0..b.len()).rev().map(|i| b.batch(i)).rev().collect();
        assert_eq!((0..a.len()).map(|i| a.batch(i)).collect::<Vec<_>>(), backwards);
        assert_ne!(a.batch(0).samples, a.batch(1).samples);
        assert_ne!(a.batch(0).samples, source.epoch(3).batch(0).samples);
    }

    #[test]
    fn samples_have_a_training_row_and_the_probability_that_is_told() {
        let popularity = view(true).popularity();
        for alpha in [0.0, 0.75] {
            let how = BatchOptions { negative_alpha: alpha, num_negatives: 20_000, ..options(History::Before, 3) };
            let batch = batches(&how, 0).swap_remove(0);
            let weight = |item: u32| if popularity[item as usize] == 0 { 0.0 } else { f64::from(popularity[item as usize]).powf(alpha) };
            let total: f64 = (0..8).map(weight).sum();
            let items = batch.targets.iter().chain(&batch.samples);
            assert_eq!(batch.log_q.len(), batch.targets.len() + batch.samples.len());
            for (&item, &log_q) in items.zip(&batch.log_q) {
                assert!((f64::from(log_q) - (weight(item) / total).ln()).abs() < 1e-6);
            }
            for item in 0..8 {
                let share = weight(item) / total;
                let found = batch.samples.iter().filter(|&&s| s == item).count() as f64 / 20_000.0;
                assert!((found - share).abs() <= 5.0 * (share / 20_000.0).sqrt(), "alpha {alpha}, item {item}: {found} for {share}");
            }
        }
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let refused = |data: &Arc<TrainView>, options: BatchOptions| {
            NextItemBatch::source(data, &options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        let fine = options(History::Before, 3);
        assert!(refused(&view(false), fine.clone()).contains("`example_age` is true, and the data has no times"));
        assert!(refused(&view(true), BatchOptions { max_len: 0, ..fine.clone() }).contains("`max_len` is 0"));
        assert!(refused(&view(true), BatchOptions { batch_size: 0, ..fine.clone() }).contains("`batch_size` is 0"));
        assert!(refused(&view(true), BatchOptions { negative_alpha: -1.0, ..fine.clone() }).contains("`negative_alpha` is -1"));
        assert!(refused(&view(true), BatchOptions { negatives: Negatives::InBatch, ..fine.clone() }).contains("in-batch"));
        let empty = Arc::new(TrainView::of_all(&Interactions::default()));
        assert!(refused(&empty, BatchOptions { example_age: false, ..fine }).contains("no training user has two rows"));
    }
}
