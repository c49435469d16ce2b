//! From blocks to interactions: categories numbered in the order of the blocks, column beside column.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::block::Block;
use super::categories::Categories;
use super::config::Config;
use super::hour;
use crate::column::{ColumnWriter, zeros};
use crate::features::{Feature, Features};
use crate::{Interactions, Part, Vocabulary, require};

/// The columns of all blocks so far.
pub(crate) struct Columns {
    folder: PathBuf,
    rows: usize,
    skipped: u64,
    labels: ColumnWriter<f32>,
    numbers: Vec<(String, ColumnWriter<f32>)>,
    /// Tokens, then users, then items where there are such columns.
    tokens: Vec<(String, Tokens)>,
    has_users: bool,
    has_items: bool,
    times: Option<ColumnWriter<i64>>,
    /// Hour, day of the week, weekend, where there is a column of hours.
    calendar: Option<[ColumnWriter<u32>; 3]>,
    parts: ColumnWriter<u8>,
}

struct Tokens {
    categories: Categories,
    values: ColumnWriter<u32>,
}

/// One column and the place of its values in a block.
enum Task<'a> {
    Labels(&'a mut ColumnWriter<f32>),
    Number(usize, &'a mut ColumnWriter<f32>),
    Token(usize, &'a mut Tokens),
    Times(&'a mut ColumnWriter<i64>),
    Calendar(&'a mut [ColumnWriter<u32>; 3]),
}

impl Columns {
    /// Columns as `config` names them; those larger than a megabyte lie in `folder`.
    pub(crate) fn new(config: &Config, folder: &Path) -> Self {
        let tokens = config.token_names().into_iter().chain(config.user.clone()).chain(config.item.clone());
        let new_tokens = || Tokens { categories: Categories::new(folder), values: ColumnWriter::new(Some(folder)) };
        Self {
            folder: folder.to_owned(),
            rows: 0,
            skipped: 0,
            labels: ColumnWriter::new(Some(folder)),
            numbers: config.number_names().into_iter().map(|name| (name, ColumnWriter::new(Some(folder)))).collect(),
            tokens: tokens.map(|name| (name, new_tokens())).collect(),
            has_users: config.user.is_some(),
            has_items: config.item.is_some(),
            times: (config.time.is_some() || config.hour.is_some()).then(|| ColumnWriter::new(Some(folder))),
            calendar: config.hour.is_some().then(|| std::array::from_fn(|_| ColumnWriter::new(Some(folder)))),
            parts: ColumnWriter::new(Some(folder)),
        }
    }

    /// An empty block for these columns.
    pub(crate) fn block(&self) -> Block {
        Block::new(self.numbers.len(), self.tokens.len())
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes the next blocks, in this order.
    ///
    /// # Errors
    /// an I/O error where a column cannot be kept; a data problem where there are more rows than can be numbered.
    pub(crate) fn add(&mut self, blocks: &[Block]) -> Result<()> {
        self.rows += blocks.iter().map(|block| block.rows).sum::<usize>();
        self.skipped += blocks.iter().map(|block| block.skipped).sum::<u64>();
        require!(self.rows < u32::MAX as usize, Data, "there are more than {} rows, which is the most", u32::MAX - 1);
        let mut tasks: Vec<Task<'_>> = self.tokens.iter_mut().enumerate().map(|(at, (_, tokens))| Task::Token(at, tokens)).collect();
        tasks.extend(self.numbers.iter_mut().enumerate().map(|(at, (_, values))| Task::Number(at, values)));
        tasks.push(Task::Labels(&mut self.labels));
        tasks.extend(self.times.iter_mut().map(Task::Times));
        tasks.extend(self.calendar.iter_mut().map(Task::Calendar));
        tasks.into_par_iter().try_for_each(|mut task| blocks.iter().try_for_each(|block| task.take(block)))
    }

    /// All rows since the last part belong to this one.
    ///
    /// # Errors
    /// an I/O error where the column cannot be kept.
    pub(super) fn end_of_part(&mut self, part: Part) -> Result<()> {
        let mut left = self.rows - self.parts.len();
        while left > 0 {
            let some = left.min(1 << 16);
            self.parts.extend(&vec![part as u8; some])?;
            left -= some;
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// an I/O error where a column cannot be kept.
    pub(crate) fn finish(mut self) -> Result<Interactions> {
        let unnamed = || Vocabulary::from_iter([""]);
        let mut ids = |has: bool| match (has, self.tokens.pop()) {
            (true, Some((_, tokens))) => Ok((tokens.values.finish()?, tokens.categories.finish()?)),
            (_, last) => {
                self.tokens.extend(last);
                Ok::<_, anyhow::Error>((zeros(self.rows, Some(&self.folder))?, unnamed()))
            }
        };
        let (items, item_ids) = ids(self.has_items)?;
        let (users, user_ids) = ids(self.has_users)?;
        let mut columns = Vec::new();
        for (name, values) in self.numbers {
            columns.push((name, Feature::Number(values.finish()?)));
        }
        for (name, Tokens { categories, values }) in self.tokens {
            let shown = || format!("the column `{name}`");
            let vocabulary = categories.finish().with_context(shown)?;
            columns.push((name, Feature::Token { values: values.finish()?, vocabulary }));
        }
        for (values, (name, vocabulary)) in self.calendar.into_iter().flatten().zip(hour::features()) {
            columns.push((name.to_owned(), Feature::Token { values: values.finish()?, vocabulary }));
        }
        let parts = self.parts.finish()?;
        Ok(Interactions {
            users,
            items,
            values: Some(self.labels.finish()?),
            times: self.times.map(ColumnWriter::finish).transpose()?,
            parts: (!parts.is_empty()).then_some(parts),
            user_ids,
            item_ids,
            row_features: Features { columns },
            skipped_lines: self.skipped,
            ..Interactions::default()
        })
    }
}

impl Task<'_> {
    fn take(&mut self, block: &Block) -> Result<()> {
        match self {
            Task::Labels(values) => values.extend(&block.labels),
            Task::Number(at, values) => values.extend(&block.numbers[*at]),
            Task::Times(values) => values.extend(&block.times),
            Task::Token(at, Tokens { categories, values }) => {
                let numbers: Result<Vec<u32>> = block.tokens[*at].iter().map(|&key| categories.number(key, &block.long)).collect();
                values.extend(&numbers?)
            }
            Task::Calendar(columns) => {
                let says: Vec<[u32; 3]> = block.times.iter().map(|&time| hour::calendar(time)).collect();
                let mut values = Vec::with_capacity(says.len());
                columns.iter_mut().enumerate().try_for_each(|(at, column)| {
                    values.clear();
                    values.extend(says.iter().map(|says| says[at]));
                    column.extend(&values)
                })
            }
        }
    }
}
