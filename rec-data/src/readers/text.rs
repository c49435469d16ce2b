//! Lines and fields of a text file in memory, and errors that name file, line and the offending text.

use anyhow::Result;
use memchr::{memchr, memchr2};

use crate::candidates::CandidateLists;
use crate::{Interactions, fail, problem, require};

/// What a reader makes of its files.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The rows.
    pub interactions: Interactions,
    /// Fixed candidates, where the source has them.
    pub candidates: Option<CandidateLists>,
}

/// The contents of one file, with the name that errors carry.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The path as the user knows it.
    pub path: &'a str,
    /// The contents.
    pub bytes: &'a [u8],
}

impl<'a> Text<'a> {
    /// The contents of `path`; a byte-order mark at the start is dropped.
    ///
    /// # Errors
    /// a data problem where the file is empty, or has a NUL byte, as binary and UTF-16 files do.
    pub fn new(path: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        require!(bytes.iter().any(|b| !b.is_ascii_whitespace()), Data, "{path}: the file is empty; fetch it again");
        if let Some(at) = memchr(0, bytes) {
            let line = 1 + memchr::memchr_iter(b'\n', &bytes[..at]).count();
            fail!(Data, "{path}:{line}: a NUL byte; this is not a UTF-8 text file (binary, compressed or UTF-16?)");
        }
        Ok(Self { path, bytes })
    }

    /// The lines that are not empty, without their line ends.
    pub fn lines(&self) -> Lines<'a> {
        Lines { path: self.path, rest: self.bytes, number: 0 }
    }

    /// The number of line ends: a good capacity for a column.
    pub fn num_lines(&self) -> usize {
        memchr::memchr_iter(b'\n', self.bytes).count() + 1
    }
}

/// The non-empty lines of a [`Text`].
pub struct Lines<'a> {
    path: &'a str,
    rest: &'a [u8],
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            let (line, rest) = match memchr(b'\n', self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            self.number += 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(Line { path: self.path, number: self.number, bytes: line });
            }
        }
        None
    }
}

/// One line, which knows where it stands.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// The file's path.
    pub path: &'a str,
    /// Counted from 1.
    pub number: usize,
    /// The text without its line end.
    pub bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// A data problem at this line.
    #[cold]
    pub fn problem(&self, message: impl std::fmt::Display) -> anyhow::Error {
        problem!(Data, "{}:{}: {message}", self.path, self.number)
    }

    /// Exactly `N` fields between separators of one byte.
    pub fn fields<const N: usize>(&self, separator: u8) -> Result<[&'a [u8]; N]> {
        let (mut fields, mut rest) = ([&[][..]; N], self.bytes);
        for (i, field) in fields.iter_mut().enumerate() {
            match (memchr(separator, rest), i + 1 == N) {
                (Some(at), false) => (*field, rest) = (&rest[..at], &rest[at + 1..]),
                (None, true) => *field = rest,
                _ => return Err(self.wrong_count(N, memchr::memchr_iter(separator, self.bytes).count() + 1)),
            }
        }
        Ok(fields)
    }

    /// Exactly `N` fields between `::`.
    pub fn double_colon_fields<const N: usize>(&self) -> Result<[&'a [u8]; N]> {
        let (mut fields, mut rest) = ([&[][..]; N], self.bytes);
        for (i, field) in fields.iter_mut().enumerate() {
            match (memchr::memmem::find(rest, b"::"), i + 1 == N) {
                (Some(at), false) => (*field, rest) = (&rest[..at], &rest[at + 2..]),
                (None, true) => *field = rest,
                _ => return Err(self.wrong_count(N, memchr::memmem::find_iter(self.bytes, b"::").count() + 1)),
            }
        }
        Ok(fields)
    }

    /// All fields between separators of one byte, into a buffer that is used again.
    pub fn split_into(&self, separator: u8, fields: &mut Vec<&'a [u8]>) {
        fields.clear();
        let mut start = 0;
        for at in memchr::memchr_iter(separator, self.bytes) {
            fields.push(&self.bytes[start..at]);
            start = at + 1;
        }
        fields.push(&self.bytes[start..]);
    }

    /// Runs of text between spaces or tabs.
    pub fn words(&self) -> Words<'a> {
        Words(self.bytes)
    }

    /// The problem of a line with `found` columns where `expected` belong.
    #[cold]
    pub fn wrong_count(&self, expected: usize, found: usize) -> anyhow::Error {
        self.problem(format_args!("{found} columns, not {expected}: {} (is the line cut off?)", excerpt(self.bytes)))
    }

    /// A field as text.
    pub fn text(&self, field: &'a [u8], what: &str) -> Result<&'a str> {
        std::str::from_utf8(field).map_err(|_| self.problem(format_args!("{what} {} is not UTF-8", excerpt(field))))
    }

    /// A raw id as text, not empty.
    pub fn token(&self, field: &'a [u8], what: &str) -> Result<&'a str> {
        if field.is_empty() {
            return Err(self.problem(format_args!("the {what} is empty: {}", excerpt(self.bytes))));
        }
        self.text(field, what)
    }

    /// An id that must be a whole number from 0 to 4,294,967,294.
    pub fn id(&self, field: &[u8], what: &str) -> Result<u32> {
        // Ten digits can pass u32 but not u64, so one comparison at the end is enough.
        if !field.is_empty() && field.len() <= 10 && field.iter().all(u8::is_ascii_digit) {
            let id = field.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
            if id < u64::from(u32::MAX) {
                return Ok(id as u32);
            }
        }
        Err(self.wrong_id(field, what))
    }

    #[cold]
    fn wrong_id(&self, field: &[u8], what: &str) -> anyhow::Error {
        let digits = field.strip_prefix(b"-").unwrap_or(field);
        let why = match (digits.len() < field.len(), !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)) {
            (true, true) => "is negative; ids here are numbers from 0",
            (false, true) => "is out of range; ids here are at most 4294967294",
            _ => "is not a whole number",
        };
        self.problem(format_args!("the {what} {} {why}", excerpt(field)))
    }

    /// A finite rating.
    pub fn rating(&self, field: &[u8]) -> Result<f32> {
        if let &[digit @ b'0'..=b'9'] = field {
            return Ok(f32::from(digit - b'0'));
        }
        let value: Option<f32> = std::str::from_utf8(field).ok().and_then(|t| t.trim().parse().ok());
        match value {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(self.problem(format_args!("the rating {} is not a finite number", excerpt(field)))),
            None => Err(self.problem(format_args!("the rating {} is not a number", excerpt(field)))),
        }
    }

    /// Seconds since 1970, a fraction cut off.
    pub fn time(&self, field: &[u8]) -> Result<i64> {
        if !field.is_empty() && field.len() <= 18 && field.iter().all(u8::is_ascii_digit) {
            return Ok(field.iter().fold(0i64, |n, b| n * 10 + i64::from(b - b'0')));
        }
        let value: Option<f64> = std::str::from_utf8(field).ok().and_then(|t| t.trim().parse().ok());
        match value {
            // Past 2^53 a double no longer holds whole seconds.
            Some(value) if value.abs() <= 9e15 => Ok(value.floor() as i64),
            Some(_) => Err(self.problem(format_args!("the time {} is out of range", excerpt(field)))),
            None => Err(self.problem(format_args!("the time {} is not a number", excerpt(field)))),
        }
    }
}

