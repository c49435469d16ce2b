//! Sequence and session recommenders. All score from a history alone: a session, or what a user did so far, oldest first.

pub mod association_rules;
mod decay;
pub mod gru4rec;
pub mod item_knn_last;
mod last_item;
pub mod markov_chain;
mod past_sessions;
pub mod recurrent;
pub mod sequential_rules;
pub mod session_knn;
pub mod session_popularity;
mod sessions;
#[cfg(test)]
mod testing;
pub mod vsknn;

pub use association_rules::AssociationRules;
pub use decay::Decay;
pub use gru4rec::Gru4Rec;
pub use item_knn_last::ItemKnnLast;
pub use last_item::LastItem;
pub use markov_chain::MarkovChain;
pub use sequential_rules::SequentialRules;
pub use session_knn::SessionKnn;
pub use session_popularity::SessionPopularity;
pub use vsknn::Vsknn;
