//! Generated clicks: rows of Criteo's schema whose true probabilities are known. Nothing of them is measured data.
//!
//! Thirteen numbers and 26 categories with about the missing shares and spreads of the first 10,000 rows of Criteo's Kaggle data; a category
//! field has as many categories as there (as DLRM's authors count them), of which the k-th is drawn about in proportion to 1/k. A label is drawn
//! with the probability σ(logit), and the logit is planted: what a linear model can say, and one kind of interaction that it cannot. So the
//! AUC of the true logits, which no model passes but by chance, is known ([`Clicks::bayes_auc`]).
//!
//! Row r is drawn by (seed, r) alone: any range of rows can be made on any thread, and a data set with more rows begins with those of one
//! with fewer.

use std::fmt::Write as _;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::column::ColumnWriter;
use crate::fields::{Encoding, FieldSpec, Missing, Source};
use crate::readers::rows::{Block, Columns, Config};
use crate::rng::{Rng, Stream};
use crate::{Interactions, Part, problem, require};

/// Numbers of a row.
pub const NUMBERS: usize = 13;
/// Categories of a row.
pub const CATEGORIES: usize = 26;

/// The share of rows without a number, and mean and standard deviation of ln(1 + x), by number.
const COUNTS: [(f64, f64, f64); NUMBERS] = [
    (0.45, 0.80, 0.98),
    (0.0, 2.12, 2.13),
    (0.20, 2.25, 1.28),
    (0.20, 1.73, 0.96),
    (0.05, 7.24, 2.90),
    (0.25, 3.58, 1.81),
    (0.05, 1.54, 1.36),
    (0.0, 2.06, 1.18),
    (0.05, 3.61, 1.69),
    (0.45, 0.38, 0.39),
    (0.05, 0.85, 0.74),
    (0.77, 0.30, 0.61),
    (0.20, 1.88, 1.06),
];

/// How many categories a field has, and the share of rows without one.
const FIELDS: [(u32, f64); CATEGORIES] = [
    (1_460, 0.0),
    (583, 0.0),
    (10_131_227, 0.04),
    (2_202_608, 0.04),
    (305, 0.0),
    (24, 0.13),
    (12_517, 0.0),
    (633, 0.0),
    (3, 0.0),
    (93_145, 0.0),
    (5_683, 0.0),
    (8_351_593, 0.04),
    (3_194, 0.0),
    (27, 0.0),
    (14_992, 0.0),
    (5_461_306, 0.04),
    (10, 0.0),
    (5_652, 0.0),
    (2_173, 0.45),
    (4, 0.45),
    (7_046_547, 0.04),
    (18, 0.82),
    (15, 0.0),
    (286_181, 0.04),
    (105, 0.45),
    (142_572, 0.45),
];

/// The category fields that interact: C1, C2, C5, C6, C8, C14, C17 and C23, whose categories are few enough to be learned.
const INTERACTING: [usize; 8] = [0, 1, 4, 5, 7, 13, 16, 22];
/// Length of the planted vectors.
const SIZE: usize = 4;
/// The logit of a row of which nothing is known: a quarter to a third are clicks, as the seed has it.
const BIAS: f64 = -1.3;

/// What the logit is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truth {
    /// A weight for each value of each field.
    Linear,
    /// Smaller weights, and for each pair of interacting fields the product of two vectors, one for each category: a factorisation machine.
    Shared,
    /// Smaller weights, and for each pair the product of vectors that a category has for the other field: a field-aware factorisation machine.
    ByField,
    /// Smaller weights, and for each triple of neighbours among the interacting fields the sum of the products of three vectors.
    ThirdOrder,
}

/// A generated data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clicks {
    /// What the logit is made of.
    pub truth: Truth,
    /// The number of rows. The last tenth is the test part, the tenth before it validates.
    pub rows: u32,
    /// The seed of the truth and of the rows.
    pub seed: u64,
    /// The most categories that a field has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_categories: Option<u32>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Click {
    /// Whether it was clicked.
    pub label: bool,
    /// The true log-odds of a click.
    pub logit: f64,
    /// I1 to I13.
    pub numbers: [Option<u32>; NUMBERS],
    /// C1 to C26, as ranks from 0; in files they are written as eight hexadecimal digits ([`category_text`]).
    pub categories: [Option<u32>; CATEGORIES],
}

