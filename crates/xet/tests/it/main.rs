//! The formats, against what clients really make of the same bytes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod broken;
mod corpus;
mod files;
mod frames;
mod shards;
mod support;
mod xorbs;
