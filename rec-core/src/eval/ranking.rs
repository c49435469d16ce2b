//! Metrics of one user's ranked list.

use super::metric::{Metric, MetricKind};

/// One user's list and what was relevant.
pub(super) struct RankedList<'a> {
    /// The ranked items, best first, at least as many as the largest cut-off where there are so many candidates.
    pub items: &'a [(f32, u32)],
    /// Relevant items that are not masked, rising.
    pub relevant: &'a [u32],
    /// Their values, or nothing where all are 1.
    pub values: &'a [f32],
}

impl RankedList<'_> {
    fn place(&self, item: u32) -> Option<usize> {
        self.relevant.binary_search(&item).ok()
    }

    /// The value of a metric of the list; `None` where the user has nothing relevant.
    pub(super) fn metric(&self, metric: Metric) -> Option<f64> {
        let relevant = self.relevant.len();
        if relevant == 0 {
            return None;
        }
        let k = metric.cutoff;
        let list = &self.items[..k.min(self.items.len())];
        let places = || list.iter().enumerate().filter(|(_, e)| self.place(e.1).is_some()).map(|(i, _)| i);
        let hits = || places().count() as f64;
        let ideal = k.min(relevant);
        Some(match metric.kind {
            MetricKind::Hit => f64::from(places().next().is_some()),
            MetricKind::Recall => hits() / relevant as f64,
            MetricKind::RecallMin => hits() / ideal as f64,
            MetricKind::Precision => hits() / k as f64,
            MetricKind::Mrr => places().next().map_or(0.0, |i| 1.0 / (i + 1) as f64),
            MetricKind::Ndcg => places().map(discount).sum::<f64>() / (0..ideal).map(discount).sum::<f64>(),
            MetricKind::NdcgFull => places().map(discount).sum::<f64>() / (0..relevant).map(discount).sum::<f64>(),
            MetricKind::RPrecision => places().filter(|&i| i < relevant).count() as f64 / relevant as f64,
            MetricKind::NdcgExp => self.graded(list, ideal, |v| v.exp2() - 1.0),
            MetricKind::NdcgLin => self.graded(list, ideal, |v| v),
            MetricKind::Map | MetricKind::MapMin => {
                let sum: f64 = places().enumerate().map(|(before, i)| (before + 1) as f64 / (i + 1) as f64).sum();
                sum / if metric.kind == MetricKind::Map { relevant } else { ideal } as f64
            }
            other => unreachable!("{other:?} is no metric of a list"),
        })
    }

    fn graded(&self, list: &[(f32, u32)], ideal: usize, gain: impl Fn(f64) -> f64) -> f64 {
        let value = |place: usize| gain(self.values.get(place).map_or(1.0, |&v| f64::from(v)));
        let found: f64 = list.iter().enumerate().filter_map(|(i, e)| self.place(e.1).map(|p| value(p) * discount(i))).sum();
        let mut gains: Vec<f64> = (0..self.relevant.len()).map(value).collect();
        gains.sort_unstable_by(|a, b| b.total_cmp(a));
        let best: f64 = gains.iter().take(ideal).enumerate().map(|(i, g)| g * discount(i)).sum();
        if best == 0.0 { 0.0 } else { found / best }
    }
}

/// 1 / log₂(place + 2), places from 0.
fn discount(place: usize) -> f64 {
    1.0 / ((place + 2) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_ideal_and_r_precision_look_at_all_relevant_items() {
        let items = [(0.9, 4), (0.8, 7), (0.7, 1), (0.6, 2)];
        let list = RankedList { items: &items, relevant: &[2, 4, 5], values: &[] };
        let value = |name: &str| list.metric(name.parse().expect("a metric")).expect("has relevant items");
        let gain = |place: f64| 1.0 / (place + 1.0).log2();
        let ideal = gain(1.0) + gain(2.0) + gain(3.0);
        assert!((value("ndcg_full@2") - gain(1.0) / ideal).abs() < 1e-12);
        assert!((value("ndcg_full@4") - (gain(1.0) + gain(4.0)) / ideal).abs() < 1e-12);
        assert!((value("ndcg@2") - gain(1.0) / (gain(1.0) + gain(2.0))).abs() < 1e-12);
        // The place of item 2 is beyond the three relevant items.
        assert!((value("r_precision@4") - 1.0 / 3.0).abs() < 1e-12);
    }
}
