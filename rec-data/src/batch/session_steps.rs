//! Session-parallel mini-batches. Hidasi et al., ICLR 2016, arXiv:1511.06939, section 3.1.1.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use anyhow::Result;

use super::pairwise::check_negatives;
use super::{Batch, BatchOptions, BatchSource, EpochBatches, Negatives, SessionOrder};
use crate::require;
use crate::rng::{Rng, Stream};
use crate::sampler::Sampler;
use crate::view::TrainView;

/// One step of `batch_size` lanes, each of which walks through one session after the other: an item, and the item after it.
///
/// A session is a user of the view, its rows in time order, rows of equal times (or without times) in the order of the source;
/// sessions of one row teach nothing and are left out. Sessions are taken in the order of their first rows' times (those of equal
/// times, or without times, in the order of users), or shuffled in each epoch ([`SessionOrder`]). A lane that ends its session goes on
/// with the next one that nobody has; of lanes that end at the same step, the lower takes the earlier. When no session is left, lanes
/// end one by one and the batches become smaller. The last lane walks to its end where items are drawn; where `num_negatives` is 0 it
/// would be without a negative, so the epoch ends when one lane is left.
///
/// These are the rules of the authors' code, github.com/hidasib/GRU4Rec and GRU4Rec_PyTorch_Official. That code needs at least
/// `batch_size` sessions, and leaves it to the user to remove sessions of one row; here fewer sessions make fewer lanes.
///
/// Negatives of a lane are the other lanes' targets and `num_negatives` items drawn once a step for all lanes, with probability ∝
/// popularity^`negative_alpha` (0: all items with a training row alike). They may be a lane's own target or items of its session:
/// nothing is rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionStepBatch {
    /// Lanes at the start of the epoch.
    pub num_lanes: usize,
    /// `[B]` lanes that still walk, rising; below `num_lanes`.
    pub lanes: Vec<u32>,
    /// `[B]` whether the lane's item is the first of its session.
    pub begins: Vec<bool>,
    /// `[B]` items.
    pub items: Vec<u32>,
    /// `[B]` the items after them.
    pub targets: Vec<u32>,
    /// `[num_negatives]` drawn items.
    pub samples: Vec<u32>,
    /// `[B + num_negatives]` for a logQ correction: ln popularity of targets, and `negative_alpha` times that of drawn items. Neither
    /// is scaled to a probability, as in the authors' code.
    pub log_q: Vec<f32>,
}

/// Sessions as windows into the rows of a view.
struct Sessions {
    data: Arc<TrainView>,
    /// Row numbers, session after session, each in time order.
    rows: Vec<u32>,
    /// Where each session of at least two rows lies in `rows`, in the order of first rows' times.
    windows: Vec<(u32, u32)>,
}

/// A lane begins session `session` at step `first`.
struct Visit {
    first: u32,
    session: u32,
}

/// Who is where when.
struct Schedule {
    /// Visits of each lane; a lane walks without a pause until its last one ends.
    lanes: Vec<Vec<Visit>>,
    num_steps: usize,
}

struct Source {
    sessions: Arc<Sessions>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    /// ln popularity of each item that is a target or drawn.
    log_popularity: Arc<Vec<f32>>,
    /// Where sessions are in the order of time, all epochs have the same one.
    in_time: Option<Arc<Schedule>>,
}

struct Epoch {
    sessions: Arc<Sessions>,
    schedule: Arc<Schedule>,
    options: BatchOptions,
    sampler: Arc<Sampler>,
    log_popularity: Arc<Vec<f32>>,
    epoch: u64,
}

impl Sessions {
    fn of(data: &Arc<TrainView>) -> Self {
        let time = |row: u32| data.times().map_or(0, |t| t[row as usize]);
        let mut rows: Vec<u32> = (0..data.len() as u32).collect();
        rows.sort_by_key(|&row| (data.users()[row as usize], time(row)));
        let mut windows = Vec::new();
        let mut start = 0;
        for session in rows.chunk_by(|&a, &b| data.users()[a as usize] == data.users()[b as usize]) {
            let end = start + session.len() as u32;
            if session.len() > 1 {
                windows.push((start, end));
            }
            start = end;
        }
        windows.sort_by_key(|&(start, _)| time(rows[start as usize]));
        Self { data: Arc::clone(data), rows, windows }
    }

    /// Steps that session `session` takes.
    fn steps(&self, session: u32) -> u32 {
        let (start, end) = self.windows[session as usize];
        end - start - 1
    }

    /// The item of session `session` at `step`.
    fn item(&self, session: u32, step: u32) -> u32 {
        self.data.items()[self.rows[(self.windows[session as usize].0 + step) as usize] as usize]
    }
}

