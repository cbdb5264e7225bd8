//! Xet: files as lists of chunks, chunks in xorbs, and the shards by which clients tell which are where.
//!
//! It owns the formats: hashes ([`hash`], [`merkle`]), where files are cut ([`chunker`]), how chunks are packed
//! ([`xorb`]), what we keep beside a xorb ([`index`]), and what clients say and are told of both ([`shard`]). All of it
//! is synchronous, does no I/O and takes its bytes as they come. It trusts nothing that a client says of bytes it has
//! not seen, and never gives out a chunk's hash but keyed: knowing one is the proof of having the bytes.
//!
//! Start at [`xorb::Reader`]. The formats are those of <https://huggingface.co/docs/xet>.

#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod chunker;
pub mod hash;
pub mod index;
pub mod merkle;
pub mod shard;
pub mod xorb;

pub use hash::Hash;
pub use index::Index;
