//! From the parts of a split to the views of it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::held_out::{keep_last, with_targets};
use super::train::Names;
use super::{Excluded, HeldOut, RatedRows, SampledCandidates, TestView, TrainView, ValidView};
use crate::candidates::CandidateLists;
use crate::csr::Csr;
use crate::fields::{Encoded, Encoders, FieldSpec, LabelledRows, with_pasts};
use crate::interactions::Interactions;
use crate::questions::{Asked, Held, Questions, rows_of_users};
use crate::split::Split;
use crate::windows::Windows;
use crate::{Column, Rows, fail, require};

/// How held-out rows become questions.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    /// What is asked about held-out rows.
    pub questions: Questions,
    /// Rows with a smaller value are not relevant (they stay rating rows).
    pub relevant_at_least: Option<f32>,
    /// Which items are not recommended.
    pub mask: Mask,
    /// Which items are ranked.
    pub candidates: Candidates,
    /// Which items validation ranks; `None`: the same, or all items where those are published lists, which belong to the test rows.
    pub valid_candidates: Option<Candidates>,
    /// Whether held-out rows of users or items without a training row are dropped.
    pub drop_cold: bool,
    /// What rows show a model that predicts their labels: whether a row is relevant. Where there is no threshold of relevance, that is
    /// whether its value is above 0.
    pub fields: Vec<FieldSpec>,
    /// Whether labels alone are asked for: then held-out rows have features and labels, and no histories, targets and ratings, which no
    /// metric of labels looks at.
    pub labels_only: bool,
    /// Where the features of millions of rows are kept, so that they are made once; without it they are made in memory.
    pub keep_in: Option<PathBuf>,
}

/// Which items are not recommended to a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// All items of the user's history.
    #[default]
    Seen,
    /// The items of the history that were relevant (value at least the threshold): the others may be recommended.
    SeenRelevant,
    /// Nothing: an item may be recommended again.
    Nothing,
}

/// Which items are ranked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Candidates {
    /// All items.
    #[default]
    All,
    /// Items with at least one training row; a relevant item without one counts as not found.
    TrainItems,
    /// The lists that the data was published with, as sets, the targets added.
    Published,
    /// Items drawn for each user.
    Sampled(SampledCandidates),
}

/// The views of one split.
#[derive(Debug)]
pub struct Views {
    /// Learned from while the epoch is picked.
    pub train: Arc<TrainView>,
    /// Picks the epoch; absent where the split has no validation part.
    pub valid: Option<ValidView>,
    /// Reported.
    pub test: TestView,
    /// Train and valid together: for a last training with the picked epoch. Train alone where whole users are held out for validation
    /// ([`Split::valid_context`] is not empty): half of a user's rows would be learned from.
    pub all_of_train: Arc<TrainView>,
}

/// Makes the views of `split`.
///
/// A validation history holds the user's rows of train and `valid_context`, a test history those of `all_of_train` and `context`. So
/// where whole users are held out, a test user's history is the user's own context and nothing else.
///
/// # Errors
/// a usage problem where the candidates or the mask need what the data has not.
pub fn views(data: &Interactions, published: Option<&CandidateLists>, split: &Split, asking: &Asking, seed: u64) -> Result<Views> {
    let names = Names::of(data);
    let labelling = Labelling::new(data, split, asking)?;
    let view = |rows: &Rows| Arc::new(TrainView::new(data, &names, rows).with_labels(labelling.as_ref().map(|l| l.of(rows))));
    let train = view(&split.train);
    let (all_rows, all_of_train) = if split.valid.is_empty() || !split.valid_context.is_empty() {
        (split.train.clone(), Arc::clone(&train))
    } else {
        let rows = split.train.with(&split.valid);
        let view = view(&rows);
        (rows, view)
    };
    let valid = if split.valid.is_empty() {
        None
    } else {
        let candidates = match (&asking.valid_candidates, &asking.candidates) {
            (Some(Candidates::Published), _) => {
                fail!(Usage, "published candidate lists belong to the test rows: let validation rank others")
            }
            (Some(own), _) => own.clone(),
            (None, Candidates::Published) => Candidates::All,
            (None, same) => same.clone(),
        };
        let asking = Asking { candidates, ..asking.clone() };
        let rows = HeldRows { learned: &split.train, history: &split.train, context: &split.valid_context, held: &split.valid };
        let held = held_out(data, None, &rows, &asking, &train, seed ^ 1)?;
        Some(ValidView(HeldOut { labelled: labelling.as_ref().map(|l| l.of(rows.held)), ..held }))
    };
    let rows = HeldRows { learned: &split.train, history: &all_rows, context: &split.context, held: &split.test };
    let held = held_out(data, published, &rows, asking, &all_of_train, seed)?;
    let test = TestView(HeldOut { labelled: labelling.as_ref().map(|l| l.of(rows.held)), ..held });
    Ok(Views { train, valid, test, all_of_train })
}

