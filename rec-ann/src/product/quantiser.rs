//! The quantiser: a vector in m parts, each replaced by the nearest of its own centroids.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::rotation::{Rotation, procrustes, transposed};
use crate::Metric;
use crate::column::Column;
use crate::file::{Reader, Writer, inconsistent};
use crate::kernels::vectorised;
use crate::kmeans::{KmeansConfig, Points, assign, train};
use crate::rng::{Rng, Stream};

/// How many bits the code of one part has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bits {
    /// 16 centroids a part. Tables of distances lie in registers, so that 32 vectors are looked up at once.
    #[serde(rename = "4")]
    Four,
    /// 256 centroids a part.
    #[default]
    #[serde(rename = "8")]
    Eight,
}

impl Bits {
    /// The number of centroids of a part.
    pub(super) fn centroids(self) -> usize {
        match self {
            Self::Four => 16,
            Self::Eight => 256,
        }
    }
}

/// Settings of a product quantiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantiserConfig {
    /// m: parts of a vector; the dimension is a multiple of it. 0 stands for parts of four values, or of fewer where four do not divide the dimension.
    pub parts: usize,
    /// Bits of a part's code.
    pub bits: Bits,
    /// Alternations of OPQ, which learns a rotation before the parts are cut (Ge, He, Ke and Sun, "Optimized product quantization", CVPR 2013); 0 is no rotation.
    pub rotations: usize,
    /// How each part's centroids are learned.
    pub kmeans: KmeansConfig,
}

impl Default for QuantiserConfig {
    fn default() -> Self {
        let kmeans = KmeansConfig { iterations: 20, ..KmeansConfig::default() };
        Self { parts: 0, bits: Bits::Eight, rotations: 0, kmeans }
    }
}

impl QuantiserConfig {
    fn parts_of(&self, dim: usize) -> Result<usize> {
        self.kmeans.check()?;
        if self.parts == 0 {
            return Ok(dim / [4, 3, 2].into_iter().find(|&width| dim.is_multiple_of(width)).unwrap_or(1));
        }
        ensure!(dim.is_multiple_of(self.parts), "parts is {}: it must divide the dimension {dim}", self.parts);
        Ok(self.parts)
    }
}

/// Codebooks of all parts, and a rotation before them.
#[derive(Clone)]
pub struct ProductQuantiser {
    dim: usize,
    parts: usize,
    bits: Bits,
    /// `[parts, centroids, width]`.
    books: Column<f32>,
    /// `[parts, width, centroids]`: the same values, for tables of distances.
    columns: Column<f32>,
    rotation: Option<Rotation>,
}

impl ProductQuantiser {
    /// Learns from `vectors` (`[n, dim]`), on the threads of the current rayon pool; the result does not depend on their number. With fewer vectors
    /// than centroids some centroids are doubles.
    ///
    /// # Errors
    /// where `dim` is 0 or no multiple of the parts, or `vectors` is no whole number of vectors.
    pub fn train(vectors: &[f32], dim: usize, config: &QuantiserConfig) -> Result<Self> {
        ensure!(dim > 0 && vectors.len().is_multiple_of(dim), "{} values are no whole number of vectors of {dim}", vectors.len());
        let parts = config.parts_of(dim)?;
        let points = Points { values: vectors, stride: dim };
        let chosen = Rng::keyed(config.kmeans.seed, Stream::Sample, 0)
            .sample(points.len(), config.bits.centroids().saturating_mul(config.kmeans.sample));
        let sample: Vec<f32> = chosen.iter().flat_map(|&row| points.row(row as usize)).copied().collect();
        let mut out = Self { dim, parts, bits: config.bits, books: Column::new(), columns: Column::new(), rotation: None };
        // While a rotation is sought its codebooks need not be perfect.
        let quick = KmeansConfig { iterations: config.kmeans.iterations.min(5), ..config.kmeans.clone() };
        for _ in 0..config.rotations {
            let turned = out.turned(&sample);
            out.learn_books(&turned, &quick);
            let decoded: Vec<f32> = out.assigned(&turned).chunks_exact(parts).flat_map(|code| out.centroids_of(code)).collect();
            out.rotation = Some(procrustes(&sample, &decoded, dim, out.rotation.as_ref()));
        }
        let turned = out.turned(&sample);
        out.learn_books(&turned, &config.kmeans);
        Ok(out)
    }

