//! Training rows as sessions, and sums over what stands near an item in them.

use rayon::prelude::*;
use rec_data::csr::Csr;
use rec_data::view::TrainView;

/// The items of each user's (session's) training rows, oldest first, and when each session ended.
pub struct Sessions<'a> {
    /// Sessions × items, in order and with repetitions; users without a training row have empty rows.
    items: &'a Csr,
    /// For each session when it ended: time, and place among the rows.
    ends: Vec<(i64, usize)>,
}

impl<'a> Sessions<'a> {
    pub fn of(data: &'a TrainView) -> Self {
        let mut ends = vec![(i64::MIN, 0); data.num_users()];
        for (row, &user) in data.users().iter().enumerate() {
            let end = (data.times().map_or(0, |times| times[row]), row);
            ends[user as usize] = end.max(ends[user as usize]);
        }
        Self { items: data.sequences(), ends }
    }

    /// The items of session `s`, oldest first.
    pub fn items(&self, s: usize) -> &[u32] {
        self.items.row(s)
    }

    /// Sessions with a row, the one that ended last first.
    pub fn latest_first(&self) -> Vec<usize> {
        let mut sessions: Vec<usize> = (0..self.items.num_rows()).filter(|&s| !self.items(s).is_empty()).collect();
        sessions.sort_by_key(|&s| std::cmp::Reverse(self.ends[s]));
        sessions
    }

    /// For each item i, sums over all places where i stands: `each(session, place, sums)` adds to the items near it. List i of the result
    /// holds the items with a sum, rising.
    pub fn sums(&self, each: impl Fn(&[u32], usize, &mut Sums) + Sync) -> Vec<Vec<(u32, f64)>> {
        let num_items = self.items.num_columns();
        // All places of an item: its row of sessions × items transposed, with the number of the entry for the session.
        let places = Csr::from_coordinates(num_items, self.items.len(), self.items.columns(), &numbers(self.items.len()), &[]);
        let session_of: Vec<u32> = (0..self.items.num_rows()).flat_map(|s| std::iter::repeat_n(s as u32, self.items(s).len())).collect();
        let of_item = |sums: &mut Sums, item: usize| {
            for &entry in places.row(item) {
                let session = session_of[entry as usize] as usize;
                each(self.items(session), entry as usize - self.items.range(session).start, sums);
            }
            sums.take()
        };
        (0..num_items).into_par_iter().map_init(|| Sums::new(num_items), of_item).collect()
    }
}

fn numbers(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}

/// One number an item, of which few are not 0.
pub struct Sums {
    values: Vec<f64>,
    touched: Vec<u32>,
}

impl Sums {
    fn new(num_items: usize) -> Self {
        Self { values: vec![0.0; num_items], touched: Vec::new() }
    }

    /// Adds `weight`, at least 0, to the sum of `item`.
    #[inline]
    pub fn add(&mut self, item: u32, weight: f64) {
        if weight == 0.0 {
            return;
        }
        let sum = &mut self.values[item as usize];
        if *sum == 0.0 {
            self.touched.push(item);
        }
        *sum += weight;
    }

    /// The items with a sum, rising, and all back to 0.
    fn take(&mut self) -> Vec<(u32, f64)> {
        self.touched.sort_unstable();
        self.touched.drain(..).map(|item| (item, std::mem::take(&mut self.values[item as usize]))).collect()
    }
}
