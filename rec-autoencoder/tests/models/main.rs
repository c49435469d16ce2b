//! Each model against a second writing of its formulas in f64, and what a user may rely on: new users, learning, refusals.

mod behaviour;
mod data;
mod noise;
mod reference;
