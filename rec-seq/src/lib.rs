//! Sequence and session recommenders: Markov chains to BERT4Rec. Nothing is here yet.
