//! Adjacency lists, as NGCF and LightGCN publish them: `user item item …` a line, one file to train on and one to test on.
//!
//! Ids are the published dense numbers. The order within a line says nothing in these files (copies differ in it), so each line's items are
//! put in ascending order: two copies of the same lists give the same rows.

use anyhow::Result;

use super::text::{Parsed, Text};
use crate::{Interactions, Part, Vocabulary, require};

/// Reads the two lists; rows of `train` come first.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read(train: Text<'_>, test: Text<'_>) -> Result<Parsed> {
    let (mut users, mut items, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let mut top = [Top::default(), Top::default()];
    for (file, part) in [(train, Part::Train), (test, Part::Test)] {
        for line in file.lines() {
            let mut words = line.words();
            let Some(first) = words.next() else { continue };
            let user = line.id(first, "user")?;
            top[0].see(user, file.path, line.number);
            let start = items.len();
            for word in words {
                let item = line.id(word, "item")?;
                top[1].see(item, file.path, line.number);
                items.push(item);
            }
            items[start..].sort_unstable();
            users.resize(items.len(), user);
        }
        parts.resize(items.len(), part as u8);
    }
    require!(!items.is_empty(), Data, "{}: no line lists any item", train.path);
    let [user_ids, item_ids] = [top[0].vocabulary("user", items.len())?, top[1].vocabulary("item", items.len())?];
    let interactions =
        Interactions { users: users.into(), items: items.into(), parts: Some(parts.into()), user_ids, item_ids, ..Interactions::default() };
    Ok(Parsed { interactions, candidates: None })
}

/// The largest number seen, and where.
#[derive(Default)]
pub(super) struct Top<'a> {
    id: Option<u32>,
    path: &'a str,
    line: usize,
}

impl<'a> Top<'a> {
    /// Notes a number.
    pub(super) fn see(&mut self, id: u32, path: &'a str, line: usize) {
        if self.id.is_none_or(|top| id > top) {
            *self = Self { id: Some(id), path, line };
        }
    }

    /// The ids from 0 to the largest.
    ///
    /// # Errors
    /// a data problem where the largest is far beyond what `rows` rows could use: one stray number must not ask for gigabytes.
    pub(super) fn vocabulary(&self, what: &str, rows: usize) -> Result<Vocabulary> {
        let n = self.id.map_or(0, |id| id as usize + 1);
        require!(
            n <= 1000 + 100 * rows,
            Data,
            "{}:{}: {what} number {} in a file of {rows} rows; ids of this format are dense numbers from 0",
            self.path,
            self.line,
            n - 1
        );
        Ok(Vocabulary::numbers(n))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const TRAIN: &[u8] = b"0 3 1 \n1\n2 0\r\n";
    const TEST: &[u8] = b"0 2\n1 4 0\n";

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { path: "f", bytes }
    }

    #[test]
    fn train_and_test_lists_become_parts_whatever_the_order_in_a_line() {
        let data = read(text(TRAIN), text(TEST)).expect("valid").interactions;
        assert_eq!(&data.users[..], [0, 0, 2, 0, 1, 1]);
        assert_eq!(&data.items[..], [1, 3, 0, 2, 0, 4]);
        assert_eq!(data.parts.as_deref(), Some(&[0, 0, 0, 2, 2, 2][..]));
        assert_eq!((data.num_users(), data.num_items()), (3, 5));
        assert_eq!(data.item_ids.raw(4), "4");
        data.check("f").expect("sound");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (train, why) in [
            (&b"0 1\n1 x\n"[..], "f:2: the item `x` is not a whole number"),
            (b"0 1\n-1 2\n", "f:2: the user `-1` is negative"),
            (b"0 1 4000000000\n", "f:1: item number 4000000000 in a file of"),
            (b"0\n1\n", "no line lists any item"),
        ] {
            let error = read(text(train), text(b"")).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(TRAIN), b in mangled(TEST)) {
            let _ = read(text(&a), text(&b));
        }
    }
}
