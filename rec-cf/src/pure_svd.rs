//! PureSVD: items by truncated singular vectors. Cremonesi, Koren, Turrin, RecSys 2010. By randomised subspace iteration: Halko,
//! Martinsson, Tropp, SIAM Review 53, 2011, arXiv:0909.4061.

use anyhow::{Context, Result};
use rayon::prelude::*;
use rec_core::Init;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::simd::vectorised;
use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::check_embedding_size;
use crate::item_vectors::{Closeness, ItemVectors};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PureSvdConfig {
    /// k, the singular vectors that are kept: the length of an item's vector.
    pub embedding_size: usize,
    /// What is decomposed.
    pub matrix: SvdMatrix,
    /// p: an item's vector is its row of Q Σᵖ. PureSVD has 0; Item2Vec's paper compares with ½ of `co-occurrences`.
    pub singular_exponent: f64,
    /// How near an item is to a user, the mean of the vectors of the history's items. PureSVD has `dot`.
    pub score: Closeness,
    /// Singular vectors beyond k that are computed with them, so that these are exact sooner.
    pub oversampling: usize,
    /// Products with the matrix before the last: each multiplies the error of σ_k by about (σ of the first vector left out / σ_k)⁴.
    pub iterations: usize,
}

/// What is decomposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SvdMatrix {
    /// X, users × items, binary.
    Interactions,
    /// Items × items: users that two different items have in common, divided by the square root of both rows' sums.
    CoOccurrences,
}

impl Default for PureSvdConfig {
    fn default() -> Self {
        Self {
            embedding_size: 50,
            matrix: SvdMatrix::Interactions,
            singular_exponent: 0.0,
            score: Closeness::Dot,
            oversampling: 16,
            iterations: 8,
        }
    }
}

impl ModelConfig for PureSvdConfig {
    fn check(&self) -> Result<()> {
        check_embedding_size(self.embedding_size)?;
        require!(
            self.singular_exponent.is_finite(),
            Usage,
            "`singular_exponent` is {}: it must be a finite number",
            self.singular_exponent
        );
        Ok(())
    }
}

/// With X ≈ U Σ Qᵀ, score(u, j) = x_u Q q_j / |I_u|: the user's row projected onto the singular vectors of items. The divisor, which
/// makes it a mean of histories, changes no ranking.
pub struct PureSvd {
    config: PureSvdConfig,
    seed: u64,
    vectors: ItemVectors,
}

impl Fit for PureSvd {
    type Config = PureSvdConfig;
    const ONE_PASS: bool = true;

    fn new(config: &PureSvdConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let (n, k) = (data.num_items(), config.embedding_size);
        require!(k <= n, Usage, "`embedding_size` is {k}: it must be at most the number of items, {n}");
        Ok(Self { config: config.clone(), seed, vectors: ItemVectors::new(k, vec![0.0; n * k], config.score) })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let (n, k) = (data.num_items(), self.config.embedding_size);
        let (vectors, singular) = self.config.decompose(data, self.seed).with_context(|| format!("decomposing a matrix of {n} items"))?;
        let scales: Vec<f64> = singular.iter().map(|&s| if s > 0.0 { s.powf(self.config.singular_exponent) } else { 0.0 }).collect();
        let values = vectors.chunks_exact(k).flat_map(|row| row.iter().zip(&scales).map(|(q, scale)| (q * scale) as f32)).collect();
        self.vectors = ItemVectors::new(k, values, self.config.score);
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        let Vectors { dim, values } = self.vectors.vectors();
        out.floats("item_vectors", &[self.vectors.len(), dim], &values);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        let mut values = self.vectors.vectors().values.into_owned();
        from.floats_into("item_vectors", &mut values)?;
        self.vectors = ItemVectors::new(self.config.embedding_size, values, self.config.score);
        Ok(())
    }
}

