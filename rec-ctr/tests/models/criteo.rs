//! FFM by one AdaGrad update a row on the first 10,000 rows of Criteo's data, against plain loops over f64 as libffm has them. Needs
//! `REC_DATA_DIR`, or the rows in the cache.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rec_core::events::{Event, Events, Sink};
use rec_core::rec_data::Kind;
use rec_core::rec_data::dataset::{Folders, open};
use rec_core::rec_data::fields::{FieldSpec, LabelledRows};
use rec_core::rec_data::rng::{Rng, Stream};
use rec_core::rec_data::split::{By, SplitSpec, split};
use rec_core::rec_data::view::{Asking, Views, views};
use rec_core::train::{FitTrainer, Interrupt, Pause, Trainer};
use rec_ctr::FfmSgd;
use rec_ctr::ffm_sgd::FfmSgdConfig;
use serde_json::json;

const SEED: u64 = 7;

/// Four fifths of the rows to learn from, encoded by BARS's rules; `None`, with a word, where they are not there.
fn rows() -> Option<Views> {
    let cache =
        std::env::var_os("REC_CACHE_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rec-cache"), PathBuf::from);
    let data = match open("criteo-10k", &Folders { data: std::env::var_os("REC_DATA_DIR").map(PathBuf::from), cache }) {
        Ok(dataset) => dataset.interactions,
        Err(error) if Kind::exit_code_of(&error) == Kind::Unavailable.exit_code() => {
            eprintln!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error:#}"),
    };
    let number = |n: u32| json!({ "name": format!("I{n}"), "from": format!("row.I{n}"), "missing": 0.0, "encoding": { "kind": "log-squared", "min_count": 10 } });
    let token = |n: u32| json!({ "name": format!("C{n}"), "from": format!("row.C{n}"), "missing": "unknown", "encoding": { "kind": "vocabulary", "min_count": 10 } });
    let fields: Vec<FieldSpec> =
        (1..=13).map(number).chain((1..=26).map(token)).map(|field| serde_json::from_value(field).expect("a field")).collect();
    let split = split(&data, &SplitSpec::Random { by: By::All, ratios: [0.8, 0.0, 0.2] }, None, 1).expect("splits");
    Some(views(&data, None, &split, &Asking { fields, labels_only: true, ..Asking::default() }, 1).expect("made"))
}

/// A row: field, feature and value of each entry, and the label, 1 or −1.
type Row = (Vec<(usize, usize, f64)>, f64);

fn plain(rows: &LabelledRows) -> Vec<Row> {
    let fields = rows.encoders().fields().len();
    let one = |at: u32| {
        let batch = rows.batch(&[at], false);
        let of_field = |f: usize| -> Vec<(usize, usize, f64)> {
            let value = |entry: usize| batch.entries.row_values(f).get(entry).map_or(1.0, |&v| f64::from(v));
            batch.entries.row(f).iter().enumerate().map(|(entry, &feature)| (f, feature as usize, value(entry))).collect()
        };
        ((0..fields).flat_map(of_field).collect(), if batch.labels[0] > 0.5 { 1.0 } else { -1.0 })
    };
    (0..rows.len() as u32).map(one).collect()
}

/// (feature, the other field), (the other feature, field), the product of their values over the squared length of the row.
type Pair = ((usize, usize), (usize, usize), f64);

/// libffm's model: w and G of each feature, field and factor.
struct Reference {
    fields: usize,
    k: usize,
    eta: f64,
    lambda: f64,
    w: Vec<f64>,
    g: Vec<f64>,
}

impl Reference {
    fn at(&self, feature: usize, field: usize, d: usize) -> usize {
        (feature * self.fields + field) * self.k + d
    }

    /// Every two entries with the product of their values over the squared length of the row.
    fn pairs(row: &Row) -> Vec<Pair> {
        let r = 1.0 / row.0.iter().map(|(_, _, x)| x * x).sum::<f64>();
        let pair = |a: usize, b: usize| {
            let ((f1, j1, x1), (f2, j2, x2)) = (row.0[a], row.0[b]);
            ((j1, f2), (j2, f1), x1 * x2 * r)
        };
        (0..row.0.len()).flat_map(|a| (a + 1..row.0.len()).map(move |b| (a, b))).map(|(a, b)| pair(a, b)).collect()
    }

