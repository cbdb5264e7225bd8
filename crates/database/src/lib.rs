//! Rows: users, tokens, repositories, refs, packs and large objects with their states, locks, discussions, webhooks. All SQL of Granary is in
//! this crate.
//!
//! It knows *what* is stored and nothing of *why*: every ref moves through [`Database::apply`], which runs a
//! [`Change`] (plain data) in one transaction. Reads are synchronous one-row lookups on the calling thread
//! (2–3 µs); writes go to one writer thread that batches waiting changes as savepoints of one transaction.
//! It never reads git objects, never touches blob bytes, never speaks HTTP.
//!
//! Start reading at [`change`] (the one door) and `sqlite/schema.sql`.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

pub mod buckets;
pub mod change;
pub mod clock;
pub mod copies;
pub mod discussions;
pub mod fault;
pub mod lists;
pub mod names;
pub mod objects;
pub mod oid;
pub mod people;
pub mod rows;
pub mod sha256;
pub mod sqlite;
pub mod webhooks;
pub mod xet;

pub use buckets::*;
pub use change::{
    Applied, Change, Conflict, Expected, HeadEdit, NewPack, PackContent, RefEdit, RefOutcome, RefRejection,
};
pub use clock::Clock;
pub use copies::*;
pub use discussions::*;
pub use lists::*;
pub use names::{BucketPath, NameError, Namespace, RepoKind, RepoPath};
pub use objects::*;
pub use oid::Oid;
pub use people::*;
pub use rows::*;
pub use sha256::Sha256;
pub use sqlite::*;
pub use webhooks::*;
pub use xet::*;
