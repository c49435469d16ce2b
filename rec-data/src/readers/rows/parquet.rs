//! Parquet: a file, or a folder of part files as Spark writes them, also partitioned ones (`column=value/`).

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parquet::basic::Repetition;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::block::Block;
use super::columns::Columns;
use super::config::{BadLines, Config, Use};
use super::{hour, lines};
use crate::{fail, problem, require};

/// Rows of a block.
const BLOCK: usize = 1 << 13;
/// What Spark calls the folder of rows without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// One file to read.
pub(super) struct Found {
    pub path: PathBuf,
    pub is_parquet: bool,
    /// The columns that its folders name, with their values.
    partitions: Vec<(String, String)>,
}

/// The file at `path`, or the Parquet files of the folder at `path`, by rising name. What begins with `_` or `.` is none.
///
/// # Errors
/// an I/O error where a folder cannot be read; a data problem where it has no such file.
pub(super) fn files(path: &Path) -> Result<Vec<Found>> {
    let is_parquet = |path: &Path| path.extension().is_some_and(|end| end == "parquet");
    if !path.is_dir() {
        return Ok(vec![Found { path: path.to_owned(), is_parquet: is_parquet(path), partitions: Vec::new() }]);
    }
    let (mut found, mut folders) = (Vec::new(), vec![(path.to_owned(), Vec::new())]);
    while let Some((folder, partitions)) = folders.pop() {
        let shown = || format!("cannot read the folder {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(shown)? {
            let path = entry.with_context(shown)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(['_', '.']) {
                continue;
            }
            if path.is_dir() {
                let mut partitions = partitions.clone();
                partitions.extend(name.split_once('=').map(|(column, value)| (unescaped(column), unescaped(value))));
                folders.push((path, partitions));
            } else if is_parquet(&path) {
                found.push(Found { path, is_parquet: true, partitions: partitions.clone() });
            }
        }
    }
    require!(!found.is_empty(), Data, "{}: the folder has no `.parquet` file", path.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Spark writes some characters of a folder's name as `%` and two digits.
fn unescaped(name: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        let (byte, after) = match code.filter(|_| byte == b'%') {
            Some(code) => (code, &after[2..]),
            None => (byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one file.
///
/// # Errors
/// as [`super::read`]; rows are counted from 1 in messages.
pub(super) fn read(file: &Found, config: &Config, columns: &mut Columns) -> Result<()> {
    let shown = file.path.display().to_string();
    let wrong = |e: ParquetError| problem!(Data, "{shown}: {e}");
    let opened = File::open(&file.path).with_context(|| format!("cannot open {shown}"))?;
    let reader = SerializedFileReader::new(opened).map_err(wrong)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let stored = schema.num_columns();
    let mut header: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    header.extend(file.partitions.iter().map(|(name, _)| name.clone()));
    let plan = config.plan(&shown, &header)?;
    for (at, what) in plan[..stored].iter().enumerate().filter(|(_, what)| **what != Use::Nothing) {
        let column = schema.column(at);
        require!(
            column.max_rep_level() == 0 && column.self_type().get_basic_info().repetition() != Repetition::REPEATED,
            Data,
            "{shown}: the column `{}`, used as {what:?}, holds lists; a field of a row is one value",
            header[at]
        );
    }
    let mut row = 1;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(wrong)?;
        let mut readers = Vec::new();
        for (at, &what) in plan[..stored].iter().enumerate().filter(|(_, what)| **what != Use::Nothing) {
            readers.push((at, what, group.get_column_reader(at).map_err(wrong)?, schema.column(at).max_def_level()));
        }
        let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| problem!(Data, "{shown}: a group of fewer than no rows"))?;
        for start in (0..rows).step_by(BLOCK) {
            let n = BLOCK.min(rows - start);
            let mut taken = Taken { block: columns.block(), bad: Vec::new() };
            for (at, what, reader, defined) in &mut readers {
                let values = values(reader, n, *defined).map_err(wrong)?;
                require!(values.len() == n, Data, "{shown}: the column `{}` ends before the others", header[*at]);
                taken.column(*what, *at, values.iter());
            }
            for (at, (_, value)) in file.partitions.iter().enumerate() {
                let value = if value == NO_VALUE { Value::Missing } else { Value::Text(value.as_bytes().into()) };
                taken.column(plan[stored + at], stored + at, std::iter::repeat_n(&value, n));
            }
            if let (Some((bad, column)), BadLines::Fatal) = (taken.bad.iter().min(), config.bad_lines) {
                fail!(
                    Data,
                    "{shown}: row {} has no usable value in the column `{}`; correct it, or leave such rows out with `bad_lines = \"skip\"`",
                    row + bad,
                    header[*column]
                );
            }
            row += n;
            columns.add(&[taken.rows(n)])?;
        }
    }
    Ok(())
}

/// One value of a row.
enum Value {
    Missing,
    Whole(i64),
    Number(f64),
    Text(ByteArray),
}

impl Value {
    /// As the text that it would be in a delimited file.
    fn with_text<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Value::Missing => f(b""),
            Value::Whole(n) => f(n.to_string().as_bytes()),
            Value::Number(x) => f(x.to_string().as_bytes()),
            Value::Text(text) => f(text.data()),
        }
    }

    fn number(&self) -> Option<f32> {
        match self {
            Value::Missing => Some(f32::NAN),
            Value::Whole(n) => Some(*n as f32),
            Value::Number(x) => Some(*x as f32),
            Value::Text(text) => lines::number(text.data()),
        }
    }
}

/// The next `n` values of a column; a nested or absent one is missing below its highest level.
fn values(reader: &mut ColumnReader, n: usize, defined: i16) -> std::result::Result<Vec<Value>, ParquetError> {
    fn of<T: DataType>(
        reader: &mut ColumnReaderImpl<T>,
        n: usize,
        defined: i16,
        value: impl Fn(T::T) -> Value,
    ) -> std::result::Result<Vec<Value>, ParquetError> {
        let (mut levels, mut found, mut read) = (Vec::with_capacity(n), Vec::with_capacity(n), 0);
        while read < n {
            let (records, ..) = reader.read_records(n - read, (defined > 0).then_some(&mut levels), None, &mut found)?;
            if records == 0 {
                break;
            }
            read += records;
        }
        let mut found = found.into_iter().map(value);
        if defined == 0 {
            return Ok(found.collect());
        }
        Ok(levels.iter().map(|&level| if level == defined { found.next().unwrap_or(Value::Missing) } else { Value::Missing }).collect())
    }
    match reader {
        ColumnReader::BoolColumnReader(reader) => of(reader, n, defined, |b| Value::Whole(i64::from(b))),
        ColumnReader::Int32ColumnReader(reader) => of(reader, n, defined, |x| Value::Whole(i64::from(x))),
        ColumnReader::Int64ColumnReader(reader) => of(reader, n, defined, Value::Whole),
        ColumnReader::FloatColumnReader(reader) => of(reader, n, defined, |x| Value::Number(f64::from(x))),
        ColumnReader::DoubleColumnReader(reader) => of(reader, n, defined, Value::Number),
        ColumnReader::ByteArrayColumnReader(reader) => of(reader, n, defined, Value::Text),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => of(reader, n, defined, |bytes| Value::Text(bytes.into())),
        ColumnReader::Int96ColumnReader(_) => Err(ParquetError::NYI("a column of 96-bit times".into())),
    }
}

/// A block, and the rows of it that cannot be used, each with the column that says so.
struct Taken {
    block: Block,
    bad: Vec<(usize, usize)>,
}

impl Taken {
    fn column<'a>(&mut self, what: Use, column: usize, values: impl Iterator<Item = &'a Value>) {
        for (row, value) in values.enumerate() {
            let finite = |x: &f32| x.is_finite() || matches!(value, Value::Missing);
            let fits = match what {
                Use::Nothing => return,
                Use::Token(at) => {
                    let block = &mut self.block;
                    let is_text = |text: &[u8]| std::str::from_utf8(text).is_ok() && !text.contains(&0);
                    value.with_text(|text| {
                        let fits = is_text(text);
                        let key = block.key(if fits { text } else { b"" });
                        block.tokens[at].push(key);
                        fits
                    })
                }
                Use::Number(at) => {
                    let number = value.number().filter(finite);
                    self.block.numbers[at].push(number.unwrap_or(f32::NAN));
                    number.is_some()
                }
                Use::Label => {
                    let label = value.number().filter(|x| x.is_finite());
                    self.block.labels.push(label.unwrap_or(0.0));
                    label.is_some()
                }
                Use::Time | Use::Hour => {
                    let read = if what == Use::Time { lines::seconds } else { hour::seconds };
                    let time = value.with_text(read);
                    self.block.times.push(time.unwrap_or(0));
                    time.is_some()
                }
            };
            if !fits {
                self.bad.push((row, column));
            }
        }
    }

    /// The block without the rows that cannot be used.
    fn rows(self, n: usize) -> Block {
        let Self { mut block, bad } = self;
        let mut good = vec![true; n];
        bad.iter().for_each(|&(row, _)| good[row] = false);
        if !bad.is_empty() {
            fn keep<T>(values: &mut Vec<T>, good: &[bool]) {
                let mut good = good.iter();
                values.retain(|_| *good.next().unwrap_or(&true));
            }
            keep(&mut block.labels, &good);
            keep(&mut block.times, &good);
            block.numbers.iter_mut().for_each(|values| keep(values, &good));
            block.tokens.iter_mut().for_each(|values| keep(values, &good));
        }
        block.rows = good.iter().filter(|&&good| good).count();
        block.skipped = (n - block.rows) as u64;
        block
    }
}
