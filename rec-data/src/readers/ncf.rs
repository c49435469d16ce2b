//! NCF's leave-one-out files: `train.rating`, `test.rating` (`user item rating time`, tabs) and `test.negative`, one line a user:
//! `(user,item)`, then the items drawn as negatives.
//!
//! Ids are the published dense numbers from 0. Train rows are put in the order of user, time, item: copies of the file differ in the order
//! within a user. A user's negatives are kept as they are; in the published ML-1M file 156 of them equal the user's own test item.

use anyhow::Result;

use super::adjacency::Top;
use super::text::{Parsed, Text, excerpt};
use crate::candidates::CandidateLists;
use crate::{Interactions, Part, fail, require};

/// Reads the three files; rows of `train` come first.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read(train: Text<'_>, test: Text<'_>, negatives: Text<'_>) -> Result<Parsed> {
    let mut rows = Vec::with_capacity(train.num_lines() + test.num_lines());
    let mut top = [Top::default(), Top::default()];
    let mut test_lines = Vec::with_capacity(test.num_lines());
    for (file, part) in [(train, Part::Train), (test, Part::Test)] {
        for line in file.lines() {
            let [user, item, rating, time] = line.fields::<4>(b'\t')?;
            let row = Row {
                part,
                user: line.id(user, "user")?,
                time: line.time(time)?,
                item: line.id(item, "item")?,
                value: line.rating(rating)?,
            };
            top[0].see(row.user, file.path, line.number);
            top[1].see(row.item, file.path, line.number);
            rows.push(row);
            if part == Part::Test {
                test_lines.push(line.number);
            }
        }
    }
    let trained = rows.partition_point(|r| r.part == Part::Train);
    rows[..trained].sort_by_key(|r| (r.user, r.time, r.item));
    let lists = lists(negatives, &mut top)?;

    let [user_ids, item_ids] = [top[0].vocabulary("user", rows.len())?, top[1].vocabulary("item", rows.len())?];
    let mut tested = vec![None; user_ids.len()];
    for (line, row) in test_lines.iter().zip(&rows[trained..]) {
        let slot = &mut tested[row.user as usize];
        require!(slot.is_none(), Data, "{}:{line}: a second test row of user {}", test.path, row.user);
        *slot = Some(row.item);
    }
    let candidates = in_order_of_users(negatives.path, lists, &tested)?;

    let interactions = Interactions {
        users: rows.iter().map(|r| r.user).collect::<Vec<_>>().into(),
        items: rows.iter().map(|r| r.item).collect::<Vec<_>>().into(),
        values: Some(rows.iter().map(|r| r.value).collect::<Vec<_>>().into()),
        times: Some(rows.iter().map(|r| r.time).collect::<Vec<_>>().into()),
        parts: Some(rows.iter().map(|r| r.part as u8).collect::<Vec<_>>().into()),
        user_ids,
        item_ids,
        ..Interactions::default()
    };
    Ok(Parsed { interactions, candidates: Some(candidates) })
}

struct Row {
    part: Part,
    user: u32,
    time: i64,
    item: u32,
    value: f32,
}

/// One line of the negatives.
struct List {
    line: usize,
    user: u32,
    positive: u32,
    items: Vec<u32>,
}

fn lists<'a>(file: Text<'a>, top: &mut [Top<'a>; 2]) -> Result<Vec<List>> {
    let mut lists = Vec::with_capacity(file.num_lines());
    let mut fields = Vec::new();
    for line in file.lines() {
        line.split_into(b'\t', &mut fields);
        let pair = fields[0]
            .strip_prefix(b"(")
            .and_then(|f| f.strip_suffix(b")"))
            .and_then(|f| f.iter().position(|&b| b == b',').map(|at| (&f[..at], &f[at + 1..])));
        let Some((user, item)) = pair else {
            return Err(line.problem(format_args!("{} is not `(user,item)`", excerpt(fields[0]))));
        };
        let (user, positive) = (line.id(user, "user")?, line.id(item.trim_ascii(), "item")?);
        let mut items = Vec::with_capacity(fields.len() - 1);
        for field in &fields[1..] {
            let item = line.id(field, "item")?;
            top[1].see(item, file.path, line.number);
            items.push(item);
        }
        top[0].see(user, file.path, line.number);
        top[1].see(positive, file.path, line.number);
        lists.push(List { line: line.number, user, positive, items });
    }
    Ok(lists)
}

