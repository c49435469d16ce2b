//! How a block of histories is learned from: contexts and negatives of one place after the other.

use rec_core::simd::vectorised;
use rec_data::rng::{Rng, Stream};
use rec_data::sampler::Sampler;

use super::corpus::{Block, Corpus};
use super::rows::Rows;
use super::step::Step;
use super::{Item2VecConfig, Method};
use crate::online::LINE;

/// What the blocks of a round have in common.
pub(super) struct Round<'a> {
    pub config: &'a Item2VecConfig,
    pub corpus: &'a Corpus<'a>,
    pub sampler: &'a Sampler,
    /// η.
    pub rate: f32,
    pub seed: u64,
    pub epoch: u64,
}

/// Learns from one block after the other.
pub(super) struct Learner {
    step: Step,
    steps: u64,
    list: Vec<u32>,
    /// Places of the contexts' input vectors.
    contexts: Vec<u32>,
    /// Places of the output vectors of the positive item and its negatives, draw after draw.
    predicted: Vec<u32>,
    /// Where those of each draw end.
    ends: Vec<usize>,
}

impl Learner {
    pub fn new(embedding_size: usize) -> Self {
        let step = Step::new(embedding_size.next_multiple_of(LINE));
        Self { step, steps: 0, list: Vec::new(), contexts: Vec::new(), predicted: Vec::new(), ends: Vec::new() }
    }

    /// The sum of the losses since the last call, and of how many positives.
    pub fn take_loss(&mut self) -> (f64, u64) {
        (self.step.take_loss(), std::mem::take(&mut self.steps))
    }

    /// Learns from `block`, the epoch's block with the number `number`.
    pub fn learn(&mut self, round: &Round, block: &Block, number: usize, inputs: &mut impl Rows, outputs: &mut impl Rows) {
        let mut rng = Rng::keyed(round.seed, Stream::Negatives, round.epoch, number as u64);
        vectorised(
            #[inline(always)]
            || {
                for &piece in &block.pieces {
                    for centre in round.corpus.read(piece, &mut self.list) {
                        self.place(round, centre, &mut rng, inputs, outputs);
                    }
                }
            },
        );
    }

    /// Learns from the place `centre` of the list.
    #[inline(always)]
    fn place(&mut self, round: &Round, centre: usize, rng: &mut Rng, inputs: &mut impl Rows, outputs: &mut impl Rows) {
        let config = round.config;
        let reach = match config.window {
            0 => self.list.len(),
            window if config.reduce_window => 1 + rng.below(window as u32) as usize,
            window => window,
        };
        let (before, after) = (&self.list[centre.saturating_sub(reach)..centre], &self.list[centre + 1..]);
        self.contexts.clear();
        self.contexts.extend(before.iter().chain(&after[..after.len().min(reach)]).map(|&item| inputs.place(item)));
        if self.contexts.is_empty() {
            return;
        }
        let times = if config.method == Method::SkipGram { self.contexts.len().div_ceil(config.contexts_per_draw) } else { 1 };
        self.draw(round, self.list[centre], times, rng, outputs);
        let all = self.contexts.len() as f32;
        match config.method {
            Method::SkipGram => self.each_context(round, inputs.values(), outputs.values()),
            Method::Cbow => self.mean_of_contexts(round.rate, 1.0, inputs.values(), outputs.values()),
            Method::CorrectedCbow => self.mean_of_contexts(round.rate, 1.0 / all, inputs.values(), outputs.values()),
        }
    }

    /// Draws negatives of `item` so many times.
    #[inline(always)]
    fn draw(&mut self, round: &Round, item: u32, times: usize, rng: &mut Rng, outputs: &mut impl Rows) {
        self.predicted.clear();
        self.ends.clear();
        let positive = outputs.place(item);
        for _ in 0..times {
            self.predicted.push(positive);
            for _ in 0..round.config.num_negatives {
                let negative = round.sampler.draw(rng);
                if negative != item {
                    self.predicted.push(outputs.place(negative));
                }
            }
            self.ends.push(self.predicted.len());
        }
    }

