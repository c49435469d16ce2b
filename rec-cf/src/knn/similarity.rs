//! How alike two rows of a sparse matrix are.

use rec_data::csr::Csr;
use serde::{Deserialize, Serialize};

/// Similarity of two rows a, b with n common entries; h is the shrinkage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// Σ ab / (‖a‖‖b‖ + h).
    #[default]
    Cosine,
    /// n / (|a| + |b| − n + h).
    Jaccard,
    /// Correlation of the common entries, × n/(n + h); 0 where either does not vary.
    Pearson,
}

/// Sums over the common entries of one row and each other row.
pub(super) struct Common {
    similarity: Similarity,
    shrink: f64,
    norms: Vec<f64>,
    sizes: Vec<f64>,
    /// What a common entry counts for in Σab, by column; ones where it is empty.
    column_weights: Vec<f64>,
    /// n, Σab, Σa, Σb, Σa², Σb² for each other row; the last four for Pearson only.
    sums: Vec<[f64; 6]>,
    touched: Vec<u32>,
}

impl Common {
    /// For rows compared with the rows of `matrix`.
    pub(super) fn new(similarity: Similarity, shrink: f64, matrix: &Csr) -> Self {
        let square = |row: usize| {
            if matrix.values().is_empty() {
                matrix.row(row).len() as f64
            } else {
                matrix.row_values(row).iter().map(|&v| f64::from(v) * f64::from(v)).sum()
            }
        };
        Self {
            similarity,
            shrink,
            norms: (0..matrix.num_rows()).map(|r| square(r).sqrt()).collect(),
            sizes: (0..matrix.num_rows()).map(|r| matrix.row(r).len() as f64).collect(),
            column_weights: Vec::new(),
            sums: vec![[0.0; 6]; matrix.num_rows()],
            touched: Vec::new(),
        }
    }

    /// The same where an entry in column c counts `weights[c]` in Σab.
    pub(super) fn weighing(self, weights: &[f64]) -> Self {
        Self { column_weights: weights.to_vec(), ..self }
    }

    /// Rows with a positive similarity to the row with `columns` and `values` (empty: ones), most alike first, at most `k`, `except` left out.
    pub(super) fn nearest(&mut self, columns: &[u32], values: &[f32], transposed: &Csr, k: usize, except: Option<u32>) -> Vec<(u32, f32)> {
        let value = |values: &[f32], at: usize| values.get(at).map_or(1.0, |&v| f64::from(v));
        for (at, &column) in columns.iter().enumerate() {
            let a = value(values, at);
            let weight = self.column_weights.get(column as usize).copied().unwrap_or(1.0);
            let others = transposed.row_values(column as usize);
            for (place, &other) in transposed.row(column as usize).iter().enumerate() {
                let b = value(others, place);
                let sums = &mut self.sums[other as usize];
                if sums[0] == 0.0 {
                    self.touched.push(other);
                }
                sums[0] += 1.0;
                sums[1] += weight * a * b;
                if self.similarity == Similarity::Pearson {
                    sums[2] += a;
                    sums[3] += b;
                    sums[4] += a * a;
                    sums[5] += b * b;
                }
            }
        }
        let norm = (0..columns.len()).map(|at| value(values, at).powi(2)).sum::<f64>().sqrt();
        let mut found = Vec::with_capacity(self.touched.len());
        for &other in &self.touched {
            let sums = std::mem::take(&mut self.sums[other as usize]);
            let likeness = self.of(sums, norm, columns.len() as f64, other as usize);
            if likeness > 0.0 && Some(other) != except {
                found.push((other, likeness as f32));
            }
        }
        self.touched.clear();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if found.len() > k {
            found.select_nth_unstable_by(k, order);
            found.truncate(k);
        }
        found.sort_unstable_by(order);
        found
    }

    fn of(&self, [n, product, a, b, aa, bb]: [f64; 6], norm: f64, size: f64, other: usize) -> f64 {
        match self.similarity {
            Similarity::Cosine => product / (norm * self.norms[other] + self.shrink),
            Similarity::Jaccard => n / (size + self.sizes[other] - n + self.shrink),
            Similarity::Pearson => {
                let (covariance, left, right) = (n * product - a * b, n * aa - a * a, n * bb - b * b);
                // Differences of nearly equal sums: what is this small beside them is rounding, whatever the scale of the ratings.
                let varies = |spread: f64, squares: f64| spread > 1e-12 * n * squares;
                if varies(left, aa) && varies(right, bb) { covariance / (left * right).sqrt() * n / (n + self.shrink) } else { 0.0 }
            }
        }
    }
}
