//! RecBole's atomic files: `.inter`, and beside it `.user` and `.item`, tab-separated with typed headers (`age:float`, `genre:token_seq`).
//!
//! Users and items are numbered by first appearance in `.inter`; those without a row there are left out.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::side::{Meaning, Side};
use super::text::{Line, Lines, Parsed, Text, decode, excerpt, find_column};
use crate::features::Features;
use crate::vocabulary::Numbering;
use crate::{Column, Interactions, Vocabulary, problem, require};

/// Which columns mean what. The defaults are RecBole's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The column of users.
    pub user: String,
    /// The column of items.
    pub item: String,
    /// The column of ratings; without it there is none.
    pub rating: String,
    /// The column of times; without it there is none.
    pub time: String,
    /// A text before each user id that is not part of it.
    pub user_prefix: String,
    /// Where items go by name: how the order of `.item` gives their numeric ids.
    pub item_numbers: Option<ItemNumbers>,
    /// The features of users to take; all where absent.
    pub user_features: Option<Vec<FeatureColumn>>,
    /// The features of items to take; all where absent.
    pub item_features: Option<Vec<FeatureColumn>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            user: "user_id".into(),
            item: "item_id".into(),
            rating: "rating".into(),
            time: "timestamp".into(),
            user_prefix: String::new(),
            item_numbers: None,
            user_features: None,
            item_features: None,
        }
    }
}

/// The n-th listed item has as its id the n-th number from 1 that is not in `skipped`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemNumbers {
    /// Numbers that no item has, rising.
    pub skipped: Vec<u32>,
}

/// A feature to take from a side file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureColumn {
    /// The column's name in the file.
    pub column: String,
    /// The feature's name.
    pub name: String,
    /// What its texts mean.
    pub kind: FeatureKind,
}

/// What a feature's texts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// One category.
    Token,
    /// Categories between spaces.
    Tokens,
    /// A number; anything else is missing.
    Number,
    /// Free text.
    Text,
}

impl From<FeatureKind> for Meaning {
    fn from(kind: FeatureKind) -> Self {
        match kind {
            FeatureKind::Token => Meaning::Token,
            FeatureKind::Tokens => Meaning::Tokens(' '),
            FeatureKind::Number => Meaning::Number,
            FeatureKind::Text => Meaning::Text,
        }
    }
}

/// Reads the atomic files of one data set.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read(inter: Text<'_>, users: Option<Text<'_>>, items: Option<Text<'_>>, config: &Config) -> Result<Parsed> {
    let mut table = Table::new(inter)?;
    let (user, item) = (table.column(&config.user)?, table.column(&config.item)?);
    let (rating, time) = (table.optional_column(&config.rating), table.optional_column(&config.time));
    let n = inter.num_lines();
    let (mut user_ids, mut item_ids) = (Numbering::default(), Numbering::default());
    let (mut user_column, mut item_column) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut values = Vec::with_capacity(if rating.is_some() { n } else { 0 });
    let mut times = Vec::with_capacity(if time.is_some() { n } else { 0 });
    // Files are mostly sorted by user: the one before is worth a look.
    let mut last: (&[u8], u32) = (b"", 0);
    let mut fields = Vec::new();
    while let Some(line) = table.next_row(&mut fields)? {
        let raw = fields[user];
        if user_column.is_empty() || raw != last.0 {
            last = (raw, user_ids.number(line.token(raw, "user")?));
        }
        user_column.push(last.1);
        item_column.push(item_ids.number(line.token(fields[item], "item")?));
        if let Some(column) = rating {
            values.push(line.rating(fields[column])?);
        }
        if let Some(column) = time {
            times.push(line.time(fields[column])?);
        }
    }
    require!(!user_column.is_empty(), Data, "{}: a header but no interaction", inter.path);
    let (user_ids, item_ids) = (user_ids.finish(), item_ids.finish());
    let user_features =
        users.map(|file| features(file, &config.user, &user_ids, config.user_features.as_deref())).transpose()?.unwrap_or_default();
    let item_features =
        items.map(|file| features(file, &config.item, &item_ids, config.item_features.as_deref())).transpose()?.unwrap_or_default();
    let interactions = Interactions {
        users: user_column.into(),
        items: item_column.into(),
        values: rating.map(|_| Column::from(values)),
        times: time.map(|_| Column::from(times)),
        user_ids: without_prefix(inter.path, user_ids, &config.user_prefix)?,
        item_ids: match &config.item_numbers {
            Some(numbers) => {
                numbered(items.ok_or_else(|| problem!(Usage, "`item_numbers` needs an .item file"))?, &config.item, item_ids, numbers)?
            }
            None => item_ids,
        },
        user_features,
        item_features,
        ..Interactions::default()
    };
    Ok(Parsed { interactions, candidates: None })
}

