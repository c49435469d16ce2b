use std::sync::Arc;

use super::*;
use crate::features::{Feature, Features};
use crate::{Interactions, Kind, Rows, Vocabulary};

/// Three users, four items, eight rows; the last two rows are not learned from.
fn data() -> Interactions {
    let token = |values: Vec<u32>, texts: &[&str]| Feature::Token { values: values.into(), vocabulary: texts.iter().collect() };
    Interactions {
        users: vec![0, 0, 0, 1, 1, 2, 2, 2].into(),
        items: vec![0, 1, 2, 0, 2, 1, 3, 0].into(),
        values: Some(vec![5.0, 2.0, 4.0, 1.0, 5.0, 4.0, 5.0, 1.0].into()),
        times: Some(vec![10, 20, 20, 5, 30, 1, 2, 3].into()),
        user_ids: ["u", "v", "w"].into_iter().collect(),
        item_ids: ["a", "b", "c", "d"].into_iter().collect(),
        user_features: Features { columns: vec![("gender".into(), token(vec![0, 1, 2], &["m", "f", ""]))] },
        item_features: Features {
            columns: vec![
                (
                    "genres".into(),
                    Feature::Tokens {
                        ends: vec![2, 3, 3, 4].into(),
                        values: vec![0, 1, 1, 2].into(),
                        vocabulary: ["war", "love", "fun"].into_iter().collect(),
                    },
                ),
                ("year".into(), Feature::Number(vec![1950.0, 1990.0, f32::NAN, 2000.0].into())),
            ],
        },
        row_features: Features {
            columns: vec![
                ("place".into(), token(vec![0, 1, 0, 2, 0, 1, 3, 0], &["top", "", "side", "foot"])),
                ("depth".into(), Feature::Number(vec![4.0, f32::NAN, 0.0, 2.0, f32::NAN, 2.0, 1.0, f32::NAN].into())),
            ],
        },
        ..Interactions::default()
    }
}

fn fields(text: &str) -> Vec<FieldSpec> {
    #[derive(serde::Deserialize)]
    struct Config {
        fields: Vec<FieldSpec>,
    }
    toml::from_str::<Config>(&format!("fields = [{text}]")).expect("fine fields").fields
}

fn fit(text: &str) -> anyhow::Result<Encoders> {
    Encoders::fit(&fields(text), &data(), &vec![0, 1, 2, 3, 4, 5].into())
}

fn labelled(text: &str) -> LabelledRows {
    let data = data();
    let values = data.values.clone().expect("there are values");
    let positive = |row: u32| values[row as usize] >= 4.0;
    let specs = fields(text);
    let data = with_pasts(&data, &specs, &positive).expect("there are times");
    let encoders = Encoders::fit(&specs, &data, &vec![0, 1, 2, 3, 4, 5].into()).expect("fits");
    let encoded = Arc::new(Encoded::new(encoders, &data, &positive, None).expect("encodes"));
    let rows: Vec<u32> = (0..8).collect();
    let labels: Vec<f32> = rows.iter().map(|&r| f32::from(u8::from(positive(r)))).collect();
    LabelledRows::new(&encoded, rows, labels, values)
}

#[test]
fn categories_are_numbered_from_training_rows_and_others_are_unknown_or_missing() {
    let rows = labelled("{ name = \"item\", from = \"item\" }, { name = \"gender\", from = \"user.gender\" }");
    // Item d is in no training row: a, b, c are features 2, 3, 4. Gender has its own from 5 on: unknown, missing, m, f.
    assert_eq!((rows.encoders().num_features(), rows.encoders().num_values()), (9, 5));
    let batch = rows.batch(&[0, 4, 6], false);
    assert_eq!((batch.rows, batch.entries.columns()), (3, &[2, 7, 4, 8, 0, 6][..]));
    assert!(batch.entries.values().is_empty(), "all are 1");
    assert_eq!(batch.labels, [1.0, 1.0, 1.0]);
}

#[test]
fn rare_categories_are_unknown() {
    // In training rows: a and c twice, b twice, d never; users u thrice, v twice, w once.
    let encoders = fit("{ name = \"user\", from = \"user\", encoding = { kind = \"vocabulary\", min_count = 2 } }").expect("fits");
    assert_eq!(encoders.fields()[0].encoder, Encoder::Vocabulary { texts: vec!["u".into(), "v".into()] });
}