/// How rows get features and labels.
struct Labelling<'a> {
    encoded: Arc<Encoded>,
    values: &'a Column<f32>,
    threshold: Option<f32>,
    /// Whether every value is the row's label already.
    plain: bool,
}

impl<'a> Labelling<'a> {
    /// Fits the fields on the training rows; `None` where there are no fields.
    fn new(data: &'a Interactions, split: &Split, asking: &Asking) -> Result<Option<Self>> {
        if asking.fields.is_empty() {
            return Ok(None);
        }
        let Some(values) = &data.values else { fail!(Usage, "`fields` are for rows with labels, and this data has no values") };
        let threshold = asking.relevant_at_least;
        let positive = |r: u32| label(values[r as usize], threshold) > 0.0;
        let data = with_pasts(data, &asking.fields, &positive)?;
        let encoders = Encoders::fit(&asking.fields, &data, &split.train)?;
        let encoded = Arc::new(Encoded::new(encoders, &data, &positive, asking.keep_in.as_deref())?);
        let plain = values.iter().all(|&value| label(value, threshold) == value);
        Ok(Some(Self { encoded, values, threshold, plain }))
    }

    fn of(&self, rows: &Rows) -> LabelledRows {
        let values = rows.pick(self.values);
        let label = |&value: &f32| label(value, self.threshold);
        let labels = if self.plain { values.clone() } else { values.iter().map(label).collect::<Vec<_>>().into() };
        LabelledRows::new(&self.encoded, rows.clone(), labels, values)
    }
}

fn label(value: f32, threshold: Option<f32>) -> f32 {
    f32::from(u8::from(threshold.map_or(value > 0.0, |least| value >= least)))
}

/// Row numbers that a question is made of.
struct HeldRows<'a> {
    /// The train part of the split, also where the test's history holds the validation part too.
    learned: &'a Rows,
    history: &'a Rows,
    context: &'a Rows,
    held: &'a Rows,
}

