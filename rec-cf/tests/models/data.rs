//! Small data sets, training, scores as plain matrices, and f64 arithmetic.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rec_core::events::Events;
use rec_core::model::{Fit, Score, Users};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::train::{EpochEnd, Interrupt, Pause, Trainer};
use rec_core::{Init, Scores};

/// Rows of numbers.
pub type Matrix = Vec<Vec<f64>>;

pub const USERS: usize = 31;
pub const ITEMS: usize = 23;

/// Ratings of about a third of all pairs, in random order. The last user and the last item have none.
pub fn rated() -> Arc<TrainView> {
    ratings_of(|rng| f64::from(1 + rng.below(5)))
}

/// The same pairs with ratings that are no whole numbers.
pub fn finely_rated() -> Arc<TrainView> {
    ratings_of(|rng| 1.0 + 4.0 * rng.unit())
}

fn ratings_of(mut draw: impl FnMut(&mut Rng) -> f64) -> Arc<TrainView> {
    let mut rng = Rng::keyed(41, Stream::Split, 0, 0);
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for user in 0..USERS as u32 - 1 {
        for item in 0..ITEMS as u32 - 1 {
            // Some users have much, some little; the same for items.
            if rng.unit() < 0.1 + 0.4 * f64::from((user % 5) * (item % 7)) / 12.0 || (user + item) % 11 == 0 {
                pairs.push((user, item));
            }
        }
    }
    rng.shuffle(&mut pairs);
    let values: Vec<f32> = pairs.iter().map(|_| draw(&mut rng) as f32).collect();
    view(pairs, Some(values))
}

/// A view of (user, item) rows.
pub fn view(pairs: Vec<(u32, u32)>, values: Option<Vec<f32>>) -> Arc<TrainView> {
    let data = Interactions {
        users: pairs.iter().map(|p| p.0).collect::<Vec<_>>().into(),
        items: pairs.iter().map(|p| p.1).collect::<Vec<_>>().into(),
        values: values.map(Into::into),
        user_ids: Vocabulary::numbers(USERS),
        item_ids: Vocabulary::numbers(ITEMS),
        ..Interactions::default()
    };
    data.check("the test's data").expect("sound");
    Arc::new(TrainView::of_all(&data))
}

/// The rows as (user, item, value).
pub fn rows(data: &TrainView) -> Vec<(usize, usize, f64)> {
    let value = |row: usize| data.values().map_or(1.0, |v| f64::from(v[row]));
    (0..data.len()).map(|row| (data.users()[row] as usize, data.items()[row] as usize, value(row))).collect()
}

/// Whether each user has each item.
pub fn has(data: &TrainView) -> Vec<Vec<bool>> {
    let mut has = vec![vec![false; data.num_items()]; data.num_users()];
    rows(data).iter().for_each(|&(u, i, _)| has[u][i] = true);
    has
}

/// The numbers 0..n in the order of an epoch.
pub fn order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Rng::keyed(seed, Stream::Shuffle, epoch, 0).shuffle(&mut order);
    order
}

/// Initial vectors.
pub fn initial(init: Init, seed: u64, index: u64, rows: usize, dim: usize) -> Matrix {
    init.values(seed, index, rows, dim).chunks(dim).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// 1 / (1 + e⁻ˣ).
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x with A x = b, by elimination with pivots.
pub fn solve(mut a: Matrix, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&r, &s| a[r][column].abs().total_cmp(&a[s][column].abs())).expect("a row is left");
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            let (above, below) = a.split_at_mut(row);
            below[0].iter_mut().zip(&above[column]).for_each(|(value, pivot)| *value -= factor * pivot);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| a[row][k] * b[k]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

/// The model after `epochs` epochs.
pub fn fitted<M: Fit>(config: &M::Config, data: &TrainView, seed: u64, epochs: u64) -> M {
    let mut model = M::new(config, data, seed).expect("the data has what the model needs");
    (0..epochs).for_each(|epoch| model.epoch(data, epoch, &mut Events::silent()).expect("converges"));
    model
}

/// Runs one epoch of a trainer, no two at a time: libtorch has one generator, which each step seeds and dropout draws from.
pub fn run_epoch(trainer: &mut dyn Trainer, epoch: u64) {
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
    let end = trainer.epoch(epoch, 0, &pause, &mut Events::silent()).expect("converges");
    assert!(matches!(end, EpochEnd::Done { .. }));
}

/// Scores of all users of `data`, each with their training items as history.
pub fn scores(model: &dyn Score, data: &TrainView) -> Matrix {
    let ids: Vec<u32> = (0..data.num_users() as u32).collect();
    scores_of(model, &Users::new(&ids, &data.by_user().clone().into()))
}

/// Scores from histories alone.
pub fn scores_of_new(model: &dyn Score, histories: &[&[u32]]) -> Matrix {
    let ids = vec![Users::NEW; histories.len()];
    scores_of(model, &Users::new(&ids, &Csr::from_rows(model.num_items(), histories).into()))
}

fn scores_of(model: &dyn Score, users: &Users) -> Matrix {
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    match model.score(users).expect("scores these users") {
        Scores::Dense(scores) => scores.chunks(model.num_items()).map(wide).collect(),
        Scores::Factors(factors) => {
            let items: Matrix = factors.items.chunks(factors.dim).map(wide).collect();
            let bias = factors.item_bias.as_deref().map_or(vec![0.0; items.len()], wide);
            let row = |user: &[f32]| items.iter().zip(&bias).map(|(item, bias)| dot(&wide(user), item) + bias).collect();
            factors.users.chunks(factors.dim).map(row).collect()
        }
    }
}

/// Predicted values of all pairs.
pub fn predictions(model: &dyn Score, data: &TrainView) -> Matrix {
    let predictor = model.pair_score().expect("predicts ratings");
    let items: Vec<u32> = (0..data.num_items() as u32).collect();
    let row = |user: u32| predictor.predict(&vec![user; items.len()], &items).expect("known pairs");
    (0..data.num_users() as u32).map(|u| row(u).iter().map(|&v| f64::from(v)).collect()).collect()
}

/// Fails at the first entry that differs by more than `allowed`.
pub fn assert_close(found: &Matrix, expected: &Matrix, allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (u, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= allowed, "{what}, row {u}, column {i}: {found} where the formulas give {expected}");
        }
    }
}