    /// The number of values in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// m: the number of parts.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Bits of a part's code.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Codes of `vectors` (`[n, dim]`), one byte a part, `[n, parts]`: the number of the nearest centroid.
    ///
    /// # Errors
    /// where `vectors` is no whole number of vectors.
    pub fn encode(&self, vectors: &[f32]) -> Result<Vec<u8>> {
        ensure!(vectors.len().is_multiple_of(self.dim), "{} values are no whole number of vectors of {}", vectors.len(), self.dim);
        Ok(self.assigned(&self.turned(vectors)))
    }

    /// The vectors that `codes` (`[n, parts]`) stand for, `[n, dim]`.
    ///
    /// # Errors
    /// where `codes` is no whole number of codes, or names a centroid that there is not.
    pub fn decode(&self, codes: &[u8]) -> Result<Vec<f32>> {
        ensure!(codes.len().is_multiple_of(self.parts), "{} codes are no whole number of vectors of {} parts", codes.len(), self.parts);
        let outside = codes.iter().find(|&&code| usize::from(code) >= self.bits.centroids());
        ensure!(outside.is_none(), "there is no centroid {}: a part has {}", outside.copied().unwrap_or(0), self.bits.centroids());
        let turned: Vec<f32> = codes.chunks_exact(self.parts).flat_map(|code| self.centroids_of(code)).collect();
        Ok(self.rotation.as_ref().map(|rotation| rotation.back(&turned)).unwrap_or(turned))
    }

    /// The distance of a query (`[dim]`) from each centroid of each part, `[parts, centroids]`: those of a vector's code add up to its distance from the query,
    /// but for the 1 of cosine.
    pub(super) fn table(&self, query: &[f32], metric: Metric) -> Vec<f32> {
        let query = self.turned(query);
        let (width, centroids) = (self.width(), self.bits.centroids());
        let mut out = vec![0f32; self.parts * centroids];
        vectorised(
            #[inline(always)]
            || {
                let parts = query.chunks_exact(width).zip(self.columns.chunks_exact(width * centroids));
                for ((part, columns), out) in parts.zip(out.chunks_exact_mut(centroids)) {
                    for (&value, column) in part.iter().zip(columns.chunks_exact(centroids)) {
                        for (sum, &c) in out.iter_mut().zip(column) {
                            *sum = match metric {
                                Metric::L2 => (value - c).mul_add(value - c, *sum),
                                Metric::InnerProduct | Metric::Cosine => (-value).mul_add(c, *sum),
                            };
                        }
                    }
                }
            },
        );
        out
    }

    fn width(&self) -> usize {
        self.dim / self.parts
    }

    /// The vectors rotated, where there is a rotation.
    fn turned(&self, vectors: &[f32]) -> Vec<f32> {
        self.rotation.as_ref().map(|rotation| rotation.forth(vectors)).unwrap_or_else(|| vectors.to_vec())
    }

    /// A vector's centroids one after the other: the rotated vector that the code stands for.
    fn centroids_of<'a>(&'a self, code: &'a [u8]) -> impl Iterator<Item = f32> + 'a {
        let (width, centroids) = (self.width(), self.bits.centroids());
        code.iter().enumerate().flat_map(move |(part, &c)| &self.books[(part * centroids + usize::from(c)) * width..][..width]).copied()
    }

    fn learn_books(&mut self, turned: &[f32], kmeans: &KmeansConfig) {
        let (width, centroids) = (self.width(), self.bits.centroids());
        let books = (0..self.parts).into_par_iter().flat_map_iter(|part| {
            let values = self.part(turned, part);
            let config = KmeansConfig { seed: kmeans.seed.wrapping_add(part as u64), ..kmeans.clone() };
            let mut book = train(Points { values: &values, stride: width }, centroids, &config, false);
            if book.is_empty() {
                book.resize(width, 0.0);
            }
            let found = book.len();
            book.into_iter().cycle().take(found.max(centroids * width))
        });
        self.set_books(books.collect::<Vec<f32>>().into());
    }

    fn set_books(&mut self, books: Column<f32>) {
        let (width, centroids) = (self.width(), self.bits.centroids());
        self.columns = books.chunks_exact(width * centroids).flat_map(|book| transposed(book, width)).collect::<Vec<f32>>().into();
        self.books = books;
    }

    /// One part of each vector.
    fn part(&self, vectors: &[f32], part: usize) -> Vec<f32> {
        let width = self.width();
        vectors.chunks_exact(self.dim).flat_map(|vector| &vector[part * width..][..width]).copied().collect()
    }

