//! Vector multiplication session-kNN (V-SKNN): Ludewig & Jannach, UMUAI 2018, arXiv:1803.09587, section 3.1.3, by the rules of the authors' code
//! (session-rec, algorithms/knn/vsknn.py).

use anyhow::Result;
use rayon::prelude::*;
use rec_core::events::Events;
use rec_core::model::{Fit, ModelConfig, Score, Users};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::require;
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};

use crate::decay::Decay;
use crate::past_sessions::{PastSessions, Scratch};

/// Hyper-parameters. Defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VsknnConfig {
    /// k: how many past sessions speak.
    pub neighbours: usize,
    /// m: how many of the latest sessions with an item of the present one are looked at.
    pub sample_size: usize,
    /// How alike two sessions are.
    pub similarity: SessionSimilarity,
    /// Weight of an item of the present session by its place: x.
    pub weighting: Weighting,
    /// Weight of a neighbour by how many steps from the end of the present session its latest shared item lies; 1 is the last item.
    pub weighting_score: Decay,
    /// β: how much a rare item's score is raised; 0 is not at all.
    pub idf_weight: f64,
}

/// sim(h, s) of the present session h and a past one s, with the weight x(i) of the items of h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionSimilarity {
    /// Σ of x(i) over the shared items, divided by the number of different items of h.
    Product,
    /// The same sum, divided by √(Σᵢ x(i)²)·√|s|.
    Cosine,
}

/// x of an item at place p of n in the present session, counted from 1; of an item that is there more than once, that of the last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1.
    Same,
    /// 1 − (n − p)/10, at least 0.
    Linear,
    /// p/n.
    Div,
    /// 1/log₁₀(n − p + 1.7).
    Log,
    /// (p/n)².
    Quadratic,
}

impl Weighting {
    fn at(self, place: usize, n: usize) -> f64 {
        let from_end = (n - place) as f64;
        match self {
            Self::Same => 1.0,
            Self::Linear => (1.0 - 0.1 * from_end).max(0.0),
            Self::Div => place as f64 / n as f64,
            Self::Log => 1.0 / (from_end + 1.7).log10(),
            Self::Quadratic => (place as f64 / n as f64).powi(2),
        }
    }
}

impl Default for VsknnConfig {
    fn default() -> Self {
        Self {
            neighbours: 100,
            sample_size: 1000,
            similarity: SessionSimilarity::Product,
            weighting: Weighting::Div,
            weighting_score: Decay::Div,
            idf_weight: 0.0,
        }
    }
}

impl ModelConfig for VsknnConfig {
    fn check(&self) -> Result<()> {
        require!(self.neighbours > 0, Usage, "`neighbours` is 0: it must be at least 1");
        require!(self.sample_size > 0, Usage, "`sample_size` is 0: it must be at least 1");
        let fine = self.idf_weight >= 0.0 && self.idf_weight.is_finite();
        require!(fine, Usage, "`idf_weight` is {}: it must be finite and at least 0", self.idf_weight);
        Ok(())
    }
}

/// score(h, j) = Σ of sim(h, s)·decay(d(h, s))·(1 + β·idf(j)) over the neighbours s of h that have j, where d(h, s) is 1 where s has the last
/// item of h, 2 where it has the last but one and not the last, …, and idf(j) = ln(sessions / training rows of j). Of equally near sessions the
/// later ones are neighbours.
///
/// In the authors' code a linear weighting is 0 for all places after the tenth; here it is what its name says.
pub struct Vsknn {
    config: VsknnConfig,
    past: PastSessions,
    /// 1 + β·idf(j), 1 for items without a row.
    rarity: Vec<f32>,
}

impl Fit for Vsknn {
    type Config = VsknnConfig;
    const ONE_PASS: bool = true;

    fn new(config: &VsknnConfig, data: &TrainView, _: u64) -> Result<Self> {
        Ok(Self { config: config.clone(), past: PastSessions::default(), rarity: vec![1.0; data.num_items()] })
    }

    fn epoch(&mut self, data: &TrainView, _: u64, _: &mut Events) -> Result<()> {
        self.past = PastSessions::of(data);
        let idf = |rows: u32| (self.past.len() as f64 / f64::from(rows.max(1))).ln();
        self.rarity =
            data.popularity().iter().map(|&rows| if rows > 0 { 1.0 + self.config.idf_weight * idf(rows) } else { 1.0 } as f32).collect();
        Ok(())
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.past.save(out);
        out.floats("rarity", &[self.rarity.len()], &self.rarity);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        self.past = PastSessions::load(self.rarity.len(), from)?;
        from.floats_into("rarity", &mut self.rarity)
    }
}

