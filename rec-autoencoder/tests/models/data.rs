//! Small data sets, parameters in and out, scores as plain matrices.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rec_core::params::{slice, slice_mut};
use rec_core::rec_data::csr::Csr;
use rec_core::rec_data::view::TrainView;
use rec_core::rec_data::{Interactions, Vocabulary};
use rec_core::tch::no_grad;
use rec_core::{Params, Score, Scores, Users};

/// Rows of numbers.
pub type Matrix = Vec<Vec<f64>>;
/// Parameters by name, row after row.
pub type Values = BTreeMap<String, Vec<f64>>;

/// Libtorch's generator is one for the process: who seeds it or draws from it holds this.
pub fn generator() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A view of (user, item, rating) rows; without ratings where `rated` is false.
pub fn view(users: usize, items: usize, rows: &[(u32, u32, f32)], rated: bool) -> Arc<TrainView> {
    let data = Interactions {
        users: rows.iter().map(|r| r.0).collect::<Vec<_>>().into(),
        items: rows.iter().map(|r| r.1).collect::<Vec<_>>().into(),
        values: rated.then(|| rows.iter().map(|r| r.2).collect::<Vec<_>>().into()),
        user_ids: Vocabulary::numbers(users),
        item_ids: Vocabulary::numbers(items),
        ..Interactions::default()
    };
    data.check("the test's data").expect("sound");
    Arc::new(TrainView::of_all(&data))
}

/// A view of users' lists of items.
pub fn lists(items: usize, rows: &[&[u32]]) -> Arc<TrainView> {
    let entries: Vec<_> = (0..).zip(rows).flat_map(|(user, row)| row.iter().map(move |&item| (user, item, 1.0))).collect();
    view(rows.len(), items, &entries, false)
}

/// Moves every parameter to the values of `from`.
pub fn set(params: &Params, from: &Values) {
    assert_eq!(params.list().iter().map(|p| p.name()).collect::<std::collections::BTreeSet<_>>(), from.keys().cloned().collect());
    for parameter in params.list() {
        let tensor = parameter.tensor();
        // SAFETY: nothing else looks at the parameters here.
        let values = unsafe { slice_mut(&tensor) };
        let given = &from[&parameter.name()];
        assert_eq!(values.len(), given.len(), "{}", parameter.name());
        values.iter_mut().zip(given).for_each(|(to, from)| *to = *from as f32);
    }
}

/// The values of all parameters.
pub fn values(params: &Params) -> Values {
    params.list().iter().map(|p| (p.name(), wide(slice(&p.tensor().detach())))).collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Scores of `users`, as products of f64.
pub fn scores(model: &dyn Score, users: &Users) -> Matrix {
    let scored = no_grad(|| model.score(users)).expect("scores these users");
    match scored {
        Scores::Dense(scores) => scores.chunks(model.num_items()).map(wide).collect(),
        Scores::Factors(factors) => {
            let items: Matrix = factors.items.chunks(factors.dim).map(wide).collect();
            let bias = factors.item_bias.as_deref().map_or(vec![0.0; items.len()], wide);
            assert_eq!((items.len(), factors.users.len()), (model.num_items(), users.len() * factors.dim));
            let row = |user: &[f32]| items.iter().zip(&bias).map(|(item, bias)| dot(&wide(user), item) + bias).collect();
            factors.users.chunks(factors.dim).map(row).collect()
        }
    }
}

/// Scores of one user from a history.
pub fn scores_of(model: &dyn Score, user: u32, history: &[(u32, f32)], rated: bool) -> Vec<f64> {
    let (items, ratings): (Vec<u32>, Vec<f32>) = history.iter().copied().unzip();
    let zeros = vec![0; items.len()];
    let histories = Csr::from_coordinates(1, model.num_items(), &zeros, &items, if rated { &ratings } else { &[] }).into();
    scores(model, &Users::new(&[user], &histories)).remove(0)
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// In the order in which they first come.
pub fn distinct(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut seen = Vec::new();
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

/// Fails where the two differ by more than `allowed`.
pub fn assert_near(found: &[f64], expected: &[f64], allowed: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= allowed, "{what}, number {at}: {found} where the formulas give {expected}");
    }
}

/// Gradients after `backward` against those of all parameters: of a table, of the rows `touched`, all others being 0. Differences may
/// be 10⁻⁴ of a parameter's largest gradient.
pub fn assert_gradients(params: &Params, expected: &Values, touched: impl Fn(&str) -> Vec<u32>, what: &str) {
    use rec_core::params::Parameter;
    let found: BTreeMap<String, Vec<f64>> =
        params.gradients().expect("on the CPU").iter().map(|(name, g)| (name.clone(), wide(slice(g)))).collect();
    for parameter in params.list() {
        let name = parameter.name();
        let all = &expected[&name];
        let largest = all.iter().fold(0.0, |most: f64, v| most.max(v.abs())).max(1e-3);
        let expected = match parameter {
            Parameter::Dense { .. } => all.clone(),
            Parameter::Table(table) => {
                let (rows, width) = (touched(&name), table.num_columns());
                let still = (0..table.num_rows() as u32).filter(|row| !rows.contains(row));
                still.for_each(|row| assert!(all[row as usize * width..][..width].iter().all(|v| v.abs() < 1e-7), "{what}: {name}"));
                rows.iter().flat_map(|&row| all[row as usize * width..][..width].to_vec()).collect()
            }
        };
        assert_near(&found[&name], &expected, 1e-4 * largest, &format!("{what}: the gradient of {name}"));
    }
}
