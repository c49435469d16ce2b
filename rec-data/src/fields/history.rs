//! What a user's earlier rows say of a row: items liked before, how often the item was shown, how long ago something was liked. Rows of the
//! same second see nothing of each other, since nobody knows which came first.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;

use super::spec::{FieldSpec, Past, Source};
use crate::features::Feature;
use crate::windows::Windows;
use crate::{Interactions, require};

/// What days are counted in.
const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// `data` with what fields of `specs` with `from = "history.…"` are made of as features of its rows. `positive` says which rows are liked.
///
/// # Errors
/// a usage problem where there is such a field and the data has no times.
pub fn with_pasts<'a>(data: &'a Interactions, specs: &[FieldSpec], positive: &dyn Fn(u32) -> bool) -> Result<Cow<'a, Interactions>> {
    let Some(field) = specs.iter().find(|spec| matches!(spec.from, Source::OfHistory(_))) else { return Ok(Cow::Borrowed(data)) };
    require!(data.times.is_some(), Usage, "the field `{}` needs times, and this data has none", field.name);
    let times = times(data);
    let (mut impressions, mut ages) = (vec![0f32; data.len()], vec![f32::NAN; data.len()]);
    for of_user in by_user_and_time(data).chunk_by(|&a, &b| data.users[a as usize] == data.users[b as usize]) {
        let mut shown: HashMap<u32, u32> = HashMap::new();
        let mut liked_at = None;
        for same_time in of_user.chunk_by(|&a, &b| times[a as usize] == times[b as usize]) {
            for &row in same_time {
                impressions[row as usize] = shown.get(&data.items[row as usize]).map_or(0.0, |&n| n as f32);
                if let Some(then) = liked_at {
                    ages[row as usize] = ((times[row as usize] - then) as f64 / SECONDS_OF_A_DAY) as f32;
                }
            }
            for &row in same_time {
                *shown.entry(data.items[row as usize]).or_default() += 1;
                if positive(row) {
                    liked_at = Some(times[row as usize]);
                }
            }
        }
    }
    let mut with = data.clone();
    for (past, column) in [(Past::Impressions, impressions), (Past::Age, ages)] {
        with.row_features.columns.push((Source::OfHistory(past).to_string(), Feature::Number(column.into())));
    }
    Ok(Cow::Owned(with))
}

fn times(data: &Interactions) -> &[i64] {
    data.times.as_deref().expect("checked: histories have times")
}

/// All rows, a user's after one another, in order of time and then of the source.
fn by_user_and_time(data: &Interactions) -> Vec<u32> {
    let times = times(data);
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    order.sort_by_key(|&r| (data.users[r as usize], times[r as usize]));
    order
}

/// Days since the first row.
pub(super) fn days(data: &Interactions) -> Vec<f32> {
    let times = times(data);
    let first = times.iter().copied().min().unwrap_or(0);
    times.iter().map(|&t| ((t - first) as f64 / SECONDS_OF_A_DAY) as f32).collect()
}

/// For each row the features of the items of the user's positive rows before its time, the last `max_len` of them, with their days.
pub(super) fn past(data: &Interactions, days: &[f32], positive: &dyn Fn(u32) -> bool, of_item: &[u32], max_len: usize) -> Windows {
    let times = times(data);
    let (mut items, mut at) = (Vec::new(), Vec::new());
    let mut ranges: Vec<Range<usize>> = vec![0..0; data.len()];
    for of_user in by_user_and_time(data).chunk_by(|&a, &b| data.users[a as usize] == data.users[b as usize]) {
        let start = items.len();
        for same_time in of_user.chunk_by(|&a, &b| times[a as usize] == times[b as usize]) {
            let end = items.len();
            same_time.iter().for_each(|&r| ranges[r as usize] = start.max(end.saturating_sub(max_len))..end);
            for &row in same_time.iter().filter(|&&r| positive(r)) {
                items.push(of_item[data.items[row as usize] as usize]);
                at.push(days[row as usize]);
            }
        }
    }
    Windows::new(items, at, ranges)
}