    fn assigned(&self, turned: &[f32]) -> Vec<u8> {
        let (width, centroids) = (self.width(), self.bits.centroids());
        let mut out = vec![0u8; turned.len() / self.dim * self.parts];
        for (part, book) in self.books.chunks_exact(centroids * width).enumerate() {
            let assigned = assign(Points { values: &self.part(turned, part), stride: width }, book, false);
            out.iter_mut().skip(part).step_by(self.parts).zip(assigned).for_each(|(code, c)| *code = c as u8);
        }
        out
    }

    pub(super) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        sections.add(&self.books);
        sections.add(self.rotation.as_ref().map_or(&[], Rotation::values));
    }

    pub(super) fn read(dim: usize, config: &QuantiserConfig, sections: &mut Reader) -> Result<Self> {
        let (parts, books, rotation) = (config.parts_of(dim)?, sections.take::<f32>()?, sections.take::<f32>()?);
        let fits = books.len() == config.bits.centroids() * dim && [0, dim * dim].contains(&rotation.len());
        let finite = books.iter().chain(&rotation[..]).all(|v| v.is_finite());
        ensure!(fits && finite, inconsistent("codebooks that do not fit"));
        let rotation = (!rotation.is_empty()).then(|| Rotation::new(rotation, dim));
        let mut out = Self { dim, parts, bits: config.bits, books: Column::new(), columns: Column::new(), rotation };
        out.set_books(books);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::drawn;
    use crate::kernels::squared_l2;

    /// Mean squared error of what the codes stand for.
    fn error(vectors: &[f32], dim: usize, config: &QuantiserConfig) -> f32 {
        let quantiser = ProductQuantiser::train(vectors, dim, config).expect("learned");
        let decoded = quantiser.decode(&quantiser.encode(vectors).expect("whole")).expect("codes");
        squared_l2(vectors, &decoded) / (vectors.len() / dim) as f32
    }

    #[test]
    fn more_parts_and_more_bits_lower_the_error_and_few_vectors_have_none() {
        let vectors = drawn(2000, 12, 1);
        let config = |parts, bits| QuantiserConfig { parts, bits, ..QuantiserConfig::default() };
        let errors: Vec<f32> =
            [(2, Bits::Four), (6, Bits::Four), (6, Bits::Eight), (12, Bits::Eight)].map(|(p, b)| error(&vectors, 12, &config(p, b))).into();
        assert!(errors.windows(2).all(|pair| pair[1] < 0.8 * pair[0]), "{errors:?}");
        assert!(error(&vectors[..12 * 50], 12, &config(3, Bits::Eight)) < 1e-9);
    }

    #[test]
    fn a_rotation_lowers_the_error_of_vectors_whose_parts_depend_on_each_other() {
        let (noise, common) = (drawn(3000, 16, 1), drawn(3000, 4, 2));
        let vectors: Vec<f32> = noise.iter().enumerate().map(|(i, v)| 0.1 * v + common[i / 16 * 4 + i % 4]).collect();
        let config = |rotations| QuantiserConfig { parts: 4, bits: Bits::Four, rotations, ..QuantiserConfig::default() };
        let (plain, turned) = (error(&vectors, 16, &config(0)), error(&vectors, 16, &config(15)));
        assert!(turned < 0.8 * plain, "{turned} {plain}");
    }

    #[test]
    fn the_table_adds_up_to_the_distance_of_what_a_code_stands_for() {
        let vectors = drawn(500, 6, 3);
        for rotations in [0, 3] {
            let config = QuantiserConfig { parts: 3, rotations, ..QuantiserConfig::default() };
            let quantiser = ProductQuantiser::train(&vectors, 6, &config).expect("learned");
            let query = &drawn(1, 6, 4);
            let codes = quantiser.encode(&vectors).expect("whole");
            for metric in [Metric::L2, Metric::InnerProduct] {
                let table = quantiser.table(query, metric);
                for code in codes.chunks_exact(3) {
                    let sum: f32 = code.iter().enumerate().map(|(part, &c)| table[part * 256 + usize::from(c)]).sum();
                    assert!((sum - metric.between(query, &quantiser.decode(code).expect("codes"))).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let config = QuantiserConfig { parts: 5, ..QuantiserConfig::default() };
        assert_eq!(
            ProductQuantiser::train(&[], 6, &config).err().expect("refused").to_string(),
            "parts is 5: it must divide the dimension 6"
        );
        let four =
            ProductQuantiser::train(&[1.0; 6], 6, &QuantiserConfig { bits: Bits::Four, ..QuantiserConfig::default() }).expect("learned");
        assert!(four.decode(&[16, 0]).is_err() && four.decode(&[0]).is_err() && four.encode(&[0.0; 5]).is_err());
    }
}
