//! Users that two items have in common.

use rayon::prelude::*;
use rec_data::csr::Csr;
use rec_data::view::TrainView;

/// For each item a row made by `row` of the item and of what others have in common with it: by rising number each other item that some user
/// of the item has too, with Σ `weight(user)` over those users, summed in the order of the users. Weights are above 0; `row` returns entries
/// by rising number.
///
/// # Shapes
/// `[items, items]`
pub(crate) fn common_users(
    data: &TrainView,
    weight: impl Fn(usize) -> f64 + Sync,
    row: impl Fn(usize, Vec<(u32, f64)>) -> Vec<(u32, f32)> + Sync,
) -> Csr {
    let (by_item, by_user, n) = (data.by_item(), data.by_user(), data.num_items());
    let rows: Vec<Vec<(u32, f32)>> = (0..n)
        .into_par_iter()
        .map_init(
            || (vec![0f64; n], Vec::new()),
            |(sums, seen), item| {
                for &user in by_item.row(item) {
                    let weight = weight(user as usize);
                    for &other in by_user.row(user as usize) {
                        if sums[other as usize] == 0.0 {
                            seen.push(other);
                        }
                        sums[other as usize] += weight;
                    }
                }
                seen.sort_unstable();
                let common = seen.drain(..).map(|other| (other, std::mem::take(&mut sums[other as usize])));
                row(item, common.filter(|&(other, _)| other as usize != item).collect())
            },
        )
        .collect();
    let mut starts = vec![0];
    starts.extend(rows.iter().scan(0, |end, row| {
        *end += row.len();
        Some(*end)
    }));
    let (columns, values) = rows.into_iter().flatten().unzip();
    Csr::from_parts(starts, columns, values, n)
}
