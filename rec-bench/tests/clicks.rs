//! The data of AutoInt's protocol is the published one: 739,012 rows and 3,529 features, five of which only fill empty places. Needs
//! `REC_DATA_DIR`, or MovieLens-1M in the cache.

use std::path::PathBuf;

use rec_bench::table;
use rec_core::rec_data::dataset::{self, Folders};
use rec_core::rec_data::fields::{Encoders, Source};
use rec_core::rec_data::{Kind, Rows};

/// What the authors count beside features of the data: fillers of empty places of genres, which are multiplied by 0.
const FILLERS: usize = 5;

#[test]
fn autoints_rows_and_features_are_as_many_as_its_authors_count() {
    let Some(data) = std::env::var_os("REC_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: REC_DATA_DIR is not set");
        return;
    };
    let cache =
        std::env::var_os("REC_CACHE_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rec-cache"), PathBuf::from);
    let dataset = match dataset::open("ml-1m", &Folders { data: Some(data), cache }) {
        Ok(dataset) => dataset,
        Err(error) if Kind::exit_code_of(&error) == Kind::Unavailable.exit_code() => {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error:#}"),
    };
    let table = table::find("ml-1m-autoint").expect("a shipped table");
    let prepared = table.protocol.prepare(&dataset, 0, &table.selection).expect("prepares");
    let rows = prepared.interactions.len();
    assert_eq!(rows, 739_012);
    // The authors number features before anything is split.
    let all = Rows::Range(0..rows as u32);
    let encoders = Encoders::fit(&table.protocol.fields, &prepared.interactions, &all).expect("fits");
    assert_eq!(encoders.num_values() + FILLERS, 3_529);
    let sizes: Vec<(Source, u32)> = encoders.fields().iter().map(|f| (f.spec.from.clone(), f.size - 2)).collect();
    let of = |name: &str| Source::OfUser(name.into());
    assert_eq!(sizes[..4], [(of("gender"), 2), (of("age"), 7), (of("occupation"), 21), (of("zip"), 3_439)]);
    assert_eq!(sizes[4..].iter().map(|s| s.1).collect::<Vec<_>>(), [18, 36, 1]);
    let parts = [&prepared.split.train, &prepared.split.valid, &prepared.split.test].map(|part| part.len());
    assert_eq!(parts.iter().sum::<usize>(), rows);
    assert!((591_205..=591_215).contains(&parts[0]), "{parts:?}");
}