impl Schedule {
    /// `last_alone`: whether a last lane walks on alone.
    fn new(sessions: &Sessions, order: impl Iterator<Item = u32>, num_lanes: usize, last_alone: bool) -> Self {
        let mut lanes: Vec<Vec<Visit>> = (0..num_lanes).map(|_| Vec::new()).collect();
        let mut free: BinaryHeap<Reverse<(u32, usize)>> = (0..num_lanes).map(|lane| Reverse((0, lane))).collect();
        for session in order {
            let Reverse((first, lane)) = free.pop().expect("there is a lane");
            lanes[lane].push(Visit { first, session });
            free.push(Reverse((first + sessions.steps(session), lane)));
        }
        let mut ends: Vec<u32> = free.into_iter().map(|Reverse((end, _))| end).collect();
        ends.sort_unstable_by_key(|&end| Reverse(end));
        let num_steps = ends[usize::from(!last_alone)] as usize;
        Self { lanes, num_steps }
    }
}

impl Batch for SessionStepBatch {
    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Result<Arc<dyn BatchSource<Self>>> {
        require!(options.batch_size > 0, Usage, "`batch_size` is 0: it must be at least 1");
        require!(
            options.negatives == Negatives::Drawn,
            Usage,
            "`negatives = \"in-batch\"` says nothing here: the other sessions' items are negatives in any case, and `num_negatives = 0` draws none beside them"
        );
        let draws = options.num_negatives > 0;
        if draws {
            check_negatives(options.num_negatives, options.negative_alpha, "num_negatives")?;
        }
        let sessions = Arc::new(Sessions::of(data));
        let least = if draws { 1 } else { 2 };
        require!(
            sessions.windows.len() >= least,
            Usage,
            "{} of the training users have two rows or more: learning from what follows what needs at least {least}",
            sessions.windows.len()
        );
        require!(
            options.batch_size >= least,
            Usage,
            "`batch_size` is {} and `num_negatives` is 0: a session that walks alone has no negative, raise one of them",
            options.batch_size
        );
        let popularity = data.popularity();
        let log_popularity = Arc::new(popularity.iter().map(|&count| (count.max(1) as f32).ln()).collect());
        let sampler = Arc::new(Sampler::of_trained(options.negative_alpha, popularity));
        let mut source = Source { sessions, options: options.clone(), sampler, log_popularity, in_time: None };
        if options.session_order == SessionOrder::Time {
            source.in_time = Some(Arc::new(source.schedule(0..source.sessions.windows.len() as u32)));
        }
        Ok(Arc::new(source))
    }
}

impl Source {
    fn schedule(&self, order: impl Iterator<Item = u32>) -> Schedule {
        let num_lanes = self.options.batch_size.min(self.sessions.windows.len());
        Schedule::new(&self.sessions, order, num_lanes, self.options.num_negatives > 0)
    }
}

impl BatchSource<SessionStepBatch> for Source {
    fn epoch(&self, epoch: u64) -> Box<dyn EpochBatches<SessionStepBatch>> {
        let schedule = self.in_time.clone().unwrap_or_else(|| {
            let mut order: Vec<u32> = (0..self.sessions.windows.len() as u32).collect();
            Rng::keyed(self.options.seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
            Arc::new(self.schedule(order.into_iter()))
        });
        let (sessions, sampler, log_popularity) = (Arc::clone(&self.sessions), Arc::clone(&self.sampler), Arc::clone(&self.log_popularity));
        Box::new(Epoch { sessions, schedule, options: self.options.clone(), sampler, log_popularity, epoch })
    }
}

impl EpochBatches<SessionStepBatch> for Epoch {
    fn len(&self) -> usize {
        self.schedule.num_steps
    }

