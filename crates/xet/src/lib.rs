//! Xet: files as lists of chunks, chunks in xorbs, and the shards by which clients tell which are where.
//!
//! It owns the formats: hashes ([`hash`], [`merkle`]), where files are cut ([`chunker`]), how chunks are packed
//! ([`xorb`]), what we keep beside a xorb ([`index`]), and what clients say and are told of both ([`shard`]). All of that
//! is synchronous, does no I/O and takes its bytes as they come. Above it is the content-addressed store ([`Cas`]): xorbs
//! that are proven while they arrive, shards that are proven against them, files read back of both. It trusts nothing that
//! a client says of bytes it has not seen, never gives out a chunk's hash but keyed (knowing one is the proof of having
//! the bytes), never asks whether a SHA-256 is true, which is for `lfs`, and knows no HTTP.
//!
//! Start at [`xorb::Reader`] for the formats, at [`Cas::receive_xorb`] and [`Cas::check_shard`] for the store. The formats
//! are those of <https://huggingface.co/docs/xet>.

#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod cas;
pub mod chunker;
pub mod hash;
pub mod index;
pub mod merkle;
pub mod shard;
pub mod xorb;

pub use cas::*;
pub use hash::Hash;
pub use index::Index;
