//! Sequences, as SASRec and BERT4Rec publish them: `user item` a line, each user's rows oldest first, without times.
//!
//! Ids are published numbers from 1; numbers follow their order.

use anyhow::Result;

use super::ids::ranked;
use super::text::{Parsed, Text};
use crate::Interactions;

/// Reads one file of sequences.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read(file: Text<'_>) -> Result<Parsed> {
    let n = file.num_lines();
    let (mut users, mut items) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for line in file.lines() {
        let mut words = line.words();
        match (words.next(), words.next(), words.next()) {
            (Some(user), Some(item), None) => {
                users.push(line.id(user, "user")?);
                items.push(line.id(item, "item")?);
            }
            _ => return Err(line.wrong_count(2, line.words().count())),
        }
    }
    let (user_ids, item_ids) = (ranked(&mut users), ranked(&mut items));
    Ok(Parsed {
        interactions: Interactions { users: users.into(), items: items.into(), user_ids, item_ids, ..Interactions::default() },
        candidates: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const FILE: &[u8] = b"1 20\n1 3\n2 3\n";

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { path: "f", bytes }
    }

    #[test]
    fn row_order_is_kept_and_numbers_follow_published_ids() {
        let data = read(text(FILE)).expect("valid").interactions;
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 0, 1][..], &[1, 0, 0][..]));
        assert_eq!(data.item_ids.iter().collect::<Vec<_>>(), ["3", "20"]);
        assert!(data.times.is_none() && data.values.is_none() && data.parts.is_none());
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (file, why) in [
            (&b"1 2\n1\n"[..], "f:2: 1 columns, not 2"),
            (b"1 2 3\n", "f:1: 3 columns, not 2"),
            (b"1 -2\n", "f:1: the item `-2` is negative"),
        ] {
            let error = read(text(file)).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(FILE)) {
            let _ = read(text(&a));
        }
    }
}
