//! The hash of what a data set holds, whatever form it was read from.

use bytemuck::Pod;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::candidates::CandidateLists;
use crate::features::Feature;
use crate::fetch::checksum;
use crate::{Interactions, Vocabulary};

/// SHA-256 over the rows, the features that rows have of their own, the raw ids and the candidates.
pub(super) fn content_hash(data: &Interactions, candidates: Option<&CandidateLists>) -> String {
    let mut hash = ContentHash(Sha256::new());
    hash.0.update(b"rec-data rows 1\n");
    hash.texts(&data.user_ids);
    hash.texts(&data.item_ids);
    hash.column(Some(&data.users[..]), u32::to_le_bytes);
    hash.column(Some(&data.items[..]), u32::to_le_bytes);
    hash.column(data.values.as_deref(), f32::to_le_bytes);
    hash.column(data.times.as_deref(), i64::to_le_bytes);
    hash.column(data.parts.as_deref(), u8::to_le_bytes);
    hash.column(candidates.map(|c| &c.ends[..]), u64::to_le_bytes);
    hash.column(candidates.map(|c| &c.items[..]), u32::to_le_bytes);
    // Each in a hash of its own, side by side: of 45 million rows they are most of the data. Where there are none, nothing is added.
    let features: Vec<_> = data.row_features.columns.par_iter().map(|(name, feature)| (name, of_feature(feature))).collect();
    for (name, digest) in features {
        hash.0.update((name.len() as u64).to_le_bytes());
        hash.0.update(name.as_bytes());
        hash.0.update(digest);
    }
    checksum::hex(hash.0.finalize().as_slice())
}

fn of_feature(feature: &Feature) -> [u8; 32] {
    let mut hash = ContentHash(Sha256::new());
    match feature {
        Feature::Token { values, vocabulary } => {
            hash.0.update(b"token");
            hash.texts(vocabulary);
            hash.column(Some(&values[..]), u32::to_le_bytes);
        }
        Feature::Tokens { ends, values, vocabulary } => {
            hash.0.update(b"tokens");
            hash.texts(vocabulary);
            hash.column(Some(&ends[..]), u64::to_le_bytes);
            hash.column(Some(&values[..]), u32::to_le_bytes);
        }
        Feature::Number(values) => {
            hash.0.update(b"number");
            hash.column(Some(&values[..]), f32::to_le_bytes);
        }
        Feature::Text(texts) => {
            hash.0.update(b"text");
            hash.texts(texts);
        }
    }
    hash.0.finalize().into()
}

struct ContentHash(Sha256);

impl ContentHash {
    /// A column's length (or that it is absent) and its values, in one byte order on every machine.
    fn column<T: Pod, const N: usize>(&mut self, column: Option<&[T]>, bytes: impl Fn(T) -> [u8; N]) {
        self.0.update(column.map_or(u64::MAX, |c| c.len() as u64).to_le_bytes());
        let mut buffer = Vec::with_capacity(4096 * N);
        for chunk in column.unwrap_or(&[]).chunks(4096) {
            buffer.clear();
            chunk.iter().for_each(|&v| buffer.extend_from_slice(&bytes(v)));
            self.0.update(&buffer);
        }
    }

    fn texts(&mut self, texts: &Vocabulary) {
        let (bytes, ends) = texts.columns();
        self.column(Some(ends), u64::to_le_bytes);
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;

    #[test]
    fn the_content_hash_sees_every_column_and_the_features_of_rows_only() {
        let data = Interactions {
            users: vec![0].into(),
            items: vec![0].into(),
            user_ids: Vocabulary::numbers(1),
            item_ids: Vocabulary::numbers(1),
            ..Interactions::default()
        };
        let lists = CandidateLists { ends: vec![1].into(), items: vec![0].into() };
        let of_row = |name: &str, value: f32| Interactions {
            row_features: Features { columns: vec![(name.into(), Feature::Number(vec![value].into()))] },
            ..data.clone()
        };
        let variants = [
            content_hash(&data, None),
            content_hash(&data, Some(&lists)),
            content_hash(&Interactions { values: Some(vec![1.].into()), ..data.clone() }, None),
            content_hash(&Interactions { times: Some(vec![1].into()), ..data.clone() }, None),
            content_hash(&Interactions { parts: Some(vec![0].into()), ..data.clone() }, None),
            content_hash(&Interactions { item_ids: Vocabulary::numbers(2), ..data.clone() }, None),
            content_hash(&of_row("depth", 1.), None),
            content_hash(&of_row("depth", 2.), None),
            content_hash(&of_row("height", 1.), None),
            content_hash(&Interactions { users: vec![0, 0].into(), items: vec![0, 0].into(), ..data.clone() }, None),
        ];
        assert_eq!(variants.iter().collect::<std::collections::HashSet<_>>().len(), variants.len());
        let mut featured = data.clone();
        featured.user_features.columns.push(("age".into(), Feature::Number(vec![1.].into())));
        assert_eq!(content_hash(&featured, None), variants[0]);
    }
}
