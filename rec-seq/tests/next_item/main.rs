//! Models that score the next item from what a user did, without blocks: against PyTorch in f64, and what a user may rely on.

mod fpmc;
mod narm;
mod support;
mod youtube_candidates;