#[test]
fn several_categories_weigh_one_together_and_none_is_the_missing_one() {
    let batch = labelled("{ name = \"genres\", from = \"item.genres\" }").batch(&[0, 1, 2, 6], false);
    // war, love; love; none; fun, which no training row has.
    assert_eq!(batch.entries.starts(), [0, 2, 3, 4, 5]);
    assert_eq!((batch.entries.columns(), batch.entries.values()), (&[2, 3, 3, 1, 0][..], &[0.5, 0.5, 1.0, 1.0, 1.0][..]));
}

#[test]
fn numbers_become_intervals_classes_or_stay() {
    let column = |text: &str, at: &[u32]| {
        let batch = labelled(text).batch(at, false).entries;
        (batch.columns().to_vec(), batch.values().to_vec())
    };
    // 1950, 1990, missing, 2000.
    let years = [0, 1, 2, 6];
    let bounds = "{ name = \"y\", from = \"item.year\", encoding = { kind = \"bounds\", bounds = [1960, 1990] } }";
    assert_eq!(column(bounds, &years), (vec![2, 4, 1, 4], vec![]));
    // Training rows have 1950 twice and 1990 twice; 2000 lies outside.
    let scaled = "{ name = \"y\", from = \"item.year\", encoding = { kind = \"scaled\" } }";
    assert_eq!(column(scaled, &years), (vec![2, 2, 1, 2], vec![0.0, 1.0, 1.0, 1.25]));
    let standard = "{ name = \"y\", from = \"item.year\", encoding = { kind = \"standardised\" } }";
    assert_eq!(column(standard, &years).1, [-1.0, 1.0, 1.0, 1.5]);
    let halves = "{ name = \"y\", from = \"item.year\", encoding = { kind = \"quantiles\", buckets = 2 } }";
    assert_eq!(column(halves, &years).0, [2, 3, 1, 3]);
    // ⌊(ln x)²⌋ of 10, 20, 5, 30, 1 (as it is): 5, 8, 2, 11, 1; of 2 it is 2, of 3 ⌊1.2⌋ = 1.
    let classes = "{ name = \"t\", from = \"time\", encoding = { kind = \"log-squared\" } }";
    assert_eq!(column(classes, &[0, 1, 3, 4, 5, 6, 7]).0, [4, 5, 3, 6, 2, 3, 2]);
}

/// The features and values of all rows of one field.
fn of_rows(text: &str) -> (Vec<u32>, Vec<f32>) {
    let entries = labelled(text).batch(&[0, 1, 2, 3, 4, 5, 6, 7], false).entries;
    (entries.columns().to_vec(), entries.values().to_vec())
}

#[test]
fn features_of_rows_are_encoded_as_others_are() {
    // Training rows are 0 to 5: top thrice, none twice, side once; foot comes later.
    assert_eq!(of_rows("{ name = \"p\", from = \"row.place\" }"), (vec![2, 1, 2, 3, 2, 1, 0, 2], vec![]));
    let twice = "{ name = \"p\", from = \"row.place\", encoding = { kind = \"vocabulary\", min_count = 2 } }";
    assert_eq!(of_rows(twice).0, [2, 1, 2, 0, 2, 1, 0, 2]);
    // 0 and 4 are the ends of training rows.
    let scaled = "{ name = \"d\", from = \"row.depth\", encoding = { kind = \"scaled\" } }";
    assert_eq!(of_rows(scaled), (vec![2, 1, 2, 2, 1, 2, 2, 1], vec![1.0, 1.0, 0.0, 0.5, 1.0, 0.5, 0.25, 1.0]));
    let counts = labelled("{ name = \"p\", from = \"row.place\" }").feature_counts();
    assert_eq!(counts, [1, 2, 4, 1]);
}