impl PureSvdConfig {
    /// Q, `[items, k]`, and the singular values, falling. Signs are such that the largest entry of a vector is above 0.
    ///
    /// All is in f64: both matrices are known by S, symmetric over items, S = XᵀX or the co-occurrences themselves. V starts as random
    /// numbers and becomes an orthonormal basis of S V in each iteration; the eigenvectors of VᵀSV, which is small, turn it into those of S.
    fn decompose(&self, data: &TrainView, seed: u64) -> Result<(Vec<f64>, Vec<f64>)> {
        let (n, k) = (data.num_items(), self.embedding_size);
        let width = (k + self.oversampling).min(n);
        let operator = Operator::new(data, self.matrix);
        let start: Vec<f64> = Init::Normal { std: 1.0 }.values(seed, 0, n, width).into_iter().map(f64::from).collect();
        let shape = [n as i64, width as i64];
        let dense = |values: &[f64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_view(shape)?) };
        let basis = |values: &[f64]| -> Result<Tensor> { Ok(Tensor::f_linalg_qr(&dense(values)?, "reduced")?.0) };
        let mut v = basis(&start)?;
        for _ in 0..self.iterations {
            v = basis(&operator.times(&doubles(&v)?, width))?;
        }
        let product = dense(&operator.times(&doubles(&v)?, width))?;
        let (values, turn) = v.f_tr()?.f_matmul(&product)?.f_linalg_eigh("L")?;
        let order = values.f_abs()?.f_argsort(0, true)?.f_slice(0, 0, k as i64, 1)?;
        let vectors = v.f_matmul(&turn.f_index_select(1, &order)?)?;
        let (_, largest) = vectors.f_abs()?.f_max_dim(0, true)?;
        let vectors = vectors.f_mul(&vectors.f_gather(0, &largest, false)?.f_sign()?)?;
        let values = values.f_abs()?.f_index_select(0, &order)?;
        let singular = if self.matrix == SvdMatrix::Interactions { values.f_sqrt()? } else { values };
        Ok((doubles(&vectors)?, doubles(&singular)?))
    }
}

fn doubles(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.f_contiguous()?;
    let mut out = vec![0f64; tensor.numel()];
    tensor.f_to_kind(Kind::Double)?.f_copy_data(&mut out, tensor.numel())?;
    Ok(out)
}

/// S, as products with it.
struct Operator<'a> {
    by_user: &'a Csr,
    by_item: &'a Csr,
    /// 1/√(row sum) of each item's co-occurrences; 0 where there are none.
    scales: Option<Vec<f64>>,
}

impl<'a> Operator<'a> {
    fn new(data: &'a TrainView, matrix: SvdMatrix) -> Self {
        let (by_user, by_item) = (data.by_user(), data.by_item());
        let together = |item: usize| by_item.row(item).iter().map(|&user| by_user.row(user as usize).len() - 1).sum::<usize>() as f64;
        let scale = |item: usize| if together(item) > 0.0 { together(item).sqrt().recip() } else { 0.0 };
        let scales = (matrix == SvdMatrix::CoOccurrences).then(|| (0..data.num_items()).map(scale).collect());
        Self { by_user, by_item, scales }
    }

    /// S V.
    ///
    /// # Shapes
    /// `v` and the product `[items, width]`
    fn times(&self, v: &[f64], width: usize) -> Vec<f64> {
        let Some(scales) = &self.scales else { return sums(self.by_item, &sums(self.by_user, v, width), width) };
        let scaled: Vec<f64> = v.chunks_exact(width).zip(scales).flat_map(|(row, s)| row.iter().map(move |v| v * s)).collect();
        let mut product = sums(self.by_item, &sums(self.by_user, &scaled, width), width);
        for (item, (row, own)) in product.chunks_exact_mut(width).zip(scaled.chunks_exact(width)).enumerate() {
            // An item's users are no co-occurrence with itself.
            let users = self.by_item.row(item).len() as f64;
            row.iter_mut().zip(own).for_each(|(sum, own)| *sum = scales[item] * (*sum - users * own));
        }
        product
    }
}

/// For each row of `matrix` the sum of the rows of `dense` that its columns name.
fn sums(matrix: &Csr, dense: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0f64; matrix.num_rows() * width];
    out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
        vectorised(
            #[inline(always)]
            || {
                for &column in matrix.row(row) {
                    out.iter_mut().zip(&dense[column as usize * width..][..width]).for_each(|(sum, value)| *sum += value);
                }
            },
        );
    });
    out
}

impl Score for PureSvd {
    fn num_items(&self) -> usize {
        self.vectors.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Factors(self.vectors.score(users)))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.vectors.vectors())
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