const PREFIX: &str = "generated-clicks-";
const TRUTHS: [(&str, Truth); 4] =
    [("linear", Truth::Linear), ("shared", Truth::Shared), ("by-field", Truth::ByField), ("third-order", Truth::ThirdOrder)];

impl Clicks {
    /// The data set called `generated-clicks-TRUTH-ROWS`, or with `-SEED` after it (else 1); `None` where `id` is another name.
    ///
    /// # Errors
    /// a usage problem where the name begins like one and goes on differently.
    pub fn of_id(id: &str) -> Result<Option<Self>> {
        let Some(rest) = id.strip_prefix(PREFIX) else { return Ok(None) };
        let parsed = TRUTHS.iter().find_map(|&(name, truth)| {
            let rest = rest.strip_prefix(name)?.strip_prefix('-')?;
            let (rows, seed) = rest.split_once('-').unwrap_or((rest, "1"));
            let rows = rows.parse().ok().filter(|rows| (10..u32::MAX).contains(rows))?;
            Some(Self { truth, rows, seed: seed.parse().ok()?, most_categories: None })
        });
        parsed.map(Some).ok_or_else(|| {
            problem!(
                Usage,
                "`{id}` is no generated data set: they are called {PREFIX}TRUTH-ROWS or {PREFIX}TRUTH-ROWS-SEED, with one of {} and at least 10 rows",
                TRUTHS.map(|(name, _)| name).join(", ")
            )
        })
    }

    /// Its name.
    pub fn id(&self) -> String {
        let name = TRUTHS.iter().find(|(_, truth)| *truth == self.truth).expect("every truth has a name").0;
        let seed = if self.seed == 1 { String::new() } else { format!("-{}", self.seed) };
        format!("{PREFIX}{name}-{}{seed}", self.rows)
    }

    /// Row `row`.
    pub fn row(&self, row: u32) -> Click {
        let mut rng = Rng::keyed(self.seed, Stream::Generated, 0, u64::from(row));
        let numbers = COUNTS.map(|(missing, mean, deviation)| {
            let (is_missing, normal) = (rng.unit() < missing, rng.normal());
            (!is_missing).then(|| ((mean + deviation * normal).exp() - 1.0).clamp(0.0, 1e9) as u32)
        });
        let categories = FIELDS.map(|(most, missing)| {
            let most = self.most_categories.map_or(most, |limit| most.min(limit));
            let (is_missing, unit) = (rng.unit() < missing, rng.unit());
            // ln k is about even between 0 and ln (most + 1): P(k) is proportional to ln (1 + 1/k).
            (!is_missing).then(|| ((unit * f64::from(most + 1).ln()).exp() as u32).clamp(1, most) - 1)
        });
        let logit = self.logit(&numbers, &categories);
        let label = rng.unit() < 1.0 / (1.0 + (-logit).exp());
        Click { label, logit, numbers, categories }
    }

    fn logit(&self, numbers: &[Option<u32>; NUMBERS], categories: &[Option<u32>; CATEGORIES]) -> f64 {
        // A missing value weighs as one of its own does; numbers weigh by the power of two below them.
        let of_number = numbers.iter().map(|x| x.map_or(0, |x| 1 + (x + 1).ilog2()));
        let of_category = categories.iter().map(|c| c.map_or(0, |c| 1 + c));
        let values: Vec<u32> = of_number.chain(of_category).collect();
        let linear: f64 = values.iter().enumerate().map(|(field, &value)| self.planted(field, value, 0)).sum();
        let vector = |field: usize, of: usize| -> [f64; SIZE] {
            let value = values[NUMBERS + INTERACTING[field]];
            std::array::from_fn(|k| self.planted(NUMBERS + INTERACTING[field], value, 1 + of * SIZE + k))
        };
        let product = |a: [f64; SIZE], b: [f64; SIZE]| (0..SIZE).map(|k| a[k] * b[k]).sum::<f64>();
        let n = INTERACTING.len();
        let pairs = || (0..n).flat_map(|f| (f + 1..n).map(move |g| (f, g)));
        // Weights and entries have variance 1: each part is brought to the standard deviation that stands before it.
        let (own, shared, parts) = match self.truth {
            Truth::Linear => (1.2, 0.0, 1),
            Truth::Shared => {
                let vectors: Vec<_> = (0..n).map(|field| vector(field, 0)).collect();
                (0.6, pairs().map(|(f, g)| product(vectors[f], vectors[g])).sum(), n * (n - 1) / 2)
            }
            Truth::ByField => (0.6, pairs().map(|(f, g)| product(vector(f, g), vector(g, f))).sum(), n * (n - 1) / 2),
            Truth::ThirdOrder => {
                let vectors: Vec<_> = (0..n).map(|field| vector(field, 0)).collect();
                let triple = |f: usize| {
                    let (a, b, c) = (vectors[f], vectors[(f + 1) % n], vectors[(f + 2) % n]);
                    (0..SIZE).map(|k| a[k] * b[k] * c[k]).sum::<f64>()
                };
                (0.6, (0..n).map(triple).sum(), n)
            }
        };
        BIAS + own * linear / ((NUMBERS + CATEGORIES) as f64).sqrt() + 1.2 * shared / ((parts * SIZE) as f64).sqrt()
    }

