//! Popularity, EASE, SLIM and RP³β.

use rec_cf::ease::EaseConfig;
use rec_cf::popularity::PopularityConfig;
use rec_cf::rp3_beta::Rp3BetaConfig;
use rec_cf::slim::SlimConfig;
use rec_cf::{Ease, Popularity, Rp3Beta, Slim};
use rec_core::ModelConfig;

use crate::data::{ITEMS, Matrix, USERS, assert_close, fitted, has, rated, scores, scores_of_new, solve, view};

#[test]
fn popularity_counts_training_rows_repeated_ones_too() {
    let pairs = vec![(0, 4), (3, 4), (0, 4), (1, 2), (2, 2), (5, 21)];
    let data = view(pairs, None);
    let model: Popularity = fitted(&PopularityConfig {}, &data, 1, 1);
    let mut counts = vec![0.0; ITEMS];
    (counts[4], counts[2], counts[21]) = (3.0, 2.0, 1.0);
    assert_eq!(scores(&model, &data), vec![counts.clone(); USERS]);
    assert_eq!(scores_of_new(&model, &[&[7], &[]]), vec![counts; 2]);
}

#[test]
fn ease_scores_by_ridge_regressions_of_each_item_on_all_others() {
    let data = rated();
    let has = has(&data);
    let x = |u: usize, i: usize| f64::from(has[u][i]);
    for l2 in [0.5, 30.0] {
        // Column j of B: the ridge regression of item j on the others, solved on its own.
        let mut expected: Matrix = vec![vec![0.0; ITEMS]; USERS];
        for j in 0..ITEMS {
            let others: Vec<usize> = (0..ITEMS).filter(|&i| i != j).collect();
            let both = |a: usize, b: usize| (0..USERS).map(|u| x(u, a) * x(u, b)).sum::<f64>();
            let matrix = others.iter().map(|&a| others.iter().map(|&b| both(a, b) + if a == b { l2 } else { 0.0 }).collect()).collect();
            let column = solve(matrix, others.iter().map(|&a| both(a, j)).collect());
            for (u, row) in expected.iter_mut().enumerate() {
                row[j] = others.iter().zip(&column).map(|(&i, b)| x(u, i) * b).sum();
            }
        }
        let model: Ease = fitted(&EaseConfig { l2 }, &data, 1, 1);
        assert_close(&scores(&model, &data), &expected, 1e-5, &format!("λ = {l2}"));
        // A new user with a known user's history is scored alike.
        let histories: Vec<&[u32]> = (0..USERS).map(|u| data.by_user().row(u)).collect();
        assert_close(&scores_of_new(&model, &histories), &expected, 1e-5, "new users");
    }
}

#[test]
fn ease_takes_a_history_as_binary_whatever_comes_twice() {
    let data = rated();
    let model: Ease = fitted(&EaseConfig { l2: 3.0 }, &data, 1, 1);
    let found = scores_of_new(&model, &[&[3, 8, 3, 5, 8]]);
    assert_close(&found, &scores_of_new(&model, &[&[3, 8, 5]]), 0.0, "a history with repetitions");
}

#[test]
fn slim_solves_the_elastic_net_of_each_item_on_all_others() {
    let data = rated();
    let has = has(&data);
    let x = |u: usize, i: usize| f64::from(has[u][i]);
    for (l1, l2) in [(0.5, 2.0), (2.0, 0.1), (0.0, 5.0)] {
        let config = SlimConfig { l1, l2, tolerance: 1e-7, max_sweeps: 10_000, ..SlimConfig::default() };
        let model: Slim = fitted(&config, &data, 1, 1);
        // A history of one item shows what that item says for others.
        let singles: Vec<[u32; 1]> = (0..ITEMS as u32).map(|i| [i]).collect();
        let rows: Vec<&[u32]> = singles.iter().map(|s| &s[..]).collect();
        let weights = scores_of_new(&model, &rows);
        let mut used = 0;
        for j in 0..ITEMS {
            let w: Vec<f64> = weights.iter().map(|row| row[j]).collect();
            let error = |u: usize| x(u, j) - (0..ITEMS).map(|i| x(u, i) * w[i]).sum::<f64>();
            assert_eq!(w[j], 0.0);
            for i in (0..ITEMS).filter(|&i| i != j) {
                // The optimality conditions: no slope where there is a weight, none downhill where there is none.
                let slope = -(0..USERS).map(|u| x(u, i) * error(u)).sum::<f64>() + l2 * w[i] + l1;
                if w[i] > 0.0 {
                    used += 1;
                    assert!(slope.abs() < 1e-4, "λ₁ = {l1}, λ₂ = {l2}, {i} for {j}: {slope}");
                } else {
                    assert!(slope > -1e-4, "λ₁ = {l1}, λ₂ = {l2}, {i} for {j}: {slope}");
                }
            }
        }
        assert!(used > ITEMS, "{used} weights");
        let histories: Vec<&[u32]> = (0..USERS).map(|u| data.by_user().row(u)).collect();
        assert_close(&scores(&model, &data), &scores_of_new(&model, &histories), 0.0, "known and new users");
    }
}

