//! Delimited text in blocks of whole lines.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use memchr::{memchr, memchr2_iter, memrchr};
use rayon::prelude::*;

use super::block::Block;
use super::columns::Columns;
use super::config::{BadLines, Config, Use};
use super::hour;
use crate::progress::Progress;
use crate::readers::text::excerpt;
use crate::readers::{delimited, text};
use crate::{problem, require};

/// Bytes of a block: the columns of one stay in a core's cache.
const BLOCK: u64 = 1 << 19;
/// Smaller files are read before anybody would look at a bar.
const SHOWN: u64 = 256 << 20;
/// The longest line.
const LONGEST: usize = 16 << 20;

/// Reads one file.
///
/// # Errors
/// as [`super::read`].
pub(super) fn read(path: &Path, config: &Config, columns: &mut Columns) -> Result<()> {
    let shown = path.display().to_string();
    let delimiter = delimited::delimiter(config.delimiter, &shown)?;
    let mut blocks = Blocks::open(path)?;
    let Some(mut first) = blocks.next()? else { crate::fail!(Data, "{shown}: the file is empty; fetch it again") };
    if first.starts_with(b"\xef\xbb\xbf") {
        first.drain(..3);
    }
    let end = memchr(b'\n', &first).unwrap_or(first.len());
    let line = first[..end].strip_suffix(b"\r").unwrap_or(&first[..end]);
    let header: Vec<String> = line.split(|&b| b == delimiter).map(|name| text::decode(name).trim().to_owned()).collect();
    let names = config.column_names();
    let is_header = names.is_empty() || header == names;
    let plan = config.plan(&format!("{shown}:1"), if names.is_empty() { &header } else { &names })?;
    let mut line = 1;
    if is_header {
        first.drain(..(end + 1).min(first.len()));
        line += 1;
    }
    let mut waiting = Some(first);
    let progress = (blocks.size > SHOWN).then(|| Progress::new(path));
    loop {
        let mut texts: Vec<Vec<u8>> = waiting.take().into_iter().collect();
        while texts.len() < 4 * rayon::current_num_threads() {
            match blocks.next()? {
                Some(text) => texts.push(text),
                None => break,
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        let lines = Lines { plan: &plan, delimiter, bad_lines: config.bad_lines };
        let read: Vec<Block> = texts.par_iter().map(|text| lines.read(text, columns.block())).collect();
        for block in &read {
            if let Some((at, why)) = &block.bad {
                return Err(problem!(
                    Data,
                    "{shown}:{}: {why}; correct it, or leave such lines out with `bad_lines = \"skip\"`",
                    line + at
                ));
            }
            line += block.lines;
        }
        columns.add(&read)?;
        if let Some(progress) = &progress {
            progress.at(blocks.read, Some(blocks.size));
        }
    }
}

/// A file in blocks that end with a line.
struct Blocks {
    file: File,
    shown: String,
    /// Bytes in all, and read so far.
    size: u64,
    read: u64,
    /// The start of a line whose end is not read yet.
    rest: Vec<u8>,
}

impl Blocks {
    fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let size = file.metadata().with_context(|| format!("cannot look at {shown}"))?.len();
        Ok(Self { file, shown, size, read: 0, rest: Vec::new() })
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.reserve(BLOCK as usize);
        loop {
            let read = (&mut self.file).take(BLOCK).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", self.shown))?;
            self.read += read as u64;
            if read == 0 {
                if bytes.last().is_some_and(|&b| b != b'\n') {
                    bytes.push(b'\n');
                }
                return Ok((!bytes.is_empty()).then_some(bytes));
            }
            if let Some(at) = memrchr(b'\n', &bytes) {
                self.rest = bytes[at + 1..].to_vec();
                bytes.truncate(at + 1);
                return Ok(Some(bytes));
            }
            require!(bytes.len() < LONGEST, Data, "{}: a line is longer than {LONGEST} bytes; is this a text file?", self.shown);
        }
    }
}

/// How lines are read.
struct Lines<'a> {
    plan: &'a [Use],
    delimiter: u8,
    bad_lines: BadLines,
}