    fn phi(&self, row: &Row) -> f64 {
        let product = |a: (usize, usize), b: (usize, usize)| -> f64 {
            (0..self.k).map(|d| self.w[self.at(a.0, a.1, d)] * self.w[self.at(b.0, b.1, d)]).sum()
        };
        Self::pairs(row).into_iter().map(|(a, b, x)| product(a, b) * x).sum()
    }

    /// Learns from a row; its loss before that.
    fn learn(&mut self, row: &Row) -> f64 {
        let y = row.1;
        let exponential = (-y * self.phi(row)).exp();
        let kappa = -y * exponential / (1.0 + exponential);
        for (a, b, x) in Self::pairs(row) {
            for d in 0..self.k {
                let (p, q) = (self.at(a.0, a.1, d), self.at(b.0, b.1, d));
                let to_p = self.lambda * self.w[p] + kappa * self.w[q] * x;
                let to_q = self.lambda * self.w[q] + kappa * self.w[p] * x;
                self.g[p] += to_p * to_p;
                self.g[q] += to_q * to_q;
                self.w[p] -= self.eta / self.g[p].sqrt() * to_p;
                self.w[q] -= self.eta / self.g[q].sqrt() * to_q;
            }
        }
        exponential.ln_1p()
    }
}

/// The losses of the epochs.
#[derive(Clone, Default)]
struct Losses(Rc<RefCell<Vec<f64>>>);

impl Sink for Losses {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Event::Scalar { tag: "train/loss", value, .. } = event {
            self.0.borrow_mut().push(*value);
        }
        Ok(())
    }
}

#[test]
fn libffms_updates_lose_on_criteos_rows_what_plain_loops_lose() {
    let Some(views) = rows() else { return };
    let train = views.train.labelled().expect("there are fields");
    let (plain_train, plain_test) = (plain(train), plain(views.test.labelled().expect("there are fields")));
    let (fields, features) = (train.encoders().fields().len(), train.encoders().num_features());
    for (learning_rate, l2) in [(0.2, 2e-5), (0.1, 1e-3)] {
        let config = FfmSgdConfig { embedding_size: 4, learning_rate, l2, normalise: true };
        let mut trainer = FitTrainer::<FfmSgd>::new(&config, &views.train, SEED).expect("made");
        let losses = Losses::default();
        let mut events = Events::default();
        events.add(Box::new(losses.clone()));
        // Initial weights and orders are drawn as the model draws them.
        let mut w = Vec::new();
        for feature in 0..features {
            let mut rng = Rng::keyed(SEED, Stream::Init, 0, feature as u64);
            w.extend((0..fields * 4).map(|_| f64::from((rng.unit() * 0.5) as f32)));
        }
        let mut reference = Reference { fields, k: 4, eta: learning_rate, lambda: l2, g: vec![1.0; w.len()], w };
        let pause = Pause { interrupt: Interrupt::default(), after: Duration::MAX };
        for epoch in 0..4 {
            trainer.epoch(epoch, 0, &pause, &mut events).expect("learns");
            let mut order: Vec<u32> = (0..train.len() as u32).collect();
            Rng::keyed(SEED, Stream::Shuffle, epoch, 0).shuffle(&mut order);
            let expected = order.iter().map(|&at| reference.learn(&plain_train[at as usize])).sum::<f64>() / order.len() as f64;
            let found = losses.0.borrow()[epoch as usize];
            assert!((found - expected).abs() < 1e-4, "η {learning_rate}, epoch {}: {found} and {expected}", epoch + 1);
        }
        let held = views.test.labelled().expect("there are fields");
        let batch = held.batch(&(0..held.len() as u32).collect::<Vec<_>>(), false);
        let found = trainer.model().label_score().expect("predicts labels").logits(&batch).expect("logits");
        for (row, (found, expected)) in found.iter().zip(plain_test.iter().map(|row| reference.phi(row))).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 1e-3, "row {row}: {found} and {expected}");
        }
        let losses = losses.0.borrow();
        assert!(losses[3] < losses[0] && losses[3] < 0.52, "it learns: {losses:?}");
    }
}