/// An atomic file after its header.
struct Table<'a> {
    path: &'a str,
    names: Vec<&'a [u8]>,
    types: Vec<&'a [u8]>,
    lines: Lines<'a>,
}

impl<'a> Table<'a> {
    fn new(file: Text<'a>) -> Result<Self> {
        let mut lines = file.lines();
        let header = lines.next().ok_or_else(|| problem!(Data, "{}: the file is empty", file.path))?;
        let (mut names, mut types) = (Vec::new(), Vec::new());
        for field in header.bytes.split(|&b| b == b'\t') {
            let at = memchr::memrchr(b':', field).ok_or_else(|| {
                header.problem(format_args!(
                    "the header's {} has no type; write `name:token`, `:token_seq`, `:float` or `:float_seq`",
                    excerpt(field)
                ))
            })?;
            let kind = &field[at + 1..];
            if !matches!(kind, b"token" | b"token_seq" | b"float" | b"float_seq") {
                return Err(header.problem(format_args!(
                    "the header's {} has an unknown type; there are token, token_seq, float and float_seq",
                    excerpt(field)
                )));
            }
            names.push(&field[..at]);
            types.push(kind);
        }
        Ok(Self { path: file.path, names, types, lines })
    }

    fn column(&self, name: &str) -> Result<usize> {
        find_column(self.path, self.names.iter().copied(), name)
    }

    fn optional_column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| *n == name.as_bytes())
    }

    fn next_row(&mut self, fields: &mut Vec<&'a [u8]>) -> Result<Option<Line<'a>>> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        line.split_into(b'\t', fields);
        if fields.len() != self.names.len() {
            return Err(line.wrong_count(self.names.len(), fields.len()));
        }
        Ok(Some(line))
    }
}

fn features(file: Text<'_>, id: &str, ids: &Vocabulary, wanted: Option<&[FeatureColumn]>) -> Result<Features> {
    let mut table = Table::new(file)?;
    let id = table.column(id)?;
    let mut columns: Vec<(usize, String, Meaning)> = Vec::new();
    match wanted {
        Some(wanted) => {
            for feature in wanted {
                columns.push((table.column(&feature.column)?, feature.name.clone(), feature.kind.into()));
            }
        }
        None => {
            for (at, (name, kind)) in table.names.iter().zip(&table.types).enumerate().filter(|(at, _)| *at != id) {
                let meaning = match *kind {
                    b"token" => Meaning::Token,
                    b"token_seq" => Meaning::Tokens(' '),
                    b"float" => Meaning::Number,
                    _ => Meaning::Text,
                };
                columns.push((at, decode(name).into_owned(), meaning));
            }
        }
    }
    let mut side = Side::new(ids.len(), columns.iter().map(|(_, name, meaning)| (name.clone(), *meaning)));
    let (mut fields, mut row) = (Vec::new(), Vec::new());
    while let Some(line) = table.next_row(&mut fields)? {
        let raw = line.token(fields[id], "id")?;
        let Some(number) = ids.number(raw) else { continue };
        row.clear();
        for (at, _, _) in &columns {
            row.push(line.text(fields[*at], "feature")?);
        }
        if !side.set(number, row.iter().copied()) {
            return Err(line.problem(format_args!("the id {} is listed a second time", excerpt(raw.as_bytes()))));
        }
    }
    Ok(side.finish())
}

fn without_prefix(path: &str, ids: Vocabulary, prefix: &str) -> Result<Vocabulary> {
    if prefix.is_empty() {
        return Ok(ids);
    }
    let strip = |raw| {
        str::strip_prefix(raw, prefix)
            .ok_or_else(|| problem!(Data, "{path}: the user {} does not start with `{prefix}`", excerpt(raw.as_bytes())))
    };
    ids.iter().map(strip).collect::<Result<Vec<_>>>().map(|texts| texts.into_iter().collect())
}

