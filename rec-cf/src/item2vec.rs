//! Item2Vec: skip-gram and CBOW with negative sampling over users' histories, as sets or in order. Barkan and Koenigstein, MLSP 2016,
//! arXiv:1603.04259; Mikolov et al., arXiv:1301.3781 and NIPS 2013, arXiv:1310.4546, with the details of word2vec's code.

mod block;
mod corpus;
mod rows;
mod step;

use anyhow::Result;
use rayon::prelude::*;
use rec_core::Init;
use rec_core::events::{Event, Events};
use rec_core::model::{Fit, ModelConfig, Score, Users, Vectors};
use rec_core::scores::Scores;
use rec_core::state::{StateReader, StateWriter};
use rec_data::sampler::Sampler;
use rec_data::view::TrainView;
use rec_data::{fail, require};
use serde::{Deserialize, Serialize};

use self::block::{Learner, Round};
use self::corpus::Corpus;
use self::rows::{Copies, add_changes};
use crate::check_embedding_size;
use crate::item_vectors::{Closeness, ItemVectors};
use crate::online::Factor;

/// Hyper-parameters. Defaults are Item2Vec's for app purchases, with word2vec's learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Item2VecConfig {
    /// Length of a vector.
    pub embedding_size: usize,
    /// Step size at the start.
    pub learning_rate: f64,
    /// Step size after `decay_epochs`, to which it falls linearly, and from then on.
    pub min_learning_rate: f64,
    /// Epochs in which the step size falls: as many as are trained, as a rule. 0 leaves it as it is.
    pub decay_epochs: u64,
    /// What predicts what.
    pub method: Method,
    /// What a history is.
    pub histories: Histories,
    /// How far from an item its contexts lie, to either side; 0 makes the whole history its context. A set is shuffled anew in each epoch
    /// before a window looks at it, so that each pair of its items is as likely as any other: the paper's way with large sets.
    pub window: usize,
    /// Whether each item's window is one of 1, …, `window` at random, as in word2vec, so that near contexts count more.
    pub reduce_window: bool,
    /// N: negatives of a positive pair. A draw that is the positive item itself is passed over.
    pub num_negatives: usize,
    /// Negatives are drawn ∝ (training rows of an item)^this, of the items that have any.
    pub negative_alpha: f64,
    /// How many contexts of an item share its negatives, and are learned from at once (Ji et al., arXiv:1604.04661): faster, and as stable
    /// as long as they are few. word2vec has 1. Of skip-gram.
    pub contexts_per_draw: usize,
    /// t: an item with a share f of all rows is read with the probability (√(f/t) + 1)·t/f, where that is below 1; 0 reads all rows.
    pub sample: f64,
    /// Which vectors are an item's in the end.
    pub vectors: Learned,
    /// How near an item is to a user, the mean of the vectors of the history's items.
    pub score: Closeness,
    /// Blocks of the data that are learned from at the same time, each from its own copies of the vectors. It decides the result, and how
    /// many threads have work; threads themselves change nothing. 1 is plain stochastic gradient descent. An item that all blocks have moves
    /// by the sum of their changes, so many blocks must be small: on MovieLens-1M 2 of 24,000, 4 of 6,000 and 8 of 1,500 pairs are as good
    /// as one, and 8 of 6,000 diverge.
    pub blocks: usize,
    /// Positive pairs of a block, about; items, in CBOW. After each block the changes of all are added up, and the step size falls.
    pub block_size: usize,
}

/// What predicts what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Each context on its own predicts the item.
    SkipGram,
    /// The mean of the contexts predicts the item. Each context then moves by the whole gradient of the mean, as in word2vec's code.
    Cbow,
    /// The same by the true gradient: each context moves by its share (İrsoy, Benton, Stratos, arXiv:2012.15332).
    CorrectedCbow,
}

/// What a history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Histories {
    /// A set: each item once, without order.
    Sets,
    /// A sequence by time; rows of equal time, or of none, in the order of the source.
    Sequences,
}

