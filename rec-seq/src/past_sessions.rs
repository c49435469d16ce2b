//! Sessions of the past that share an item with the present one: an inverted index, and sums over it.

use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::view::TrainView;

use crate::sessions::Sessions;

/// Training sessions as sets of items, the one that ended last first: time of the last row, then its place in the source.
#[derive(Debug, Default)]
pub struct PastSessions {
    /// Sessions × items, items rising.
    items: Csr,
    /// Items × sessions, sessions rising: latest first.
    sessions: Csr,
}

/// What a worker needs again and again.
pub struct Scratch {
    /// For each session the weights of the items that it shares; 0 but while a question is looked at.
    shared: Vec<f64>,
    is_found: Vec<bool>,
    found: Vec<u32>,
    near: Vec<(f64, u32)>,
}

impl PastSessions {
    /// The sessions of `data`.
    pub fn of(data: &TrainView) -> Self {
        let sessions = Sessions::of(data);
        let sets = sessions.latest_first().into_iter().map(|s| {
            let mut items = sessions.items(s).to_vec();
            items.sort_unstable();
            items.dedup();
            items
        });
        Self::indexed(Csr::from_rows(data.num_items(), sets))
    }

    fn indexed(items: Csr) -> Self {
        Self { sessions: items.transposed(), items }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.num_rows()
    }

    /// The items of session `s`, rising.
    pub fn items(&self, s: u32) -> &[u32] {
        self.items.row(s as usize)
    }

    /// Work space.
    pub fn scratch(&self) -> Scratch {
        Scratch { shared: vec![0.0; self.len()], is_found: vec![false; self.len()], found: Vec::new(), near: Vec::new() }
    }

    /// Of the `sample_size` latest sessions with one of the items of `present` (different items, each with its weight), the `k` most alike, the
    /// most alike first; of equal ones the later. A session's likeness is `similarity(sum of the weights of shared items, number of items)`;
    /// where it is not above 0, the session is left out.
    pub fn nearest<'s>(
        &self,
        present: &[(u32, f64)],
        sample_size: usize,
        k: usize,
        similarity: impl Fn(f64, usize) -> f64,
        scratch: &'s mut Scratch,
    ) -> &'s [(f64, u32)] {
        let Scratch { shared, is_found, found, near } = scratch;
        for &(item, weight) in present {
            // What lies further down in one list is not among the latest of all lists.
            for &session in self.sessions.row(item as usize).iter().take(sample_size) {
                let s = session as usize;
                if !std::mem::replace(&mut is_found[s], true) {
                    found.push(session);
                }
                shared[s] += weight;
            }
        }
        if found.len() > sample_size {
            found.select_nth_unstable(sample_size);
        }
        near.clear();
        let likeness = |&session: &u32| (similarity(shared[session as usize], self.items(session).len()), session);
        near.extend(found.iter().take(sample_size).map(likeness).filter(|n| n.0 > 0.0));
        for session in found.drain(..) {
            shared[session as usize] = 0.0;
            is_found[session as usize] = false;
        }
        let order = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if near.len() > k {
            near.select_nth_unstable_by(k, order);
            near.truncate(k);
        }
        near.sort_unstable_by(order);
        near
    }

    /// Writes the sessions.
    pub fn save(&self, out: &mut StateWriter) {
        out.csr("sessions", &self.items);
    }

    /// Reads sessions over `num_items` items.
    ///
    /// # Errors
    /// a data problem where they are another data set's.
    pub fn load(num_items: usize, from: &StateReader) -> anyhow::Result<Self> {
        Ok(Self::indexed(from.csr("sessions", None, num_items)?))
    }
}
