//! Embeddings for TensorBoard's PROJECTOR tab: plain files, no events.
//!
//! ```text
//! <folder>/projector_config.pbtxt          lists every embedding below projector/
//! <folder>/projector/<name>/tensors.tsv    one vector a line
//! <folder>/projector/<name>/metadata.tsv   one line of columns a vector: title, genre, …
//! ```

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rec_data::{fail, require};

use super::EventWriter;

const CONFIG: &str = "projector_config.pbtxt";
const FOLDER: &str = "projector";
const TENSORS: &str = "tensors.tsv";
const METADATA: &str = "metadata.tsv";

/// Vectors with what is known of each.
///
/// # Shapes
/// `vectors`: `[rows, width]`, row by row; each column: `[rows]`
#[derive(Debug, Clone, Copy)]
pub struct Embedding<'a> {
    /// Its name in the projector and its folder on disk: ASCII letters, digits, `.`, `_`, `-`.
    pub name: &'a str,
    /// All rows, one after the other; finite.
    pub vectors: &'a [f32],
    /// The length of a row.
    pub width: usize,
    /// What labels and colours the points; the first column is the label. The projector offers a column as colour where it has at most 50
    /// different values.
    pub columns: &'a [EmbeddingColumn<'a>],
}

/// One thing that is known of each vector of an [`Embedding`].
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingColumn<'a> {
    /// Its name in the projector.
    pub name: &'a str,
    /// One value per row. Tabs, line ends and control characters become spaces; an empty value becomes `-`, since the projector drops empty
    /// lines.
    pub values: &'a [String],
}

/// Writes the embeddings for the run of `folder`, the folder of its event files, beside those that are there already; one of the same name
/// is replaced.
///
/// The projector opens only folders that hold an event file too. Files arrive by rename.
///
/// # Errors
/// `Usage` for a name that is no file name, or for lengths that do not fit each other; `Numeric` for a vector that is not finite; an I/O
/// error that names the file.
pub fn write_embeddings(folder: &Path, embeddings: &[Embedding]) -> Result<()> {
    for embedding in embeddings {
        embedding.check()?;
    }
    for embedding in embeddings {
        let place = folder.join(FOLDER).join(embedding.name);
        std::fs::create_dir_all(&place).with_context(|| format!("failed to create the folder {}", place.display()))?;
        write_by_rename(&place, METADATA, |out| embedding.write_metadata(out))?;
        write_by_rename(&place, TENSORS, |out| embedding.write_tensors(out))?;
    }
    let config = config(folder)?;
    write_by_rename(folder, CONFIG, |out| out.write_all(config.as_bytes()))
}

impl EventWriter {
    /// [`write_embeddings`] into the folder of this file.
    ///
    /// # Errors
    /// As there.
    pub fn embeddings(&self, embeddings: &[Embedding]) -> Result<()> {
        write_embeddings(self.path().parent().unwrap_or(Path::new(".")), embeddings)
    }
}

impl Embedding<'_> {
    fn rows(&self) -> usize {
        self.vectors.len() / self.width
    }

    fn check(&self) -> Result<()> {
        let name = self.name;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && name.chars().any(|c| c != '.');
        require!(plain, Usage, "an embedding cannot be called `{name}`: use letters, digits, `.`, `_` and `-`");
        require!(self.width > 0, Usage, "the vectors of embedding `{name}` have no elements");
        require!(
            self.vectors.len().is_multiple_of(self.width),
            Usage,
            "embedding `{name}` has {} numbers, which is no whole number of rows of {}",
            self.vectors.len(),
            self.width
        );
        for column in self.columns {
            require!(
                column.values.len() == self.rows(),
                Usage,
                "column `{}` of embedding `{name}` has {} values for {} vectors",
                column.name,
                column.values.len(),
                self.rows()
            );
        }
        if let Some(at) = self.vectors.iter().position(|value| !value.is_finite()) {
            fail!(Numeric, "vector {} of embedding `{name}` holds {}", at / self.width, self.vectors[at]);
        }
        Ok(())
    }

    fn write_tensors(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut line = String::new();
        for row in self.vectors.chunks_exact(self.width) {
            line.clear();
            for (i, value) in row.iter().enumerate() {
                let _ = write!(line, "{}{value}", if i == 0 { "" } else { "\t" });
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// A header only above two columns or more: the projector takes the first line of a single column as a value.
    fn write_metadata(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let line = |cells: &mut dyn Iterator<Item = &str>| cells.map(clean).collect::<Vec<_>>().join("\t") + "\n";
        if self.columns.len() > 1 {
            out.write_all(line(&mut self.columns.iter().map(|column| column.name)).as_bytes())?;
        }
        for row in 0..if self.columns.is_empty() { 0 } else { self.rows() } {
            out.write_all(line(&mut self.columns.iter().map(|column| column.values[row].as_str())).as_bytes())?;
        }
        Ok(())
    }
}

/// One cell of a TSV, on one line; never empty.
fn clean(cell: &str) -> String {
    let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    let cell = cell.replace(breaks, " ");
    if cell.trim().is_empty() { "-".to_string() } else { cell.trim().to_string() }
}

/// The config that lists what is on disk, by name.
fn config(folder: &Path) -> Result<String> {
    let place = folder.join(FOLDER);
    let failed = || format!("failed to list {}", place.display());
    let mut names = Vec::new();
    if place.exists() {
        for entry in std::fs::read_dir(&place).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().join(TENSORS).is_file()) {
                let has_metadata = entry.path().join(METADATA).metadata().is_ok_and(|metadata| metadata.len() > 0);
                names.push((name.to_string(), has_metadata));
            }
        }
    }
    names.sort();
    let mut text = String::new();
    for (name, has_metadata) in names {
        let _ = write!(text, "embeddings {{\n  tensor_name: {name:?}\n  tensor_path: \"{FOLDER}/{name}/{TENSORS}\"\n");
        if has_metadata {
            let _ = writeln!(text, "  metadata_path: \"{FOLDER}/{name}/{METADATA}\"");
        }
        text.push_str("}\n");
    }
    Ok(text)
}

