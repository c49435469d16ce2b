use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use anyhow::Result;
use proptest::prelude::*;

use super::*;
use crate::features::Feature;
use crate::readers::mangled::mangled;
use crate::{Interactions, Kind};

const FILE: &[u8] = b"y\ta1\ta2\tc\td\n1\t3\t\tx\t68fd1e64\n0\t-2.5\t1e3\t\t68fd1e64\n\n1\t\t7\tx\tlonger than eight\n0\t0\t12345678901\ty\tlonger than eight\n";

fn config(text: &str) -> Config {
    toml::from_str(text).expect("a fine config")
}

fn plain() -> Config {
    config("delimiter = \"\\t\"\nlabel = \"y\"\nnumbers = [\"a1..a2\"]\ntokens = [\"c\", \"d\"]")
}

fn read_text(bytes: &[u8], config: &Config) -> Result<Interactions> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("f.txt");
    std::fs::write(&path, bytes)?;
    read(&[(path, None)], config, folder.path()).map(|parsed| parsed.interactions)
}

/// The feature of each row as text.
fn texts(data: &Interactions, name: &str) -> Vec<String> {
    let feature = data.row_features.get(name).expect("there is such a feature");
    (0..data.len()).map(|row| feature.text(row)).collect()
}

#[test]
fn labels_numbers_and_categories_are_read_by_name() {
    let data = read_text(FILE, &plain()).expect("valid");
    assert_eq!(data.values.as_deref(), Some(&[1., 0., 1., 0.][..]));
    assert_eq!(texts(&data, "a1"), ["3", "-2.5", "NaN", "0"]);
    assert_eq!(texts(&data, "a2"), ["NaN", "1000", "7", "12345679000"]);
    assert_eq!(texts(&data, "c"), ["x", "", "x", "y"]);
    assert_eq!(texts(&data, "d"), ["68fd1e64", "68fd1e64", "longer than eight", "longer than eight"]);
    let Some(Feature::Token { values, vocabulary }) = data.row_features.get("c") else { panic!("a category") };
    assert_eq!((&values[..], vocabulary.iter().collect::<Vec<_>>()), (&[0, 1, 0, 2][..], vec!["x", "", "y"]));
    assert_eq!((data.num_users(), data.num_items(), &data.users[..]), (1, 1, &[0, 0, 0, 0][..]));
    data.check("f").expect("sound");
}

#[test]
fn names_may_come_from_the_config_and_a_line_that_repeats_them_is_no_row() {
    let named = |text: &str| Config { names: vec!["y".into(), "a1..a2".into(), "c".into(), "d".into()], ..config(text) };
    let named = named("delimiter = \"\\t\"\nlabel = \"y\"\ntokens = [\"c\"]\nuser = \"d\"\ntime = \"a2\"");
    let rows = b"1\t3\t5\tx\tann\r\n0\t2\t6\ty\tbob\r\n1\t1\t4\tx\tann";
    let with_header = [&b"y\ta1\ta2\tc\td\n"[..], rows].concat();
    for bytes in [&rows[..], &with_header] {
        let data = read_text(bytes, &named).expect("valid");
        assert_eq!((&data.users[..], data.user_ids.iter().collect::<Vec<_>>()), (&[0, 1, 0][..], vec!["ann", "bob"]));
        assert_eq!(data.times.as_deref(), Some(&[5, 6, 4][..]));
        assert_eq!(texts(&data, "c"), ["x", "y", "x"]);
    }
}

#[test]
fn hours_become_times_and_three_features() {
    let data = read_text(b"y,h\n1,14102100\n0,14102523\n", &config("label = \"y\"\nhour = \"h\"")).expect("valid");
    assert_eq!(data.times.as_deref(), Some(&[1_413_849_600, 1_414_278_000][..]));
    assert_eq!(["hour", "weekday", "weekend"].map(|name| texts(&data, name)), [["00", "23"], ["2", "6"], ["0", "1"]]);
}

