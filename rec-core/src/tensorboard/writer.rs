//! An event file: length-prefixed, checksummed records, one TensorBoard `Event` each.
//!
//! It stands on tensorboard-rs's record writer, which returns `io::Result`, and not on its `SummaryWriter`, which panics on a full disk.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use protobuf::{Message, RepeatedField};
use rec_data::{fail, problem};
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{Summary, Summary_Value, SummaryMetadata, SummaryMetadata_PluginData};
use tensorboard_rs::record_writer::RecordWriter;

/// What the first record of an event file says; TensorBoard knows no other version.
const FILE_VERSION: &str = "brain.Event:2";

/// Writes one event file. Every failure is an error that names the file; nothing panics.
///
/// What is written is the same for the same calls, except for the wall-clock times. Events reach the disk when the buffer is full, on
/// [`flush`](Self::flush), and as far as possible when the writer is dropped; only `flush` tells whether they did.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// # use rec_core::tensorboard::EventWriter;
/// let folder = tempfile::tempdir()?;
/// let mut events = EventWriter::create(folder.path())?;
/// events.scalar("train/loss", 100, 0.693)?;
/// events.text("config", 0, "| key | value |\n|---|---|\n| epochs | 20 |")?;
/// events.flush()?;
/// # Ok(()) }
/// ```
pub struct EventWriter {
    path: PathBuf,
    records: RecordWriter<BufWriter<File>>,
    /// A record may have been cut off, so that nothing after it could be read.
    broken: bool,
}

impl EventWriter {
    /// A new event file in `folder`, which is made if it is missing.
    ///
    /// The file is called `events.out.tfevents.<seconds>.<host>.<process>.<number>` and never replaces another one.
    ///
    /// # Errors
    /// An I/O error that names the folder or the file.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create the folder {}", folder.display()))?;
        let stem = format!("events.out.tfevents.{:010}.{}.{}", wall_time() as u64, host(), std::process::id());
        for number in 0u32.. {
            let path = folder.join(format!("{stem}.{number}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Self::start(path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("failed to create {}", path.display())),
            }
        }
        Err(problem!(Io, "no file name is left for an event file in {}", folder.display()))
    }

    /// A new event file that continues a run after a checkpoint: what earlier files of `folder` hold at or after `first_step` is void.
    ///
    /// TensorBoard reads the files of a folder in the order of their names, so of their seconds. Its `first_step` counts for all tags of
    /// the run: they need one meaning of step.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn resume(folder: &Path, first_step: u64) -> Result<Self> {
        let mut writer = Self::create(folder)?;
        // TensorBoard takes the first session of a run for its beginning and voids steps from the second on; a run that was resumed before
        // has one already.
        for _ in 0..2 {
            let mut session = SessionLog::new();
            session.set_status(SessionLog_SessionStatus::START);
            let mut event = Event::new();
            event.set_step(signed(first_step));
            event.set_session_log(session);
            writer.event(event)?;
        }
        writer.flush()?;
        Ok(writer)
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// An I/O error that names the file: disk full, for one.
    pub fn flush(&mut self) -> Result<()> {
        self.records.flush().with_context(|| format!("failed to write {}", self.path.display()))
    }

    /// One value of one tag at one step.
    pub(super) fn value(&mut self, step: u64, value: Summary_Value) -> Result<()> {
        let mut summary = Summary::new();
        summary.set_value(RepeatedField::from_vec(vec![value]));
        let mut event = Event::new();
        event.set_step(signed(step));
        event.set_summary(summary);
        self.event(event)
    }

    fn start(path: PathBuf, file: File) -> Result<Self> {
        let mut writer = Self { path, records: RecordWriter::new(BufWriter::new(file)), broken: false };
        let mut event = Event::new();
        event.set_file_version(FILE_VERSION.to_string());
        writer.event(event)?;
        writer.flush()?;
        Ok(writer)
    }

    fn event(&mut self, mut event: Event) -> Result<()> {
        if self.broken {
            fail!(Io, "{}: an earlier write failed and left a cut-off record; no more can be added", self.path.display());
        }
        event.set_wall_time(wall_time());
        let bytes = event.write_to_bytes().with_context(|| format!("failed to encode an event for {}", self.path.display()))?;
        let written = self.records.write(&bytes);
        self.broken = written.is_err();
        written.with_context(|| format!("failed to write {}", self.path.display()))
    }
}

/// The metadata that hands a tag to a plugin, with the plugin's own message as content.
pub(super) fn plugin_metadata(plugin: &str, content: Vec<u8>) -> SummaryMetadata {
    let mut data = SummaryMetadata_PluginData::new();
    data.set_plugin_name(plugin.to_string());
    data.set_content(content);
    let mut metadata = SummaryMetadata::new();
    metadata.set_plugin_data(data);
    metadata
}

