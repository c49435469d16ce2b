//! Metrics of what is shown to all users together.

use super::metric::MetricKind;

/// Coverage and Gini index from how often each item is in a list; NaN, as the mean over no user is, where there is no list.
pub(super) fn exposure(kind: MetricKind, counts: &[u64]) -> f64 {
    let n = counts.len() as f64;
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return f64::NAN;
    }
    match kind {
        MetricKind::Coverage => counts.iter().filter(|&&c| c > 0).count() as f64 / n,
        MetricKind::Gini => {
            let mut rising = counts.to_vec();
            rising.sort_unstable();
            let sum: f64 = rising.iter().enumerate().map(|(i, &x)| (2.0 * (i + 1) as f64 - n - 1.0) * x as f64).sum();
            sum / (n * total as f64)
        }
        other => unreachable!("{other:?} is no metric of exposure"),
    }
}

/// How surprising an item is: −log₂ of the share of training users that have it, at least one counted.
pub(super) fn surprise(popularity: u32, num_users: usize) -> f64 {
    -(f64::from(popularity.max(1)) / num_users as f64).log2()
}
