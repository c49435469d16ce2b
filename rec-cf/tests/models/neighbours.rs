//! Neighbourhood models, by comparing all pairs of whole rows.

use rec_cf::knn::{ItemKnnConfig, Similarity, UserKnnConfig};
use rec_cf::{ItemKnn, UserKnn};
use rec_core::ModelConfig;
use rec_core::rec_data::view::TrainView;

use crate::data::{Matrix, USERS, assert_close, finely_rated, fitted, rated, rows, scores, scores_of_new, view};

/// A row of entries, absent ones as `None`.
type Row = Vec<Option<f64>>;

/// Users × items.
fn by_user(data: &TrainView, use_values: bool) -> Vec<Row> {
    let mut matrix = vec![vec![None; data.num_items()]; data.num_users()];
    for (u, i, value) in rows(data) {
        matrix[u][i] = Some(if use_values { value } else { 1.0 });
    }
    matrix
}

fn transposed(matrix: &[Row]) -> Vec<Row> {
    (0..matrix[0].len()).map(|column| matrix.iter().map(|row| row[column]).collect()).collect()
}

fn likeness(similarity: Similarity, h: f64, a: &Row, b: &Row) -> f64 {
    let common: Vec<(f64, f64)> = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
    let n = common.len() as f64;
    if common.is_empty() {
        return 0.0;
    }
    let size = |row: &Row| row.iter().flatten().count() as f64;
    let norm = |row: &Row| row.iter().flatten().map(|v| v * v).sum::<f64>().sqrt();
    match similarity {
        Similarity::Cosine => common.iter().map(|(a, b)| a * b).sum::<f64>() / (norm(a) * norm(b) + h),
        Similarity::Jaccard => n / (size(a) + size(b) - n + h),
        Similarity::Pearson => {
            let mean = |of: fn(&(f64, f64)) -> f64| common.iter().map(of).sum::<f64>() / n;
            let (left, right) = (mean(|c| c.0), mean(|c| c.1));
            let covariance: f64 = common.iter().map(|(a, b)| (a - left) * (b - right)).sum();
            let spread = |of: fn(&(f64, f64)) -> f64, mean: f64| common.iter().map(|c| (of(c) - mean).powi(2)).sum::<f64>();
            let (a, b) = (spread(|c| c.0, left), spread(|c| c.1, right));
            // Sums of squares of ratings of size 1: less than this is rounding.
            if a < 1e-12 || b < 1e-12 { 0.0 } else { covariance / (a * b).sqrt() * n / (n + h) }
        }
    }
}

/// The k rows most like `row`, with their weights; of equally like ones, told apart as f32, those with lower numbers.
fn nearest(row: &Row, others: &[Row], except: Option<usize>, k: usize, of: impl Fn(&Row, &Row) -> f64) -> Vec<(usize, f64)> {
    let compared = others.iter().enumerate().filter(|(at, _)| Some(*at) != except);
    let mut near: Vec<(usize, f64)> = compared.map(|(at, other)| (at, f64::from(of(row, other) as f32))).filter(|n| n.1 > 0.0).collect();
    near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    near.truncate(k);
    near
}

/// Every similarity with and without shrinkage, on ones and on ratings, for few and for many neighbours.
fn settings() -> Vec<(Similarity, f64, bool, usize)> {
    let mut all = Vec::new();
    for similarity in [Similarity::Cosine, Similarity::Jaccard, Similarity::Pearson] {
        for shrink in [0.0, 2.5] {
            for use_values in [false, true] {
                for k in [1, 4, 1000] {
                    if use_values || similarity != Similarity::Pearson {
                        all.push((similarity, shrink, use_values, k));
                    }
                }
            }
        }
    }
    all
}

#[test]
fn item_knn_scores_by_the_nearest_of_all_pairs_of_items() {
    for data in [rated(), finely_rated()] {
        for (similarity, shrink, use_values, neighbours) in settings() {
            for normalize in [false, true] {
                let config = ItemKnnConfig { similarity, neighbours, shrink, use_values, normalize, ..ItemKnnConfig::default() };
                let items = transposed(&by_user(&data, use_values));
                let mut expected: Matrix = vec![vec![0.0; data.num_items()]; data.num_users()];
                for (candidate, row) in items.iter().enumerate() {
                    let near = nearest(row, &items, Some(candidate), neighbours, |a, b| likeness(similarity, shrink, a, b));
                    let sum: f64 = if normalize { near.iter().map(|n| n.1).sum() } else { 1.0 };
                    for (item, weight) in near {
                        (0..data.num_users()).filter(|&u| items[item][u].is_some()).for_each(|u| expected[u][candidate] += weight / sum);
                    }
                }
                let model: ItemKnn = fitted(&config, &data, 1, 1);
                assert_close(&scores(&model, &data), &expected, 1e-5, &format!("{config:?}"));
            }
        }
    }
}