/// Which of an item's two vectors is used after training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learned {
    /// That by which it predicts others: the usual one.
    Input,
    /// That by which it is predicted.
    Output,
    /// Their mean.
    Mean,
}

impl Default for Item2VecConfig {
    fn default() -> Self {
        Self {
            embedding_size: 40,
            learning_rate: 0.025,
            min_learning_rate: 0.0001,
            decay_epochs: 20,
            method: Method::SkipGram,
            histories: Histories::Sets,
            window: 0,
            reduce_window: true,
            num_negatives: 15,
            negative_alpha: 0.75,
            contexts_per_draw: 1,
            sample: 0.001,
            vectors: Learned::Input,
            score: Closeness::Cosine,
            blocks: 1,
            block_size: 16_384,
        }
    }
}

impl ModelConfig for Item2VecConfig {
    fn check(&self) -> Result<()> {
        /// Each block has copies of its own: more would be a slip of the keyboard.
        const MOST_BLOCKS: usize = 1024;
        check_embedding_size(self.embedding_size)?;
        require!(self.learning_rate > 0.0, Usage, "`learning_rate` is {}: it must be above 0", self.learning_rate);
        require!(
            (0.0..=self.learning_rate).contains(&self.min_learning_rate),
            Usage,
            "`min_learning_rate` is {}: it must be at least 0 and at most `learning_rate`, which is {}",
            self.min_learning_rate,
            self.learning_rate
        );
        require!(self.num_negatives > 0, Usage, "`num_negatives` is 0: it must be at least 1");
        require!(self.negative_alpha.is_finite(), Usage, "`negative_alpha` is {}: it must be a finite number", self.negative_alpha);
        require!(self.contexts_per_draw > 0, Usage, "`contexts_per_draw` is 0: it must be at least 1");
        require!(
            self.method == Method::SkipGram || self.contexts_per_draw == 1,
            Usage,
            "`contexts_per_draw` belongs to `method = \"skip-gram\"`: in CBOW an item's contexts are one"
        );
        require!(self.sample >= 0.0 && self.sample.is_finite(), Usage, "`sample` is {}: it must be at least 0", self.sample);
        require!((1..=MOST_BLOCKS).contains(&self.blocks), Usage, "`blocks` is {}: it must lie in [1, {MOST_BLOCKS}]", self.blocks);
        require!(self.block_size > 0, Usage, "`block_size` is 0: it must be at least 1");
        Ok(())
    }
}

/// Each item has an input vector v, uniform on [−1/2d, 1/2d) at first, and an output vector u, 0 at first. For each place of each history
/// with item w, and each of its contexts c, with N negatives k drawn anew, skip-gram ascends
/// ln σ(u_w · v_c) + Σ_k ln σ(−u_k · v_c), all N + 2 vectors at once from the values before. CBOW has the mean of all v_c in place of v_c.
/// σ is computed, not looked up: its relative error is below 10⁻⁶.
///
/// score(u, j) is the cosine or the product of item j's vector and the mean of those of the items in the history, each once. An item
/// without a training row has the vector 0.
pub struct Item2Vec {
    config: Item2VecConfig,
    seed: u64,
    /// v.
    inputs: Factor,
    /// u.
    outputs: Factor,
    vectors: ItemVectors,
}

impl Fit for Item2Vec {
    type Config = Item2VecConfig;
    const ONE_PASS: bool = false;

    fn new(config: &Item2VecConfig, data: &TrainView, seed: u64) -> Result<Self> {
        let (n, d) = (data.num_items(), config.embedding_size);
        let mut inputs = Factor::new(n, d, Init::Uniform { bound: 0.5 / d as f64 }, seed, 0);
        let unseen = data.popularity().into_iter().enumerate().filter(|&(_, count)| count == 0);
        unseen.for_each(|(item, _)| inputs.row_mut(item as u32).fill(0.0));
        let outputs = Factor::new(n, d, Init::Zeros, seed, 1);
        let vectors = config.final_vectors(&inputs, &outputs);
        Ok(Self { config: config.clone(), seed, inputs, outputs, vectors })
    }

