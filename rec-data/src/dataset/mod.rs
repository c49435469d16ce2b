//! Data sets by name: found or fetched, verified, parsed once, and opened from the cache ever after.
//!
//! [`open`] is the way in; [`list`], [`fetch`], [`verify`] and [`describe`] are what is asked of a data set besides.

pub mod cache;
mod content_hash;
mod describe;
mod fetch;
mod licence;
mod list;
mod open;
mod opened;
mod parse;
mod verify;

pub use crate::candidates::CandidateLists;
pub use crate::folders::Folders;
pub use describe::{Bin, Description, Spread, describe};
pub use fetch::fetch;
pub use list::{Listed, list};
pub use open::{open, open_file, open_rows};
pub use opened::Dataset;
pub use verify::{FileCheck, Status, verify};
