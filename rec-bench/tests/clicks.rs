//! The data of published click tables is the published one: rows, positives and features are as many as their authors count. Needs
//! `REC_DATA_DIR`, or the data in the cache.

use std::path::PathBuf;

use rec_bench::table;
use rec_core::rec_data::dataset::{self, Dataset, Folders};
use rec_core::rec_data::fields::{Encoders, Source};
use rec_core::rec_data::{Kind, Part, Rows};

/// What the authors count beside features of the data: fillers of empty places of genres, which are multiplied by 0.
const FILLERS: usize = 5;

/// The data set `id`; `None`, with a word, where it is not there.
fn opened(id: &str) -> Option<Dataset> {
    let Some(data) = std::env::var_os("REC_DATA_DIR").map(PathBuf::from) else {
        eprintln!("skipped: REC_DATA_DIR is not set");
        return None;
    };
    let cache =
        std::env::var_os("REC_CACHE_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rec-cache"), PathBuf::from);
    match dataset::open(id, &Folders { data: Some(data), cache }) {
        Ok(dataset) => Some(dataset),
        Err(error) if Kind::exit_code_of(&error) == Kind::Unavailable.exit_code() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn autoints_rows_and_features_are_as_many_as_its_authors_count() {
    let Some(dataset) = opened("ml-1m") else { return };
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

/// Rows and positives of the parts as BARS's logs print them, and the features that its logistic regressions have weights of: their
/// parameters without the bias. FuxiCTR counts one feature a field of categories for values that it does not know. In Criteo_x4 it takes
/// 0, which nothing becomes, for such a value too, where each of the 13 numbers has a class of its own for it here.
#[test]
fn bars_rows_positives_and_features_are_as_many_as_its_logs_print() {
    for (id, rows, positives, features, unknown, zeros) in [
        ("criteo-x4", [36_672_493, 4_584_062, 4_584_062], [9_396_350, 1_174_544, 1_174_544], 910_708, 39, 13),
        ("criteo-x1", [33_003_326, 8_250_124, 4_587_167], [8_456_369, 2_114_300, 1_174_769], 2_086_316, 26, 0),
        ("avazu-x4", [32_343_172, 4_042_897, 4_042_898], [5_492_052, 686_507, 686_507], 3_750_975, 24, 0),
    ] {
        let Some(dataset) = opened(id) else { continue };
        let data = &dataset.interactions;
        let (parts, labels) = (data.parts.as_deref().expect("divided"), data.values.as_deref().expect("labelled"));
        let in_part = |part: Part| parts.iter().zip(labels).filter(move |(p, _)| **p == part as u8);
        let all = [Part::Train, Part::Valid, Part::Test];
        assert_eq!(all.map(|part| in_part(part).count()), rows, "{id}");
        assert_eq!(all.map(|part| in_part(part).filter(|(_, label)| **label == 1.0).count()), positives, "{id}");
        let table = table::find(id).expect("a shipped table");
        let train = Rows::of(data.len(), |row| parts[row as usize] == Part::Train as u8);
        let encoders = Encoders::fit(&table.protocol.fields, data, &train).expect("fits");
        assert_eq!(encoders.num_values() + unknown - zeros, features, "{id}");
    }
}