    fn epoch(&mut self, data: &TrainView, epoch: u64, events: &mut Events) -> Result<()> {
        let corpus = Corpus::new(&self.config, data, self.seed, epoch);
        let sampler = Sampler::of_trained(self.config.negative_alpha, data.popularity());
        let blocks = corpus.blocks();
        let all: usize = blocks.iter().map(|block| block.pairs).sum();
        let mut learners: Vec<Learner> = (0..self.config.blocks).map(|_| Learner::new(self.config.embedding_size)).collect();
        let mut copies: Vec<[Copies; 2]> = Vec::new();
        if self.config.blocks > 1 {
            copies.resize_with(self.config.blocks, || [Copies::new(data.num_items()), Copies::new(data.num_items())]);
        }
        let mut done = 0;
        for (number, blocks) in blocks.chunks(self.config.blocks).enumerate() {
            let rate = self.config.rate(epoch as f64 + done as f64 / all.max(1) as f64);
            let round = Round { config: &self.config, corpus: &corpus, sampler: &sampler, rate, seed: self.seed, epoch };
            let first = number * self.config.blocks;
            if let ([learner], [block]) = (&mut learners[..], blocks) {
                learner.learn(&round, block, first, &mut self.inputs, &mut self.outputs);
            } else {
                let work = learners.par_iter_mut().zip(&mut copies).zip(blocks).enumerate();
                work.for_each(|(at, ((learner, [inputs, outputs]), block))| {
                    let (mut inputs, mut outputs) = (inputs.fresh(&self.inputs), outputs.fresh(&self.outputs));
                    learner.learn(&round, block, first + at, &mut inputs, &mut outputs);
                });
                let copies = &copies[..blocks.len()];
                add_changes(&mut self.inputs, copies.iter().map(|[inputs, _]| inputs));
                add_changes(&mut self.outputs, copies.iter().map(|[_, outputs]| outputs));
            }
            done += blocks.iter().map(|block| block.pairs).sum::<usize>();
        }
        self.vectors = self.config.final_vectors(&self.inputs, &self.outputs);
        let (loss, steps) = learners.iter_mut().map(Learner::take_loss).fold((0.0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let mean = loss / steps.max(1) as f64;
        if !mean.is_finite() {
            fail!(Numeric, "the loss is {mean} in epoch {}: lower `learning_rate`, `blocks` or `block_size`", epoch + 1);
        }
        events.send(&Event::Scalar { tag: "train/loss", epoch: epoch + 1, value: mean })
    }

    fn save(&self, out: &mut StateWriter) -> Result<()> {
        self.inputs.save("input_vectors", out);
        self.outputs.save("output_vectors", out);
        Ok(())
    }

    fn load(&mut self, from: &StateReader) -> Result<()> {
        from.floats_into("input_vectors", &mut self.inputs.values)?;
        from.floats_into("output_vectors", &mut self.outputs.values)?;
        self.vectors = self.config.final_vectors(&self.inputs, &self.outputs);
        Ok(())
    }
}

impl Item2VecConfig {
    /// η after so many epochs.
    fn rate(&self, epochs: f64) -> f32 {
        let fallen = if self.decay_epochs == 0 { 0.0 } else { (epochs / self.decay_epochs as f64).min(1.0) };
        (self.learning_rate - (self.learning_rate - self.min_learning_rate) * fallen) as f32
    }

    fn final_vectors(&self, inputs: &Factor, outputs: &Factor) -> ItemVectors {
        let (input, output) = (inputs.vectors(), outputs.vectors());
        let values = match self.vectors {
            Learned::Input => input.values.into_owned(),
            Learned::Output => output.values.into_owned(),
            Learned::Mean => input.values.iter().zip(&*output.values).map(|(v, u)| 0.5 * (v + u)).collect(),
        };
        ItemVectors::new(self.embedding_size, values, self.score)
    }
}

impl Score for Item2Vec {
    fn num_items(&self) -> usize {
        self.vectors.len()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        Ok(Scores::Factors(self.vectors.score(users)))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(self.vectors.vectors())
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
