//! How sure a number is: spread over seeds, intervals over users, paired comparisons.

use rec_data::rng::{Rng, Stream};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// A mean with an interval that holds the true one in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Mean over seeds or splits, with Student's interval (n − 1 degrees of freedom); with one value the interval is that value.
///
/// # Panics
/// where there is no value.
pub fn over_seeds(values: &[f64]) -> Interval {
    let mean = mean(values);
    if values.len() < 2 {
        return Interval { mean, low: mean, high: mean };
    }
    let n = values.len() as f64;
    let t = StudentsT::new(0.0, 1.0, n - 1.0).expect("more than one value").inverse_cdf(0.975);
    let half = t * standard_deviation(values) / n.sqrt();
    Interval { mean, low: mean - half, high: mean + half }
}

/// √(Σ(x − mean)² / (n − 1)); 0 for one value.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// Percentile bootstrap of the mean over users (Efron 1979): users are drawn with replacement `draws` times. NaN values do not count.
///
/// # Panics
/// where no value counts.
pub fn over_users(values: &[f64], draws: usize, seed: u64) -> Interval {
    let values: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    let mut means: Vec<f64> = (0..draws as u64)
        .map(|draw| {
            let mut rng = Rng::keyed(seed, Stream::Bootstrap, draw, 0);
            values.iter().map(|_| values[rng.below(values.len() as u32) as usize]).sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| means[((draws - 1) as f64 * share).round() as usize];
    Interval { mean: mean(&values), low: at(0.025), high: at(0.975) }
}

/// What a paired comparison of two models over the same users found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Paired {
    /// Mean difference, first less second, with a bootstrap interval over users.
    pub difference: Interval,
    /// Two-sided p of Wilcoxon's signed-rank test (normal approximation, ties and zeros corrected).
    pub wilcoxon_p: f64,
    /// Users compared.
    pub users: usize,
}

/// Compares two models user by user.
///
/// # Panics
/// where the lists differ in length or no user counts.
pub fn paired(first: &[f64], second: &[f64], draws: usize, seed: u64) -> Paired {
    assert_eq!(first.len(), second.len(), "the same users");
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).filter(|d| !d.is_nan()).collect();
    Paired { difference: over_users(&differences, draws, seed), wilcoxon_p: wilcoxon(&differences), users: differences.len() }
}

/// Two-sided p of the signed-rank test; zeros are dropped, ties share their mean rank.
fn wilcoxon(differences: &[f64]) -> f64 {
    let mut nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let n = nonzero.len() as f64;
    if nonzero.is_empty() {
        return 1.0;
    }
    nonzero.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (mut positive, mut ties, mut rank) = (0.0, 0.0, 1.0);
    for group in nonzero.chunk_by(|a, b| a.abs() == b.abs()) {
        let size = group.len() as f64;
        let shared = rank + (size - 1.0) / 2.0;
        positive += shared * group.iter().filter(|d| **d > 0.0).count() as f64;
        ties += size.powi(3) - size;
        rank += size;
    }
    let expected = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (positive - expected) / variance.sqrt();
    2.0 * Normal::standard().cdf(-z.abs())
}

/// Holm's correction of several p-values, in their order (Holm 1979).
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut least = 0f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max((p_values[at] * (p_values.len() - rank) as f64).min(1.0));
        corrected[at] = least;
    }
    corrected
}

fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "the mean of nothing");
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_interval_is_the_textbooks() {
        // t(0.975, 4) = 2.776445; the standard deviation of 1…5 is 1.581139.
        let interval = over_seeds(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((interval.high - (3.0 + 2.776_445 * 1.581_139 / 5f64.sqrt())).abs() < 1e-5, "{interval:?}");
    }

    #[test]
    fn wilcoxon_agrees_with_scipy() {
        // scipy.stats.wilcoxon(d, correction=False, method="approx").pvalue, scipy 1.11.
        let d = [0.5, -0.1, 0.3, 0.3, -0.2, 0.9, 0.0, 0.7, 0.1, 0.4];
        assert!((wilcoxon(&d) - 0.032_662_546).abs() < 1e-8, "{}", wilcoxon(&d));
    }

    #[test]
    fn the_bootstrap_interval_has_the_width_of_the_normal_one() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i % 10)).collect();
        let interval = over_users(&values, 2000, 1);
        let half = 1.96 * standard_deviation(&values) / 1000f64.sqrt();
        assert!(((interval.high - interval.low) / (2.0 * half) - 1.0).abs() < 0.1, "{interval:?} for ± {half}");
    }

    #[test]
    fn holm_multiplies_by_the_number_of_tests_left() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
    }
}