fn numbered(file: Text<'_>, id: &str, ids: Vocabulary, numbers: &ItemNumbers) -> Result<Vocabulary> {
    let mut table = Table::new(file)?;
    let id = table.column(id)?;
    let mut texts = vec![None; ids.len()];
    let mut skipped = numbers.skipped.iter().copied().peekable();
    let mut next = 1u32;
    let mut fields = Vec::new();
    while let Some(line) = table.next_row(&mut fields)? {
        while skipped.next_if(|&s| s <= next).is_some_and(|s| s == next) {
            next += 1;
        }
        if let Some(number) = ids.number(line.text(fields[id], "id")?) {
            texts[number as usize] = Some(next.to_string());
        }
        next += 1;
    }
    let missing = |number: usize| {
        problem!(Data, "{}: the item {} has interactions but is not listed", file.path, excerpt(ids.raw(number as u32).as_bytes()))
    };
    texts
        .into_iter()
        .enumerate()
        .map(|(n, text)| text.ok_or_else(|| missing(n)))
        .collect::<Result<Vec<_>>>()
        .map(|t| t.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const INTER: &[u8] = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n1m_2\tHeat (1995)\t5\t978300760\r\n1m_2\tE.T.\t3.5\t978302109\r\n1m_1\tHeat (1995)\t1\t978301968\r\n";
    const USERS: &[u8] = b"user_id:token\tage:float\tgender:token\n1m_1\t1\tF\n1m_2\t56\tM\n1m_3\t25\tM\n";
    const ITEMS: &[u8] =
        b"item_id:token\trelease_year:float\tgenre:token_seq\nJumanji\t1995\tFantasy\nHeat (1995)\t1995\tAction Crime\nE.T.\t1982\tDrama\n";

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { path: "f", bytes }
    }

    fn try_read(inter: &[u8], config: &Config) -> Result<Parsed> {
        read(text(inter), Some(text(USERS)), Some(text(ITEMS)), config)
    }

    #[test]
    fn atomic_files_are_read_by_their_typed_headers() {
        let data = try_read(INTER, &Config::default()).expect("valid").interactions;
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 0, 1][..], &[0, 1, 0][..]));
        assert_eq!(data.user_ids.iter().collect::<Vec<_>>(), ["1m_2", "1m_1"]);
        assert_eq!(data.values.as_deref(), Some(&[5., 3.5, 1.][..]));
        assert_eq!(data.user_features.get("age").expect("age").text(0), "56");
        assert_eq!(data.item_features.get("genre").expect("genre").text(0), "Action|Crime");
        assert_eq!(data.item_features.get("release_year").expect("year").text(1), "1982");
        data.check("f").expect("sound");
    }

    #[test]
    fn prefixes_are_dropped_and_names_become_numbers_by_the_order_of_the_list() {
        let config = Config {
            user_prefix: "1m_".into(),
            item_numbers: Some(ItemNumbers { skipped: vec![2, 3] }),
            item_features: Some(vec![FeatureColumn { column: "item_id".into(), name: "title".into(), kind: FeatureKind::Text }]),
            ..Config::default()
        };
        let data = try_read(INTER, &config).expect("valid").interactions;
        assert_eq!(data.user_ids.iter().collect::<Vec<_>>(), ["2", "1"]);
        assert_eq!(data.item_ids.iter().collect::<Vec<_>>(), ["4", "5"]);
        assert_eq!(data.item_features.get("title").expect("title").text(1), "E.T.");
        assert_eq!(data.item_features.columns.len(), 1);
    }

    #[test]
    fn ratings_and_times_may_be_absent() {
        let data = read(text(b"user_id:token\titem_id:token\na\tb\n"), None, None, &Config::default()).expect("valid").interactions;
        assert!(data.values.is_none() && data.times.is_none());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let none = Config::default();
        for (inter, config, why) in [
            (&b"user_id:token\titemid:token\na\tb\n"[..], &none, "f:1: no column `item_id` (did you mean `itemid`?)"),
            (b"user_id\titem_id:token\na\tb\n", &none, "f:1: the header's `user_id` has no type"),
            (b"user_id:text\titem_id:token\na\tb\n", &none, "unknown type"),
            (b"user_id:token\titem_id:token\na\n", &none, "f:2: 1 columns, not 2"),
            (b"user_id:token\titem_id:token\na\t\n", &none, "f:2: the item is empty"),
            (b"user_id:token\titem_id:token\na\t\xff\n", &none, "is not UTF-8"),
            (b"user_id:token\titem_id:token\n", &none, "a header but no interaction"),
            (b"user_id:token\titem_id:token\trating:float\na\tb\tnan\n", &none, "f:2: the rating `nan` is not a finite"),
            (INTER, &Config { user_prefix: "x".into(), ..none.clone() }, "the user `1m_2` does not start with `x`"),
            (
                b"user_id:token\titem_id:token\na\tUnlisted\n",
                &Config { item_numbers: Some(ItemNumbers::default()), ..none.clone() },
                "the item `Unlisted` has interactions but is not listed",
            ),
        ] {
            let error = try_read(inter, config).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(INTER), b in mangled(USERS), c in mangled(ITEMS), numbered: bool) {
            let config = Config { item_numbers: numbered.then(|| ItemNumbers { skipped: vec![2] }), ..Config::default() };
            let _ = read(text(&a), Some(text(&b)), Some(text(&c)), &config);
        }
    }
}
