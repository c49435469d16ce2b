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

/// Values of one user each, or of the questions about one session.
pub type Groups<'a> = Vec<&'a [f64]>;

/// `values` by whose they are: neighbours of the same `users` stand together.
pub fn by_user<'a, U: PartialEq>(users: &[U], mut values: &'a [f64]) -> Groups<'a> {
    let group = |same: &[U]| {
        let (group, rest) = values.split_at(same.len());
        values = rest;
        group
    };
    users.chunk_by(PartialEq::eq).map(group).collect()
}

/// Percentile bootstrap of the mean of all values (Efron 1979): users, each with all their values, are drawn with replacement `draws`
/// times. The questions about one session are no independent draws, so they come or stay away together. NaN values do not count.
///
/// # Panics
/// where no value counts.
pub fn over_users(groups: &Groups, draws: usize, seed: u64) -> Interval {
    let sums: Vec<(f64, usize)> = groups.iter().map(|group| sum(group)).filter(|group| group.1 > 0).collect();
    assert!(!sums.is_empty(), "the mean of nothing");
    let mean = |(sum, count): (f64, usize)| sum / count as f64;
    let mut means: Vec<f64> = (0..draws as u64)
        .map(|draw| {
            let mut rng = Rng::keyed(seed, Stream::Bootstrap, draw, 0);
            mean(total(sums.iter().map(|_| sums[rng.below(sums.len() as u32) as usize])))
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| means[((draws - 1) as f64 * share).round() as usize];
    Interval { mean: mean(total(sums.iter().copied())), low: at(0.025), high: at(0.975) }
}

/// Sum and number of the values that count.
fn sum(values: &[f64]) -> (f64, usize) {
    total(values.iter().filter(|v| !v.is_nan()).map(|&v| (v, 1)))
}

fn total(sums: impl Iterator<Item = (f64, usize)>) -> (f64, usize) {
    sums.fold((0.0, 0), |(sum, count), (s, n)| (sum + s, count + n))
}

/// What a paired comparison of two models over the same users found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Paired {
    /// Mean difference, first less second, with a bootstrap interval over users.
    pub difference: Interval,
    /// Two-sided p of Wilcoxon's signed-rank test (normal approximation, ties and zeros corrected), over the sums of each user's differences.
    pub wilcoxon_p: f64,
    /// Users compared.
    pub users: usize,
}

/// Compares two models user by user: `users[i]` has the values `first[i]` and `second[i]`.
///
/// # Panics
/// where the lists differ in length or no user counts.
pub fn paired<U: PartialEq>(users: &[U], first: &[f64], second: &[f64], draws: usize, seed: u64) -> Paired {
    assert!(users.len() == first.len() && first.len() == second.len(), "the same users");
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let groups = by_user(users, &differences);
    let sums: Vec<f64> = groups.iter().map(|group| sum(group)).filter(|group| group.1 > 0).map(|group| group.0).collect();
    Paired { difference: over_users(&groups, draws, seed), wilcoxon_p: wilcoxon(&sums), users: sums.len() }
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
        let users: Vec<usize> = (0..1000).collect();
        let interval = over_users(&by_user(&users, &values), 2000, 1);
        let half = 1.96 * standard_deviation(&values) / 1000f64.sqrt();
        assert!(((interval.high - interval.low) / (2.0 * half) - 1.0).abs() < 0.1, "{interval:?} for ± {half}");
    }

    #[test]
    fn questions_about_one_session_are_drawn_together() {
        // Four equal questions a session tell as much as one: the interval is that of the sessions, twice as wide as of single questions.
        let once: Vec<f64> = (0..250).map(|i| f64::from(i % 10)).collect();
        let values: Vec<f64> = once.iter().flat_map(|&v| [v; 4]).collect();
        let sessions: Vec<usize> = (0..1000).map(|i| i / 4).collect();
        let alone: Vec<usize> = (0..250).collect();
        assert_eq!(over_users(&by_user(&sessions, &values), 500, 1), over_users(&by_user(&alone, &once), 500, 1));
        // NaN values are no questions; a session of nothing else is none.
        let few = [1.0, f64::NAN, 3.0, f64::NAN];
        assert_eq!(over_users(&by_user(&[0, 0, 0, 1], &few), 50, 1), Interval { mean: 2.0, low: 2.0, high: 2.0 });
        let zeros = [0.0; 4];
        assert_eq!(paired(&[0, 0, 0, 1], &few, &zeros, 50, 1).users, 1);
    }

    #[test]
    fn holm_multiplies_by_the_number_of_tests_left() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
    }
}
