//! Metrics of labelled rows: AUC, GAUC, LogLoss.

/// Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties one half. `None` with one class only.
///
/// # Panics
/// where lengths differ or a score is NaN.
pub fn auc(labels: &[bool], scores: &[f32]) -> Option<f64> {
    assert_eq!(labels.len(), scores.len());
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| scores[a as usize].partial_cmp(&scores[b as usize]).expect("scores are numbers"));
    let positives = labels.iter().filter(|&&l| l).count() as u64;
    let negatives = labels.len() as u64 - positives;
    // Twice the number of pairs in the right order, in whole numbers: exact whatever the size.
    let (mut twice, mut below, mut at) = (0u128, 0u64, 0);
    while at < order.len() {
        let score = scores[order[at] as usize];
        let (mut up, mut down) = (0u64, 0u64);
        while at < order.len() && scores[order[at] as usize] == score {
            if labels[order[at] as usize] {
                up += 1
            } else {
                down += 1
            }
            at += 1;
        }
        twice += u128::from(up) * u128::from(2 * below + down);
        below += down;
    }
    (positives > 0 && negatives > 0).then(|| twice as f64 / (2.0 * positives as f64 * negatives as f64))
}

/// A mean over groups, and how many groups counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grouped {
    /// The mean.
    pub value: f64,
    /// Groups that counted.
    pub groups: usize,
    /// Groups left out because they hold one class only.
    pub dropped: usize,
}

/// Mean of each group's AUC, weighted by its number of rows (Zhu et al., KDD 2017); groups with one class are left out.
///
/// # Panics
/// where lengths differ or a score is NaN.
pub fn gauc(groups: &[u32], labels: &[bool], scores: &[f32]) -> Option<Grouped> {
    assert!(groups.len() == labels.len() && labels.len() == scores.len());
    let mut order: Vec<u32> = (0..groups.len() as u32).collect();
    order.sort_by_key(|&i| groups[i as usize]);
    let (mut sum, mut weight, mut counted, mut dropped) = (0.0, 0.0, 0, 0);
    for rows in order.chunk_by(|&a, &b| groups[a as usize] == groups[b as usize]) {
        let labels: Vec<bool> = rows.iter().map(|&i| labels[i as usize]).collect();
        let scores: Vec<f32> = rows.iter().map(|&i| scores[i as usize]).collect();
        match auc(&labels, &scores) {
            Some(value) => {
                sum += value * rows.len() as f64;
                weight += rows.len() as f64;
                counted += 1;
            }
            None => dropped += 1,
        }
    }
    (counted > 0).then(|| Grouped { value: sum / weight, groups: counted, dropped })
}

/// mean −(y ln p + (1 − y) ln(1 − p)), p clipped to [1e-7, 1 − 1e-7].
///
/// # Panics
/// where lengths differ or there is no row.
pub fn log_loss(labels: &[bool], probabilities: &[f64]) -> f64 {
    assert!(labels.len() == probabilities.len() && !labels.is_empty());
    let each = |(&y, &p): (&bool, &f64)| {
        let p = p.clamp(1e-7, 1.0 - 1e-7);
        -if y { p.ln() } else { (1.0 - p).ln() }
    };
    labels.iter().zip(probabilities).map(each).sum::<f64>() / labels.len() as f64
}
