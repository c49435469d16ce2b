//! Item vectors, and their places on the map, for TensorBoard's projector.

use std::path::Path;

use anyhow::Result;
use rec_core::model::Vectors;
use rec_core::tensorboard::{Embedding, EmbeddingColumn, write_embeddings};
use rec_data::Interactions;

use super::items::titles;
use super::{ItemMap, Items};

/// The two embeddings: all vectors, and the places of the drawn ones.
const NAMES: [&str; 2] = ["items", "items-t-sne"];

/// Writes `items`, all vectors, and `items-t-sne`, the places of the drawn ones, with titles, raw ids and genres into `folder`.
///
/// # Errors
/// a numeric problem where a vector is not finite; an I/O problem that names the file.
pub fn write_vectors(folder: &Path, data: &Interactions, vectors: &Vectors, map: Option<&(Items, ItemMap)>) -> Result<()> {
    let feature = |name: &str| data.item_features.get(name).map(|f| (0..data.num_items()).map(|item| f.text(item)).collect());
    let ids: Vec<String> = data.item_ids.iter().map(str::to_owned).collect();
    let mut known: Vec<(&str, Vec<String>)> = vec![("title", titles(data)), ("item", ids)];
    known.extend(feature("genres").or_else(|| feature("genre")).map(|genres| ("genres", genres)));
    write(folder, NAMES[0], &vectors.values, vectors.dim, &known)?;
    if let Some((items, map)) = map {
        for (_, values) in &mut known {
            *values = items.drawn().iter().map(|&item| values[item as usize].clone()).collect();
        }
        write(folder, NAMES[1], map.places.as_flattened(), 2, &known)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, vectors: &[f32], width: usize, known: &[(&str, Vec<String>)]) -> Result<()> {
    let columns: Vec<EmbeddingColumn> = known.iter().map(|(name, values)| EmbeddingColumn { name, values }).collect();
    write_embeddings(folder, &[Embedding { name, vectors, width, columns: &columns }])
}
