//! Metrics of predicted values.

/// √mean (predicted − value)².
///
/// # Panics
/// where lengths differ or there is no row.
pub fn root_mean_squared_error(values: &[f32], predicted: &[f32]) -> f64 {
    mean(values, predicted, |e| e * e).sqrt()
}

/// mean |predicted − value|.
///
/// # Panics
/// where lengths differ or there is no row.
pub fn mean_absolute_error(values: &[f32], predicted: &[f32]) -> f64 {
    mean(values, predicted, f64::abs)
}

fn mean(values: &[f32], predicted: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    assert!(values.len() == predicted.len() && !values.is_empty());
    values.iter().zip(predicted).map(|(&v, &p)| of(f64::from(p) - f64::from(v))).sum::<f64>() / values.len() as f64
}

/// A metric of each user's own rows, users rising.
pub(super) fn by_user(users: &[u32], values: &[f32], predicted: &[f32], of: fn(&[f32], &[f32]) -> f64) -> Vec<(u32, f64)> {
    let mut order: Vec<u32> = (0..users.len() as u32).collect();
    order.sort_by_key(|&i| users[i as usize]);
    order
        .chunk_by(|&a, &b| users[a as usize] == users[b as usize])
        .map(|rows| {
            let pick = |column: &[f32]| rows.iter().map(|&i| column[i as usize]).collect::<Vec<_>>();
            (users[rows[0] as usize], of(&pick(values), &pick(predicted)))
        })
        .collect()
}
