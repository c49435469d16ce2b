//! Small worlds for the tests of this crate.

use std::sync::Arc;

use rec_core::events::Events;
use rec_core::model::{Fit, Score, Users};
use rec_core::scores::Scores;
use rec_data::view::TrainView;
use rec_data::windows::Windows;
use rec_data::{Interactions, Vocabulary};

/// Sessions without times, to be learned from.
pub(crate) fn view(num_items: usize, sessions: &[&[u32]]) -> Arc<TrainView> {
    let users: Vec<u32> = (0u32..).zip(sessions).flat_map(|(user, items)| vec![user; items.len()]).collect();
    Arc::new(TrainView::of_all(&Interactions {
        users: users.into(),
        items: sessions.concat().into(),
        user_ids: Vocabulary::numbers(sessions.len()),
        item_ids: Vocabulary::numbers(num_items),
        ..Interactions::default()
    }))
}

/// The model after its one pass.
pub(crate) fn fitted<M: Fit>(config: &M::Config, data: &TrainView) -> M {
    let mut model = M::new(config, data, 1).expect("makes sense");
    model.epoch(data, 0, &mut Events::silent()).expect("counts");
    model
}

/// Scores of all items after one history.
pub(crate) fn scores(model: &dyn Score, history: &[u32]) -> Vec<f32> {
    let all = 0..history.len();
    let histories = Windows::new(history.to_vec(), Vec::new(), vec![all]);
    match model.score(&Users::new(&[Users::NEW], &histories)).expect("scores histories") {
        Scores::Dense(scores) => scores.into_owned(),
        Scores::Factors(_) => panic!("has no vectors"),
    }
}

pub(crate) fn assert_near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let near = found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5);
    assert!(near, "{found:?} is not {expected:?}");
}
