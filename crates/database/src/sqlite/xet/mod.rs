//! Xet as rows: what is stored in xorbs, the files that are made of them, where chunks are found.
//!
//! The life of a xorb's bytes: a staged row names their key before they exist, [`Database::publish_xorb`] makes it live
//! ([`xorbs`]). A file names xorbs and is named by backings and by buckets ([`files`]): as long as one
//! of those has a row, all it names stays. A live xorb that no file names and that no client was told of for as long as they remember is condemned, and its
//! bytes are deleted when it is due ([`collect`]).
//!
//! What clients put into a bucket themselves is known by a grant ([`grants`]) until its address is dead.
//! A file that is read often has a copy of its bytes as one object besides ([`wholes`]).
//!
//! [`Database::publish_xorb`]: super::Database::publish_xorb

mod collect;
mod dedup;
pub(super) mod files;
mod grants;
mod register;
mod stats;
mod wholes;
pub(super) mod xorbs;