/// Seconds since 1970.
pub(super) fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

/// This machine's name, fit for a file name; it only tells files of different machines apart.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).take(64).collect();
    if name.is_empty() { "localhost".to_string() } else { name }
}

/// Reads event files back, checking lengths and checksums with code of its own.
#[cfg(test)]
pub(super) mod readback {
    use super::*;

    /// Bit by bit, so that it shares no table with the writer.
    fn crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0x82F6_3B78 & (c & 1).wrapping_neg())))
    }

    fn masked(bytes: &[u8]) -> u32 {
        crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
    }

    pub(in super::super) fn events(path: &Path) -> Vec<Event> {
        let file = std::fs::read(path).expect("the event file");
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let (mut events, mut at) = (Vec::new(), 0);
        while at < file.len() {
            let length = u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize;
            assert_eq!(number(at + 8), masked(&file[at..at + 8]), "checksum of the length");
            let body = &file[at + 12..at + 12 + length];
            assert_eq!(number(at + 12 + length), masked(body), "checksum of the event");
            events.push(Event::parse_from_bytes(body).expect("an event"));
            at += length + 16;
        }
        events
    }

    /// What `write` adds after the version event.
    pub(in super::super) fn values(write: impl FnOnce(&mut EventWriter)) -> Vec<(i64, Summary_Value)> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = EventWriter::create(folder.path()).expect("a writer");
        write(&mut writer);
        writer.flush().expect("flush");
        let events = events(writer.path());
        events[1..].iter().map(|event| (event.get_step(), event.get_summary().get_value()[0].clone())).collect()
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros, and the bytes 0 to 31.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
    }
}

#[cfg(test)]
mod tests {
    use rec_data::Kind;

    use super::*;

    #[test]
    fn the_first_record_is_the_file_version_and_the_name_is_what_tensorboard_looks_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let nested = folder.path().join("run/tb");
        let writer = EventWriter::create(&nested).expect("a writer");
        let name = writer.path().file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(name.starts_with("events.out.tfevents."), "{name}");
        assert_eq!(name.split('.').count(), 7, "{name}");
        let events = readback::events(writer.path());
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].get_file_version(), FILE_VERSION);
    }

    #[test]
    fn two_writers_in_one_folder_have_two_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = EventWriter::create(folder.path()).expect("a writer");
        let second = EventWriter::create(folder.path()).expect("a writer");
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn a_resumed_run_voids_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = EventWriter::resume(folder.path(), 40).expect("a writer");
        let events = readback::events(writer.path());
        for event in &events[1..] {
            assert_eq!((event.get_step(), event.get_session_log().get_status()), (40, SessionLog_SessionStatus::START));
        }
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn the_same_calls_write_the_same_bytes_apart_from_the_times() {
        let write = || {
            let folder = tempfile::tempdir().expect("a folder");
            let mut writer = EventWriter::create(folder.path()).expect("a writer");
            writer.scalar("loss", 1, 0.5).expect("scalar");
            writer.histogram("weights", 1, &[1.0, 2.0, f32::NAN]).expect("histogram");
            writer.text("config", 0, "# title").expect("text");
            writer.pr_curve("valid", 1, &[true, false], &[0.9, 0.1], None, 11).expect("curve");
            writer.flush().expect("flush");
            let mut events = readback::events(writer.path());
            events.iter_mut().for_each(Event::clear_wall_time);
            events.iter().map(|event| event.write_to_bytes().expect("bytes")).collect::<Vec<_>>()
        };
        assert_eq!(write(), write());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = EventWriter::create(&file.path().join("tb")).err().expect("an error");
        assert!(format!("{error:#}").contains("/tb"), "{error:#}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Io.exit_code());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file_and_never_a_panic() {
        let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let path = PathBuf::from("/dev/full");

        let error = EventWriter::start(path.clone(), full()).err().expect("an error at the first flush");
        assert!(format!("{error:#}").starts_with("failed to write /dev/full: No space left"), "{error:#}");
        assert_eq!(Kind::exit_code_of(&error), Kind::Io.exit_code());

        // A disk that fills up later: the buffer takes some events, then a write fails, and the file stays closed to more.
        let mut writer = EventWriter { path, records: RecordWriter::new(BufWriter::new(full())), broken: false };
        let failed = (0..10_000).find_map(|step| writer.scalar("loss", step, 0.5).err()).expect("an error");
        assert!(format!("{failed:#}").contains("No space left"), "{failed:#}");
        let after = writer.scalar("loss", 0, 0.5).expect_err("closed");
        assert!(format!("{after}").contains("an earlier write failed"), "{after}");
        assert!(writer.flush().is_err());
        drop(writer);
    }
}
