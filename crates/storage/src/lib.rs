//! Bytes under a key. A key is written once, never overwritten, and deleted at most once.
//!
//! Packs and their like are on the local disk ([`Disk`]), where they can be mapped. Large objects are in an
//! [`ObjectStore`]: a directory, perhaps of a NAS, or a bucket, by one contract. Either makes bytes durable and gives
//! them back; which keys exist is a matter of rows (`database`), so nothing here lists what it holds (but for small
//! directories with one owner). Nothing here knows whose bytes they are, or speaks to clients: for uploads and downloads
//! that go to a bucket directly it signs URLs ([`Signer`]). Start at [`Disk::publish`], which holds the order of
//! durability, and at [`ObjectStore`].
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod disk;
mod objects;
mod s3;

pub use disk::{Disk, OpenError, TempFile, map_file, sync_directory};
pub use objects::{Cached, Complete, Expected, ObjectStore, Reader, StoreError, StoreId, Writer};
pub use s3::{
    Binding, Bucket, Capabilities, Head, S3Config, S3ConfigError, S3Credentials, SignedPut, Signer,
};