#[test]
fn item_knn_weighs_users_and_takes_means_away_as_its_equations_say() {
    let data = rated();
    let users = by_user(&data, false);
    let items = transposed(&users);
    let size = |u: usize| users[u].iter().flatten().count() as f64;
    let mean = |item: usize| items[item].iter().flatten().count() as f64 / USERS as f64;
    let count = |item: &Row| item.iter().flatten().count() as f64;
    for (inverse_user_sizes, item_means, neighbours) in [(true, false, 4), (false, true, 4), (true, true, 1000)] {
        let of = |a: &Row, b: &Row| {
            let common = (0..USERS).filter(|&u| a[u].is_some() && b[u].is_some());
            common.map(|u| if inverse_user_sizes { 1.0 / size(u) } else { 1.0 }).sum::<f64>() / (count(a) * count(b)).sqrt()
        };
        let mut expected: Matrix = vec![vec![0.0; data.num_items()]; USERS];
        for (candidate, row) in items.iter().enumerate() {
            let near = nearest(row, &items, Some(candidate), neighbours, of);
            for (u, out) in expected.iter_mut().enumerate() {
                let taken = |item: usize| users[u][item].unwrap_or(0.0) - if item_means { mean(item) } else { 0.0 };
                let sum: f64 = near.iter().map(|&(item, weight)| weight * taken(item)).sum();
                out[candidate] = sum + if item_means { mean(candidate) } else { 0.0 };
            }
        }
        let config = ItemKnnConfig { neighbours, inverse_user_sizes, item_means, ..ItemKnnConfig::default() };
        let model: ItemKnn = fitted(&config, &data, 1, 1);
        assert_close(&scores(&model, &data), &expected, 1e-5, &format!("{config:?}"));
    }
    let config = ItemKnnConfig { similarity: Similarity::Jaccard, inverse_user_sizes: true, ..ItemKnnConfig::default() };
    assert!(config.check().expect_err("no cosine").to_string().contains("set `similarity = \"cosine\"`"));
}

#[test]
fn user_knn_scores_by_the_nearest_of_all_pairs_of_users() {
    for data in [rated(), finely_rated()] {
        for (similarity, shrink, use_values, neighbours) in settings() {
            let config = UserKnnConfig { similarity, neighbours, shrink, use_values };
            let users = by_user(&data, use_values);
            let spoken_by = |near: Vec<(usize, f64)>| {
                let of = |item: usize| near.iter().filter_map(|&(user, weight)| Some(weight * users[user][item]?)).sum();
                (0..data.num_items()).map(of).collect::<Vec<f64>>()
            };
            let like = |a: &Row, b: &Row| likeness(similarity, shrink, a, b);
            let expected: Matrix = (0..USERS).map(|u| spoken_by(nearest(&users[u], &users, Some(u), neighbours, like))).collect();
            let model: UserKnn = fitted(&config, &data, 1, 1);
            assert_close(&scores(&model, &data), &expected, 1e-4, &format!("{config:?}"));
            // A new user is compared with everyone, the history as ones, a repeated item counted once.
            let histories: [&[u32]; 3] = [&[4, 1, 9, 1], &[], &[20]];
            let new: Matrix = histories
                .iter()
                .map(|history| {
                    let row: Row = (0..data.num_items() as u32).map(|i| history.contains(&i).then_some(1.0)).collect();
                    spoken_by(nearest(&row, &users, None, neighbours, like))
                })
                .collect();
            assert_close(&scores_of_new(&model, &histories), &new, 1e-4, &format!("{config:?}, new users"));
        }
    }
}

#[test]
fn pearsons_correlation_does_not_depend_on_the_scale_of_the_ratings() {
    let data = rated();
    let scaled = |by: f32| {
        let pairs = data.users().iter().copied().zip(data.items().iter().copied()).collect();
        view(pairs, data.values().map(|values| values.iter().map(|v| v * by).collect()))
    };
    let config = ItemKnnConfig { similarity: Similarity::Pearson, use_values: true, ..ItemKnnConfig::default() };
    // Powers of two: the ratings are scaled without rounding.
    let of = |data: &TrainView| scores(&fitted::<ItemKnn>(&config, data, 1, 1), data);
    let expected = of(&data);
    assert!(expected.iter().flatten().any(|&s| s > 0.0));
    for by in [2f32.powi(-24), 2f32.powi(24)] {
        assert_close(&of(&scaled(by)), &expected, 1e-6, &format!("ratings × {by}"));
    }
}

#[test]
fn pearson_compares_ratings_and_says_so() {
    let item = ItemKnnConfig { similarity: Similarity::Pearson, ..ItemKnnConfig::default() };
    let user = UserKnnConfig { similarity: Similarity::Pearson, ..UserKnnConfig::default() };
    for error in [item.check().expect_err("ones do not vary"), user.check().expect_err("ones do not vary")] {
        assert!(error.to_string().contains("use_values"), "{error}");
    }
}

#[test]
fn an_item_that_comes_twice_in_a_history_speaks_once() {
    let data = rated();
    let model: ItemKnn = fitted(&ItemKnnConfig::default(), &data, 1, 1);
    let found = scores_of_new(&model, &[&[3, 8, 3, 5, 8]]);
    assert_close(&found, &scores_of_new(&model, &[&[3, 8, 5]]), 0.0, "a history with repetitions");
}