    /// Those that share their negatives at once.
    #[inline(always)]
    fn each_context(&mut self, round: &Round, inputs: &mut [f32], outputs: &mut [f32]) {
        let dim = self.step.dim();
        let mut start = 0;
        for (contexts, &end) in self.contexts.chunks(round.config.contexts_per_draw).zip(&self.ends) {
            self.step.hidden.clear();
            for &context in contexts {
                self.step.hidden.extend_from_slice(&inputs[context as usize * dim..][..dim]);
            }
            self.step.learn(outputs, &self.predicted[start..end], round.rate);
            for (&context, change) in contexts.iter().zip(self.step.change.chunks_exact(dim)) {
                add(&mut inputs[context as usize * dim..][..dim], change, 1.0);
            }
            start = end;
        }
        self.steps += self.contexts.len() as u64;
    }

    /// `share` is what each context gets of the change of their mean.
    #[inline(always)]
    fn mean_of_contexts(&mut self, rate: f32, share: f32, inputs: &mut [f32], outputs: &mut [f32]) {
        let dim = self.step.dim();
        self.step.hidden.clear();
        self.step.hidden.resize(dim, 0.0);
        for &context in &self.contexts {
            add(&mut self.step.hidden, &inputs[context as usize * dim..][..dim], 1.0);
        }
        let each = 1.0 / self.contexts.len() as f32;
        self.step.hidden.iter_mut().for_each(|h| *h *= each);
        self.step.learn(outputs, &self.predicted, rate);
        for &context in &self.contexts {
            add(&mut inputs[context as usize * dim..][..dim], &self.step.change, share);
        }
        self.steps += 1;
    }
}

#[inline(always)]
fn add(to: &mut [f32], change: &[f32], share: f32) {
    to.iter_mut().zip(change).for_each(|(to, change)| *to += share * change);
}

#[cfg(test)]
mod tests {
    use rec_core::Init;
    use rec_data::view::TrainView;
    use rec_data::{Interactions, Vocabulary};

    use super::*;
    use crate::online::Factor;

    #[test]
    fn negatives_follow_the_power_of_popularity_and_are_never_the_positive_or_an_item_without_rows() {
        // Items 0 to 3 have 16, 1, 81 and 256 rows, item 4 none.
        let items: Vec<u32> = [(0, 16), (1, 1), (2, 81), (3, 256)].into_iter().flat_map(|(item, n)| vec![item; n]).collect();
        let data = TrainView::of_all(&Interactions {
            users: vec![0; items.len()].into(),
            items: items.into(),
            user_ids: Vocabulary::numbers(1),
            item_ids: Vocabulary::numbers(5),
            ..Interactions::default()
        });
        let config = Item2VecConfig { num_negatives: 20, ..Item2VecConfig::default() };
        let corpus = Corpus::new(&config, &data, 1, 0);
        let sampler = Sampler::of_trained(config.negative_alpha, data.popularity());
        let round = Round { config: &config, corpus: &corpus, sampler: &sampler, rate: 0.0, seed: 1, epoch: 0 };
        let (mut learner, mut outputs) = (Learner::new(8), Factor::new(5, 8, Init::Zeros, 0, 0));
        learner.draw(&round, 2, 10_000, &mut Rng::keyed(1, Stream::Negatives, 0, 0), &mut outputs);
        let (mut counts, mut start) = ([0f64; 5], 0);
        for &end in &learner.ends {
            assert_eq!(learner.predicted[start], 2, "first the positive");
            learner.predicted[start + 1..end].iter().for_each(|&item| counts[item as usize] += 1.0);
            start = end;
        }
        // 16^¾ = 8, 1, 81^¾ = 27 and 256^¾ = 64 of a hundred.
        assert_eq!((counts[2], counts[4]), (0.0, 0.0));
        for (item, share) in [(0, 0.08), (1, 0.01), (3, 0.64)] {
            let expected = 200_000.0 * share;
            assert!((counts[item] - expected).abs() < 5.0 * f64::sqrt(expected), "{counts:?}");
        }
    }
}
