//! Neighbourhood models: items like those of the user's, or items of users like the user. Sarwar et al., WWW 2001; Herlocker et al.,
//! SIGIR 1999.

mod item;
mod similarity;
mod user;

pub use item::{ItemKnn, ItemKnnConfig};
pub use similarity::Similarity;
pub use user::{UserKnn, UserKnnConfig};
