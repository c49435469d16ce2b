//! Models that predict ratings.

use rec_cf::biased_mf::BiasedMfConfig;
use rec_cf::svd_pp::SvdPpConfig;
use rec_cf::{BiasedMf, SvdPp};
use rec_core::Init;
use rec_core::rec_data::view::TrainView;

use crate::data::{Matrix, assert_close, dot, finely_rated, fitted, has, initial, order, predictions, rated, rows, scores};

/// What both models have: r̂ = μ + b_u + b_i + q · (p + …).
struct Biased {
    eta: f64,
    l2: f64,
    mean: f64,
    users: Matrix,
    items: Matrix,
    user_bias: Vec<f64>,
    item_bias: Vec<f64>,
}

impl Biased {
    fn new(data: &TrainView, (eta, l2): (f64, f64), init: Init, dim: usize, seed: u64) -> Self {
        let rows = rows(data);
        Self {
            eta,
            l2,
            mean: rows.iter().map(|r| r.2).sum::<f64>() / rows.len() as f64,
            users: initial(init, seed, 0, data.num_users(), dim),
            items: initial(init, seed, 1, data.num_items(), dim),
            user_bias: vec![0.0; data.num_users()],
            item_bias: vec![0.0; data.num_items()],
        }
    }

    /// The update of one rating with the user vector p + `implicit`; returns e and the item's vector before it.
    fn update(&mut self, u: usize, i: usize, value: f64, implicit: &[f64]) -> (f64, Vec<f64>) {
        let (p, q) = (self.users[u].clone(), self.items[i].clone());
        let whole: Vec<f64> = p.iter().zip(implicit).map(|(p, z)| p + z).collect();
        let e = value - (self.mean + self.user_bias[u] + self.item_bias[i] + dot(&q, &whole));
        for k in 0..p.len() {
            self.users[u][k] += self.eta * (e * q[k] - self.l2 * p[k]);
            self.items[i][k] += self.eta * (e * whole[k] - self.l2 * q[k]);
        }
        self.user_bias[u] += self.eta * (e - self.l2 * self.user_bias[u]);
        self.item_bias[i] += self.eta * (e - self.l2 * self.item_bias[i]);
        (e, q)
    }

    /// b_i + q · user vector: what ranks a user's items.
    fn ranking(&self, user_vectors: &Matrix) -> Matrix {
        let row = |vector: &Vec<f64>| self.items.iter().zip(&self.item_bias).map(|(q, b)| b + dot(q, vector)).collect();
        user_vectors.iter().map(row).collect()
    }

    /// r̂ clipped to the range of the training ratings.
    fn ratings(&self, user_vectors: &Matrix, data: &TrainView) -> Matrix {
        let values: Vec<f64> = rows(data).iter().map(|r| r.2).collect();
        let (low, high) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
        let mut all = self.ranking(user_vectors);
        for (row, b) in all.iter_mut().zip(&self.user_bias) {
            row.iter_mut().for_each(|r| *r = (self.mean + b + *r).clamp(low, high));
        }
        all
    }
}

#[test]
fn biased_mf_makes_the_updates_of_its_formulas_in_the_shuffled_order() {
    let config = BiasedMfConfig { embedding_size: 5, learning_rate: 0.03, l2: 0.05, init_std: 0.3 };
    for data in [rated(), finely_rated()] {
        let (seed, epochs) = (7, 2);
        let init = Init::Normal { std: config.init_std };
        let mut expected = Biased::new(&data, (config.learning_rate, config.l2), init, config.embedding_size, seed);
        let start = expected.ratings(&expected.users, &data);
        let rows = rows(&data);
        for epoch in 0..epochs {
            for row in order(rows.len(), seed, epoch) {
                let (u, i, value) = rows[row];
                expected.update(u, i, value, &[0.0; 5]);
            }
        }
        let model: BiasedMf = fitted(&config, &data, seed, epochs);
        let end = expected.ratings(&expected.users, &data);
        assert_close(&predictions(&model, &data), &end, 1e-4, "ratings");
        assert_close(&scores(&model, &data), &expected.ranking(&expected.users), 1e-4, "scores");
        let moved = start.iter().flatten().zip(end.iter().flatten()).filter(|(a, b)| (*a - *b).abs() > 0.05).count();
        assert!(moved > USED, "{moved} predictions moved: enough to tell one order from another");
    }
}

/// Predictions that must have moved for the comparison to mean something.
const USED: usize = 100;

#[test]
fn svd_pp_makes_the_updates_of_the_plain_form_that_moves_every_implicit_vector_at_each_rating() {
    let config = SvdPpConfig { embedding_size: 6, learning_rate: 0.03, l2: 0.05, init_std: 0.3 };
    for data in [rated(), finely_rated()] {
        let (seed, epochs, dim) = (11, 3, config.embedding_size);
        let init = Init::Normal { std: config.init_std };
        let mut expected = Biased::new(&data, (config.learning_rate, config.l2), init, dim, seed);
        let mut implicit = initial(init, seed, 2, data.num_items(), dim);
        let has = has(&data);
        let rated_by = |u: usize| (0..data.num_items()).filter(|&i| has[u][i]).collect::<Vec<_>>();
        let part = |implicit: &Matrix, u: usize| -> Vec<f64> {
            let scale = 1.0 / (rated_by(u).len().max(1) as f64).sqrt();
            (0..dim).map(|k| scale * rated_by(u).iter().map(|&j| implicit[j][k]).sum::<f64>()).collect()
        };
        let mut rating = vec![vec![0.0; data.num_items()]; data.num_users()];
        rows(&data).iter().for_each(|&(u, i, value)| rating[u][i] = value);
        for epoch in 0..epochs {
            for u in order(data.num_users(), seed, epoch) {
                let items = rated_by(u);
                let scale = 1.0 / (items.len().max(1) as f64).sqrt();
                for &i in &items {
                    let z = part(&implicit, u);
                    let (e, q) = expected.update(u, i, rating[u][i], &z);
                    for &j in &items {
                        for k in 0..dim {
                            implicit[j][k] += config.learning_rate * (e * scale * q[k] - config.l2 * implicit[j][k]);
                        }
                    }
                }
            }
        }
        let vector = |u: usize| expected.users[u].iter().zip(part(&implicit, u)).map(|(p, z)| p + z).collect();
        let vectors: Matrix = (0..data.num_users()).map(vector).collect();
        let model: SvdPp = fitted(&config, &data, seed, epochs);
        assert_close(&predictions(&model, &data), &expected.ratings(&vectors, &data), 1e-4, "ratings");
        assert_close(&scores(&model, &data), &expected.ranking(&vectors), 1e-4, "scores");
    }
}