/// The words of a line.
pub struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
        let rest = &self.0[start..];
        let end = memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
        self.0 = &rest[end..];
        Some(&rest[..end])
    }
}

/// The start of some bytes as a quoted, printable text for a message.
pub fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
    let shown: String =
        text.chars().take(SHOWN).flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect();
    let more = if text.chars().count() > SHOWN || bytes.len() > 4 * SHOWN { "…" } else { "" };
    format!("`{shown}{more}`")
}

/// Text of a file that is UTF-8, or else Latin-1, as older MovieLens files are.
pub fn decode(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect::<String>().into(),
    }
}

/// The place of the column called `name` in a header.
///
/// # Errors
/// a data problem that lists the header's columns.
pub fn find_column<'a>(path: &str, header: impl Iterator<Item = &'a [u8]>, name: &str) -> Result<usize> {
    let header: Vec<String> = header.map(|c| decode(c).trim().to_owned()).collect();
    header.iter().position(|c| c == name).ok_or_else(|| {
        let shown = header.iter().map(|c| excerpt(c.as_bytes())).collect::<Vec<_>>().join(", ");
        problem!(
            Data,
            "{path}:1: no column `{name}`{}; the header has {shown}",
            crate::problem::did_you_mean(name, header.iter().map(String::as_str))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Line<'_> {
        Line { path: "f", number: 7, bytes }
    }

    #[test]
    fn an_empty_or_binary_file_is_refused_by_name_and_line() {
        assert!(Text::new("a/f", b" \r\n").err().expect("empty").to_string().contains("a/f: the file is empty"));
        assert!(Text::new("a/f", b"x\ny\0").err().expect("binary").to_string().contains("a/f:2: a NUL byte"));
    }

    #[test]
    fn line_ends_and_numbers_are_right_whatever_the_line_end() {
        let text = Text::new("f", b"\xef\xbb\xbfa\r\n\nb").expect("text");
        let lines: Vec<_> = text.lines().map(|l| (l.number, l.bytes)).collect();
        assert_eq!(lines, [(1, &b"a"[..]), (3, &b"b"[..])]);
    }

    #[test]
    fn a_wrong_number_of_columns_says_how_many() {
        assert_eq!(line(b"1\t2").fields::<2>(b'\t').expect("two"), [b"1", b"2"]);
        for wrong in [&b"1"[..], b"1\t2\t3"] {
            assert!(line(wrong).fields::<2>(b'\t').expect_err("wrong").to_string().contains("columns, not 2"));
        }
        assert_eq!(line(b"1::a:b").double_colon_fields::<2>().expect("two"), [&b"1"[..], b"a:b"]);
        assert!(line(b"1::2::3").double_colon_fields::<2>().expect_err("three").to_string().contains("f:7: 3 columns, not 2"));
    }

    #[test]
    fn numbers_out_of_their_range_are_named() {
        assert_eq!(line(b"").id(b"4294967294", "user").expect("id"), u32::MAX - 1);
        for (field, why) in [
            ("-5", "negative"),
            ("4294967295", "out of range"),
            ("99999999999999999999", "out of range"),
            ("x1", "not a whole"),
            ("", "not a whole"),
        ] {
            let message = line(b"").id(field.as_bytes(), "user").expect_err(field).to_string();
            assert!(message.contains(why) && message.contains("f:7") && message.contains(field), "{message}");
        }
        for field in ["NaN", "inf", "-inf", "1e99", "x", ""] {
            line(b"").rating(field.as_bytes()).expect_err(field);
        }
        assert_eq!(line(b"").rating(b"3.5").expect("rating"), 3.5);
        assert_eq!(line(b"").time(b"1396437466.94").expect("time"), 1396437466);
        assert_eq!(line(b"").time(b"-1.5").expect("time"), -2);
        for field in ["nan", "inf", "1e300", ""] {
            line(b"").time(field.as_bytes()).expect_err(field);
        }
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt(b"a\tb\xff"), "`a\\tb\u{fffd}`");
        assert!(excerpt(&[b'x'; 1000]).len() < 70);
    }
}
