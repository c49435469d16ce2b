//! FPMC: factorised personalised Markov chains, for baskets of one item. Rendle, Freudenthaler, Schmidt-Thieme, WWW 2010.

use anyhow::Result;
use rec_core::loss::LossConfig;
use rec_core::model::{Model, ModelConfig, Score, Users, Vectors};
use rec_core::scores::{Factors, Scores};
use rec_core::{Init, Params, Table};
use rec_data::batch::{BatchOptions, SequencesBatch};
use rec_data::view::TrainView;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::check_size;
use crate::next_item::{asked, next_item_loss};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpmcConfig {
    /// Length of the vectors of either product.
    pub embedding_size: usize,
    /// Whether users have vectors; without them it is the factorised Markov chain, FMC.
    pub use_users: bool,
    /// A user's last so many transitions are learned from.
    pub max_len: usize,
    /// What is minimised: `bpr` is the paper's S-BPR, `cross-entropy` is over all items, and all but this judge each next item against
    /// its drawn negatives.
    pub loss: LossConfig,
}

impl Default for FpmcConfig {
    fn default() -> Self {
        Self { embedding_size: 64, use_users: true, max_len: 200, loss: LossConfig::Bpr {} }
    }
}

impl ModelConfig for FpmcConfig {
    fn check(&self) -> Result<()> {
        check_size("embedding_size", self.embedding_size)?;
        check_size("max_len", self.max_len)?;
        self.loss.check()
    }
}

/// score(u, l, i) = v_u · v_i + w_l · w_i, with l the last item of the history. The product of u and l, which no ranking sees, is left
/// out as in the paper.
///
/// A user who has no transition to learn from, a new one among them, has the mean of the other users' vectors for v_u. Where there is
/// no history, w_l is 0.
pub struct Fpmc {
    config: FpmcConfig,
    /// v_u, where users have vectors.
    users: Option<Table>,
    /// w_l.
    last: Table,
    /// v_i, then w_i, or w_i alone.
    items: Table,
    /// Whether a user has a transition to learn from.
    learned: Vec<bool>,
}

impl Model for Fpmc {
    type Config = FpmcConfig;
    type Batch = SequencesBatch;

    fn new(config: &FpmcConfig, data: &TrainView, params: &mut Params) -> Result<Self> {
        let (d, init) = (config.embedding_size, Init::XavierNormal);
        let users = config.use_users.then(|| params.table("user_embedding", data.num_users(), d, init)).transpose()?;
        let last = params.table("last_embedding", data.num_items(), d, init)?;
        let parts = 1 + usize::from(config.use_users);
        let items = params.table("item_embedding", data.num_items(), parts * d, init)?;
        let learned = (0..data.num_users()).map(|user| data.sequences().row(user).len() > 1).collect();
        Ok(Self { config: config.clone(), users, last, items, learned })
    }

    fn shape_batches(config: &FpmcConfig, options: &mut BatchOptions) {
        options.max_len = config.max_len;
        if matches!(config.loss, LossConfig::CrossEntropy {}) {
            options.num_negatives = 0;
        }
    }

    fn loss(&self, batch: &SequencesBatch) -> Result<Tensor> {
        let inputs: Vec<u32> = asked(batch).map(|at| batch.items[at]).collect();
        let mut hidden = self.last.rows(&inputs)?;
        if let Some(table) = &self.users {
            let transitions = batch.starts.windows(2).map(|pair| pair[1] - pair[0] - 1);
            let users: Vec<u32> = batch.users.iter().zip(transitions).flat_map(|(&user, n)| std::iter::repeat_n(user, n)).collect();
            hidden = Tensor::f_cat(&[table.rows(&users)?, hidden], 1)?;
        }
        next_item_loss(&self.config.loss, &hidden, &self.items, batch)
    }
}

impl Fpmc {
    /// The mean of the vectors of users who have a transition to learn from.
    fn mean_user(&self, vectors: &[f32]) -> Vec<f32> {
        let mut sum = vec![0f64; self.config.embedding_size];
        let learned = vectors.chunks_exact(sum.len()).zip(&self.learned).filter(|(_, learned)| **learned);
        learned.for_each(|(vector, _)| sum.iter_mut().zip(vector).for_each(|(sum, &v)| *sum += f64::from(v)));
        let count = self.learned.iter().filter(|learned| **learned).count().max(1) as f64;
        sum.iter().map(|sum| (sum / count) as f32).collect()
    }
}

impl Score for Fpmc {
    fn num_items(&self) -> usize {
        self.items.num_rows()
    }

    fn score<'a>(&'a self, users: &Users<'a>) -> Result<Scores<'a>> {
        let (d, dim) = (self.config.embedding_size, self.items.num_columns());
        let is_learned = |id: u32| self.learned.get(id as usize) == Some(&true);
        let mut out = vec![0f32; users.len() * dim];
        if let Some(table) = &self.users {
            let vectors = table.to_slice();
            let all_learned = users.ids().iter().all(|&id| is_learned(id));
            let mean = if all_learned { Vec::new() } else { self.mean_user(&vectors) };
            for (row, &id) in out.chunks_exact_mut(dim).zip(users.ids()) {
                row[..d].copy_from_slice(if is_learned(id) { &vectors[id as usize * d..][..d] } else { &mean });
            }
        }
        let vectors = self.last.to_slice();
        for (at, row) in out.chunks_exact_mut(dim).enumerate() {
            if let Some(&last) = users.history(at).last() {
                row[dim - d..].copy_from_slice(&vectors[last as usize * d..][..d]);
            }
        }
        Ok(Scores::Factors(Factors { dim, users: out.into(), items: self.items.to_slice(), item_bias: None }))
    }

    fn item_vectors(&self) -> Option<Vectors<'_>> {
        Some(Vectors { dim: self.items.num_columns(), values: self.items.to_slice() })
    }

    fn scores_histories(&self) -> bool {
        true
    }
}
