//! Sessions. Two layouts: session and prefix lists, as prepared for NARM, STAMP and SR-GNN (YooChoose 1/64, Diginetica), and click logs
//! with times, as prepared for GRU4Rec (`SessionId ItemId Time`). A session is what elsewhere is a user.

use anyhow::Result;
use memchr::memchr;

use super::ids::ranked;
use super::text::{Line, Parsed, Text, excerpt, find_column};
use crate::{Interactions, Part, Vocabulary, problem, require};

/// `train`: one session a line, its items oldest first. `test`: `prefix TAB target`, the questions about each session in the order in which
/// SR-GNN's preprocessing writes them: the longest prefix first, then each shorter one. A session of n items has n − 1 lines, and its first
/// line holds all of it. The test sessions are put together again, each row a [`Part::Test`] row.
///
/// Raw ids of sessions are `train:<line>` and `test:<its first line>`; items are numbered in the order of their published numbers.
///
/// # Errors
/// a data problem that names file, line and text, also where a line is not the next shorter prefix of its session.
pub fn read_lists(train: Text<'_>, test: Text<'_>) -> Result<Parsed> {
    let (mut users, mut items, mut parts, mut sessions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut add = |session: &[u32], part: Part, name: String| {
        items.extend_from_slice(session);
        users.resize(items.len(), sessions.len() as u32);
        parts.resize(items.len(), part as u8);
        sessions.push(name);
    };
    let mut session = Vec::new();
    for line in train.lines() {
        session.clear();
        read_items(&line, line.bytes, &mut session)?;
        add(&session, Part::Train, format!("train:{}", line.number));
    }
    let (mut asked, mut first_line, mut lines_left) = (Vec::new(), 0, 0);
    for line in test.lines() {
        let [prefix, target] = line.fields::<2>(b'\t')?;
        if memchr(b' ', target.trim_ascii()).is_some() {
            return Err(line.problem(format_args!("the target {} is not one item", excerpt(target))));
        }
        asked.clear();
        read_items(&line, prefix, &mut asked)?;
        read_items(&line, target, &mut asked)?;
        if lines_left == 0 {
            add(&asked, Part::Test, format!("test:{}", line.number));
            (first_line, lines_left) = (line.number, asked.len() - 2);
            session.clone_from(&asked);
        } else {
            if asked != session[..=lines_left] {
                let text = excerpt(line.bytes);
                return Err(line.problem(format_args!("{text} is not the next shorter prefix of the session on line {first_line}")));
            }
            lines_left -= 1;
        }
    }
    require!(lines_left == 0, Data, "{}: the file ends with {lines_left} prefixes of the session on line {first_line} missing", test.path);
    let item_ids = ranked(&mut items);
    let interactions = Interactions {
        users: users.into(),
        items: items.into(),
        parts: Some(parts.into()),
        user_ids: sessions.into_iter().collect::<Vocabulary>(),
        item_ids,
        ..Interactions::default()
    };
    Ok(Parsed { interactions, candidates: None })
}

/// Adds the items of `words`, a part of `line`, to `items`.
fn read_items(line: &Line<'_>, words: &[u8], items: &mut Vec<u32>) -> Result<()> {
    let before = items.len();
    for word in (Line { bytes: words, ..*line }).words() {
        items.push(line.id(word, "item")?);
    }
    if items.len() == before {
        return Err(line.problem(format_args!("no item in {}", excerpt(line.bytes))));
    }
    Ok(())
}

/// Tab-separated clicks with the header `SessionId ItemId Time`, in any order of columns. Rows keep the order of the files, `train` first;
/// sessions and items are numbered in the order of their published numbers; times are cut to whole seconds.
///
/// # Errors
/// a data problem that names file, line and text; a session that is in both files.
pub fn read_clicks(train: Text<'_>, test: Text<'_>) -> Result<Parsed> {
    let (mut users, mut items, mut times, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (file, part) in [(train, Part::Train), (test, Part::Test)] {
        let mut lines = file.lines();
        let header = lines.next().ok_or_else(|| problem!(Data, "{}: the file is empty", file.path))?;
        let mut fields = Vec::new();
        header.split_into(b'\t', &mut fields);
        let width = fields.len();
        let mut columns = [0; 3];
        for (column, name) in columns.iter_mut().zip(["SessionId", "ItemId", "Time"]) {
            *column = find_column(file.path, fields.iter().copied(), name)?;
        }
        for line in lines {
            line.split_into(b'\t', &mut fields);
            if fields.len() != width {
                return Err(line.wrong_count(width, fields.len()));
            }
            users.push(line.id(fields[columns[0]], "session")?);
            items.push(line.id(fields[columns[1]], "item")?);
            times.push(line.time(fields[columns[2]])?);
        }
        require!(users.len() > parts.len(), Data, "{}: a header but no click", file.path);
        parts.resize(users.len(), part as u8);
    }
    let (user_ids, item_ids) = (ranked(&mut users), ranked(&mut items));
    let trained = parts.partition_point(|&p| p == Part::Train as u8);
    let mut seen = vec![false; user_ids.len()];
    users[..trained].iter().for_each(|&u| seen[u as usize] = true);
    if let Some(&both) = users[trained..].iter().find(|&&u| seen[u as usize]) {
        return Err(problem!(Data, "{}: session {} is also in {}", test.path, user_ids.raw(both), train.path));
    }
    let interactions = Interactions {
        users: users.into(),
        items: items.into(),
        times: Some(times.into()),
        parts: Some(parts.into()),
        user_ids,
        item_ids,
        ..Interactions::default()
    };
    Ok(Parsed { interactions, candidates: None })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const TRAIN: &[u8] = b"5 3 5\n9\n";
    /// The sessions 5 3 9 and 5 3.
    const TEST: &[u8] = b"5 3\t9\n5\t3\n5\t3\n";
    const CLICKS: &[u8] = b"SessionId\tItemId\tTime\n3\t214716935\t1396437466.94\n3\t214832672\t1396438212.318\n";
    const LATER: &[u8] = b"Time\tSessionId\tItemId\n1396437470\t7\t214716935\n";

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { path: "f", bytes }
    }

    #[test]
    fn test_sessions_are_put_together_from_their_prefixes() {
        let data = read_lists(text(TRAIN), text(TEST)).expect("valid").interactions;
        assert_eq!(&data.users[..], [0, 0, 0, 1, 2, 2, 2, 3, 3]);
        assert_eq!(&data.items[..], [1, 0, 1, 2, 1, 0, 2, 1, 0]);
        assert_eq!(data.parts.as_deref(), Some(&[0, 0, 0, 0, 2, 2, 2, 2, 2][..]));
        assert_eq!(data.user_ids.iter().collect::<Vec<_>>(), ["train:1", "train:2", "test:1", "test:3"]);
        assert_eq!(data.item_ids.iter().collect::<Vec<_>>(), ["3", "5", "9"]);
        data.check("f").expect("sound");
    }

    #[test]
    fn clicks_are_read_by_the_header_and_times_lose_their_fraction() {
        let data = read_clicks(text(CLICKS), text(LATER)).expect("valid").interactions;
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 0, 1][..], &[0, 1, 0][..]));
        assert_eq!(data.times.as_deref(), Some(&[1396437466, 1396438212, 1396437470][..]));
        assert_eq!(data.parts.as_deref(), Some(&[0, 0, 2][..]));
        assert_eq!(data.user_ids.raw(1), "7");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (test, why) in [
            (&b"5 3\n"[..], "f:1: 1 columns, not 2"),
            (b"\t3\n", "f:1: no item in"),
            (b"5\t3 9\n", "is not one item"),
            (b"5 x\t3\n", "the item `x`"),
            (b"5 3\t9\n5\t9\n", "f:2: `5\\t9` is not the next shorter prefix of the session on line 1"),
            (b"5 3 9\t3\n5 3\t9\n", "ends with 1 prefixes of the session on line 1 missing"),
        ] {
            let error = read_lists(text(TRAIN), text(test)).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        for (test, why) in [
            (&b"SessionId\tItemID\tTime\n1\t2\t3\n"[..], "no column `ItemId` (did you mean `ItemID`?)"),
            (b"SessionId\tItemId\tTime\n1\t2\n", "f:2: 2 columns, not 3"),
            (b"SessionId\tItemId\tTime\n", "a header but no click"),
            (b"SessionId\tItemId\tTime\n3\t2\t3\n", "session 3 is also in"),
            (b"SessionId\tItemId\tTime\n4\t2\tinf\n", "f:2: the time `inf` is out of range"),
        ] {
            let error = read_clicks(text(CLICKS), text(test)).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(TRAIN), b in mangled(TEST)) {
            let _ = read_lists(text(&a), text(&b));
        }

        #[test]
        fn no_bytes_make_clicks_panic(a in mangled(CLICKS), b in mangled(LATER)) {
            let _ = read_clicks(text(&a), text(&b));
        }
    }
}
