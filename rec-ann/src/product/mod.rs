//! Product quantisation: Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", TPAMI 2011.

mod codes;
mod index;
mod ivf;
mod quantiser;
mod rotation;

pub use index::{Pq, PqConfig};
pub use ivf::{IvfPq, IvfPqConfig};
pub use quantiser::{Bits, ProductQuantiser, QuantiserConfig};