fn held_out(
    data: &Interactions,
    published: Option<&CandidateLists>,
    rows: &HeldRows,
    asking: &Asking,
    train: &TrainView,
    seed: u64,
) -> Result<HeldOut> {
    if asking.labels_only {
        return Ok(HeldOut::nothing(data.num_items()));
    }
    let threshold = asking.relevant_at_least;
    require!(threshold.is_none() || data.values.is_some(), Usage, "a relevance threshold needs ratings, and this data has none");
    let value = |r: u32| data.values.as_deref().map_or(1.0, |v| v[r as usize]);
    let relevant = |r: u32| threshold.is_none_or(|t| value(r) >= t);
    let popularity = train.popularity();
    let known_item = |r: u32| popularity[data.items[r as usize] as usize] > 0;
    let known_user = |r: u32| !train.by_user().row(data.users[r as usize] as usize).is_empty();
    let each_next = asking.questions == Questions::EachNext;
    let kept = |rows: &Rows| -> Vec<u32> {
        rows.iter().filter(|&r| !asking.drop_cold || ((each_next || known_user(r)) && known_item(r))).collect()
    };
    let (held, history) = (kept(rows.held), rows.history.to_vec());
    let mut asked = if each_next {
        Held { data, history: &history, context: &kept(rows.context), asked: &held, relevant: &relevant }.each_next(train)?
    } else {
        Held { data, history: &history, context: &rows.context.to_vec(), asked: &held, relevant: &relevant }.by_user()
    };
    let in_a_row = match &asking.candidates {
        Candidates::Sampled(sampled) => sampled.sets as usize,
        _ => 1,
    };
    asked = asked.repeated(in_a_row);
    let Asked { users, histories, targets } = asked;
    let targets = keep_last(&targets);
    let masked = match asking.mask {
        Mask::Seen => masked(&histories, data.num_items(), f32::NEG_INFINITY),
        Mask::SeenRelevant => masked(&histories, data.num_items(), threshold.unwrap_or(f32::NEG_INFINITY)),
        Mask::Nothing => Csr::from_rows(data.num_items(), vec![[]; users.len()]),
    };
    let candidates = match &asking.candidates {
        // The few items without a training row are blocked instead: a list for each user would be as large as all scores.
        Candidates::All | Candidates::TrainItems => None,
        Candidates::Published => {
            let Some(lists) = published else { fail!(Usage, "this data was published without candidate lists: rank `all` items instead") };
            Some(with_targets(&targets, users.iter().map(|&u| lists.of(u))))
        }
        Candidates::Sampled(sampled) => {
            // A user's lists are drawn once, also where several questions are asked about the user.
            let mut drawn_for = users.clone();
            drawn_for.dedup();
            // Where whatever the user has in any part is excluded, a test item is no negative of the validation either.
            let all = Rows::Range(0..data.len() as u32);
            let excluded = match sampled.excluded {
                Excluded::Ever => &all,
                Excluded::Train => rows.learned,
            };
            let taken = rows_of_users(data, &drawn_for, &mut excluded.iter(), false).sorted();
            let drawn = sampled.draw(&drawn_for, &taken, &popularity, seed, data)?;
            let sets = sampled.sets as usize;
            let of = |(at, user): (usize, &u32)| drawn[drawn_for.partition_point(|u| u < user)][at % sets].as_slice();
            Some(with_targets(&targets, users.iter().enumerate().map(of)))
        }
    };
    let blocked = match asking.candidates {
        Candidates::TrainItems => (0..data.num_items() as u32).filter(|&i| popularity[i as usize] == 0).collect(),
        _ => Vec::new(),
    };
    let rated = RatedRows {
        users: held.iter().map(|&r| data.users[r as usize]).collect(),
        items: held.iter().map(|&r| data.items[r as usize]).collect(),
        values: data.values.as_deref().map(|v| held.iter().map(|&r| v[r as usize]).collect()).unwrap_or_default(),
    };
    // Of a user held out whole a model knows the history and nothing else.
    let held_out_whole = each_next || !rows.context.is_empty();
    let is_new = |user: u32| held_out_whole && train.by_user().row(user as usize).is_empty();
    let known_as = users.iter().map(|&user| if is_new(user) { HeldOut::NEW } else { user }).collect();
    Ok(HeldOut { users, known_as, in_a_row, histories, masked, targets, candidates, blocked, rows: rated, labelled: None })
}

