//! The protocol: all that makes two numbers comparable, as one canonical, versioned, hashed object.

use anyhow::Result;
use rec_data::dataset::{Dataset, Folders};
use rec_data::fields::FieldSpec;
use rec_data::filter::{self, Filter, Funnel};
use rec_data::questions::Questions;
use rec_data::split::{Nested, SplitSpec, split};
use rec_data::view::{Asking, Candidates, Mask, Views, views};
use rec_data::{Interactions, require};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::eval::Metric;

/// The version of the rules that a protocol's fields are read by. Raised when a metric, a split or a filter changes its meaning.
pub const VERSION: u32 = 1;

/// All that makes two numbers comparable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The rules by which the fields are read.
    #[serde(default = "version")]
    pub version: u32,
    /// Catalogue id, or `file:` and a name.
    pub dataset: String,
    /// sha256 of the data's sources; filled in when the data is opened.
    #[serde(default)]
    pub content_hash: String,
    /// Filters, in order. Afterwards users and items without rows are dropped: an item without any row is no candidate.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// How rows are divided. Order of equal times: the order of the source.
    pub split: SplitSpec,
    /// What is asked about held-out rows. The default, one question a user, is left out of the canonical form.
    #[serde(default, skip_serializing_if = "Questions::is_default")]
    pub questions: Questions,
    /// One run each; a split without draws has one seed.
    #[serde(default = "one_seed")]
    pub split_seeds: Vec<u64>,
    /// Held-out rows with a smaller value are not relevant.
    #[serde(default)]
    pub relevant_at_least: Option<f32>,
    /// What is not recommended.
    #[serde(default)]
    pub mask: Mask,
    /// What is ranked.
    #[serde(default)]
    pub candidates: Candidates,
    /// Whether held-out rows of users or items without a training row are dropped.
    #[serde(default)]
    pub drop_cold: bool,
    /// What rows show models that predict their labels; a row's label is whether it is relevant. None are left out of the canonical form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldSpec>,
    /// What is measured; definitions are those of [`crate::eval::MetricKind`].
    pub metrics: Vec<Metric>,
    /// Of equal scores, relevant items come last.
    #[serde(default)]
    pub ties: Ties,
}

/// How equal scores are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// Irrelevant before relevant, then by item number.
    #[default]
    Pessimistic,
}

fn version() -> u32 {
    VERSION
}

fn one_seed() -> Vec<u64> {
    vec![1]
}

/// What picks the epoch. Not part of the hash: it stands beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Who judges.
    pub by: JudgedBy,
    /// A validation part carved out of train, where the split has none.
    pub nested: Option<Nested>,
    /// What validation ranks, where not what the protocol does; nothing said, published lists of the test rows become all items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// Whether the model is trained again, for the picked number of epochs, on train and valid together.
    pub retrain: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { by: JudgedBy::Valid, nested: None, candidates: None, retrain: false }
    }
}

/// Who judges the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JudgedBy {
    /// The validation part.
    Valid,
    /// The test part, as some published tables did. Marked as such wherever the number is shown.
    Test,
    /// Nobody: the last epoch counts.
    Last,
}

/// The data of one run, ready.
pub struct Prepared {
    /// What models and evaluator see.
    pub views: Views,
    /// Rows after filters, whole: for writing a split out.
    pub interactions: Interactions,
    /// The division of those rows.
    pub split: rec_data::split::Split,
    /// Rows left after each filter.
    pub funnel: Funnel,
}

impl Protocol {
    /// The same protocol with the data's hash filled in.
    ///
    /// # Errors
    /// a data problem where a hash is written down already and the data has another.
    pub fn of(&self, dataset: &Dataset) -> Result<Self> {
        require!(
            self.content_hash.is_empty() || self.content_hash == dataset.content_hash,
            Data,
            "the protocol is for `{}` with the content hash {}, this data has {}: they are not the same data",
            self.dataset,
            self.content_hash,
            dataset.content_hash
        );
        Ok(Self { content_hash: dataset.content_hash.clone(), ..self.clone() })
    }

