//! What may be drawn, and that no thread has a say in it.

use std::collections::HashSet;
use std::sync::Arc;

use rec_data::batch::{Batch, BatchOptions, PairwiseBatch, Prefetch, RatedBatch, UserRowsBatch};
use rec_data::rng::{Rng, Stream};
use rec_data::split::{By, Nested, Split, SplitSpec, split};
use rec_data::view::{Asking, Candidates, Excluded, HeldOut, Mask, SampledCandidates, TrainView, Views, views};
use rec_data::{Interactions, Rows, Vocabulary};

const USERS: u32 = 60;
const ITEMS: u32 = 90;

/// Ratings with times; some users have little, some more than half of the items, and the popularities of items differ much. Pairs come
/// once, except where `repeated`.
fn data(repeated: bool) -> Interactions {
    let mut rng = Rng::keyed(1, Stream::Init, 0, 0);
    let mut rows: Vec<(u32, u32)> = Vec::new();
    for user in 0..USERS {
        for item in 0..ITEMS {
            let chance = if user == 7 { 0.6 } else { 0.5 / f64::from(1 + item / 6) };
            if item % 9 == user % 9 || rng.unit() < chance {
                rows.push((user, item));
                if repeated && rng.unit() < 0.2 {
                    rows.push((user, item));
                }
            }
        }
    }
    rng.shuffle(&mut rows);
    let n = rows.len();
    Interactions {
        users: rows.iter().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows.iter().map(|r| r.1).collect::<Vec<_>>().into(),
        values: Some((0..n).map(|_| (1 + rng.below(5)) as f32).collect::<Vec<_>>().into()),
        times: Some((0..n).map(|_| i64::from(rng.below(1000))).collect::<Vec<_>>().into()),
        user_ids: Vocabulary::numbers(USERS as usize),
        item_ids: Vocabulary::numbers(ITEMS as usize),
        ..Interactions::default()
    }
}

fn specs() -> [(SplitSpec, Option<Nested>); 7] {
    let ratios = [0.6, 0.2, 0.2];
    let no_valid = [0.7, 0.0, 0.3];
    [
        (SplitSpec::Random { by: By::User, ratios }, None),
        (SplitSpec::Random { by: By::Item, ratios }, None),
        (SplitSpec::Random { by: By::All, ratios: no_valid }, Some(Nested::Random { valid: 0.1 })),
        (SplitSpec::Temporal { by: By::User, ratios }, None),
        (SplitSpec::Temporal { by: By::All, ratios: no_valid }, Some(Nested::LeaveLast { valid: 2 })),
        (SplitSpec::LeaveLast { test: 2, valid: 1 }, None),
        (SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(Nested::LeaveLast { valid: 1 })),
    ]
}

fn divided(data: &Interactions, spec: &(SplitSpec, Option<Nested>), seed: u64) -> Split {
    split(data, &spec.0, spec.1.as_ref(), seed).expect("the data has what the split needs")
}

#[test]
fn no_negative_of_a_batch_is_a_training_item_of_its_user() {
    for repeated in [false, true] {
        let data = data(repeated);
        let views = views(&data, None, &divided(&data, &specs()[0], 4), &Asking::default(), 4).expect("made");
        let positives: HashSet<(u32, u32)> = views.train.users().iter().copied().zip(views.train.items().iter().copied()).collect();
        for negative_alpha in [0.0, 0.75, 1.0] {
            let options = BatchOptions { batch_size: 64, num_negatives: 5, negative_alpha, seed: 9, ..BatchOptions::default() };
            let source = PairwiseBatch::source(&views.train, &options).expect("made");
            let (mut drawn, mut rows) = (HashSet::new(), 0);
            for epoch in 0..4 {
                let batches = source.epoch(epoch);
                for batch in (0..batches.len()).map(|index| batches.batch(index)) {
                    rows += batch.users.len();
                    assert_eq!((batch.positives.len(), batch.negatives.len()), (batch.users.len(), 5 * batch.users.len()));
                    for (at, &user) in batch.users.iter().enumerate() {
                        assert!(positives.contains(&(user, batch.positives[at])));
                        for &negative in &batch.negatives[5 * at..5 * at + 5] {
                            assert!(!positives.contains(&(user, negative)), "user {user} has item {negative}, α = {negative_alpha}");
                            drawn.insert((user, negative));
                        }
                    }
                }
            }
            assert_eq!(rows, 4 * views.train.len());
            assert!(drawn.len() > 1_000, "the draws vary: {} different pairs", drawn.len());
        }
    }
}