#[test]
fn a_bad_line_is_named_or_left_out_and_counted() {
    for (line, says) in [
        (&b"1\t3\tx"[..], "f.txt:3: 3 columns, not 5: `1\\t3\\tx`"),
        (b"1\t3\tx\ty\tz\tu", "f.txt:3: 6 columns, not 5"),
        (b"1\t3\tfour\ty\tz", "f.txt:3: column 3 has `four`, which is not a finite number"),
        (b"1\tinf\t4\ty\tz", "f.txt:3: column 2 has `inf`"),
        (b"\t3\t4\ty\tz", "f.txt:3: column 1 has ``"),
        (b"1\t3\t4\t\xff\tz", "is no UTF-8 text"),
        (b"1\t3\t4\ty\0\tz", "is no UTF-8 text"),
    ] {
        let file = [&b"y\ta1\ta2\tc\td\n1\t1\t1\tg\th\n"[..], line, b"\n0\t2\t2\tg\ti\n"].concat();
        let error = read_text(&file, &plain()).expect_err(says);
        assert_eq!(Kind::exit_code_of(&error), Kind::Data.exit_code());
        assert!(error.to_string().contains(says) && error.to_string().contains("bad_lines"), "{error}");
        let left = read_text(&file, &Config { bad_lines: BadLines::Skip, ..plain() }).expect("left out");
        assert_eq!((left.len(), left.skipped_lines, texts(&left, "d")), (2, 1, vec!["h".into(), "i".into()]));
    }
    for (file, says) in
        [(&b""[..], "the file is empty"), (b"y\ta1\ta2\tc\td\n", "there is no row"), (b"y\ta1\tb\tc\td\n", "no column `a2`")]
    {
        let error = read_text(file, &plain()).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Lines of a file of several blocks.
fn long_file() -> Vec<u8> {
    use std::io::Write;
    let mut file = b"y\ta1\ta2\tc\td\n".to_vec();
    for n in 0..60_000u32 {
        let scattered = n.wrapping_mul(2_654_435_761) % 5_000;
        writeln!(file, "{}\t{}\t{}\tc{}\tcategory {}", n % 2, n, n % 7, scattered, scattered % 999).expect("to memory");
    }
    file
}

#[test]
fn categories_do_not_depend_on_threads_and_lines_of_later_blocks_keep_their_numbers() {
    let mut file = long_file();
    let read_with = |file: &[u8], threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(|| read_text(file, &plain()))
    };
    let (one, three) = (read_with(&file, 1).expect("valid"), read_with(&file, 3).expect("valid"));
    assert_eq!(one.len(), 60_000);
    for name in ["a1", "c", "d"] {
        assert!(texts(&one, name) == texts(&three, name));
    }
    let Some(Feature::Token { values, vocabulary }) = one.row_features.get("c") else { panic!("a category") };
    let mut next = 0;
    values.iter().for_each(|&value| {
        assert!(value <= next, "a new category has the next number");
        next = next.max(value + 1);
    });
    assert_eq!(vocabulary.len(), next as usize);
    file.extend_from_slice(b"1\t2\n0\t1\t1\ta\tb\n");
    let error = read_with(&file, 3).expect_err("cut off").to_string();
    assert!(error.contains("f.txt:60002: 2 columns"), "{error}");
}

/// Writes a Parquet file of labels, counts (absent where negative) and texts (absent where empty).
fn parquet(path: &Path, rows: &[(i32, f64, &str)]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
    let schema =
        parse_message_type("message rows { required int32 y; optional double count; optional binary c (UTF8); }").expect("a schema");
    let file = std::fs::File::create(path).expect("file");
    let properties = Arc::new(WriterProperties::builder().set_compression(::parquet::basic::Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).expect("writer");
    for rows in rows.chunks(2) {
        let mut group = writer.next_row_group().expect("group");
        let labels: Vec<i32> = rows.iter().map(|row| row.0).collect();
        let mut column = group.next_column().expect("column").expect("labels");
        column.typed::<Int32Type>().write_batch(&labels, None, None).expect("written");
        column.close().expect("closed");
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1 >= 0.)).collect();
        let counts: Vec<f64> = rows.iter().map(|row| row.1).filter(|&count| count >= 0.).collect();
        let mut column = group.next_column().expect("column").expect("counts");
        column.typed::<DoubleType>().write_batch(&counts, Some(&levels), None).expect("written");
        column.close().expect("closed");
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(!row.2.is_empty())).collect();
        let texts: Vec<ByteArray> = rows.iter().filter(|row| !row.2.is_empty()).map(|row| row.2.into()).collect();
        let mut column = group.next_column().expect("column").expect("texts");
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
    }
    writer.close().expect("closed");
}

