//! Vectors with raw ids as NumPy's arrays and as Parquet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rec_ann::{npy, npy_texts};

use crate::run_folder::write_whole;
use crate::vectors::IdVectors;

/// A Parquet file: `id`, a text, and `vector`, a list of floats. Parquet itself has no lists of fixed size; all are of one length here.
const SCHEMA: &str = "message vectors {
    REQUIRED BYTE_ARRAY id (UTF8);
    REQUIRED GROUP vector (LIST) { REPEATED GROUP list { REQUIRED FLOAT element; } }
}";

/// Writes `NAMEs.npy` (`float32`, one vector a row), `NAME_ids.npy` (texts in the same order) and `NAMEs.parquet` (columns `id`, `vector`) into
/// `folder`; says which files.
///
/// # Errors
/// an I/O problem that names the file.
pub fn write_vectors(folder: &Path, name: &str, vectors: &IdVectors) -> Result<Vec<PathBuf>> {
    let files = [
        (format!("{name}s.npy"), npy(&vectors.values, vectors.dim)),
        (format!("{name}_ids.npy"), npy_texts(vectors.ids.iter().map(String::as_str))),
        (format!("{name}s.parquet"), parquet(vectors)?),
    ];
    let write = |(name, bytes): (String, Vec<u8>)| {
        let path = folder.join(name);
        write_whole(&path, &bytes).map(|()| path)
    };
    files.into_iter().map(write).collect()
}

fn parquet(vectors: &IdVectors) -> Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(parse_message_type(SCHEMA)?), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    if let Some(mut column) = group.next_column()? {
        let ids: Vec<ByteArray> = vectors.ids.iter().map(|id| ByteArray::from(id.as_str())).collect();
        column.typed::<ByteArrayType>().write_batch(&ids, None, None)?;
        column.close()?;
    }
    if let Some(mut column) = group.next_column()? {
        // Every list has values (1), and the first value of each starts a new one (0).
        let present = vec![1i16; vectors.values.len()];
        let repeats: Vec<i16> = (0..vectors.values.len()).map(|at| i16::from(!at.is_multiple_of(vectors.dim))).collect();
        column.typed::<FloatType>().write_batch(&vectors.values, Some(&present), Some(&repeats))?;
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, RowAccessor};

    use super::*;

    #[test]
    fn every_row_of_the_parquet_file_has_its_id_and_its_whole_vector() {
        let place = tempfile::tempdir().expect("a folder");
        let vectors = IdVectors { ids: vec!["a".into(), "ü,1".into()], dim: 3, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5] };
        let files = write_vectors(place.path(), "item", &vectors).expect("written");
        let names: Vec<_> = files.iter().map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["items.npy", "item_ids.npy", "items.parquet"]);
        let reader = SerializedFileReader::new(std::fs::File::open(&files[2]).expect("there")).expect("whole");
        let rows: Vec<(String, Vec<Field>)> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| {
                let row = row.expect("a row");
                (row.get_string(0).expect("an id").clone(), row.get_list(1).expect("a list").elements().to_vec())
            })
            .collect();
        let floats = |values: [f32; 3]| values.map(Field::Float).to_vec();
        assert_eq!(rows, [("a".into(), floats([1.0, 2.0, 3.0])), ("ü,1".into(), floats([4.0, 5.0, 6.5]))]);
    }
}
