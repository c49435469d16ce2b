//! Sequence and session recommenders. All score from a history alone: a session, or what a user did so far, oldest first.
//!
//! Where sequences of a batch lie one after the other there is no padding: layers see positions, and attention alone knows where a
//! sequence ends.

pub mod association_rules;
pub mod augment;
mod bags;
pub mod bert4rec;
pub mod cl4srec;
mod decay;
pub mod encoder;
pub mod fpmc;
pub mod gru4rec;
mod item_head;
pub mod item_knn_last;
mod last_item;
pub mod markov_chain;
pub mod narm;
mod next_item;
mod past_sessions;
mod policy;
mod q_heads;
pub mod recurrent;
pub mod reinforce;
pub mod sac;
pub mod sasrec;
pub mod sequential_rules;
pub mod session_knn;
pub mod session_popularity;
mod sessions;
pub mod sqn;
#[cfg(test)]
mod testing;
mod transformer;
pub mod transitions;
pub mod vsknn;
pub mod youtube_candidates;

pub use association_rules::AssociationRules;
pub use bert4rec::Bert4Rec;
pub use cl4srec::Cl4SRec;
pub use decay::Decay;
pub use fpmc::Fpmc;
pub use gru4rec::Gru4Rec;
pub use item_knn_last::ItemKnnLast;
pub use last_item::LastItem;
pub use markov_chain::MarkovChain;
pub use narm::Narm;
pub use reinforce::Reinforce;
pub use sac::Sac;
pub use sasrec::SasRec;
pub use sequential_rules::SequentialRules;
pub use session_knn::SessionKnn;
pub use session_popularity::SessionPopularity;
pub use sqn::Sqn;
pub use transformer::{Block, Inner, Positions};
pub use vsknn::Vsknn;
pub use youtube_candidates::YoutubeCandidates;

use anyhow::Result;
use rec_core::Registry;
use rec_data::require;

/// Adds the models of this crate.
pub fn register(registry: &mut Registry) {
    registry.gradient::<Fpmc>("fpmc", "factorised Markov chain of the last item, plus matrix factorisation");
    registry.gradient::<YoutubeCandidates>("youtube-candidates", "layers over the mean of a user's items, sampled softmax");
    registry.gradient::<SasRec>("sasrec", "self-attention over a user's last items");
    registry.gradient::<Cl4SRec>("cl4srec", "SASRec that tells users apart by two augmented views of each");
    registry.gradient::<Bert4Rec>("bert4rec", "bidirectional self-attention that fills in masked items");
    registry.fit::<SessionPopularity>("session-popularity", "what the session has most often, then what all have");
    registry.fit::<AssociationRules>("association-rules", "what stands in a session with the last item");
    registry.fit::<SequentialRules>("sequential-rules", "what comes after the last item, nearer ones more");
    registry.fit::<MarkovChain>("markov-chain", "what comes right after the last item");
    registry.fit::<ItemKnnLast>("item-knn-last", "items whose sessions are those of the last item");
    registry.fit::<SessionKnn>("session-knn", "items of the sessions most alike");
    registry.fit::<Vsknn>("vsknn", "items of the sessions most alike, late items weighing more");
    registry.gradient::<Gru4Rec>("gru4rec", "recurrent network (GRU, LSTM, RNN) over sessions in parallel");
    registry.gradient::<Narm>("narm", "GRU over a session with attention to its states");
    registry.gradient::<Sqn>("sqn", "next-item prediction with a Q-learning head beside it");
    registry.gradient::<Sac>("sac", "the same, the prediction's loss weighted by the learnt Q-values");
    registry.gradient::<Reinforce>("reinforce", "policy gradient with off-policy and top-K correction");
}

/// The largest size that a config may ask for: more would be a slip of the keyboard.
const LARGEST: usize = 65_536;

fn check_size(key: &str, value: usize) -> Result<()> {
    require!((1..=LARGEST).contains(&value), Usage, "`{key}` is {value}: it must be at least 1 and at most {LARGEST}");
    Ok(())
}

fn check_rate(key: &str, value: f64) -> Result<()> {
    require!((0.0..1.0).contains(&value), Usage, "`{key}` is {value}: it must be at least 0 and below 1");
    Ok(())
}

fn check_share(key: &str, value: f64) -> Result<()> {
    require!((0.0..=1.0).contains(&value), Usage, "`{key}` is {value}: it must be at least 0 and at most 1");
    Ok(())
}