    /// Component `at` of what is planted for a value of a field: even between −√3 and √3, so that its variance is 1.
    fn planted(&self, field: usize, value: u32, at: usize) -> f64 {
        let mut rng = Rng::keyed(self.seed, Stream::Generated, 1 + at as u64, (field as u64) << 32 | u64::from(value));
        3f64.sqrt() * (2.0 * rng.unit() - 1.0)
    }

    /// Fields whose features are what the logit is made of: of a number the power of two below it, of a category what at least
    /// `min_count` training rows have.
    pub fn fields(min_count: u32) -> Vec<FieldSpec> {
        let bounds: Vec<f64> = (1..30).map(|power| f64::from((1u32 << power) - 1)).collect();
        let field = |name: String, encoding: &Encoding| FieldSpec {
            from: Source::OfRow(name.clone()),
            name,
            encoding: encoding.clone(),
            missing: Missing::Own,
        };
        let (number, category) = (Encoding::Bounds { bounds }, Encoding::Vocabulary { min_count });
        let numbers = (1..=NUMBERS).map(|n| field(format!("I{n}"), &number));
        numbers.chain((1..=CATEGORIES).map(|n| field(format!("C{n}"), &category))).collect()
    }

    /// The part that a row belongs to.
    pub fn part(&self, row: u32) -> Part {
        let tenth = self.rows / 10;
        if row >= self.rows - tenth {
            Part::Test
        } else if row >= self.rows - 2 * tenth {
            Part::Valid
        } else {
            Part::Train
        }
    }

    /// The area under the ROC curve that the true logits of `rows` have for their labels; NaN where all labels are equal.
    pub fn bayes_auc(&self, rows: Range<u32>) -> f64 {
        let mut scored: Vec<(f64, bool)> = rows
            .into_par_iter()
            .map(|row| {
                let click = self.row(row);
                (click.logit, click.label)
            })
            .collect();
        scored.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (mut wins, mut negatives) = (0.0, 0.0);
        for equal in scored.chunk_by(|a, b| a.0 == b.0) {
            let clicks = equal.iter().filter(|(_, label)| *label).count() as f64;
            let others = equal.len() as f64 - clicks;
            wins += clicks * (negatives + others / 2.0);
            negatives += others;
        }
        wins / ((scored.len() as f64 - negatives) * negatives)
    }

    /// The rows as a data set; what is larger than memory goes to files without names in `folder`.
    ///
    /// # Errors
    /// an I/O error where a column cannot be kept; a usage problem where there are fewer than ten rows.
    pub fn read(&self, folder: &Path) -> Result<Interactions> {
        require!(self.rows >= 10, Usage, "{} generated rows are too few: there must be ten", self.rows);
        let mut columns = Columns::new(&Self::config(), folder);
        self.pieces(|pieces| {
            let blocks: Vec<Block> = pieces.par_iter().map(|rows| self.block(rows.clone(), columns.block())).collect();
            columns.add(&blocks)
        })?;
        let data = columns.finish()?;
        let mut parts = ColumnWriter::new(Some(folder));
        self.pieces(|pieces| {
            let parts_of = |rows: &Range<u32>| rows.clone().map(|row| self.part(row) as u8).collect::<Vec<_>>();
            pieces.iter().try_for_each(|rows| parts.extend(&parts_of(rows)))
        })?;
        Ok(Interactions { parts: Some(parts.finish()?), ..data })
    }

