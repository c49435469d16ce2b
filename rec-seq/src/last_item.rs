//! Models that look at the last item of a history only: score(h, j) = w(i, j), where i is the last item of h.

use anyhow::Result;
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::csr::Csr;
use rec_data::view::TrainView;

use crate::sessions::{Sessions, Sums};

/// How w is counted; the hyper-parameters are the rule.
pub trait Rule: ModelConfig + Sync {
    /// Adds to the sums of the items j what the place `place` of `session` tells about them; it holds i.
    fn count(&self, session: &[u32], place: usize, sums: &mut Sums);

    /// Makes w(i, ·) of the sums of i in place, and returns b(i), which is added for all j. `support` is the number of rows of each item.
    fn finish(&self, _item: u32, _sums: &mut Vec<(u32, f64)>, _support: &[u32]) -> f64 {
        0.0
    }
}

/// score(h, j) = w(i, j) + b(i), where i is the last item of the history h; 0 for all where there is no history.
pub struct LastItem<R> {
    rule: R,
    weights: Csr,
    base: Vec<f32>,
}

impl<R: Rule> Fit for LastItem<R> {
    type Config = R;
    const ONE_PASS: bool = true;

    fn new(rule: &R, data: &TrainView, _: u64) -> Result<Self> {
        let nothing = Csr::from_rows(data.num_items(), vec![[]; data.num_items()]);
        Ok(Self { rule: rule.clone(), weights: nothing, base: vec![0.0; data.num_items()] })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        let support = data.popularity();
        let sums = Sessions::of(data).sums(|session, place, sums| self.rule.count(session, place, sums));
        let finished: Vec<(Vec<(u32, f64)>, f64)> = (0u32..)
            .zip(sums)
            .map(|(item, mut sums)| {
                let base = self.rule.finish(item, &mut sums, &support);
                (sums, base)
            })
            .collect();
        let rows: Vec<u32> = (0u32..).zip(&finished).flat_map(|(item, (sums, _))| std::iter::repeat_n(item, sums.len())).collect();
        let (items, weights): (Vec<u32>, Vec<f32>) =
            finished.iter().flat_map(|f| &f.0).map(|&(item, weight)| (item, weight as f32)).unzip();
        self.weights = Csr::from_coordinates(support.len(), support.len(), &rows, &items, &weights);
        self.base = finished.iter().map(|f| f.1 as f32).collect();
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        out.csr("weights", &self.weights);
        out.floats("base", &[self.base.len()], &self.base);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.weights = from.csr("weights", Some(self.base.len()), self.base.len())?;
        from.floats_into("base", &mut self.base)
    }
}

impl<R: Rule> Score for LastItem<R> {
    fn num_items(&self) -> usize {
        self.base.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = vec![0f32; users.len() * self.num_items()];
        scores.par_chunks_mut(self.num_items()).enumerate().for_each(|(at, scores)| {
            if let Some(&last) = users.history(at).last() {
                let row = last as usize;
                scores.fill(self.base[row]);
                for (&item, &weight) in self.weights.row(row).iter().zip(self.weights.row_values(row)) {
                    scores[item as usize] += weight;
                }
            }
        });
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
