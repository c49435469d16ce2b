//! Nearest-neighbour search on plain `f32` slices, without tensors.
//!
//! Each index answers [`Index::search`]: the `k` nearest of its vectors to a query, under a [`Metric`]. Vectors are numbered in the order
//! in which they were given. The same vectors, settings and seed make the same index, to the bit, on any number of threads.
//!
//! ```
//! use rec_ann::{Flat, Index, Metric};
//!
//! let vectors = [0.0, 0.0, 3.0, 4.0, 1.0, 0.0];
//! let index = Flat::new(&vectors, 2, Metric::L2)?;
//! let found = index.search(&[1.0, 1.0], 2, None)?;
//! assert_eq!((found[0].id, found[0].distance), (2, 1.0));
//! # anyhow::Ok(())
//! ```

pub mod speed;

mod augment;
mod byte_rows;
mod cells;
mod column;
mod config;
mod exact;
mod file;
mod flat;
mod forest;
mod hnsw;
mod ids;
mod index;
mod ivf;
mod kernels;
mod kmeans;
mod metric;
mod nearest;
mod panels;
mod product;
mod rng;
mod rows;
mod storage;
mod subset;
mod vectors;
mod visited;

pub use config::{IndexConfig, IndexKind};
pub use file::{open, open_with_ids};
pub use flat::{Flat, FlatConfig};
pub use forest::{Forest, ForestConfig};
pub use hnsw::{Hnsw, HnswConfig};
pub use ids::RawIds;
pub use index::Index;
pub use ivf::{Ivf, IvfConfig};
pub use kmeans::KmeansConfig;
pub use metric::Metric;
pub use nearest::Neighbour;
pub use product::{Bits, IvfPq, IvfPqConfig, Pq, PqConfig, ProductQuantiser, QuantiserConfig};
pub use storage::Precision;
pub use subset::Subset;
pub use vectors::{VectorSet, npy, npy_texts};
