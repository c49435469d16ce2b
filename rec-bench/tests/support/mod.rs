//! What the tests of the command line share: made-up data, a way to run the program, and what must hold of every answer.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The longest that any command of these tests may take; a hang is a failure, not a wait.
const LONGEST: Duration = Duration::from_secs(120);

/// A folder of its own for one test: its data, its runs, its cache.
pub struct Place {
    folder: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A folder with `clicks.csv`, see [`clicks`].
    pub fn with_clicks() -> Self {
        let place = Self::new();
        place.write("clicks.csv", clicks(300, 200).as_bytes());
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// The program in this folder, on the processor, in an environment that says nothing else.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rec-bench"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REC_")) {
            command.env_remove(name);
        }
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("REC_CACHE_DIR", self.path("cache"))
            .env_remove("COLUMNS")
            .env("CUDA_VISIBLE_DEVICES", "");
        // Set, so that the program does not start itself again: see `resume.rs` for that.
        command.env("OMP_WAIT_POLICY", "PASSIVE").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, words: &[&str]) -> Answer {
        answer(self.command(words))
    }

    /// Runs the program, which must succeed; returns what it prints.
    pub fn done(&self, words: &[&str]) -> String {
        let answer = self.run(words);
        assert_eq!(answer.code, 0, "{words:?}: {}", answer.err);
        answer.out
    }

    /// Runs the program, which must print JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.done(words)).expect("JSON")
    }

    /// Trains on `clicks.csv` into the folder `out`.
    pub fn train(&self, model: &str, out: &str, more: &[&str]) -> Answer {
        self.run(&train(model, out, more))
    }

    /// Trains to the end.
    pub fn trained(&self, model: &str, out: &str, more: &[&str]) {
        let answer = self.train(model, out, more);
        assert_eq!(answer.code, 0, "{model}: {}", answer.err);
    }

    /// A JSON file of a run.
    pub fn read_json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).expect("there")).expect("JSON")
    }
}

/// The words of a training on `clicks.csv`.
pub fn train<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["train", "--file", "clicks.csv", "--columns", "user,item", "--model", model, "--out", out];
    words.extend(more);
    words
}

/// Runs a command to its end. No answer of the program is a panic or a signal.
pub fn answer(command: Command) -> Answer {
    let words: Vec<String> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let ended = assert_cmd::Command::from_std(command).timeout(LONGEST).output().expect("it starts");
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_no_panic(&err);
    let code = ended.status.code().unwrap_or_else(|| panic!("{words:?} ended by {}: {err}", ended.status));
    Answer { code, out: String::from_utf8_lossy(&ended.stdout).into_owned(), err }
}

pub fn assert_no_panic(err: &str) {
    assert!(!err.contains("panicked at") && !err.contains("RUST_BACKTRACE"), "{err}");
}

impl Answer {
    /// A refusal with `code`, whose last words say all of `parts`.
    pub fn refuses(&self, code: i32, parts: &[&str]) {
        let said = self.error();
        assert_eq!(self.code, code, "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is not said: {said}");
        }
    }

    /// What follows `error: ` at the start of a line.
    pub fn error(&self) -> &str {
        let at = self.err.match_indices("error: ").map(|(at, _)| at).find(|&at| at == 0 || self.err[..at].ends_with('\n'));
        self.err[at.unwrap_or_else(|| panic!("nothing is said: {}", self.err))..].trim_start_matches("error: ").trim_end()
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
pub struct Draws(pub u64);

impl Draws {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to and without 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// About 15 000 rows for 300 users and 200 items: users like one of eight groups of items, and everybody the popular ones.
pub fn clicks(users: u64, items: u64) -> String {
    let mut draws = Draws(7);
    let mut rows = BTreeSet::new();
    for user in 0..users {
        for _ in 0..100 {
            let popular = (draws.share() * draws.share() * items as f64) as u64;
            let group = items / 8;
            let own = user % 8 * group + (draws.share() * draws.share() * group as f64) as u64;
            rows.insert((user, if draws.share() < 0.5 { own } else { popular }));
        }
    }
    let mut text = String::from("user,item,rating\n");
    for (user, item) in rows {
        text.push_str(&format!("u{user},i{item},{}\n", 1 + (user * 7 + item * 3) % 5));
    }
    text
}

/// Every file of a folder, by its path in there.
pub fn files_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => waiting.push(path),
                false => found.push(path.strip_prefix(folder).expect("it lies in there").display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// A run's folder never holds a file that was to be renamed.
pub fn assert_nothing_half_written(folder: &Path) {
    for file in files_of(folder) {
        let name = file.rsplit('/').next().expect("a name");
        assert!(!name.starts_with('.') && !name.ends_with(".tmp"), "{file} is left behind in {}", folder.display());
    }
}

/// A run that was refused or cut off has no result.
pub fn assert_no_result(folder: &Path) {
    assert!(!folder.join("result.json").exists(), "{} has a result", folder.display());
    assert_nothing_half_written(folder);
}

/// What a state file holds without how long anything took: the description of its tensors, their bytes, the values beside them.
pub fn state(file: &Path) -> (BTreeMap<String, Value>, Vec<u8>, Value) {
    let bytes = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let metadata = header.remove("__metadata__").expect("metadata");
    let mut values: Value = serde_json::from_str(metadata["state"].as_str().expect("a text")).expect("JSON");
    if let Some(progress) = values["progress"].as_object_mut() {
        progress.retain(|key, _| !key.ends_with("_seconds"));
    }
    (header, bytes[8 + length..].to_vec(), values)
}

/// `metrics.jsonl` without how long anything took.
fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("there");
    let parse = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        value.as_object_mut().expect("an object").retain(|key, _| !key.ends_with("/seconds"));
        value
    };
    text.lines().map(parse).collect()
}

/// Test metrics and how the training ended, without how long it took.
fn result(folder: &Path) -> Value {
    let mut result: Value = serde_json::from_slice(&fs::read(folder.join("result.json")).expect("there")).expect("JSON");
    let all = result.as_object_mut().expect("an object");
    all.retain(|key, _| !key.ends_with("seconds") && key != "environment");
    all["outcome"].as_object_mut().expect("an object").retain(|key, _| !key.ends_with("_seconds"));
    result
}

/// Two runs with the same weights, metrics, users' metrics and log, to the bit.
pub fn assert_same_run(a: &Path, b: &Path) {
    for name in ["checkpoints/best.safetensors", "checkpoints/last.safetensors"] {
        assert_eq!(a.join(name).exists(), b.join(name).exists(), "{name}");
        if a.join(name).exists() {
            let ((a_header, a_bytes, a_values), (b_header, b_bytes, b_values)) = (state(&a.join(name)), state(&b.join(name)));
            assert_eq!((a_header, a_values), (b_header, b_values), "{name}");
            assert!(a_bytes == b_bytes, "the tensors of {name} differ");
        }
    }
    assert_eq!(result(a), result(b));
    assert_eq!(lines(a), lines(b));
    assert_same_users(a, b);
}

/// Two runs with the same metrics of each user, byte by byte.
pub fn assert_same_users(a: &Path, b: &Path) {
    let users = |folder: &Path| fs::read(folder.join("per_user.parquet")).expect("there");
    assert!(users(a) == users(b), "per_user.parquet differs");
    assert_eq!(result(a)["metrics"], result(b)["metrics"]);
}
