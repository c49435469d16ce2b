//! Bringing files from elsewhere: over HTTP, out of archives, out of Python wheels.

pub mod archive;
pub mod checksum;
pub mod download;
pub mod sources;
pub mod wheel;
