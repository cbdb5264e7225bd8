//! Every operation of `change` on real rows, real files and packs that real git made.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "git is the oracle")]

mod buckets;
mod collect;
mod duplicate;
mod exchange;
mod hub;
mod large;
mod large_bounds;
mod large_collect;
mod large_exchange;
mod large_safety;
mod large_xet;
mod large_xorbs;
mod locks;
mod manifest;
mod push;
mod safety;