fn in_order_of_users(path: &str, mut lists: Vec<List>, tested: &[Option<u32>]) -> Result<CandidateLists> {
    lists.sort_by_key(|l| l.user);
    let (mut ends, mut items) = (Vec::with_capacity(tested.len()), Vec::new());
    let mut next = lists.iter().peekable();
    for (user, test) in tested.iter().enumerate() {
        match (next.next_if(|l| l.user as usize == user), test) {
            (Some(list), Some(test)) if list.positive == *test => items.extend_from_slice(&list.items),
            (Some(list), Some(test)) => {
                fail!(Data, "{path}:{}: the test item of user {user} is {} here but {test} in the test rows", list.line, list.positive)
            }
            (Some(list), None) => fail!(Data, "{path}:{}: user {user} has no test row", list.line),
            (None, Some(_)) => fail!(Data, "{path}: no line for user {user}, who has a test row (is the file cut off?)"),
            (None, None) => {}
        }
        if let Some(list) = next.peek().filter(|l| l.user as usize == user) {
            fail!(Data, "{path}:{}: a second line of user {user}", list.line);
        }
        ends.push(items.len() as u64);
    }
    Ok(CandidateLists { ends: ends.into(), items: items.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const TRAIN: &[u8] = b"0\t1\t4\t20\n0\t3\t5\t10\n0\t2\t5\t10\n1\t0\t1\t5\n";
    const TEST: &[u8] = b"0\t0\t5\t30\n1\t3\t2\t40\n";
    const NEGATIVES: &[u8] = b"(0,0)\t4\t0\n(1,3)\t1\t2\n";

    fn text<'a>(path: &'a str, bytes: &'a [u8]) -> Text<'a> {
        Text { path, bytes }
    }

    fn try_read(train: &[u8], test: &[u8], negatives: &[u8]) -> Result<Parsed> {
        read(text("train", train), text("test", test), text("neg", negatives))
    }

    #[test]
    fn rows_parts_and_candidates_are_kept_with_the_copies_of_the_positive() {
        let parsed = try_read(TRAIN, TEST, NEGATIVES).expect("valid");
        let data = parsed.interactions;
        assert_eq!(&data.users[..], [0, 0, 0, 1, 0, 1]);
        assert_eq!(&data.items[..], [2, 3, 1, 0, 0, 3]);
        assert_eq!(data.parts.as_deref(), Some(&[0, 0, 0, 0, 2, 2][..]));
        assert_eq!(data.num_items(), 5);
        let candidates = parsed.candidates.expect("lists");
        assert_eq!((candidates.of(0), candidates.of(1)), (&[4, 0][..], &[1, 2][..]));
        data.check("f").expect("sound");
    }

    #[test]
    fn files_that_do_not_fit_together_are_refused() {
        for (test, negatives, why) in [
            (TEST, &b"(0,0)\t4\n"[..], "neg: no line for user 1"),
            (TEST, b"(0,1)\t4\n(1,3)\t1\n", "neg:1: the test item of user 0 is 1 here but 0"),
            (TEST, b"(0,0)\t4\n(1,3)\t1\n(1,3)\t1\n", "neg:3: a second line of user 1"),
            (TEST, b"0,0\t4\n", "neg:1: `0,0` is not `(user,item)`"),
            (b"0\t0\t5\t30\n0\t3\t2\t40\n", NEGATIVES, "test:2: a second test row of user 0"),
            (b"0\t0\t5\n", NEGATIVES, "test:1: 3 columns, not 4"),
        ] {
            let error = try_read(TRAIN, test, negatives).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(TRAIN), b in mangled(TEST), c in mangled(NEGATIVES)) {
            let _ = try_read(&a, &b, &c);
        }
    }
}