    fn batch(&self, index: usize) -> SessionStepBatch {
        let num_lanes = self.schedule.lanes.len();
        let mut batch = SessionStepBatch {
            num_lanes,
            lanes: Vec::with_capacity(num_lanes),
            begins: Vec::with_capacity(num_lanes),
            items: Vec::with_capacity(num_lanes),
            targets: Vec::with_capacity(num_lanes),
            samples: Vec::with_capacity(self.options.num_negatives),
            log_q: Vec::with_capacity(num_lanes + self.options.num_negatives),
        };
        for (lane, visits) in self.schedule.lanes.iter().enumerate() {
            let after = visits.partition_point(|visit| visit.first as usize <= index);
            let Visit { first, session } = visits[after - 1];
            let step = index as u32 - first;
            if step < self.sessions.steps(session) {
                batch.lanes.push(lane as u32);
                batch.begins.push(step == 0);
                batch.items.push(self.sessions.item(session, step));
                batch.targets.push(self.sessions.item(session, step + 1));
            }
        }
        let mut rng = Rng::keyed(self.options.seed, Stream::Negatives, self.epoch, index as u64);
        batch.samples.extend((0..self.options.num_negatives).map(|_| self.sampler.draw(&mut rng)));
        let alpha = self.options.negative_alpha as f32;
        for (ids, alpha) in [(&batch.targets, 1.0), (&batch.samples, alpha)] {
            batch.log_q.extend(ids.iter().map(|&id| alpha * self.log_popularity[id as usize]));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Interactions, Vocabulary};

    /// A view of (session, item, time) rows.
    fn view(rows: &[(u32, u32, i64)], items: usize) -> Arc<TrainView> {
        let users = rows.iter().map(|r| r.0).max().map_or(0, |u| u as usize + 1);
        Arc::new(TrainView::of_all(&Interactions {
            users: rows.iter().map(|r| r.0).collect::<Vec<_>>().into(),
            items: rows.iter().map(|r| r.1).collect::<Vec<_>>().into(),
            times: Some(rows.iter().map(|r| r.2).collect::<Vec<_>>().into()),
            user_ids: Vocabulary::numbers(users),
            item_ids: Vocabulary::numbers(items),
            ..Interactions::default()
        }))
    }

    /// Sessions of one to seven random items; rows of all sessions mixed, sessions beginning in random order.
    fn random(sessions: u32) -> Arc<TrainView> {
        let mut rng = Rng::keyed(5, Stream::Split, 0, 0);
        let mut rows = Vec::new();
        for session in 0..sessions {
            let start = i64::from(rng.below(50));
            for step in 0..=i64::from(rng.below(7)) {
                rows.push((session, rng.below(30), start + step / 2));
            }
        }
        // Stable within a session: the order of equal times is that of the source.
        rows.sort_by_key(|r| r.2);
        view(&rows, 31)
    }

    fn source(data: &Arc<TrainView>, options: &BatchOptions) -> Arc<dyn BatchSource<SessionStepBatch>> {
        SessionStepBatch::source(data, options).expect("has what it needs")
    }

    fn all(epoch: &dyn EpochBatches<SessionStepBatch>) -> Vec<SessionStepBatch> {
        (0..epoch.len()).map(|i| epoch.batch(i)).collect()
    }

    fn options(batch_size: usize, num_negatives: usize, session_order: SessionOrder) -> BatchOptions {
        BatchOptions { batch_size, num_negatives, session_order, ..BatchOptions::default() }
    }

    /// What each lane walked through, session after session.
    fn walked(batches: &[SessionStepBatch]) -> Vec<Vec<Vec<u32>>> {
        let mut lanes = vec![Vec::<Vec<u32>>::new(); batches[0].num_lanes];
        for batch in batches {
            for (at, &lane) in batch.lanes.iter().enumerate() {
                let lane = &mut lanes[lane as usize];
                if batch.begins[at] {
                    lane.push(vec![batch.items[at]]);
                }
                let session = lane.last_mut().expect("a session begins before it goes on");
                assert_eq!(session.last(), Some(&batch.items[at]), "a lane's item is its last target");
                session.push(batch.targets[at]);
            }
        }
        lanes
    }

    /// The loop of the authors' code: all lanes step until the shortest session ends, then ended lanes take the next sessions.
    fn by_the_book(lengths: &[usize], batch_size: usize, draws: bool) -> Vec<Vec<(usize, usize)>> {
        let mut steps = Vec::new();
        let mut lanes: Vec<(usize, usize)> = (0..batch_size).map(|session| (session, 0)).collect();
        let mut next = batch_size;
        loop {
            let shortest = lanes.iter().map(|&(s, at)| lengths[s] - 1 - at).min().expect("a lane");
            for _ in 0..shortest {
                steps.push(lanes.clone());
                lanes.iter_mut().for_each(|lane| lane.1 += 1);
            }
            for lane in lanes.iter_mut().filter(|&&mut (s, at)| at + 1 == lengths[s]) {
                *lane = (next, 0);
                next += 1;
            }
            lanes.retain(|&(session, _)| session < lengths.len());
            if lanes.is_empty() || (lanes.len() < 2 && !draws) {
                return steps;
            }
        }
    }

    #[test]
    fn the_schedule_is_that_of_the_authors_loop() {
        let data = random(60);
        for (batch_size, draws) in [(1, 3), (2, 0), (7, 0), (7, 3), (30, 0), (30, 3)] {
            let source = source(&data, &options(batch_size, draws, SessionOrder::Time));
            let sessions = Sessions::of(&data);
            let lengths: Vec<usize> = (0..sessions.windows.len() as u32).map(|s| sessions.steps(s) as usize + 1).collect();
            let expected = by_the_book(&lengths, batch_size, draws > 0);
            let found = all(&*source.epoch(0));
            assert_eq!(found.len(), expected.len(), "{batch_size} lanes, {draws} drawn");
            for (found, expected) in found.iter().zip(&expected) {
                let item = |&(s, at): &(usize, usize)| sessions.item(s as u32, at as u32);
                assert_eq!(found.items, expected.iter().map(item).collect::<Vec<_>>());
                assert_eq!(found.targets, expected.iter().map(|&(s, at)| item(&(s, at + 1))).collect::<Vec<_>>());
                assert_eq!(found.begins, expected.iter().map(|l| l.1 == 0).collect::<Vec<_>>());
                assert_eq!((found.samples.len(), found.log_q.len()), (draws, found.items.len() + draws));
            }
        }
    }

    #[test]
    fn each_session_of_two_rows_or_more_is_walked_through_once_whatever_the_order() {
        let data = random(60);
        let mut expected: Vec<Vec<u32>> = (0..60u32)
            .map(|user| {
                let times = data.times().expect("has times");
                let mut rows: Vec<usize> = (0..data.len()).filter(|&r| data.users()[r] == user).collect();
                rows.sort_by_key(|&r| times[r]);
                rows.iter().map(|&r| data.items()[r]).collect()
            })
            .filter(|session: &Vec<u32>| session.len() > 1)
            .collect();
        expected.sort();
        for order in [SessionOrder::Time, SessionOrder::Shuffled] {
            let source = source(&data, &options(8, 1, order));
            let mut found = walked(&all(&*source.epoch(3))).concat();
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn sessions_come_in_the_order_of_their_first_rows_and_of_users_where_those_are_equal() {
        let data = view(&[(0, 1, 9), (1, 2, 5), (2, 3, 5), (3, 9, 0), (0, 4, 9), (2, 5, 5), (1, 6, 7), (1, 0, 5)], 10);
        let batches = all(&*source(&data, &options(1, 1, SessionOrder::Time)).epoch(0));
        assert_eq!(walked(&batches), [[vec![2, 0, 6], vec![3, 5], vec![1, 4]]]);
    }

    #[test]
    fn a_batch_depends_on_seed_epoch_and_index_only() {
        let data = random(60);
        for order in [SessionOrder::Time, SessionOrder::Shuffled] {
            let source = source(&data, &options(8, 5, order));
            let (a, b) = (source.epoch(2), source.epoch(2));
            let backwards: Vec<_> = (0..b.len()).rev().map(|i| b.batch(i)).rev().collect();
            assert_eq!(all(&*a), backwards);
            let other = source.epoch(3);
            assert_ne!(a.batch(0).samples, other.batch(0).samples);
            assert_eq!(order == SessionOrder::Time, a.batch(0).items == other.batch(0).items);
        }
    }

    #[test]
    fn drawn_items_have_a_training_row_and_follow_the_power_of_popularity() {
        let data = random(60);
        let popularity = data.popularity();
        assert_eq!(popularity[30], 0, "nobody has the last item");
        for alpha in [0.0, 0.5] {
            let how = BatchOptions { negative_alpha: alpha, ..options(8, 2_000, SessionOrder::Time) };
            let epoch = source(&data, &how).epoch(0);
            let mut counts = [0f64; 31];
            let batch = epoch.batch(2);
            for (at, id) in batch.targets.iter().chain(&batch.samples).enumerate() {
                let power = if at < batch.targets.len() { 1.0 } else { alpha };
                assert!((f64::from(batch.log_q[at]) - power * f64::from(popularity[*id as usize]).ln()).abs() < 1e-5);
            }
            all(&*epoch).iter().flat_map(|b| &b.samples).for_each(|&item| counts[item as usize] += 1.0);
            let weights: Vec<f64> = popularity.iter().map(|&p| if p == 0 { 0.0 } else { f64::from(p).powf(alpha) }).collect();
            let (draws, total): (f64, f64) = (counts.iter().sum(), weights.iter().sum());
            for (count, weight) in counts.iter().zip(&weights) {
                let share = weight / total;
                assert!((count / draws - share).abs() < 5.0 * (share / draws).sqrt() + 1e-12, "alpha {alpha}: {counts:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let alone = view(&[(0, 1, 0), (0, 2, 1), (1, 3, 0)], 4);
        let refused = |data: &Arc<TrainView>, options: BatchOptions| {
            SessionStepBatch::source(data, &options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(refused(&alone, options(2, 0, SessionOrder::Time)).starts_with("1 of the training users"));
        assert!(refused(&random(9), options(1, 0, SessionOrder::Time)).starts_with("`batch_size` is 1"));
        let in_batch = BatchOptions { negatives: Negatives::InBatch, ..options(4, 1, SessionOrder::Time) };
        assert!(refused(&random(9), in_batch).contains("says nothing here"));
        assert_eq!(source(&alone, &options(9, 1, SessionOrder::Time)).epoch(0).batch(0).num_lanes, 1);
    }
}
