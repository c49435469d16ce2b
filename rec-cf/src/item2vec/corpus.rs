//! What is read in an epoch: users' histories as lists of items, thinned and in order, cut into blocks.

use rec_data::rng::{Rng, Stream};
use rec_data::view::TrainView;

use super::{Histories, Item2VecConfig, Method};
use crate::online::shuffled;

/// The histories of one epoch.
pub(super) struct Corpus<'a> {
    config: &'a Item2VecConfig,
    data: &'a TrainView,
    /// Probability that a row of an item is read.
    keep: Vec<f64>,
    seed: u64,
    epoch: u64,
}

/// Part number `part` of so many of a user's list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub user: u32,
    part: usize,
    parts: usize,
}

/// Pieces that are learned from one after the other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Block {
    pub pieces: Vec<Piece>,
    /// Positive pairs, about.
    pub pairs: usize,
}

impl<'a> Corpus<'a> {
    pub fn new(config: &'a Item2VecConfig, data: &'a TrainView, seed: u64, epoch: u64) -> Self {
        Self { config, data, keep: keep_probabilities(config.sample, &data.popularity()), seed, epoch }
    }

    fn row(&self, user: u32) -> &'a [u32] {
        match self.config.histories {
            Histories::Sets => self.data.by_user().row(user as usize),
            Histories::Sequences => self.data.sequences().row(user as usize),
        }
    }

    /// All users in the epoch's order, cut into blocks of `block_size` pairs, about; a long list goes to several.
    pub fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut block) = (Vec::new(), Block::default());
        for user in shuffled(self.data.num_users(), self.seed, self.epoch) {
            let pairs = self.config.pairs_of(self.row(user).len());
            let parts = pairs.div_ceil(self.config.block_size).max(1);
            for part in 0..parts {
                block.pieces.push(Piece { user, part, parts });
                block.pairs += pairs / parts;
                if block.pairs >= self.config.block_size {
                    blocks.push(std::mem::take(&mut block));
                }
            }
        }
        blocks.extend((!block.pieces.is_empty()).then_some(block));
        blocks
    }

    /// The list of the user of `piece`, as this epoch reads it, into `list`; returns which of its places are centres in this piece.
    pub fn read(&self, piece: Piece, list: &mut Vec<u32>) -> std::ops::Range<usize> {
        let mut rng = Rng::keyed(self.seed, Stream::Shuffle, self.epoch, 1 + u64::from(piece.user));
        list.clear();
        list.extend(self.row(piece.user).iter().filter(|&&item| {
            let keep = self.keep[item as usize];
            keep >= 1.0 || rng.unit() < keep
        }));
        if self.config.histories == Histories::Sets && self.config.window > 0 {
            rng.shuffle(list);
        }
        list.len() * piece.part / piece.parts..list.len() * (piece.part + 1) / piece.parts
    }
}

impl Item2VecConfig {
    /// How many positive pairs a list of `n` items has, about.
    fn pairs_of(&self, n: usize) -> usize {
        let width = match (self.window, self.reduce_window) {
            _ if self.method != Method::SkipGram => 1,
            (0, _) => usize::MAX,
            (window, true) => window + 1,
            (window, false) => 2 * window,
        };
        n * width.min(n.saturating_sub(1))
    }
}

/// min(1, (√(f/t) + 1)·t/f) for an item with a share f of the rows, t the threshold `sample`, as word2vec's code has it (its paper says
/// √(t/f)); 1 where t is 0.
pub(super) fn keep_probabilities(sample: f64, popularity: &[u32]) -> Vec<f64> {
    let rows = popularity.iter().map(|&count| f64::from(count)).sum::<f64>();
    let keep = |&count: &u32| {
        let times = f64::from(count) / (sample * rows);
        if sample > 0.0 && count > 0 { ((times.sqrt() + 1.0) / times).min(1.0) } else { 1.0 }
    };
    popularity.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use rec_data::{Interactions, Vocabulary};

    use super::*;

    /// User u has items 0..n[u], the latest first in the source.
    fn data(n: &[u32]) -> TrainView {
        let rows = || n.iter().enumerate().flat_map(|(user, &n)| (0..n).map(move |item| (user as u32, item)));
        TrainView::of_all(&Interactions {
            users: rows().map(|row| row.0).collect::<Vec<_>>().into(),
            items: rows().map(|row| row.1).collect::<Vec<_>>().into(),
            times: Some(rows().map(|row| -i64::from(row.1)).collect::<Vec<_>>().into()),
            user_ids: Vocabulary::numbers(n.len()),
            item_ids: Vocabulary::numbers(50),
            ..Interactions::default()
        })
    }

    #[test]
    fn frequent_items_are_read_as_often_as_word2vecs_rule_says() {
        // Shares of the rows 0.004, 0.0001, 0: t = 0.001 keeps (√4 + 1)/4 of the first and all of the others.
        let keep = keep_probabilities(0.001, &[40, 1, 0, 9959]);
        assert_eq!(keep[..3], [0.75, 1.0, 1.0]);
        assert!((keep[3] - (995.9f64.sqrt() + 1.0) / 995.9).abs() < 1e-12);
        assert_eq!(keep_probabilities(0.0, &[40, 0]), [1.0, 1.0]);

        // All of 4000 rows are of one item: (√10 + 1)/10 of them, with a standard deviation of 31.
        let data = data(&[1; 4000]);
        let config = Item2VecConfig { sample: 0.1, ..Item2VecConfig::default() };
        let corpus = Corpus::new(&config, &data, 3, 0);
        let mut list = Vec::new();
        let read: usize = corpus.blocks().iter().flat_map(|b| &b.pieces).map(|&piece| corpus.read(piece, &mut list).len()).sum();
        assert!((read as f64 - 1664.9).abs() < 130.0, "{read}");
    }

    #[test]
    fn each_place_is_a_centre_once_and_lists_are_in_the_order_that_they_should_have() {
        let data = data(&[3, 50, 0, 20]);
        for (histories, window) in [(Histories::Sets, 0), (Histories::Sets, 4), (Histories::Sequences, 4)] {
            let config = Item2VecConfig { histories, window, sample: 0.0, block_size: 60, ..Item2VecConfig::default() };
            let corpus = Corpus::new(&config, &data, 5, 1);
            let mut centres = vec![Vec::new(); 4];
            let (mut list, mut lists) = (Vec::new(), vec![Vec::new(); 4]);
            let blocks = corpus.blocks();
            assert!(blocks.len() > 3, "{}", blocks.len());
            for &piece in blocks.iter().flat_map(|b| &b.pieces) {
                let range = corpus.read(piece, &mut list);
                centres[piece.user as usize].extend(range);
                lists[piece.user as usize].clone_from(&list);
            }
            for (user, n) in [3, 50, 0, 20].into_iter().enumerate() {
                centres[user].sort_unstable();
                assert_eq!(centres[user], (0..n as usize).collect::<Vec<_>>());
                let (rising, falling): (Vec<u32>, Vec<u32>) = ((0..n).collect(), (0..n).rev().collect());
                match (histories, window) {
                    (Histories::Sequences, _) => assert_eq!(lists[user], falling, "by time"),
                    (Histories::Sets, 0) => assert_eq!(lists[user], rising),
                    (Histories::Sets, _) => {
                        assert!(n < 20 || lists[user] != rising, "shuffled");
                        lists[user].sort_unstable();
                        assert_eq!(lists[user], rising);
                    }
                }
            }
        }
    }
}
