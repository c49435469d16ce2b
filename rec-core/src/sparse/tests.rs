//! Each product against the dense one, values and gradients.

use std::rc::Rc;

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

/// A sparse matrix with values, symmetric or not, and the same as a dense one.
fn fixed(n: usize, symmetric: bool) -> (Rc<Matrix>, Tensor) {
    let mut rng = Rng::keyed(n as u64, Stream::Init, 0, 0);
    let mut dense = vec![0f32; n * n];
    for row in 0..n {
        for column in 0..n {
            if rng.unit() < 0.2 {
                let value = rng.normal() as f32;
                dense[row * n + column] = value;
                if symmetric {
                    dense[column * n + row] = value;
                }
            }
        }
    }
    let places: Vec<usize> = (0..n * n).filter(|&at| dense[at] != 0.0).collect();
    let pick = |of: &dyn Fn(usize) -> u32| places.iter().map(|&at| of(at)).collect::<Vec<_>>();
    let values: Vec<f32> = places.iter().map(|&at| dense[at]).collect();
    let rows = Csr::from_coordinates(n, n, &pick(&|at| (at / n) as u32), &pick(&|at| (at % n) as u32), &values);
    (Rc::new(Matrix::of(rows)), Tensor::from_slice(&dense).view([n as i64, n as i64]))
}

#[test]
fn products_of_fixed_matrices_are_those_of_dense_ones_and_so_are_their_gradients_here_and_by_libtorch() {
    tch::manual_seed(2);
    for (n, d, symmetric) in [(9, 3, true), (40, 64, false), (70, 64, true), (33, 150, true), (5, 1, false)] {
        let (a, dense) = fixed(n, symmetric);
        let x = leaf(n as i64, d);
        let weight = Tensor::randn([n as i64, d], (Kind::Float, Device::Cpu));
        let (fast, slow) = (times(&a, &x).expect("a product"), dense.matmul(&x));
        close(&fast, &slow);
        let expected = gradients(&slow, &weight, &[&x]);
        close(&gradients(&fast, &weight, &[&x])[0], &expected[0]);

        let x64 = x.detach().to_kind(Kind::Double).set_requires_grad(true);
        let wide = times(&a, &x64).expect("libtorch's product");
        close(&wide.to_kind(Kind::Float), &slow);
        close(&gradients(&wide, &weight.to_kind(Kind::Double), &[&x64])[0].to_kind(Kind::Float), &expected[0]);
    }
}

#[test]
fn a_polynomial_is_the_sum_of_its_powers_of_the_rows_asked_for() {
    tch::manual_seed(3);
    for (n, d, weights) in
        [(30, 64, &[0.25f32, 0.25, 0.25, 0.25][..]), (21, 70, &[0.0, 0.5, -0.2][..]), (12, 3, &[0.7][..]), (12, 8, &[0.3, 0.7])]
    {
        let (a, dense) = fixed(n, true);
        let x = leaf(n as i64, d);
        let ids: Vec<u32> = vec![3, 0, 7, 3, n as u32 - 1];
        let (mut power, mut sum) = (x.shallow_clone(), &x * f64::from(weights[0]));
        for &weight in &weights[1..] {
            power = dense.matmul(&power);
            sum = sum.f_add(&(&power * f64::from(weight))).expect("one shape");
        }
        let slow = sum.index_select(0, &Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()));
        let fast = polynomial(&a, weights, &x, &ids, Storage::F32).expect("a polynomial");
        close(&fast, &slow);
        let weight = Tensor::randn([ids.len() as i64, d], (Kind::Float, Device::Cpu));
        let expected = gradients(&slow, &weight, &[&x]);
        close(&gradients(&fast, &weight, &[&x])[0], &expected[0]);
        let x64 = x.detach().to_kind(Kind::Double).set_requires_grad(true);
        let wide = polynomial(&a, weights, &x64, &ids, Storage::F32).expect("a polynomial");
        close(&gradients(&wide, &weight.to_kind(Kind::Double), &[&x64])[0].to_kind(Kind::Float), &expected[0]);
    }
    // Half as many bytes: within the rounding of a vector's numbers, forward and back.
    let (a, _) = fixed(50, true);
    let x = leaf(50, 70);
    let rounded = polynomial(&a, &[0.0, 1.0], &x, &[0, 7, 49], Storage::Bf16).expect("a polynomial");
    let nearest = x.detach().to_kind(Kind::BFloat16).to_kind(Kind::Float);
    close(&rounded, &polynomial(&a, &[0.0, 1.0], &nearest, &[0, 7, 49], Storage::F32).expect("a polynomial"));
    let weight = Tensor::randn([3, 70], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16).to_kind(Kind::Float);
    let plain = polynomial(&a, &[0.0, 1.0], &x, &[0, 7, 49], Storage::F32).expect("a polynomial");
    let (found, expected) = (gradients(&rounded, &weight, &[&x]), gradients(&plain, &weight, &[&x]));
    close(&found[0], &expected[0]);
    let (lopsided, _) = fixed(9, false);
    assert!(polynomial(&lopsided, &[1.0, 1.0], &leaf(9, 2), &[0], Storage::F32).is_err());
    let (a, _) = fixed(9, true);
    assert!(polynomial(&a, &[1.0, 1.0], &leaf(9, 2), &[9], Storage::F32).is_err());
    assert!(times(&a, &leaf(8, 2)).is_err());
}
