//! Histories as sparse rows.

use anyhow::Result;
use rec_core::model::Users;
use rec_data::csr::Csr;
use rec_data::require;

/// Each user's items, rising, each once.
pub(crate) fn rows(users: &Users, num_items: usize) -> Csr {
    let lists = (0..users.len()).map(|user| {
        let mut items = users.history(user).to_vec();
        items.sort_unstable();
        items.dedup();
        items
    });
    Csr::from_rows(num_items, lists)
}

/// Each user's items with their ratings, rising; of an item that comes twice the last rating.
///
/// # Errors
/// a usage problem where a history comes without ratings.
pub(crate) fn rated_rows(users: &Users, num_items: usize) -> Result<Csr> {
    let (mut rows, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for user in 0..users.len() {
        let (items, ratings) = (users.history(user), users.history_values(user));
        require!(
            items.len() == ratings.len(),
            Usage,
            "this model learns from ratings: give each item of the history with one, such as `1193:5,661:3`"
        );
        let mut entries: Vec<(u32, f32)> = items.iter().copied().zip(ratings.iter().copied()).collect();
        entries.sort_by_key(|entry| entry.0);
        for (at, &(item, rating)) in entries.iter().enumerate() {
            if entries.get(at + 1).is_none_or(|next| next.0 != item) {
                rows.push(user as u32);
                columns.push(item);
                values.push(rating);
            }
        }
    }
    Ok(Csr::from_coordinates(users.len(), num_items, &rows, &columns, &values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_rise_and_come_once_with_their_last_rating() {
        let histories = Csr::from_coordinates(2, 9, &[0, 0, 0, 1], &[5, 2, 5, 7], &[1.0, 2.0, 3.0, 4.0]).into();
        let users = Users::new(&[Users::NEW, 3], &histories);
        assert_eq!(rows(&users, 9).row(0), [2, 5]);
        let rated = rated_rows(&users, 9).expect("has ratings");
        assert_eq!((rated.row(0), rated.row_values(0), rated.row_values(1)), (&[2, 5][..], &[2.0, 3.0][..], &[4.0][..]));
        let without = Csr::from_rows(9, [[1, 2]]).into();
        assert!(rated_rows(&Users::new(&[Users::NEW], &without), 9).is_err());
    }
}
