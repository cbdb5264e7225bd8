//! Bytes under a key. A key is written once, never overwritten, and deleted at most once.
//!
//! It makes bytes durable and gives them back; which keys exist is a matter of rows (`database`), so nothing here
//! lists what it holds (but for small directories with one owner). Start at [`Disk::publish`], which holds the order of durability.
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod disk;

pub use disk::{Disk, OpenError, TempFile, map_file, sync_directory};
