//! Which columns of a file of labelled rows mean what.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{fail, require};

/// Which file, and which of its columns mean what. In lists of names `C1..C26` stands for C1, C2 … C26.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file, or a folder of Parquet files; empty in a catalogue entry, which names its files itself.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// The character between fields of text; where absent, a tab for `.tsv`, `.tab` and `.inter`, else a comma. Quotes mean nothing.
    pub delimiter: Option<char>,
    /// The names of a text's columns, in order. Where there are none, the first line has them; a first line that repeats them is no row.
    pub names: Vec<String>,
    /// The column of labels: 0 or 1, or a value that a protocol's `relevant_at_least` is compared with.
    pub label: String,
    /// Columns of numbers that become features of rows, missing where a field is empty. They are stored with 24 significant bits.
    pub numbers: Vec<String>,
    /// Columns of categories that become features of rows. An empty field is the category of no text.
    pub tokens: Vec<String>,
    /// The column of users; without one, all rows belong to one unnamed user.
    pub user: Option<String>,
    /// The column of items; without one, all rows belong to one unnamed item.
    pub item: Option<String>,
    /// The column of times in seconds since 1970.
    pub time: Option<String>,
    /// A column of hours written YYMMDDHH, as Avazu's. It gives the times (as if of UTC) and three features of rows: `hour` (`00` to `23`),
    /// `weekday` (`0` is Sunday) and `weekend` (`0` or `1`).
    pub hour: Option<String>,
    /// What happens to a line that cannot be read.
    pub bad_lines: BadLines,
}

/// What happens to a line that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadLines {
    /// It is an error that names it.
    #[default]
    Fatal,
    /// It is left out and counted.
    Skip,
}

/// What a column of a file is for; features by their place in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Nothing,
    Label,
    Number(usize),
    /// Tokens, then the user and the item where there are such columns.
    Token(usize),
    Time,
    Hour,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

impl Config {
    /// The names of the features that are numbers.
    pub(super) fn number_names(&self) -> Vec<String> {
        self.numbers.iter().flat_map(|name| expanded(name)).collect()
    }

    /// The names of the features that are categories.
    pub(super) fn token_names(&self) -> Vec<String> {
        self.tokens.iter().flat_map(|name| expanded(name)).collect()
    }

    /// The columns that a text is said to have; none where its first line says so.
    pub(super) fn column_names(&self) -> Vec<String> {
        self.names.iter().flat_map(|name| expanded(name)).collect()
    }

    /// Each column that is used, with what for.
    pub(super) fn uses(&self) -> Vec<(String, Use)> {
        let numbers = self.number_names().into_iter().enumerate().map(|(at, name)| (name, Use::Number(at)));
        let tokens = self.token_names().into_iter().chain(self.user.clone()).chain(self.item.clone());
        let tokens = tokens.enumerate().map(|(at, name)| (name, Use::Token(at)));
        let times = self.time.iter().map(|name| (name.clone(), Use::Time)).chain(self.hour.iter().map(|name| (name.clone(), Use::Hour)));
        [(self.label.clone(), Use::Label)].into_iter().chain(numbers).chain(tokens).chain(times).collect()
    }

    /// Checks what needs no file.
    ///
    /// # Errors
    /// a usage problem that names the key.
    pub(super) fn check(&self) -> Result<()> {
        require!(!self.label.is_empty(), Usage, "`label` must name the column of labels");
        require!(self.time.is_none() || self.hour.is_none(), Usage, "a row has one time: leave out `time` or `hour`");
        let mut names: Vec<String> = self.uses().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            fail!(Usage, "the column `{}` is named twice: each has one meaning", twice[0]);
        }
        Ok(())
    }

    /// What each of the columns `header` of `file` is for.
    ///
    /// # Errors
    /// a data problem where one that is needed is not there.
    pub(super) fn plan(&self, file: &str, header: &[String]) -> Result<Vec<Use>> {
        let mut plan = vec![Use::Nothing; header.len()];
        for (name, what) in self.uses() {
            let Some(at) = header.iter().position(|column| *column == name) else {
                fail!(
                    Data,
                    "{file}: no column `{name}`{}; there are {}",
                    crate::problem::did_you_mean(&name, header.iter().map(String::as_str)),
                    header.join(", ")
                )
            };
            plan[at] = what;
        }
        Ok(plan)
    }
}

/// `C1..C26` as C1, C2 … C26; any other name as it is.
fn expanded(name: &str) -> Vec<String> {
    let parts = |text: &str| {
        let digits = text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count();
        Some((text[..digits].to_owned(), text[digits..].parse::<u32>().ok()?))
    };
    let ends = name.split_once("..").and_then(|(from, to)| Some((parts(from)?, parts(to)?)));
    match ends {
        Some(((prefix, from), (other, to))) if prefix == other => (from..=to).map(|n| format!("{prefix}{n}")).collect(),
        _ => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_names_is_written_out() {
        assert_eq!(expanded("C9..C11"), ["C9", "C10", "C11"]);
        for name in ["C1", "a..b", "C1..D2", "1..", "x.y"] {
            assert_eq!(expanded(name), [name]);
        }
        assert_eq!(expanded("1..3"), ["1", "2", "3"]);
    }

    #[test]
    fn a_column_has_one_meaning_and_a_label_is_needed() {
        let config = |text: &str| toml::from_str::<Config>(text).expect("fine").check();
        config("label = \"y\"\ntokens = [\"a1..a3\"]").expect("fine");
        for (text, says) in [
            ("tokens = [\"a\"]", "`label` must name"),
            ("label = \"y\"\ntokens = [\"a1..a3\"]\nuser = \"a2\"", "`a2` is named twice"),
            ("label = \"y\"\ntime = \"t\"\nhour = \"h\"", "leave out `time` or `hour`"),
        ] {
            let error = config(text).expect_err(text);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
