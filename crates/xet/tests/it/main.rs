//! The formats, against what clients really make of the same bytes; and the store, on real rows and bytes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod addresses;
mod broken;
mod buckets;
mod collect;
mod corpus;
mod crash;
mod dedup;
mod files;
mod frames;
mod reading;
mod receiving;
mod registering;
mod shards;
mod speed;
mod store;
mod support;
mod xorbs;
