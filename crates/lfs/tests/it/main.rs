//! The life of objects, on real rows and bytes, and on a bucket that misbehaves on order.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod bucket;
mod claims;
mod corpus;
mod disk;
mod double;
mod parts;
mod support;
mod sweep;
mod wire;
mod xorbs;