    /// The rows as Criteo's files are written: no header, label, numbers and categories between tabs, nothing where one is missing.
    ///
    /// # Errors
    /// an I/O error.
    pub fn write_tsv(&self, mut to: impl Write) -> Result<()> {
        self.pieces(|pieces| {
            let texts: Vec<String> = pieces.par_iter().map(|rows| self.text(rows.clone())).collect();
            texts.iter().try_for_each(|text| to.write_all(text.as_bytes())).context("cannot write generated rows")
        })
    }

    /// How a file of [`write_tsv`](Self::write_tsv) is read.
    pub fn config() -> Config {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Config {
            delimiter: Some('\t'),
            names: names(&["label", "I1..I13", "C1..C26"]),
            label: "label".into(),
            numbers: names(&["I1..I13"]),
            tokens: names(&["C1..C26"]),
            ..Config::default()
        }
    }

    /// All rows in order, some ranges at a time.
    fn pieces(&self, mut take: impl FnMut(&[Range<u32>]) -> Result<()>) -> Result<()> {
        const PIECE: usize = 4096;
        let starts: Vec<u32> = (0..self.rows).step_by(PIECE).collect();
        starts.chunks(4 * rayon::current_num_threads()).try_for_each(|starts| {
            let ranges: Vec<_> = starts.iter().map(|&start| start..self.rows.min(start.saturating_add(PIECE as u32))).collect();
            take(&ranges)
        })
    }

    fn block(&self, rows: Range<u32>, mut block: Block) -> Block {
        for row in rows {
            let click = self.row(row);
            block.labels.push(f32::from(u8::from(click.label)));
            click.numbers.iter().zip(&mut block.numbers).for_each(|(x, column)| column.push(x.map_or(f32::NAN, |x| x as f32)));
            for (field, category) in click.categories.iter().enumerate() {
                let text = category.map(|category| category_text(field, category));
                let key = block.key(text.as_ref().map_or(&[][..], |text| &text[..]));
                block.tokens[field].push(key);
            }
            block.rows += 1;
        }
        block
    }

    fn text(&self, rows: Range<u32>) -> String {
        let mut text = String::with_capacity(256 * rows.len());
        for row in rows {
            let click = self.row(row);
            text.push(if click.label { '1' } else { '0' });
            for number in click.numbers {
                text.push('\t');
                if let Some(number) = number {
                    write!(text, "{number}").expect("a String takes any text");
                }
            }
            for (field, category) in click.categories.iter().enumerate() {
                text.push('\t');
                text.extend(category.iter().flat_map(|&category| category_text(field, category)).map(char::from));
            }
            text.push('\n');
        }
        text
    }
}

