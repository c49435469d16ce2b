//! iALS.

use rec_cf::Ials;
use rec_cf::ials::{IalsConfig, Solver};
use rec_core::events::Events;
use rec_core::rec_data::view::TrainView;
use rec_core::{Fit, Init, Score, Scores, Users};

use crate::data::{Matrix, assert_close, dot, fitted, has, initial, rated, scores, solve};

fn config(solver: Solver, l2_exponent: f64) -> IalsConfig {
    IalsConfig { embedding_size: 5, unobserved_weight: 0.2, l2: 0.05, l2_exponent, init_std: 0.5, solver }
}

/// λ#^ν of a row with `entries` entries, `others` rows on the other side.
fn penalty(config: &IalsConfig, entries: usize, others: usize) -> f64 {
    config.l2 * (entries as f64 + config.unobserved_weight * others as f64).powf(config.l2_exponent)
}

/// Each row's normal equations, added up over every pair, observed or not.
fn solved(config: &IalsConfig, others: &Matrix, observed: &[Vec<bool>]) -> Matrix {
    let dim = config.embedding_size;
    let solve_row = |observed: &Vec<bool>| {
        let (mut matrix, mut right) = (vec![vec![0.0; dim]; dim], vec![0.0; dim]);
        for (vector, &observed) in others.iter().zip(observed) {
            let weight = config.unobserved_weight + f64::from(observed);
            for k in 0..dim {
                right[k] += f64::from(observed) * vector[k];
                (0..dim).for_each(|l| matrix[k][l] += weight * vector[k] * vector[l]);
            }
        }
        let entries = observed.iter().filter(|&&o| o).count();
        (0..dim).for_each(|k| matrix[k][k] += penalty(config, entries, others.len()));
        solve(matrix, right)
    };
    observed.iter().map(solve_row).collect()
}

fn transposed(has: &[Vec<bool>]) -> Vec<Vec<bool>> {
    (0..has[0].len()).map(|i| has.iter().map(|row| row[i]).collect()).collect()
}

#[test]
fn ials_alternates_exact_solutions_of_each_rows_equations() {
    let data = rated();
    let (by_user, by_item) = (has(&data), transposed(&has(&data)));
    for l2_exponent in [0.0, 0.7, 1.0] {
        let config = config(Solver::Cholesky {}, l2_exponent);
        let init = Init::Normal { std: config.init_std / 5f64.sqrt() };
        let mut users: Matrix = Vec::new();
        let mut items = initial(init, 2, 1, data.num_items(), 5);
        for _ in 0..3 {
            users = solved(&config, &items, &by_user);
            items = solved(&config, &users, &by_item);
        }
        let expected = users.iter().map(|p| items.iter().map(|q| dot(p, q)).collect()).collect();
        assert_close(&scores(&fitted::<Ials>(&config, &data, 2, 3), &data), &expected, 1e-4, &format!("ν = {l2_exponent}"));
    }
}

/// The loss of the doc comment, pair by pair.
fn loss(model: &Ials, config: &IalsConfig, data: &TrainView) -> f64 {
    let ids: Vec<u32> = (0..data.num_users() as u32).collect();
    let histories = data.by_user().clone().into();
    let Scores::Factors(factors) = model.score(&Users::new(&ids, &histories)).expect("known users") else { panic!("has vectors") };
    let wide = |values: &[f32]| -> Matrix { values.chunks(factors.dim).map(|r| r.iter().map(|&v| f64::from(v)).collect()).collect() };
    let (users, items, has) = (wide(&factors.users), wide(&factors.items), has(data));
    let mut total = 0.0;
    for (p, has) in users.iter().zip(&has) {
        for (q, &observed) in items.iter().zip(has) {
            let score = dot(p, q);
            total += config.unobserved_weight * score * score + f64::from(observed) * (score - 1.0).powi(2);
        }
    }
    for (side, observed, others) in [(&users, &has, items.len()), (&items, &transposed(&has), users.len())] {
        for (row, observed) in side.iter().zip(observed) {
            total += penalty(config, observed.iter().filter(|&&o| o).count(), others) * dot(row, row);
        }
    }
    total
}

#[test]
fn ials_lowers_its_loss_in_every_epoch_with_either_solver() {
    let data = rated();
    for solver in [Solver::Cholesky {}, Solver::ConjugateGradient { steps: 1 }, Solver::ConjugateGradient { steps: 3 }] {
        for l2_exponent in [0.0, 0.7, 1.0] {
            let config = config(solver, l2_exponent);
            let mut model = Ials::new(&config, &data, 4).expect("makes sense");
            let mut last = loss(&model, &config, &data);
            for epoch in 0..12 {
                model.epoch(&data, epoch, &mut Events::silent()).expect("converges");
                let now = loss(&model, &config, &data);
                // Near the minimum only f32's rounding is left.
                assert!(now < last + 1e-6 * last, "{solver:?}, ν = {l2_exponent}, epoch {epoch}: {last} → {now}");
                assert!(epoch > 2 || now < last, "{solver:?}, ν = {l2_exponent}, epoch {epoch}: {last} → {now}");
                last = now;
            }
        }
    }
}
