//! Maps of items: where t-SNE places them, what colours them, and how far neighbours are of one genre.

mod genres;
mod items;
mod picture;
mod projector;
mod purity;
mod tsne;

pub use genres::Genres;
pub use items::{ItemMap, Items, MOST_DRAWN};
pub use picture::purities;
pub use projector::write_vectors;
pub use purity::{NEIGHBOURS, Purity, Share};
pub use tsne::{FEWEST, places};
