//! The folder of a run: `config.toml`, `protocol.json`, `env.json`, `metrics.jsonl`, `per_user.parquet`, `tb/`, `checkpoints/`,
//! `report.html`, and `result.json` when it is done.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rec_core::eval::{Evaluation, Metric};
use rec_core::train::Outcome;
use rec_data::{Vocabulary, fail, problem, require};
use serde::{Deserialize, Serialize};

use crate::config::{Origins, RunConfig, annotated};
use crate::environment::Environment;

/// How the name of a file begins that is not whole yet.
const PART: &str = ".part-";
/// The same of the projector's files.
const BOARD_PART: &str = ".writing-";

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// `result.json`: a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// sha256 of the config.
    pub config_hash: String,
    /// sha256 of the protocol.
    pub protocol_hash: String,
    /// sha256 of the data's rows.
    pub content_hash: String,
    /// The model's seed.
    pub seed: u64,
    /// Number of the split.
    pub split: usize,
    /// How the training ended.
    pub outcome: Outcome,
    /// Test metrics.
    pub metrics: Vec<(Metric, f64)>,
    /// Seconds in all: data, training, measurements.
    pub seconds: f64,
    /// Seconds of the test evaluation.
    pub test_seconds: f64,
    /// What it ran on.
    pub environment: Environment,
}

impl RunFolder {
    /// The folder at `path`, made where it is not there. It belongs to one config: files of another are refused.
    ///
    /// # Errors
    /// an I/O problem, or a usage problem where the folder holds another run.
    pub fn open(path: &Path, config: &RunConfig, origins: &Origins) -> Result<Self> {
        let folder = Self { path: path.to_owned() };
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let text = annotated(config, origins)?;
        let file = folder.file("config.toml");
        if file.exists() {
            let held: toml::Table = fs::read_to_string(&file)?.parse().map_err(|e| problem!(Data, "{}: {e}", file.display()))?;
            let mut wanted = config.layout()?;
            let mut held = held;
            for table in [&mut wanted, &mut held] {
                if let Some(toml::Value::Table(looping)) = table.get_mut("loop") {
                    looping.remove("checkpoint_seconds");
                }
            }
            require!(
                held == wanted || !folder.has_learned(),
                Usage,
                "{} holds a run with another config: choose another `--out`, or delete it",
                path.display()
            );
            let other_file = folder.file("data.toml");
            if held != wanted && other_file.exists() {
                fs::remove_file(&other_file).with_context(|| format!("removing {}", other_file.display()))?;
            }
        }
        folder.sweep()?;
        folder.write("config.toml", text.as_bytes())?;
        folder.write_json(
            "protocol.json",
            &serde_json::json!({ "hash": config.protocol.hash(), "protocol": config.protocol, "selection": config.selection }),
        )?;
        Ok(folder)
    }

    /// Whether there is anything to lose: a config that was refused before the first checkpoint leaves nothing.
    fn has_learned(&self) -> bool {
        ["result.json", "checkpoints/last.safetensors", "checkpoints/all-of-train/last.safetensors"].iter().any(|f| self.file(f).exists())
    }

