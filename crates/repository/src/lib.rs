//! The git data of one repository: snapshots, objects, packs, deltas, closure, compaction. On gix.
//!
//! A [`Snapshot`] is refs plus an explicit pack list at one generation; a missing object is definitively missing.
//! Packs are immutable blobs ([`pack::Pack`]): a plain git pack followed by its index and sidecar. This crate opens
//! repositories by id, never by name, moves no ref, and knows no protocol.
//!
//! Start at [`snapshot`], then [`ingest`] and [`edit`] (the write paths: a pack that came, a commit that is made here), and
//! [`walk`] (the read path).
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod attributes;
pub mod bare;
pub mod compact;
pub mod delta;
pub mod diff;
pub mod edit;
pub mod fsck;
pub mod ingest;
pub mod log;
pub mod object;
pub mod pack;
pub mod pointer;
pub mod revision;
pub mod snapshot;
pub mod tree;
pub mod walk;
pub mod write;

pub use object::Kind;
pub use pack::Pack;
pub use snapshot::{ReadError, Repositories, Snapshot};