/// A category as it is written: eight hexadecimal digits, other ones for every category of a field.
pub fn category_text(field: usize, category: u32) -> [u8; 8] {
    // The finaliser of MurmurHash3, a bijection on 32 bits (Appleby).
    let mut bits = category ^ (field as u32 + 1).wrapping_mul(0x9e37_79b9);
    bits = (bits ^ bits >> 16).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ bits >> 13).wrapping_mul(0xc2b2_ae35);
    bits ^= bits >> 16;
    std::array::from_fn(|at| b"0123456789abcdef"[(bits >> (28 - 4 * at) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readers::rows;

    fn clicks(truth: Truth, rows: u32) -> Clicks {
        Clicks { truth, rows, seed: 3, most_categories: None }
    }

    #[test]
    fn a_name_says_truth_rows_and_seed() {
        for (id, truth, rows, seed) in
            [("generated-clicks-linear-1000000", Truth::Linear, 1_000_000, 1), ("generated-clicks-by-field-50-7", Truth::ByField, 50, 7)]
        {
            let made = Clicks::of_id(id).expect("a name").expect("generated");
            assert_eq!(made, Clicks { truth, rows, seed, most_categories: None });
            assert_eq!(made.id(), id);
        }
        assert_eq!(Clicks::of_id("criteo-10k").expect("another name"), None);
        for wrong in ["generated-clicks-linear", "generated-clicks-linear-9", "generated-clicks-fm-100", "generated-clicks-shared-100-x"] {
            assert!(Clicks::of_id(wrong).expect_err(wrong).to_string().contains("third-order"));
        }
    }

    #[test]
    fn the_same_rows_come_from_memory_and_from_text_on_any_number_of_threads() {
        let folder = tempfile::tempdir().expect("temp");
        let made = clicks(Truth::Shared, 30_000);
        let direct = made.read(folder.path()).expect("made");
        let path = folder.path().join("generated.tsv");
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        one.install(|| made.write_tsv(std::fs::File::create(&path).expect("file"))).expect("written");
        let read = rows::read(&[(path, None)], &Clicks::config(), folder.path()).expect("valid").interactions;
        assert_eq!((direct.len(), direct.values.as_deref()), (30_000, read.values.as_deref()));
        for ((name, a), (_, b)) in direct.row_features.columns.iter().zip(&read.row_features.columns) {
            assert!((0..30_000).all(|row| a.text(row) == b.text(row)), "{name}");
        }
        assert_eq!(clicks(Truth::Shared, 100).row(77), made.row(77), "more rows begin with the same ones");
        let parts = direct.parts.expect("there are parts");
        assert_eq!([0u8, 1, 2].map(|part| parts.iter().filter(|&&p| p == part).count()), [24_000, 3_000, 3_000]);
    }

    #[test]
    fn shares_and_spreads_are_about_criteos() {
        let rows: Vec<Click> = (0..20_000).map(|row| clicks(Truth::Linear, 20_000).row(row)).collect();
        let share = |of: &dyn Fn(&Click) -> bool| rows.iter().filter(|&row| of(row)).count() as f64 / rows.len() as f64;
        let clicked = share(&|row| row.label);
        // Common categories' weights are the same for most rows, and move the share from seed to seed.
        assert!((0.15..0.4).contains(&clicked), "{clicked}");
        assert!((share(&|row| row.numbers[0].is_none()) - 0.45).abs() < 0.02);
        assert!((share(&|row| row.categories[21].is_none()) - 0.82).abs() < 0.02);
        // A long tail: of ten million categories the first has ln 2 / ln 10^7 of the rows, and thousands come once.
        assert!((share(&|row| row.categories[2] == Some(0)) / 0.96 - 2f64.ln() / 10_131_228f64.ln()).abs() < 0.01);
        let mut seen: Vec<u32> = rows.iter().filter_map(|row| row.categories[2]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 8_000, "{}", seen.len());
    }

    /// The AUC that scores have for the labels of `rows`, by comparing all pairs.
    fn auc_of_pairs(rows: &[Click], score: impl Fn(&Click) -> f64) -> f64 {
        let of = |label: bool| rows.iter().filter(|row| row.label == label).map(&score).collect::<Vec<f64>>();
        let (clicks, others) = (of(true), of(false));
        let won = |a: f64, b: f64| f64::from(u8::from(a > b)) + 0.5 * f64::from(u8::from(a == b));
        let wins: f64 = clicks.iter().flat_map(|&a| others.iter().map(move |&b| won(a, b))).sum();
        wins / (clicks.len() * others.len()) as f64
    }

    #[test]
    fn the_bayes_auc_is_that_of_all_pairs_and_each_truth_says_more_than_its_weights_do() {
        for (_, truth) in TRUTHS {
            let made = clicks(truth, 3_000);
            let rows: Vec<Click> = (0..3_000).map(|row| made.row(row)).collect();
            let bayes = made.bayes_auc(0..3_000);
            assert!((bayes - auc_of_pairs(&rows, |row| row.logit)).abs() < 1e-12);
            assert!((0.7..0.92).contains(&bayes), "{truth:?} {bayes}");
            // The weights alone, as in the linear truth of the same seed.
            let weights = auc_of_pairs(&rows, |row| clicks(Truth::Linear, 3_000).logit(&row.numbers, &row.categories));
            assert_eq!(weights > bayes - 0.03, truth == Truth::Linear, "{truth:?} {weights} of {bayes}");
        }
    }
}