fn write_by_rename(folder: &Path, name: &str, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let path = folder.join(name);
    let attempt = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-");
        // A temporary file is its owner's alone unless told otherwise, and TensorBoard may run under another account.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        let file = out.into_inner().map_err(|error| error.into_error())?;
        file.persist(&path)?;
        Ok(())
    };
    attempt().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use rec_data::Kind;

    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn two_embeddings_written_one_after_the_other_share_a_config() {
        let folder = tempfile::tempdir().expect("a folder");
        let titles = strings(&["Toy Story (1995)", "tab\tand\r\nline", ""]);
        let genres = strings(&["Animation", "Drama", "Drama"]);
        let columns = [EmbeddingColumn { name: "title", values: &titles }, EmbeddingColumn { name: "genre", values: &genres }];
        let items = Embedding { name: "items", vectors: &[1.0, -0.5, 1e-7, 2.0, 0.1, 3.0], width: 2, columns: &columns };
        let users = Embedding { name: "users", vectors: &[1.0, 2.0], width: 2, columns: &[] };
        write_embeddings(folder.path(), &[users]).expect("users");
        write_embeddings(folder.path(), &[items]).expect("items");
        write_embeddings(folder.path(), &[items]).expect("items again");

        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
        assert_eq!(read("projector/items/tensors.tsv"), "1\t-0.5\n0.0000001\t2\n0.1\t3\n");
        assert_eq!(read("projector/items/metadata.tsv"), "title\tgenre\nToy Story (1995)\tAnimation\ntab and  line\tDrama\n-\tDrama\n");
        assert_eq!(
            read("projector_config.pbtxt"),
            "embeddings {\n  tensor_name: \"items\"\n  tensor_path: \"projector/items/tensors.tsv\"\n  metadata_path: \"projector/items/metadata.tsv\"\n}\n\
             embeddings {\n  tensor_name: \"users\"\n  tensor_path: \"projector/users/tensors.tsv\"\n}\n"
        );
        let left_over = std::fs::read_dir(folder.path().join("projector/items")).expect("a folder").count();
        assert_eq!(left_over, 2);
    }

    #[test]
    fn a_single_column_has_no_header() {
        let folder = tempfile::tempdir().expect("a folder");
        let titles = strings(&["a", "b"]);
        let column = [EmbeddingColumn { name: "title", values: &titles }];
        write_embeddings(folder.path(), &[Embedding { name: "i", vectors: &[1.0, 2.0], width: 1, columns: &column }]).expect("written");
        assert_eq!(std::fs::read_to_string(folder.path().join("projector/i/metadata.tsv")).expect("a file"), "a\nb\n");
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error_and_nothing_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = strings(&["a"]);
        let column = [EmbeddingColumn { name: "title", values: &one }];
        let good = Embedding { name: "items", vectors: &[1.0, 2.0], width: 2, columns: &column };
        let refused = |bad: Embedding| {
            let error = write_embeddings(folder.path(), &[good, bad]).expect_err("refused");
            (Kind::exit_code_of(&error), error.to_string())
        };
        for name in ["", "..", "a/b", "a\"b", "é"] {
            assert_eq!(refused(Embedding { name, ..good }).0, Kind::Usage.exit_code(), "{name}");
        }
        assert_eq!(refused(Embedding { width: 0, ..good }).0, Kind::Usage.exit_code());
        assert_eq!(refused(Embedding { vectors: &[1.0; 3], ..good }).0, Kind::Usage.exit_code());
        assert_eq!(refused(Embedding { vectors: &[1.0; 4], ..good }).1, "column `title` of embedding `items` has 1 values for 2 vectors");
        let nan = refused(Embedding { vectors: &[1.0, f32::NAN], ..good });
        assert_eq!(nan, (Kind::Numeric.exit_code(), "vector 0 of embedding `items` holds NaN".to_string()));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_that_names_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let embedding = Embedding { name: "items", vectors: &[1.0], width: 1, columns: &[] };
        let error = write_embeddings(file.path(), &[embedding]).expect_err("refused");
        assert!(format!("{error:#}").contains("projector/items"), "{error:#}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Io.exit_code());
    }
}
