//! Raw ids: what the vectors of an index are called outside of it, kept in the index's file.

use anyhow::{Result, ensure};

use crate::column::Column;
use crate::file::{Reader, Writer, inconsistent};

/// A text for each vector.
#[derive(Clone)]
pub struct RawIds {
    text: Column<u8>,
    /// Where each id ends in `text`.
    ends: Column<u64>,
}

impl<'a> FromIterator<&'a str> for RawIds {
    fn from_iter<I: IntoIterator<Item = &'a str>>(ids: I) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for id in ids {
            text.push_str(id);
            ends.push(text.len() as u64);
        }
        let mut out = Self { text: Column::new(), ends: Column::new() };
        out.text.extend(text.as_bytes());
        out.ends.extend(&ends);
        out
    }
}

impl RawIds {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The raw id of vector `id`; `None` where there is no such vector.
    pub fn get(&self, id: u32) -> Option<&str> {
        let end = *self.ends.get(id as usize)?;
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        std::str::from_utf8(self.text.get(start as usize..end as usize)?).ok()
    }

    pub(crate) fn write<'a>(&'a self, sections: &mut Writer<'a>) {
        sections.add(&self.text);
        sections.add(&self.ends);
    }

    pub(crate) fn read(sections: &mut Reader) -> Result<Self> {
        let out = Self { text: sections.take()?, ends: sections.take()? };
        ensure!(out.ends.last().copied().unwrap_or(0) == out.text.len() as u64, inconsistent("raw ids of another length"));
        ensure!((0..out.len()).all(|id| out.get(id as u32).is_some()), inconsistent("raw ids that are no text"));
        Ok(out)
    }
}
