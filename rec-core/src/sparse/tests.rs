//! Each product against the dense one, values and gradients.

use super::*;
use rec_data::csr::Csr;
use rec_data::rng::{Rng, Stream};

/// A random sparse matrix as entries, values, and the dense matrix `[rows, columns]`.
fn random(rows: usize, columns: usize, seed: u64) -> (Arc<Pattern>, Tensor, Tensor) {
    let mut rng = Rng::keyed(seed, Stream::Init, 0, 0);
    let lists: Vec<Vec<u32>> = (0..rows).map(|_| (0..columns as u32).filter(|_| rng.below(3) == 0).collect()).collect();
    let pattern = Arc::new(Pattern::of(&Csr::from_rows(columns, &lists)));
    let values: Vec<f32> = (0..pattern.len()).map(|_| rng.normal() as f32).collect();
    let mut dense = vec![0f32; rows * columns];
    for ((&value, row), &column) in values.iter().zip(pattern.rows()).zip(pattern.columns()) {
        dense[row as usize * columns + column as usize] = value;
    }
    (pattern, Tensor::from_slice(&values), Tensor::from_slice(&dense).view([rows as i64, columns as i64]))
}

fn leaf(rows: i64, columns: i64) -> Tensor {
    Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)).set_requires_grad(true)
}

fn close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.size(), b.size());
    let worst = (a - b).abs().max().double_value(&[]);
    assert!(worst < 1e-4, "{worst}");
}

/// Gradients of Σ out · weight with respect to the leaves.
fn gradients(out: &Tensor, weight: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    (out * weight).sum(Kind::Float).backward();
    leaves.iter().map(|leaf| leaf.grad().copy()).inspect(|_| leaves.iter().for_each(|l| l.shallow_clone().zero_grad())).collect()
}

#[test]
fn sums_and_products_are_those_of_dense_matrices_and_so_are_their_gradients() {
    tch::manual_seed(1);
    for (rows, columns, d) in [(7, 9, 3), (40, 50, 64), (33, 21, 150), (3, 5, 1)] {
        let (pattern, values, sparse) = random(rows, columns, d as u64);
        let (left, right) = (leaf(rows as i64, d), leaf(columns as i64, d));
        let weight = Tensor::randn([rows as i64, d], (Kind::Float, Device::Cpu));
        let (fast, slow) = (sum_rows(&pattern, Some(&values), &right).expect("sums"), sparse.matmul(&right));
        close(&fast, &slow);
        close(&gradients(&fast, &weight, &[&right])[0], &gradients(&slow, &weight, &[&right])[0]);

        let weight = Tensor::randn([pattern.len() as i64], (Kind::Float, Device::Cpu));
        let fast = products(&pattern, &left, &right).expect("products");
        let slow = pick(&pattern, &left.matmul(&right.transpose(0, 1))).expect("picks");
        close(&fast, &slow);
        let found = gradients(&fast, &weight, &[&left, &right]);
        for (a, b) in found.iter().zip(gradients(&slow, &weight, &[&left, &right])) {
            close(a, &b);
        }
        let chosen = left.matmul(&right.transpose(0, 1)).masked_select(&sparse.not_equal(0.0));
        close(&pick(&pattern, &left.matmul(&right.transpose(0, 1))).expect("picks"), &chosen);
    }
}

#[test]
fn libtorchs_way_gives_the_same() {
    let (pattern, values, _) = random(20, 30, 4);
    let (left, right) = (leaf(20, 5), leaf(30, 5));
    let [left64, right64, values64] = [&left, &right, &values].map(|t| t.detach().to_kind(Kind::Double));
    let float = |t: Tensor| t.to_kind(Kind::Float);
    close(&sum_rows(&pattern, Some(&values), &right).expect("sums"), &float(sum_rows(&pattern, Some(&values64), &right64).expect("sums")));
    close(&products(&pattern, &left, &right).expect("products"), &float(products(&pattern, &left64, &right64).expect("products")));
    let (scores, scores64) = (left.matmul(&right.transpose(0, 1)), left64.matmul(&right64.transpose(0, 1)));
    close(&pick(&pattern, &scores).expect("picks"), &float(pick(&pattern, &scores64).expect("picks")));
}

#[test]
fn compact_columns_are_those_that_occur() {
    let rows = Csr::from_rows(9, [vec![7, 2], vec![], vec![2, 8]]);
    let (pattern, ids) = Pattern::compact(&rows);
    assert_eq!((ids, pattern.columns(), pattern.num_columns()), (vec![7, 2, 8], &[0, 1, 1, 2][..], 3));
}

#[test]
fn a_wrong_shape_and_a_second_derivative_are_refused() {
    let (pattern, values, _) = random(5, 6, 1);
    assert!(sum_rows(&pattern, Some(&values), &leaf(5, 2)).is_err());
    assert!(products(&pattern, &leaf(5, 2), &leaf(6, 3)).is_err());
    let dense = leaf(6, 2);
    let out = sum_rows(&pattern, None, &dense).expect("sums").square().sum(Kind::Float);
    assert!(Tensor::f_run_backward(&[out], &[&dense], true, true).is_err());
}
