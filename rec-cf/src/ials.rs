//! iALS: implicit alternating least squares. Hu, Koren, Volinsky, ICDM 2008; with the frequency-scaled regularisation of Rendle,
//! Krichene, Zhang, Koren, "Revisiting the performance of iALS", RecSys 2022, arXiv:2110.14037.

use anyhow::Result;
use rayon::prelude::*;
use rec_core::Init;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::simd::vectorised;
use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use crate::check_embedding_size;

/// Hyper-parameters. Defaults are the paper's for MovieLens-1M, with 64 factors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IalsConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// α₀, the weight of the unobserved pairs.
    pub unobserved_weight: f64,
    /// λ.
    pub l2: f64,
    /// ν, how much a row's regularisation grows with its number of entries: 0 not at all, 1 in proportion.
    pub l2_exponent: f64,
    /// σ*: initial values are normal with the deviation σ*/√d.
    pub init_std: f64,
    /// How a row's equations are solved.
    pub solver: Solver,
}

/// How the d × d equations of a row are solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Solver {
    /// Exactly, by Cholesky's factors: d²·n/2 + d³/6 multiply-adds for a row with n entries.
    Cholesky {},
    /// By `steps` steps of conjugate gradients from the row's last value (Takács, Pilászy, Tikk, RecSys 2011): steps·(d² + 2dn).
    ConjugateGradient {
        /// How many steps.
        steps: usize,
    },
}

impl Default for IalsConfig {
    fn default() -> Self {
        Self { embedding_size: 64, unobserved_weight: 0.3, l2: 0.007, l2_exponent: 1.0, init_std: 0.1, solver: Solver::Cholesky {} }
    }
}

impl ModelConfig for IalsConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(self.unobserved_weight > 0.0, Usage, "`unobserved_weight` is {}: it must be above 0", self.unobserved_weight);
        require!(self.l2 > 0.0, Usage, "`l2` is {}: it must be above 0", self.l2);
        require!((0.0..=1.0).contains(&self.l2_exponent), Usage, "`l2_exponent` is {}: it must lie in [0, 1]", self.l2_exponent);
        require!(self.init_std > 0.0, Usage, "`init_std` is {}: it must be above 0", self.init_std);
        require!(self.solver != (Solver::ConjugateGradient { steps: 0 }), Usage, "`steps` is 0: it must be at least 1");
        Ok(())
    }
}

/// Minimises Σ_{(u,i) observed} (p_u·q_i − 1)² + α₀ Σ_{all u,i} (p_u·q_i)² + λ(Σ_u #_u^ν ‖p_u‖² + Σ_i #_i^ν ‖q_i‖²),
/// #_u = |I_u| + α₀·items, #_i = |U_i| + α₀·users.
///
/// An epoch solves all users given the items, then all items given the users:
/// p_u = (Σ_{i ∈ I_u} q_i q_iᵀ + α₀ QᵀQ + λ#_u^ν I)⁻¹ Σ_{i ∈ I_u} q_i.
pub struct Ials {
    config: IalsConfig,
    users: Vec<f32>,
    items: Vec<f32>,
}

impl Fit for Ials {
    type Config = IalsConfig;
    const ONE_PASS: bool = false;

    fn new(config: &IalsConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let dim = config.embedding_size;
        let init = Init::Normal { std: config.init_std / (dim as f64).sqrt() };
        Ok(Self {
            config: config.clone(),
            users: init.values(seed, 0, data.num_users(), dim),
            items: init.values(seed, 1, data.num_items(), dim),
        })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, _: &mut Events) -> Result<()> {
        self.config.solve_side(&mut self.users, &self.items, data.by_user());
        self.config.solve_side(&mut self.items, &self.users, data.by_item());
        if self.users.iter().chain(&self.items).any(|v| !v.is_finite()) {
            fail!(Numeric, "a vector is not finite after epoch {}: raise `l2`", epoch + 1);
        }
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        let dim = self.config.embedding_size;
        out.floats("user_factors", &[self.users.len() / dim, dim], &self.users);
        out.floats("item_factors", &[self.items.len() / dim, dim], &self.items);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("user_factors", &mut self.users)?;
        from.floats_into("item_factors", &mut self.items)
    }
}

/// What a worker needs again and again.
struct Scratch {
    /// Vectors of a row's entries, one after the other, padded to whole lines.
    gathered: Vec<f32>,
    /// The equations' matrix, `[padded, padded]`.
    matrix: Vec<f32>,
    right: Vec<f32>,
    residual: Vec<f32>,
    direction: Vec<f32>,
    product: Vec<f32>,
}