    /// Removes the files that a killed run was about to rename.
    fn sweep(&self) -> Result<()> {
        for place in ["", "checkpoints", "checkpoints/all-of-train", "tb/run", "tb/run/projector/items", "tb/run/projector/items-t-sne"] {
            for entry in fs::read_dir(self.file(place)).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if [PART, BOARD_PART].iter().any(|part| name.to_string_lossy().starts_with(part)) {
                    fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))?;
                }
            }
        }
        Ok(())
    }

    /// A folder that is there, to be read.
    ///
    /// # Errors
    /// a usage problem where it is no run folder.
    pub fn existing(path: &Path) -> Result<Self> {
        let folder = Self { path: path.to_owned() };
        require!(folder.file("config.toml").exists(), Usage, "{} is no run folder: it has no config.toml", path.display());
        Ok(folder)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a whole file by rename.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.file(name), bytes)
    }

    /// Writes JSON.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.write(name, text.as_bytes())
    }

    /// The result, where the run is finished.
    ///
    /// # Errors
    /// a data problem where the file is damaged.
    pub fn result(&self) -> Result<Option<RunResult>> {
        let file = self.file("result.json");
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        match serde_json::from_str(&text) {
            Ok(result) => Ok(Some(result)),
            Err(e) => fail!(Data, "{}: {e}: delete it to run again", file.display()),
        }
    }

    /// The config that the folder was made with.
    ///
    /// # Errors
    /// a data problem where the file is damaged.
    pub fn config(&self, registry: &rec_core::Registry) -> Result<RunConfig> {
        let file = self.file("config.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let table = text.parse().map_err(|e: toml::de::Error| problem!(Data, "{}: {e}", file.display()))?;
        let mut layers = crate::config::Layers::default();
        layers.add(&table, "config.toml");
        Ok(layers.resolve(registry)?.0)
    }

    /// Each user's metrics, one row a user: `user` (raw id) and one column a metric; absent where the user does not count.
    ///
    /// # Errors
    /// an I/O problem that names the file.
    pub fn write_per_user(&self, evaluation: &Evaluation, user_ids: &Vocabulary) -> Result<()> {
        let fields: Vec<String> = evaluation.per_user.iter().map(|(m, _)| format!("OPTIONAL DOUBLE {};", column(*m))).collect();
        let schema = parse_message_type(&format!("message per_user {{ REQUIRED BYTE_ARRAY user (UTF8); {} }}", fields.join(" ")))?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            let users: Vec<ByteArray> = evaluation.users.iter().map(|&u| ByteArray::from(user_ids.raw(u))).collect();
            column.typed::<ByteArrayType>().write_batch(&users, None, None)?;
            column.close()?;
        }
        for (_, values) in &evaluation.per_user {
            if let Some(mut column) = group.next_column()? {
                let present: Vec<i16> = values.iter().map(|v| i16::from(!v.is_nan())).collect();
                let values: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
                column.typed::<DoubleType>().write_batch(&values, Some(&present), None)?;
                column.close()?;
            }
        }
        group.close()?;
        writer.close()?;
        self.write("per_user.parquet", &bytes)
    }
}

/// A metric's name as a column's: `ndcg_at_10`.
fn column(metric: Metric) -> String {
    metric.to_string().replace('@', "_at_")
}

/// Reads a per-user file back: users and the column of `metric`, NaN where it is absent.
///
/// # Errors
/// a usage problem where the file has no such column; a data problem where it is damaged.
pub fn read_per_user(file: &Path, metric: Metric) -> Result<(Vec<String>, Vec<f64>)> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    let name = file.display().to_string();
    let open = fs::File::open(file).with_context(|| format!("reading {name}"))?;
    let reader = SerializedFileReader::new(open).map_err(|e| problem!(Data, "{name}: {e}"))?;
    let wanted = column(metric);
    let (mut users, mut values) = (Vec::new(), Vec::new());
    for row in reader.get_row_iter(None)? {
        let row = row.map_err(|e| problem!(Data, "{name}: {e}"))?;
        let mut found = false;
        for (column, field) in row.get_column_iter() {
            match field {
                Field::Str(user) if column == "user" => users.push(user.clone()),
                Field::Double(value) if *column == wanted => {
                    values.push(*value);
                    found = true;
                }
                Field::Null if *column == wanted => {
                    values.push(f64::NAN);
                    found = true;
                }
                _ => {}
            }
        }
        require!(found, Usage, "{name} has no `{metric}` of each user");
    }
    Ok((users, values))
}

/// Writes a whole file: the old one or the new one is there at any moment.
///
/// # Errors
/// an I/O problem that names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let told = || format!("writing {}", path.display());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(told)?;
    let mut file = tempfile::Builder::new().prefix(PART).tempfile_in(folder).with_context(told)?;
    file.write_all(bytes).with_context(told)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).with_context(told)?;
    }
    file.persist(path).map_err(|e| e.error).with_context(told)?;
    Ok(())
}
