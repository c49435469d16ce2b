//! Rows by the million: that memory does not grow with them. Generated rows; run by itself, for it looks at the memory of its process.
//!
//! ```sh
//! cargo test -p rec-data --test memory -- --nocapture              # 8 million rows
//! REC_MEMORY_ROWS=20000000 cargo test -p rec-data --test memory -- --nocapture
//! ```

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rec_data::Rows;
use rec_data::batch::{Batch, BatchOptions, FieldsBatch};
use rec_data::dataset::{self, Folders};
use rec_data::fields::FieldSpec;
use rec_data::generated::{Clicks, Truth};
use rec_data::readers::rows::{Config, read};
use rec_data::split::Split;
use rec_data::view::{Asking, views};

/// Bytes of memory that are this process's own: what is resident without the pages of files, which the system takes back when it needs
/// them. From /proc/self/statm.
fn own_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: Vec<u64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
    Some((pages.get(1)? - pages.get(2)?) * 4096)
}

/// The most memory that was ever seen while `f` ran, looked at each few milliseconds.
fn peak(f: impl FnOnce()) -> u64 {
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(own_memory().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        f();
        done.store(true, Ordering::Relaxed);
    });
    most.into_inner()
}

/// Seconds that all threads of this process have computed.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold spaces; user and system time are the 12th and 13th number after it.
    let ticks = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Categories are few, so that their texts, which memory does grow with, are the same for any number of rows.
fn clicks(rows: u32) -> Clicks {
    Clicks { truth: Truth::Linear, rows, seed: 1, most_categories: Some(1_000) }
}

/// Writes rows as text, converts them, opens them, encodes them and walks through an epoch; the peak of each, and batches' rows in all.
fn whole_way(rows: u32, folders: &Folders) -> [u64; 2] {
    let path = folders.cache.join(format!("rows-{rows}.tsv"));
    clicks(rows).write_tsv(File::create(&path).expect("file")).expect("written");
    let bytes = std::fs::metadata(&path).expect("there").len() as f64;
    let config = Config { path: path.clone(), ..Clicks::config() };
    let speed = |what: &str, f: &dyn Fn()| {
        let before = cpu_seconds();
        f();
        let seconds = cpu_seconds() - before;
        eprintln!("{rows} generated rows of {:.0} MB: {what} at {:.0} MB a second of one core", bytes / 1e6, bytes / 1e6 / seconds);
    };
    speed("read", &|| drop(read(&[(path.clone(), None)], &config, &folders.cache).expect("valid")));
    let converting = peak(|| speed("read, hashed, stored and checked", &|| drop(dataset::open_rows(&config, folders).expect("valid"))));
    let training = peak(|| {
        let data = dataset::open_rows(&config, folders).expect("converted");
        let tenth = rows / 10;
        let split = Split { train: Rows::Range(0..9 * tenth), test: Rows::Range(9 * tenth..rows), ..Split::default() };
        let field = |name: String, encoding: &str| -> FieldSpec {
            toml::from_str(&format!("name = \"{name}\"\nfrom = \"row.{name}\"\nencoding = {{ kind = \"{encoding}\" }}")).expect("a field")
        };
        let numbers = (1..=13).map(|n| field(format!("I{n}"), "log-squared"));
        let fields = numbers.chain((1..=26).map(|n| field(format!("C{n}"), "vocabulary"))).collect();
        let asking = Asking { fields, labels_only: true, keep_in: Some(folders.parsed()), ..Asking::default() };
        let views = views(&data.interactions, None, &split, &asking, 1).expect("made");
        let source = FieldsBatch::source(&views.train, &BatchOptions { batch_size: 10_000, ..BatchOptions::default() }).expect("labelled");
        let (batches, start) = (source.epoch(1), Instant::now());
        let seen: usize = (0..batches.len()).map(|index| batches.batch(index).rows).sum();
        eprintln!("  an epoch of {seen} rows in batches at {:.2} million rows/s", seen as f64 / 1e6 / start.elapsed().as_secs_f64());
        assert_eq!(seen, rows as usize / 10 * 9);
    });
    std::fs::remove_file(&path).expect("there");
    [converting, training]
}

#[test]
fn memory_does_not_grow_with_the_rows() {
    if own_memory().is_none() {
        eprintln!("skipped: there is no /proc/self/statm here");
        return;
    }
    let rows = std::env::var("REC_MEMORY_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(8_000_000);
    let folder = tempfile::tempdir().expect("temp");
    let folders = Folders { data: None, cache: folder.path().to_owned() };
    let [converting, training] = whole_way(rows, &folders).map(|bytes| bytes as f64 / 1e6);
    eprintln!("own memory of {rows} rows, in MB: converting {converting:.0}, training {training:.0}");
    // 70 to 100 MB are taken whatever the rows; eight bytes of each of eight million would be 64 more.
    for (what, peak) in [("converting", converting), ("training", training)] {
        assert!(peak < 150.0, "{what} takes {peak} MB of {rows} rows");
    }
}