/// The items of each history whose value is at least `least`, rising, each once.
fn masked(histories: &Windows, num_items: usize, least: f32) -> Csr {
    let of = |row: usize| {
        let values = histories.row_values(row);
        let enough = |at: usize| values.get(at).copied().unwrap_or(1.0) >= least;
        let mut items: Vec<u32> = histories.row(row).iter().enumerate().filter(|&(at, _)| enough(at)).map(|(_, &item)| item).collect();
        items.sort_unstable();
        items.dedup();
        items
    };
    Csr::from_rows(num_items, (0..histories.num_rows()).map(of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;
    use crate::split::{Nested, SplitSpec, split};

    /// 20 users with ten of 15 items each, the last user with one more that nobody else has.
    fn data() -> Interactions {
        let rows = (0..20u32).flat_map(|user| (0..10).map(move |at| (user, (user * 4 + at) % 15))).chain([(19, 15)]);
        let (users, items): (Vec<u32>, Vec<u32>) = rows.unzip();
        Interactions {
            users: users.into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(20),
            item_ids: Vocabulary::numbers(16),
            ..Interactions::default()
        }
    }

    fn items_of(data: &Interactions, rows: &Rows, user: u32) -> Vec<u32> {
        rows.iter().filter(|&r| data.users[r as usize] == user).map(|r| data.items[r as usize]).collect()
    }

    #[test]
    fn users_held_out_whole_are_known_by_their_own_context_only_and_never_learned_from() {
        let data = data();
        let s = split(&data, &SplitSpec::HeldOutUsers { valid_users: 4, test_users: 5, fold_in: 0.8 }, None, 1).expect("splits");
        let views = views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert_eq!((views.all_of_train.users(), views.all_of_train.items()), (views.train.users(), views.train.items()));
        let valid = views.valid.as_deref().expect("there are validation users");
        assert_eq!((valid.users().len(), views.test.users().len()), (4, 5));
        for (held, seen, asked) in [(valid, &s.valid_context, &s.valid), (&*views.test, &s.context, &s.test)] {
            for (row, &user) in held.users().iter().enumerate() {
                assert!(views.train.by_user().row(user as usize).is_empty());
                assert_eq!(held.histories().row(row), items_of(&data, seen, user));
                assert_eq!(held.known_as()[row], HeldOut::NEW);
                assert_eq!((held.masked().row(row).len(), held.targets().row(row).len()), (8, items_of(&data, asked, user).len()));
            }
        }
    }

    #[test]
    fn a_validation_part_of_train_users_is_learned_from_and_seen_afterwards() {
        let data = data();
        let nested = Nested::LeaveLast { valid: 2 };
        let s = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 0 }, Some(&nested), 1).expect("splits");
        let views = views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert_eq!(views.all_of_train.len(), s.train.len() + s.valid.len());
        assert_eq!(views.test.histories().row(3), items_of(&data, &s.train.with(&s.valid), 3));
        assert_eq!(views.test.known_as(), views.test.users());
        assert_eq!(views.valid.as_deref().expect("nested").histories().row(3), items_of(&data, &s.train, 3));
    }

    #[test]
    fn validation_may_rank_drawn_candidates_where_the_test_ranks_others() {
        let data = data();
        let s = split(&data, &SplitSpec::LeaveLast { test: 1, valid: 1 }, None, 1).expect("splits");
        let asking = |own: Candidates| Asking { valid_candidates: Some(own), ..Asking::default() };
        let made = views(&data, None, &s, &asking(Candidates::Sampled(SampledCandidates::uniform(2))), 1).expect("made");
        let valid = made.valid.as_deref().and_then(HeldOut::candidates).expect("drawn");
        assert!((0..valid.num_rows()).all(|row| valid.row(row).len() == 3));
        assert!(made.test.candidates().is_none());
        assert!(views(&data, None, &s, &asking(Candidates::Published), 1).is_err());
    }

    #[test]
    fn items_without_a_training_row_are_blocked_once_for_all_users() {
        let data = data();
        let s = split(&data, &SplitSpec::LeaveLast { test: 2, valid: 1 }, None, 1).expect("splits");
        let asking = Asking { candidates: Candidates::TrainItems, ..Asking::default() };
        let views = views(&data, None, &s, &asking, 1).expect("made");
        assert_eq!(views.test.blocked(), [15]);
        assert!(views.test.candidates().is_none());
        assert_eq!(views.test.targets().row(19).last(), Some(&15), "a relevant item stays relevant");
        assert_eq!(views.test.subset(&[3, 19]).blocked(), [15]);
        let all = super::views(&data, None, &s, &Asking::default(), 1).expect("made");
        assert!(all.test.blocked().is_empty());
    }
}