    /// sha256 of the canonical form (JSON, keys sorted, no spaces), in hexadecimal.
    pub fn hash(&self) -> String {
        let value = serde_json::to_value(self).expect("a protocol is plain data");
        Sha256::digest(canonical(&value).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Filters, splits and makes the views of split number `index`.
    ///
    /// # Errors
    /// a usage problem where the data has not what the protocol needs.
    pub fn prepare(&self, dataset: &Dataset, index: usize, selection: &Selection) -> Result<Prepared> {
        require!(self.version == VERSION, Usage, "the protocol has version {}, this program knows {VERSION}", self.version);
        let Some(&seed) = self.split_seeds.get(index) else {
            rec_data::fail!(Usage, "split number {index} was asked for, the protocol has {} split seeds", self.split_seeds.len())
        };
        let (interactions, funnel) = filter::apply(&dataset.interactions, &self.filters)?;
        let whole_users = selection.nested.as_ref().is_some_and(Nested::takes_users);
        require!(
            selection.nested.is_none() || whole_users == (self.questions == Questions::EachNext),
            Usage,
            "nested validation of whole users (`users`, `last-users`) belongs to `questions = \"each-next\"`, and no other does: nothing else is known of a user held out whole"
        );
        let split = split(&interactions, &self.split, selection.nested.as_ref(), seed)?;
        let asking = Asking {
            questions: self.questions,
            relevant_at_least: self.relevant_at_least,
            mask: self.mask,
            candidates: self.candidates.clone(),
            valid_candidates: selection.candidates.clone(),
            drop_cold: self.drop_cold,
            fields: self.fields.clone(),
            labels_only: !self.fields.is_empty() && self.metrics.iter().all(Metric::is_of_labels),
            // Without a place for them, large encodings are made in memory.
            keep_in: Folders::from_env().ok().map(|folders| folders.parsed()),
        };
        let lists = dataset.candidates.as_ref().map(|lists| lists.renumbered(&dataset.interactions, &interactions));
        let views = views(&interactions, lists.as_ref(), &split, &asking, seed)?;
        Ok(Prepared { views, interactions, split, funnel })
    }

    /// The first key at which two protocols differ, with both values; `None` where they are the same.
    pub fn first_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let value = |p: &Self| serde_json::to_value(p).expect("a protocol is plain data");
        difference("", &value(self), &value(other))
    }
}

/// JSON with sorted keys and without spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys.iter().map(|k| format!("{}:{}", Value::from(k.as_str()), canonical(&map[*k]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    if a == b {
        return None;
    }
    if let (Value::Object(left), Value::Object(right)) = (a, b) {
        let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let found = difference(&path, left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null));
            if found.is_some() {
                return found;
            }
        }
    }
    Some((path.to_owned(), canonical(a), canonical(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(text: &str) -> Protocol {
        toml::from_str(text).expect("a fine protocol")
    }

    const BASE: &str = "dataset = \"ml-100k\"\nmetrics = [\"ndcg@10\", \"recall@10\"]\n[split]\nkind = \"random\"\nby = \"user\"\nratios = [0.8, 0.1, 0.1]\n";

    #[test]
    fn the_hash_sees_every_value_and_no_order_of_keys() {
        let a = protocol(BASE);
        let b = protocol(
            "metrics = [\"ndcg@10\", \"recall@10\"]\ndataset = \"ml-100k\"\n[split]\nratios = [0.8, 0.1, 0.1]\nby = \"user\"\nkind = \"random\"\n",
        );
        assert_eq!(a.hash(), b.hash());
        for (from, to) in [
            ("0.8, 0.1, 0.1", "0.7, 0.2, 0.1"),
            ("by = \"user\"", "by = \"all\""),
            ("ml-100k", "ml-1m"),
            ("\"ndcg@10\", \"recall@10\"", "\"recall@10\", \"ndcg@10\""),
        ] {
            assert_ne!(a.hash(), protocol(&BASE.replace(from, to)).hash(), "{to}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let other = protocol(&BASE.replace("0.8, 0.1, 0.1", "0.7, 0.2, 0.1"));
        assert_eq!(protocol(BASE).first_difference(&other), Some(("split.ratios".into(), "[0.8,0.1,0.1]".into(), "[0.7,0.2,0.1]".into())));
        assert_eq!(protocol(BASE).first_difference(&protocol(BASE)), None);
    }

    #[test]
    fn the_default_questions_change_no_published_hash() {
        // results/ml-1m-sasrec/cells.json, written before there was the key.
        let text = "dataset = \"sasrec-ml-1m\"\ncontent_hash = \"9738b8c127185ebf878ab56432312c6069757cabdfbcad9654c4ac86b3e8ace7\"\nmetrics = [\"hit@10\", \"ndcg@10\"]\n[split]\nkind = \"leave-last\"\ntest = 1\nvalid = 1\n";
        let published = "5cbd981d54f8d2e30db5528992dbb3ddb9a8eeced029b40f5bcf6a7d744a35e3";
        assert_eq!(protocol(text).hash(), published);
        assert_eq!(protocol(&text.replace("metrics", "questions = \"held-out-rows\"\nmetrics")).hash(), published);
        assert_ne!(protocol(&text.replace("metrics", "questions = \"each-next\"\nmetrics")).hash(), published);
    }

    #[test]
    fn whole_validation_users_belong_to_questions_about_each_next_row() {
        // Six sessions of three rows, the last two of them the test part.
        let users: Vec<u32> = (0..18).map(|row| row / 3).collect();
        let interactions = Interactions {
            items: (0..18).map(|row| row % 4).collect::<Vec<u32>>().into(),
            parts: Some(users.iter().map(|&user| if user < 4 { 0 } else { 2 }).collect::<Vec<u8>>().into()),
            users: users.into(),
            user_ids: rec_data::Vocabulary::numbers(6),
            item_ids: rec_data::Vocabulary::numbers(4),
            ..Interactions::default()
        };
        let data = Dataset { id: "file:s".into(), version: String::new(), content_hash: String::new(), interactions, candidates: None };
        let each_next =
            protocol("dataset = \"file:s\"\nquestions = \"each-next\"\nmetrics = [\"mrr@20\"]\n[split]\nkind = \"published\"\n");
        let at_once = Protocol { questions: Questions::HeldOutRows, ..each_next.clone() };
        let select = |text: &str| Selection { nested: Some(toml::from_str(text).expect("a nested validation")), ..Selection::default() };
        let (whole, rows) = (select("kind = \"last-users\"\nvalid = 0.5"), select("kind = \"leave-last\"\nvalid = 1"));
        let views = each_next.prepare(&data, 0, &whole).expect("belongs").views;
        assert_eq!(views.valid.expect("nested").users(), [2, 2, 3, 3]);
        assert_eq!((views.test.users(), views.test.histories().row(3)), (&[4, 4, 5, 5][..], &[3, 0][..]));
        for (protocol, selection) in [(&each_next, &rows), (&at_once, &whole)] {
            let error = protocol.prepare(&data, 0, selection).err().expect("does not belong");
            assert!(error.to_string().contains("`last-users`"), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Protocol>(&BASE.replace("metrics", "seed = 3\nmetrics")).is_err());
    }
}