/// A line of 16 numbers: two vectors of eight.
const LINE: usize = 16;
/// Rows of a tile of the matrix.
const TILE: usize = 4;
/// Rows solved by one unit of parallel work.
const BLOCK: usize = 32;

impl IalsConfig {
    /// Solves every row of `side` given the other side; rows are independent, so threads change nothing.
    fn solve_side(&self, side: &mut [f32], other: &[f32], entries: &Csr) {
        let dim = self.embedding_size;
        let gram = scaled_gram(other, dim, self.unobserved_weight);
        let frequency_of_all = self.unobserved_weight * (other.len() / dim) as f64;
        side.par_chunks_mut(dim * BLOCK).enumerate().for_each_init(
            || Scratch::new(dim),
            |scratch, (block, rows)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (at, row) in rows.chunks_exact_mut(dim).enumerate() {
                            let entries = entries.row(block * BLOCK + at);
                            self.solve_row(row, entries, other, &gram, frequency_of_all, scratch);
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    fn solve_row(&self, row: &mut [f32], entries: &[u32], other: &[f32], gram: &[f32], frequency_of_all: f64, scratch: &mut Scratch) {
        let dim = self.embedding_size;
        let padded = dim.next_multiple_of(LINE);
        if entries.is_empty() {
            row.fill(0.0);
            return;
        }
        let l2 = (self.l2 * (entries.len() as f64 + frequency_of_all).powf(self.l2_exponent)) as f32;
        scratch.gathered.clear();
        scratch.gathered.resize(entries.len() * padded, 0.0);
        scratch.right.fill(0.0);
        for (to, &entry) in scratch.gathered.chunks_exact_mut(padded).zip(entries) {
            let from = &other[entry as usize * dim..][..dim];
            to[..dim].copy_from_slice(from);
            scratch.right.iter_mut().zip(to.iter()).for_each(|(r, v)| *r += v);
        }
        match self.solver {
            Solver::Cholesky {} => {
                scratch.matrix.copy_from_slice(gram);
                add_outer_products(&scratch.gathered, padded, &mut scratch.matrix);
                (0..dim).for_each(|k| scratch.matrix[k * padded + k] += l2);
                solve_cholesky(&mut scratch.matrix, padded, dim, &mut scratch.right);
                row.copy_from_slice(&scratch.right[..dim]);
            }
            Solver::ConjugateGradient { steps } => conjugate_gradient(row, gram, l2, steps, padded, scratch),
        }
    }
}

impl Scratch {
    fn new(dim: usize) -> Self {
        let padded = dim.next_multiple_of(LINE);
        let line = || vec![0.0; padded];
        Self {
            gathered: Vec::new(),
            matrix: vec![0.0; padded * padded],
            right: line(),
            residual: line(),
            direction: line(),
            product: line(),
        }
    }
}

/// α₀·QᵀQ, `[padded, padded]`, both triangles; rows are added in fixed blocks, block after block.
fn scaled_gram(vectors: &[f32], dim: usize, weight: f64) -> Vec<f32> {
    const ROWS: usize = 512;
    let padded = dim.next_multiple_of(LINE);
    let parts: Vec<Vec<f32>> = vectors
        .par_chunks(dim * ROWS)
        .map(|rows| {
            let mut gathered = vec![0.0; rows.len() / dim * padded];
            gathered.chunks_exact_mut(padded).zip(rows.chunks_exact(dim)).for_each(|(to, from)| to[..dim].copy_from_slice(from));
            let mut part = vec![0.0; padded * padded];
            vectorised(
                #[inline(always)]
                || add_outer_products(&gathered, padded, &mut part),
            );
            part
        })
        .collect();
    let mut sum = vec![0f64; padded * padded];
    for part in &parts {
        sum.iter_mut().zip(part).for_each(|(s, &p)| *s += f64::from(p));
    }
    (0..padded * padded)
        .map(|at| {
            let (row, column) = (at / padded, at % padded);
            (weight * sum[row.max(column) * padded + row.min(column)]) as f32
        })
        .collect()
}

/// matrix += Σ v vᵀ over the rows v of `vectors`, at least the lower triangle, in tiles of 4 × 16 held in registers.
#[inline(always)]
fn add_outer_products(vectors: &[f32], padded: usize, matrix: &mut [f32]) {
    for top in (0..padded).step_by(TILE) {
        for left in (0..top + TILE).step_by(LINE) {
            let mut sums = [[0f32; LINE]; TILE];
            for vector in vectors.chunks_exact(padded) {
                let line: &[f32; LINE] = vector[left..left + LINE].try_into().expect("a whole line");
                let column: &[f32; TILE] = vector[top..top + TILE].try_into().expect("a whole tile");
                for r in 0..TILE {
                    for l in 0..LINE {
                        sums[r][l] = column[r].mul_add(line[l], sums[r][l]);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let out = &mut matrix[(top + r) * padded + left..][..LINE];
                out.iter_mut().zip(sums).for_each(|(o, s)| *o += s);
            }
        }
    }
}

/// Solves A x = b in place, A symmetric and positive definite, its lower triangle given; b becomes x.
#[inline(always)]
fn solve_cholesky(a: &mut [f32], stride: usize, n: usize, b: &mut [f32]) {
    for j in 0..n {
        let (above, below) = a.split_at_mut((j + 1) * stride);
        let row_j = &mut above[j * stride..][..j + 1];
        let root = (row_j[j] - dot(&row_j[..j], &row_j[..j])).sqrt();
        row_j[j] = root;
        let inverse = 1.0 / root;
        for row_i in below.chunks_exact_mut(stride).take(n - j - 1) {
            row_i[j] = (row_i[j] - dot(&row_i[..j], &row_j[..j])) * inverse;
        }
    }
    for i in 0..n {
        b[i] = (b[i] - dot(&a[i * stride..][..i], &b[..i])) / a[i * stride + i];
    }
    for i in (0..n).rev() {
        b[i] /= a[i * stride + i];
        let value = b[i];
        b[..i].iter_mut().zip(&a[i * stride..][..i]).for_each(|(b, l)| *b -= l * value);
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LINE];
    let (a_lines, b_lines) = (a.chunks_exact(LINE), b.chunks_exact(LINE));
    let rest = a_lines.remainder().iter().zip(b_lines.remainder()).fold(0f32, |s, (&x, &y)| x.mul_add(y, s));
    for (x, y) in a_lines.zip(b_lines) {
        for l in 0..LINE {
            sums[l] = x[l].mul_add(y[l], sums[l]);
        }
    }
    let mut width = LINE / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

/// `out` = (gram + l2·I + Σ v vᵀ) x.
#[inline(always)]
fn apply(gram: &[f32], l2: f32, vectors: &[f32], padded: usize, x: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o = l2 * x);
    for (row, &x) in gram.chunks_exact(padded).zip(x) {
        out.iter_mut().zip(row).for_each(|(o, g)| *o = x.mul_add(*g, *o));
    }
    for vector in vectors.chunks_exact(padded) {
        let along = dot(vector, x);
        out.iter_mut().zip(vector).for_each(|(o, v)| *o = along.mul_add(*v, *o));
    }
}

/// A few steps from the row's last value (Hestenes and Stiefel 1952).
#[inline(always)]
fn conjugate_gradient(row: &mut [f32], gram: &[f32], l2: f32, steps: usize, padded: usize, scratch: &mut Scratch) {
    let dim = row.len();
    let Scratch { gathered, right, residual, direction, product, .. } = scratch;
    // `direction` holds the padded start first.
    direction.fill(0.0);
    direction[..dim].copy_from_slice(row);
    apply(gram, l2, gathered, padded, direction, product);
    residual.iter_mut().zip(right.iter()).zip(product.iter()).for_each(|((r, b), a)| *r = b - a);
    direction.copy_from_slice(residual);
    let mut square = dot(residual, residual);
    for _ in 0..steps {
        if square < 1e-20 {
            break;
        }
        apply(gram, l2, gathered, padded, direction, product);
        let length = square / dot(direction, product);
        row.iter_mut().zip(direction.iter()).for_each(|(x, d)| *x += length * d);
        residual.iter_mut().zip(product.iter()).for_each(|(r, a)| *r -= length * a);
        let next = dot(residual, residual);
        let keep = next / square;
        direction.iter_mut().zip(residual.iter()).for_each(|(d, r)| *d = r + keep * *d);
        square = next;
    }
}

impl Score for Ials {
    fn num_items(&self) -> usize {
        self.items.len() / self.config.embedding_size
    }

    /// A known user by the trained vector; a new one by solving their equations exactly from the history.
    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let dim = self.config.embedding_size;
        let mut vectors = Vec::with_capacity(users.len() * dim);
        let exact = IalsConfig { solver: Solver::Cholesky {}, ..self.config.clone() };
        let mut gram: Option<Vec<f32>> = None;
        for (at, &id) in users.ids().iter().enumerate() {
            if id == Users::NEW {
                let gram = gram.get_or_insert_with(|| scaled_gram(&self.items, dim, exact.unobserved_weight));
                let mut history = users.history(at).to_vec();
                history.sort_unstable();
                history.dedup();
                let mut row = vec![0.0; dim];
                let all = exact.unobserved_weight * self.num_items() as f64;
                exact.solve_row(&mut row, &history, &self.items, gram, all, &mut Scratch::new(dim));
                vectors.extend(row);
            } else {
                vectors.extend_from_slice(&self.users[id as usize * dim..][..dim]);
            }
        }
        Ok(Scores::Factors(Factors { dim, users: vectors.into(), items: (&self.items[..]).into(), item_bias: None }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.config.embedding_size, values: (&self.items[..]).into() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rec_data::{Interactions, Vocabulary};

    fn data() -> TrainView {
        let users: Vec<u32> = (0..60).map(|i| i % 12).collect();
        let items: Vec<u32> = (0..60).map(|i| (i * i + i / 7) % 20).collect();
        TrainView::of_all(&Interactions {
            users: users.into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(12),
            item_ids: Vocabulary::numbers(20),
            ..Interactions::default()
        })
    }

    /// The loss of the doc comment, written down entry by entry in f64.
    fn loss(model: &Ials, data: &TrainView) -> f64 {
        let (c, dim) = (&model.config, model.config.embedding_size);
        let row = |m: &[f32], r: usize| m[r * dim..(r + 1) * dim].iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let mut total = 0.0;
        for u in 0..data.num_users() {
            let p = row(&model.users, u);
            for i in 0..data.num_items() {
                let score: f64 = p.iter().zip(row(&model.items, i)).map(|(a, b)| a * b).sum();
                total += c.unobserved_weight * score * score;
                if data.by_user().contains(u, i as u32) {
                    total += (score - 1.0).powi(2);
                }
            }
        }
        for (side, entries, others) in [(&model.users, data.by_user(), data.num_items()), (&model.items, data.by_item(), data.num_users())]
        {
            for r in 0..entries.num_rows() {
                let frequency = entries.row(r).len() as f64 + c.unobserved_weight * others as f64;
                total += c.l2 * frequency.powf(c.l2_exponent) * row(side, r).iter().map(|v| v * v).sum::<f64>();
            }
        }
        total
    }

    #[test]
    fn the_last_solved_side_is_a_minimum_of_the_papers_loss() {
        let data = data();
        let config = IalsConfig {
            embedding_size: 5,
            unobserved_weight: 0.2,
            l2: 0.05,
            l2_exponent: 0.7,
            init_std: 0.5,
            solver: Solver::Cholesky {},
        };
        let mut model = Ials::new(&config, &data, 3).expect("makes sense");
        let before = loss(&model, &data);
        for epoch in 0..3 {
            model.epoch(&data, epoch, &mut Events::silent()).expect("converges");
        }
        assert!(loss(&model, &data) < before);
        for at in 0..model.items.len() {
            let kept = model.items[at];
            let mut at_value = |v: f32| {
                model.items[at] = v;
                loss(&model, &data)
            };
            let gradient = (at_value(kept + 1e-3) - at_value(kept - 1e-3)) / 2e-3;
            model.items[at] = kept;
            assert!(gradient.abs() < 1e-3, "item parameter {at}: slope {gradient}");
        }
    }

    #[test]
    fn conjugate_gradients_reach_the_exact_solution() {
        let data = data();
        let exact = IalsConfig { embedding_size: 6, ..IalsConfig::default() };
        let iterative = IalsConfig { solver: Solver::ConjugateGradient { steps: 12 }, ..exact.clone() };
        let run = |config: &IalsConfig| {
            let mut model = Ials::new(config, &data, 1).expect("makes sense");
            (0..2).for_each(|e| model.epoch(&data, e, &mut Events::silent()).expect("converges"));
            model.items
        };
        for (a, b) in run(&exact).iter().zip(run(&iterative)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_new_user_with_a_known_history_gets_the_vector_of_the_next_epoch() {
        let data = data();
        let mut model = Ials::new(&IalsConfig { embedding_size: 4, ..IalsConfig::default() }, &data, 1).expect("makes sense");
        (0..3).for_each(|e| model.epoch(&data, e, &mut Events::silent()).expect("converges"));
        let histories = data.by_user().clone().into();
        let ids = [Users::NEW; 12];
        let Scores::Factors(folded) = model.score(&Users::new(&ids, &histories)).expect("scores") else { panic!("has vectors") };
        let mut users = vec![0.0; model.users.len()];
        model.config.solve_side(&mut users, &model.items, data.by_user());
        for (a, b) in folded.users.iter().zip(&users) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}