#[test]
fn a_number_becomes_its_share_of_training_rows_with_square_and_root() {
    // Training rows have 4, 0, 2 and 2: half of them at 2 or less is reached between 2 and 2, so the upper end counts.
    let (features, values) = of_rows("{ name = \"d\", from = \"row.depth\", encoding = { kind = \"powers\", quantiles = 3 } }");
    assert_eq!(features, [2, 3, 4, 1, 2, 3, 4, 2, 3, 4, 1, 2, 3, 4, 2, 3, 4, 1]);
    let x = |share: f32| [share, share * share, share.sqrt()];
    let third = 2.0 / 3.0;
    let expected: Vec<f32> = [&x(1.0)[..], &[1.0], &x(0.0), &x(third), &[1.0], &x(third), &x(third / 4.0), &[1.0]].concat();
    assert!(values.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    // 1950 and 1990 twice each; 2000 lies beyond all of them.
    let years = labelled("{ name = \"y\", from = \"item.year\", encoding = { kind = \"powers\" } }").batch(&[0, 2, 6], false).entries;
    assert_eq!((years.columns(), years.starts()), (&[2, 3, 4, 1, 2, 3, 4][..], &[0, 3, 4, 7][..]));
    assert_eq!(years.values()[4..], [1.0; 3]);
}

#[test]
fn what_a_user_saw_before_is_counted_without_the_rows_own_second() {
    let mut data = data();
    data.items = vec![0, 0, 0, 0, 0, 1, 3, 1].into();
    let seen = |data: &Interactions| {
        let specs = fields("{ name = \"n\", from = \"history.impressions\" }");
        with_pasts(data, &specs, &|r| data.values.as_ref().expect("values")[r as usize] >= 4.0).expect("there are times").into_owned()
    };
    // User u has item a three times, the last two in one second; what others were shown does not count.
    assert_eq!(number(&seen(&data), "history.impressions"), [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let ages = number(&seen(&data), "history.age");
    // Seconds since a row worth 4: rows 1 and 2 since row 0, row 6 since row 5, row 7 since row 6; v liked nothing before.
    let seconds: Vec<Option<f32>> = ages.iter().map(|&age| (!age.is_nan()).then(|| (age * 86_400.0).round())).collect();
    assert_eq!(seconds, [None, Some(10.0), Some(10.0), None, None, None, Some(1.0), Some(1.0)]);
    let (features, _) = of_rows("{ name = \"a\", from = \"history.age\", encoding = { kind = \"number\" } }");
    assert_eq!(features, [1, 2, 2, 1, 1, 1, 2, 2], "a missing age is a feature of its own");
}

fn number(data: &Interactions, name: &str) -> Vec<f32> {
    match data.row_features.get(name) {
        Some(Feature::Number(values)) => values.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_value_becomes_what_the_field_says() {
    let place = |missing: &str, min_count: u32| {
        of_rows(&format!(
            "{{ name = \"p\", from = \"row.place\", missing = {missing}, encoding = {{ kind = \"vocabulary\", min_count = {min_count} }} }}"
        ))
        .0
    };
    assert_eq!(place("\"own\"", 1), [2, 1, 2, 3, 2, 1, 0, 2]);
    assert_eq!(place("\"unknown\"", 1), [2, 0, 2, 3, 2, 0, 0, 2]);
    // The empty text is the second category, and, too rare, as unknown as others.
    assert_eq!(place("\"value\"", 1), [2, 3, 2, 4, 2, 3, 0, 2]);
    assert_eq!(place("\"value\"", 3), [2, 0, 2, 0, 2, 0, 0, 2]);
    let depth = |missing: &str, kind: &str| {
        of_rows(&format!("{{ name = \"d\", from = \"row.depth\", missing = {missing}, encoding = {{ kind = \"{kind}\" }} }}"))
    };
    // Classes of training rows with 0 for nothing: 0, 1 = ⌊(ln 4)²⌋, 2.
    assert_eq!(depth("0.0", "log-squared").0, [3, 2, 2, 4, 2, 4, 3, 2]);
    assert_eq!(depth("\"unknown\"", "log-squared").0, [3, 0, 2, 4, 0, 4, 3, 0]);
    assert_eq!(depth("8", "number").1, [4.0, 8.0, 0.0, 2.0, 8.0, 2.0, 1.0, 8.0]);
    assert_eq!(depth("\"unknown\"", "number"), (vec![2, 0, 2, 2, 0, 2, 2, 0], vec![4.0, 1.0, 0.0, 2.0, 1.0, 2.0, 1.0, 1.0]));
}

#[test]
fn a_history_holds_earlier_positive_items_only() {
    let text = "{ name = \"item\", from = \"item\" }, { name = \"past\", from = \"history\", encoding = { kind = \"shared\", field = \"item\", max_len = 2 } }";
    let batch = labelled(text).batch(&[0, 1, 2, 3, 4, 5, 6, 7], true);
    let past: Vec<&[u32]> = (0..8).map(|row| batch.histories[0].row(row)).collect();
    // Rows 1 and 2 are of the same second: neither sees the other. Row 3 was disliked. Item d is unknown, which is feature 0.
    assert_eq!(past, [&[][..], &[2], &[2], &[], &[], &[], &[3], &[3, 0]]);
    // In days: row 7 is two seconds after row 5 and one after row 6.
    let ages: Vec<i64> = batch.histories[0].row_values(7).iter().map(|age| (age * 86_400.0).round() as i64).collect();
    assert_eq!(ages, [2, 1]);
    assert_eq!(batch.entries.num_rows(), 8, "a list has no place among the other fields");
    let pooled = labelled(text).batch(&[7, 0], false);
    assert_eq!((pooled.entries.row(1), pooled.entries.row_values(1)), (&[3, 0][..], &[0.5, 0.5][..]));
    assert!(pooled.entries.row(3).is_empty() && pooled.histories.is_empty());
}

#[test]
fn no_held_out_row_moves_an_encoder() {
    let text = "{ name = \"item\", from = \"item\" }, { name = \"t\", from = \"time\", encoding = { kind = \"standardised\" } }";
    let mut changed = data();
    changed.items = vec![0, 1, 2, 0, 2, 1, 2, 2].into();
    changed.times = Some(vec![10, 20, 20, 5, 30, 1, 700, 900].into());
    let rows = Rows::Range(0..6);
    let specs = fields(text);
    assert_eq!(Encoders::fit(&specs, &data(), &rows).expect("fits"), Encoders::fit(&specs, &changed, &rows).expect("fits"));
}

#[test]
fn encoders_are_written_and_read() {
    let text = "{ name = \"item\", from = \"item\" }, { name = \"y\", from = \"item.year\", encoding = { kind = \"scaled\" } }, { name = \"g\", from = \"user.gender\", encoding = { kind = \"hashed\", buckets = 7 } }";
    let encoders = fit(text).expect("fits");
    let written = encoders.to_json().expect("plain data");
    assert_eq!(Encoders::from_json(&written).expect("reads"), encoders);
    let error = Encoders::from_json(&written.replace("\"version\":1", "\"version\":9")).expect_err("of another version");
    assert!(error.to_string().contains("version 9"), "{error}");
    let error = Encoders::from_json("{}").expect_err("no encoders");
    assert_eq!(Kind::exit_code_of(&error), Kind::Data.exit_code());
}

#[test]
fn what_does_not_fit_is_refused_with_the_field_named() {
    for (text, says) in [
        ("{ name = \"a\", from = \"item.genre\" }", "did you mean `genres`"),
        ("{ name = \"a\", from = \"item.year\" }", "`a` is a number"),
        ("{ name = \"a\", from = \"item\", encoding = { kind = \"scaled\" } }", "`a` is a category"),
        ("{ name = \"a\", from = \"item\" }, { name = \"a\", from = \"user\" }", "two fields are called `a`"),
        ("{ name = \"a\", from = \"history\" }", "belong together"),
        ("{ name = \"a\", from = \"history\", encoding = { kind = \"shared\", field = \"item\" } }", "no earlier field"),
        ("{ name = \"a\", from = \"item.year\", encoding = { kind = \"bounds\", bounds = [3, 2] } }", "`bounds` of the field `a`"),
        ("{ name = \"a\", from = \"item\", encoding = { kind = \"hashed\", buckets = 0 } }", "`buckets` of the field `a` is 0"),
        ("{ name = \"a\", from = \"row.places\" }", "rows have no feature called `places` (did you mean `place`?)"),
        ("{ name = \"a\", from = \"row.place\", missing = 0.0 }", "`own`, `unknown` or `value`, not a number"),
        ("{ name = \"a\", from = \"row.depth\", missing = \"value\", encoding = { kind = \"number\" } }", "is for categories"),
        ("{ name = \"a\", from = \"row.depth\", missing = nan, encoding = { kind = \"number\" } }", "must be a finite number"),
    ] {
        let error = fit(text).expect_err(text);
        assert_eq!(Kind::exit_code_of(&error), Kind::Usage.exit_code(), "{text}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let timeless = Interactions { times: None, ..data() };
    let error =
        Encoders::fit(&fields("{ name = \"t\", from = \"time\", encoding = { kind = \"scaled\" } }"), &timeless, &Rows::Range(0..1));
    assert!(error.expect_err("no times").to_string().contains("needs times"));
    assert!("items".parse::<Source>().is_err());
}

#[test]
fn a_vocabulary_of_another_order_gives_the_same_features() {
    let encoder = Encoder::Vocabulary { texts: vec!["x".into(), "y".into()] };
    let vocabulary: Vocabulary = ["y", "", "z", "x"].into_iter().collect();
    assert_eq!(encoder.texts(vocabulary.iter(), Missing::Own), [3, 1, 0, 2]);
}