/// The sampled candidates of each user, the targets left out.
fn sampled(held: &HeldOut) -> Vec<(u32, Vec<u32>)> {
    let candidates = held.candidates().expect("asked for");
    let others = |row: usize| candidates.row(row).iter().copied().filter(|&i| !held.targets().contains(row, i)).collect();
    held.users().iter().enumerate().map(|(row, &user)| (user, others(row))).collect()
}

#[test]
fn sampled_candidates_are_as_many_as_asked_for_and_never_an_item_that_the_user_ever_had() {
    for repeated in [false, true] {
        let data = data(repeated);
        let ever: HashSet<(u32, u32)> = data.users.iter().copied().zip(data.items.iter().copied()).collect();
        for spec in specs() {
            let split = divided(&data, &spec, 2);
            for mask in [Mask::Seen, Mask::SeenRelevant, Mask::Nothing] {
                for relevant_at_least in [None, Some(4.0)] {
                    for popularity_percent in [0, 100] {
                        let candidates = Candidates::Sampled(SampledCandidates { popularity_percent, ..SampledCandidates::uniform(12) });
                        let asking =
                            Asking { relevant_at_least, mask, candidates, valid_candidates: None, drop_cold: false, ..Asking::default() };
                        let views = views(&data, None, &split, &asking, 5).expect("made");
                        let valid = views.valid.as_deref().expect("every split here has a validation part");
                        for (part, held) in [("valid", valid), ("test", &*views.test)] {
                            assert!(!held.users().is_empty());
                            for (row, (user, others)) in sampled(held).into_iter().enumerate() {
                                assert_eq!(others.len(), 12, "{part}, user {user}");
                                let candidates = held.candidates().expect("asked for").row(row);
                                assert!(held.targets().row(row).iter().all(|i| candidates.contains(i)), "targets are ranked");
                                for item in others {
                                    let told = format!("{part}, {spec:?}, {asking:?}: user {user} has item {item}");
                                    assert!(!ever.contains(&(user, item)), "{told}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn more_candidates_than_items_that_were_never_the_users_are_refused_with_the_users_name() {
    let data = data(false);
    let split = divided(&data, &specs()[5], 2);
    let free = |user: u32| ITEMS as usize - data.users.iter().filter(|&&u| u == user).count();
    let most = (0..USERS).map(free).min().expect("there are users");
    let ask = |n: usize| {
        let candidates = Candidates::Sampled(SampledCandidates::uniform(n));
        views(&data, None, &split, &Asking { candidates, ..Asking::default() }, 5)
    };
    let views = ask(most).expect("every user has as many");
    assert!(sampled(&views.test).iter().all(|(_, others)| others.len() == most));
    let error = ask(most + 1).expect_err("one user has not as many");
    assert!(error.to_string().contains(&format!("user `7` has {most} items left")), "{error}");
}

/// One candidate a user is drawn with many seeds, and the mean popularity of the drawn items compared with what the distribution over the
/// items that are not the user's gives.
#[test]
fn candidates_are_drawn_uniformly_or_in_proportion_to_training_popularity() {
    let data = data(false);
    let split = divided(&data, &specs()[0], 2);
    let ever: HashSet<(u32, u32)> = data.users.iter().copied().zip(data.items.iter().copied()).collect();
    for (popularity_percent, alpha) in [(0, 0), (100, 1)] {
        let asking = Asking {
            candidates: Candidates::Sampled(SampledCandidates { popularity_percent, ..SampledCandidates::uniform(1) }),
            ..Asking::default()
        };
        let (mut found, mut expected, mut draws) = (0.0, 0.0, 0.0);
        for seed in 0..200 {
            let views = views(&data, None, &split, &asking, seed).expect("made");
            let popularity: Vec<f64> = views.all_of_train.popularity().into_iter().map(f64::from).collect();
            for (user, others) in sampled(&views.test) {
                let free = || (0..ITEMS).filter(|&i| !ever.contains(&(user, i))).map(|i| popularity[i as usize]);
                found += popularity[others[0] as usize];
                expected += free().map(|p| p.powi(alpha) * p).sum::<f64>() / free().map(|p| p.powi(alpha)).sum::<f64>();
                draws += 1.0;
            }
        }
        let (found, expected) = (found / draws, expected / draws);
        assert!((found - expected).abs() < 0.15, "α = {alpha}: {found} where {expected} is expected");
    }
}

#[test]
fn each_question_is_asked_with_every_set_and_items_outside_train_may_be_drawn() {
    let data = data(false);
    let split = divided(&data, &(SplitSpec::LeaveLast { test: 1, valid: 1 }, None), 2);
    let made = |excluded: Excluded, sets: u32, n: usize| {
        let candidates = Candidates::Sampled(SampledCandidates { excluded, sets, ..SampledCandidates::uniform(n) });
        views(&data, None, &split, &Asking { candidates, mask: Mask::Nothing, ..Asking::default() }, 5).expect("made").test
    };
    let (once, thrice) = (made(Excluded::Ever, 1, 6), made(Excluded::Ever, 3, 6));
    assert_eq!(thrice.users(), once.users().iter().flat_map(|&user| [user; 3]).collect::<Vec<_>>());
    let (first, all) = (sampled(&once), sampled(&thrice));
    let mut different = 0;
    for (at, (_, drawn)) in all.iter().enumerate() {
        assert_eq!((thrice.histories().row(at), thrice.targets().row(at)), (once.histories().row(at / 3), once.targets().row(at / 3)));
        if at % 3 == 0 {
            assert_eq!(drawn, &first[at / 3].1, "the first set is the one that is drawn alone");
        } else {
            different += usize::from(drawn != &first[at / 3].1);
        }
    }
    assert!(different > first.len());
    // With as many as there are outside the user's train rows, the validation item is always there.
    let outside = |user: u32| (ITEMS as usize) - data.users.iter().filter(|&&u| u == user).count() + 2;
    let most = (0..USERS).map(outside).min().expect("there are users");
    let test = made(Excluded::Train, 1, most);
    let of = |user: u32, rows: &Rows| rows.iter().filter(|&r| data.users[r as usize] == user).map(|r| data.items[r as usize]).collect();
    for (row, &user) in test.users().iter().enumerate().filter(|&(_, &user)| outside(user) == most) {
        let (train, valid): (Vec<u32>, Vec<u32>) = (of(user, &split.train), of(user, &split.valid));
        let ranked = test.candidates().expect("drawn").row(row);
        assert!(ranked.contains(&valid[0]) && ranked.iter().all(|i| !train.contains(i)), "user {user}");
    }
}

/// Everything that a training sees, as text.
fn everything(data: &Interactions) -> Vec<String> {
    let mut seen = Vec::new();
    for spec in specs() {
        let split = divided(data, &spec, 8);
        let asking = Asking {
            candidates: Candidates::Sampled(SampledCandidates { popularity_percent: 50, ..SampledCandidates::uniform(12) }),
            ..Asking::default()
        };
        let Views { train, valid, test, all_of_train } = views(data, None, &split, &asking, 8).expect("made");
        seen.push(format!("{split:?}"));
        for held in [valid.as_deref(), Some(&*test)].into_iter().flatten() {
            let matrices = [held.masked(), held.targets(), held.candidates().expect("asked for")];
            seen.push(format!("{:?} {:?} {matrices:?} {:?}", held.users(), held.histories(), held.rows()));
        }
        for view in [train, all_of_train] {
            for negative_alpha in [0.0, 0.5] {
                let options = BatchOptions { batch_size: 100, num_negatives: 2, negative_alpha, seed: 8, ..BatchOptions::default() };
                seen.extend(batches::<PairwiseBatch>(&view, &options));
            }
            seen.extend(batches::<RatedBatch>(&view, &BatchOptions { batch_size: 100, ..BatchOptions::default() }));
            seen.extend(batches::<UserRowsBatch>(&view, &BatchOptions { batch_size: 9, ..BatchOptions::default() }));
        }
    }
    seen
}

/// The batches of two epochs, made ahead.
fn batches<B: Batch + std::fmt::Debug>(view: &Arc<TrainView>, options: &BatchOptions) -> Vec<String> {
    let source = B::source(view, options).expect("made");
    (0..2).flat_map(|epoch| Prefetch::new(source.epoch(epoch), 0, 3).map(|batch| format!("{batch:?}"))).collect()
}

#[test]
fn splits_samples_and_batches_are_the_same_on_one_and_two_threads() {
    let data = data(false);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        pool.install(|| everything(&data))
    };
    let one = on(1);
    assert!(one.len() > 300, "{} parts were compared", one.len());
    assert!(one == on(2), "the parts differ");
    assert!(one == on(1), "the parts differ between two times");
}

#[test]
fn batches_are_the_same_whoever_asks_first() {
    let data = data(false);
    let train = Arc::new(TrainView::of_all(&data));
    let source = PairwiseBatch::source(&train, &BatchOptions { batch_size: 64, ..BatchOptions::default() }).expect("made");
    let ahead: Vec<PairwiseBatch> = Prefetch::new(source.epoch(3), 2, 4).collect();
    let asked: Vec<PairwiseBatch> = (2..source.epoch(3).len()).rev().map(|index| source.epoch(3).batch(index)).collect();
    assert!(ahead.iter().eq(asked.iter().rev()));
}