fn read_parquet(path: PathBuf, config: &Config) -> Result<Interactions> {
    let folder = tempfile::tempdir()?;
    read(&[(path, None)], config, folder.path()).map(|parsed| parsed.interactions)
}

#[test]
fn parquet_is_read_from_a_file_and_from_partitioned_folders() {
    let folder = tempfile::tempdir().expect("temp");
    let at = |path: &str| folder.path().join(path);
    parquet(&at("one.parquet"), &[(1, 2.5, "x"), (0, -1., ""), (1, 0., "x"), (0, 7., "a longer text")]);
    let columns = config("label = \"y\"\nnumbers = [\"count\"]\ntokens = [\"c\"]");
    let data = read_parquet(at("one.parquet"), &columns).expect("valid");
    assert_eq!(data.values.as_deref(), Some(&[1., 0., 1., 0.][..]));
    assert_eq!(texts(&data, "count"), ["2.5", "NaN", "0", "7"]);
    assert_eq!(texts(&data, "c"), ["x", "", "x", "a longer text"]);

    parquet(&at("out/day=2/part-0.snappy.parquet"), &[(0, 1., "d")]);
    parquet(&at("out/day=1/site=a%2Fb/part-1.snappy.parquet"), &[(1, 1., "b"), (1, 3., "c")]);
    parquet(&at("out/day=1/site=__HIVE_DEFAULT_PARTITION__/part-0.snappy.parquet"), &[(0, 4., "a")]);
    std::fs::write(at("out/_SUCCESS"), "").expect("write");
    std::fs::write(at("out/.part-0.parquet.crc"), "").expect("write");
    let days = config("label = \"y\"\nnumbers = [\"day\"]\ntokens = [\"c\"]");
    let data = read_parquet(at("out"), &days).expect("valid");
    assert_eq!(
        (texts(&data, "c"), texts(&data, "day")),
        (["a", "b", "c", "d"].map(String::from).into(), ["1", "1", "1", "2"].map(String::from).into())
    );
    let sites = config("label = \"y\"\ntokens = [\"site\"]");
    let data = read_parquet(at("out/day=1"), &sites).expect("valid");
    assert_eq!(texts(&data, "site"), ["", "a/b", "a/b"]);
}

#[test]
fn a_row_of_parquet_that_cannot_be_used_is_named_or_left_out() {
    let folder = tempfile::tempdir().expect("temp");
    let path = folder.path().join("rows.parquet");
    parquet(&path, &[(1, 1., "3"), (0, 2., "4"), (1, 3., "five"), (0, 4., "6")]);
    let columns = config("label = \"y\"\nnumbers = [\"c\"]");
    let error = read_parquet(path.clone(), &columns).expect_err("not a number").to_string();
    assert!(error.contains("rows.parquet: row 3 has no usable value in the column `c`"), "{error}");
    let left = read_parquet(path.clone(), &Config { bad_lines: BadLines::Skip, ..columns.clone() }).expect("left out");
    assert_eq!((texts(&left, "c"), left.skipped_lines), (["3", "4", "6"].map(String::from).into(), 1));
    let error = read_parquet(path.clone(), &config("label = \"yy\"")).expect_err("no such column").to_string();
    assert!(error.contains("no column `yy` (did you mean `y`?)"), "{error}");
    let whole = std::fs::read(&path).expect("there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
    assert_eq!(Kind::exit_code_of(&read_parquet(path, &columns).expect_err("cut off")), Kind::Data.exit_code());
    assert!(read_parquet(folder.path().join("nothing"), &columns).is_err());
    std::fs::create_dir(folder.path().join("empty")).expect("folder");
    assert!(read_parquet(folder.path().join("empty"), &columns).expect_err("empty").to_string().contains("has no `.parquet` file"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_skipping_never_fails_on_a_line(bytes in mangled(FILE)) {
        let _ = read_text(&bytes, &plain());
        let named = Config { names: vec!["y".into(), "a1..a2".into(), "c".into(), "d".into()], bad_lines: BadLines::Skip, ..plain() };
        match read_text(&bytes, &named) {
            Ok(data) => prop_assert!(data.check("f").is_ok()),
            Err(error) => prop_assert!(error.to_string().contains("no row") || error.to_string().contains("is empty"), "{error}"),
        }
    }
}