#[test]
fn slims_chosen_neighbours_are_the_nearest_by_cosine() {
    let data = rated();
    let model: Slim = fitted(&SlimConfig { l1: 0.0, l2: 0.1, neighbours: 3, ..SlimConfig::default() }, &data, 1, 1);
    let singles: Vec<[u32; 1]> = (0..ITEMS as u32).map(|i| [i]).collect();
    let weights = scores_of_new(&model, &singles.iter().map(|s| &s[..]).collect::<Vec<_>>());
    let has = has(&data);
    let both = |a: usize, b: usize| (0..USERS).filter(|&u| has[u][a] && has[u][b]).count() as f64;
    for j in 0..ITEMS {
        let cosine = |i: usize| if i == j || both(i, i) == 0.0 { 0.0 } else { both(i, j) / both(i, i).sqrt() };
        let mut all: Vec<f64> = (0..ITEMS).map(cosine).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        let speakers: Vec<usize> = weights.iter().enumerate().filter(|(_, row)| row[j] > 0.0).map(|(i, _)| i).collect();
        assert!(speakers.len() <= 3, "{j}: {speakers:?}");
        assert!(speakers.iter().all(|&i| cosine(i) >= all[2] - 1e-9), "{j}: {speakers:?}");
    }
}

#[test]
fn rp3_beta_walks_three_steps() {
    let data = rated();
    let has = has(&data);
    let of_user = |u: usize| has[u].iter().filter(|&&x| x).count() as f64;
    let of_item = |i: usize| (0..USERS).filter(|&u| has[u][i]).count() as f64;
    for (alpha, beta, neighbours) in [(1.0, 0.0, 0), (1.0, 0.6, 3), (0.7, 0.3, 1000)] {
        let weight = |i: usize, j: usize| {
            let both = (0..USERS).filter(|&v| has[v][i] && has[v][j]);
            let walked: f64 = both.map(|v| (1.0 / of_item(i)).powf(alpha) * (1.0 / of_user(v)).powf(alpha)).sum();
            if i == j || walked == 0.0 { 0.0 } else { walked / of_item(j).powf(beta) }
        };
        let mut expected: Matrix = vec![vec![0.0; ITEMS]; USERS];
        let rows: Vec<Vec<(usize, f64)>> = (0..ITEMS)
            .map(|i| {
                let mut row: Vec<(usize, f64)> = (0..ITEMS).map(|j| (j, weight(i, j))).collect();
                row.sort_by(|a, b| (b.1 as f32).total_cmp(&(a.1 as f32)).then(a.0.cmp(&b.0)));
                row.truncate(if neighbours == 0 { ITEMS } else { neighbours });
                row
            })
            .collect();
        for (out, has) in expected.iter_mut().zip(&has) {
            for (row, _) in rows.iter().zip(has).filter(|(_, has)| **has) {
                row.iter().for_each(|&(j, w)| out[j] += w);
            }
        }
        let model: Rp3Beta = fitted(&Rp3BetaConfig { alpha, beta, neighbours }, &data, 1, 1);
        assert_close(&scores(&model, &data), &expected, 1e-5, &format!("α = {alpha}, β = {beta}"));
    }
    for wrong in [Rp3BetaConfig { alpha: -0.1, ..Rp3BetaConfig::default() }, Rp3BetaConfig { beta: f64::NAN, ..Rp3BetaConfig::default() }] {
        assert!(wrong.check().expect_err("out of range").to_string().contains("at least 0 and at most 10"));
    }
}