impl Lines<'_> {
    /// The rows of `text`, which ends with a line end.
    fn read(&self, text: &[u8], mut block: Block) -> Block {
        // As a rule the whole block is sound, and no line needs a look of its own.
        let sound = std::str::from_utf8(text).is_ok() && memchr(0, text).is_none();
        let (mut line, mut field, mut column) = (0, 0, 0);
        let mut wrong: Option<String> = None;
        for end in memchr2_iter(self.delimiter, b'\n', text) {
            let is_end = text[end] == b'\n';
            let mut value = &text[field..end];
            if is_end {
                value = value.strip_suffix(b"\r").unwrap_or(value);
                if column == 0 && value.is_empty() {
                    (line, field) = (end + 1, end + 1);
                    block.lines += 1;
                    continue;
                }
            }
            match self.plan.get(column) {
                Some(Use::Nothing) => {}
                Some(&what) if wrong.is_none() && !take(&mut block, what, value) => wrong = Some(Self::told(what, column, value)),
                _ => {}
            }
            column += 1;
            field = end + 1;
            if !is_end {
                continue;
            }
            let whole = &text[line..end];
            if column != self.plan.len() {
                wrong = Some(format!("{column} columns, not {}: {} (is the line cut off?)", self.plan.len(), excerpt(whole)));
            } else if !sound && (std::str::from_utf8(whole).is_err() || memchr(0, whole).is_some()) {
                wrong = Some(format!("{} is no UTF-8 text", excerpt(whole)));
            }
            match wrong.take() {
                None => block.rows += 1,
                Some(why) => {
                    block.roll_back();
                    if self.bad_lines == BadLines::Fatal {
                        block.bad = Some((block.lines, why));
                        return block;
                    }
                    block.skipped += 1;
                }
            }
            block.lines += 1;
            (line, column) = (field, 0);
        }
        block
    }

    #[cold]
    fn told(what: Use, column: usize, value: &[u8]) -> String {
        let is_not = match what {
            Use::Time => "a time in seconds",
            Use::Hour => "an hour written YYMMDDHH",
            _ => "a finite number",
        };
        format!("column {} has {}, which is not {is_not}", column + 1, excerpt(value))
    }
}

/// Adds one value to a block; whether it is one.
#[inline]
fn take(block: &mut Block, what: Use, value: &[u8]) -> bool {
    match what {
        Use::Nothing => {}
        Use::Token(at) => {
            let key = block.key(value);
            block.tokens[at].push(key);
        }
        Use::Number(at) => {
            let Some(number) = number(value) else { return false };
            block.numbers[at].push(number);
        }
        Use::Label => match number(value).filter(|label| !label.is_nan()) {
            Some(label) => block.labels.push(label),
            None => return false,
        },
        Use::Time => match seconds(value) {
            Some(time) => block.times.push(time),
            None => return false,
        },
        Use::Hour => match hour::seconds(value) {
            Some(time) => block.times.push(time),
            None => return false,
        },
    }
    true
}

/// A finite number; NaN where the field is empty.
#[inline]
pub(super) fn number(field: &[u8]) -> Option<f32> {
    let (negative, digits) = match field {
        [] => return Some(f32::NAN),
        [b'-', rest @ ..] => (true, rest),
        _ => (false, field),
    };
    if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        let number = digits.iter().fold(0i64, |n, &b| 10 * n + i64::from(b - b'0'));
        return Some(if negative { -number } else { number } as f32);
    }
    std::str::from_utf8(field).ok()?.trim().parse::<f32>().ok().filter(|number| number.is_finite())
}

/// Seconds since 1970, a fraction cut off.
pub(super) fn seconds(field: &[u8]) -> Option<i64> {
    if (1..=18).contains(&field.len()) && field.iter().all(u8::is_ascii_digit) {
        return Some(field.iter().fold(0, |n, &b| 10 * n + i64::from(b - b'0')));
    }
    // Past 2^53 a double no longer holds whole seconds.
    let time: f64 = std::str::from_utf8(field).ok()?.trim().parse().ok()?;
    (time.abs() <= 9e15).then_some(time.floor() as i64)
}