impl Vsknn {
    /// The items of `history`, rising, each with its weight.
    fn weighted(&self, history: &[u32]) -> Vec<(u32, f64)> {
        let mut present: Vec<(u32, usize)> = history.iter().copied().zip(1..).collect();
        present.sort_unstable();
        let last_places = present.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last());
        last_places.map(|&(item, place)| (item, self.config.weighting.at(place, history.len()))).collect()
    }

    fn score_one(&self, history: &[u32], scratch: &mut Scratch, scores: &mut [f32]) {
        let present = self.weighted(history);
        let norm = present.iter().map(|p| p.1 * p.1).sum::<f64>().sqrt();
        let similarity = |shared: f64, items: usize| match self.config.similarity {
            SessionSimilarity::Product => shared / present.len() as f64,
            SessionSimilarity::Cosine => shared / (norm * (items as f64).sqrt()),
        };
        for &(similarity, session) in self.past.nearest(&present, self.config.sample_size, self.config.neighbours, similarity, scratch) {
            let items = self.past.items(session);
            let steps = history.iter().rev().position(|item| items.binary_search(item).is_ok()).map_or(history.len(), |at| at + 1);
            let weight = (similarity * self.config.weighting_score.at(steps)) as f32;
            items.iter().for_each(|&item| scores[item as usize] += weight);
        }
        scores.iter_mut().zip(&self.rarity).for_each(|(score, rarity)| *score *= rarity);
    }
}

impl Score for Vsknn {
    fn num_items(&self) -> usize {
        self.rarity.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let mut scores = vec![0f32; users.len() * self.num_items()];
        let one = |scratch: &mut Scratch, (at, scores): (usize, &mut [f32])| self.score_one(users.history(at), scratch, scores);
        scores.par_chunks_mut(self.num_items()).enumerate().for_each_init(|| self.past.scratch(), one);
        Ok(Scores::Dense(scores.into()))
    }

    fn scores_histories(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_near, fitted, scores, view};

    #[test]
    fn late_items_weigh_more_in_likeness_and_in_score() {
        let data = view(6, &[&[0, 1, 0], &[1, 2, 3], &[4, 5], &[0, 1, 4]]);
        let with = |config: VsknnConfig, history: &[u32]| scores(&fitted::<Vsknn>(&config, &data), history);
        let plain = VsknnConfig { weighting: Weighting::Quadratic, ..VsknnConfig::default() };
        // In 2 0 4, x is 1/9, 4/9 and 1. The first session shares 0, two steps back; the second 2, three; the third 4; the fourth 0 and 4.
        let [first, second, third, fourth] = [4.0 / 27.0 / 2.0, 1.0 / 27.0 / 3.0, 1.0 / 3.0, 13.0 / 27.0];
        let expected = [first + fourth, first + second + fourth, second, second, third + fourth, third];
        assert_near(&with(plain.clone(), &[2, 0, 4]), &expected);
        // Training rows 3, 3, 1, 1, 2, 1 of four sessions.
        let rare: Vec<f64> =
            expected.iter().zip([3.0, 3.0, 1.0, 1.0, 2.0, 1.0]).map(|(e, rows)| e * (1.0 + 5.0 * (4.0f64 / rows).ln())).collect();
        assert_near(&with(VsknnConfig { idf_weight: 5.0, ..plain.clone() }, &[2, 0, 4]), &rare);
        // The last place of an item counts: in 4 0 4 it is x(4) = 1, and two items are different.
        let (third, fourth) = (1.0 / 2.0, 13.0 / 9.0 / 2.0);
        assert_near(&with(VsknnConfig { neighbours: 2, ..plain.clone() }, &[4, 0, 4]), &[fourth, fourth, 0.0, 0.0, third + fourth, third]);
        let norm = (16.0f64 / 81.0 + 1.0).sqrt();
        let (third, fourth) = (1.0 / (norm * 2f64.sqrt()), 13.0 / 9.0 / (norm * 3f64.sqrt()));
        let cosine = VsknnConfig { neighbours: 2, similarity: SessionSimilarity::Cosine, ..plain };
        assert_near(&with(cosine, &[4, 0, 4]), &[fourth, fourth, 0.0, 0.0, third + fourth, third]);
    }

    #[test]
    fn weights_are_those_of_the_formulas() {
        let of = |weighting: Weighting| [1, 3, 4].map(|place| weighting.at(place, 4));
        assert_eq!(of(Weighting::Same), [1.0; 3]);
        assert_eq!(of(Weighting::Div), [0.25, 0.75, 1.0]);
        assert_eq!(of(Weighting::Quadratic), [0.0625, 0.5625, 1.0]);
        assert_near(&of(Weighting::Linear).map(|w| w as f32), &[0.7, 0.9, 1.0]);
        assert_near(&of(Weighting::Log).map(|w| w as f32), &[1.0 / 4.7f64.log10(), 1.0 / 2.7f64.log10(), 1.0 / 1.7f64.log10()]);
        assert_eq!(Weighting::Linear.at(1, 30), 0.0);
    }
}
