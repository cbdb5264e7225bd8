//! The contract of `database`, against its public API only, so that every engine can be held to it. What is
//! SQLite's own is in `sqlite.rs`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod apply;
mod buckets;
mod concurrency;
mod copies;
mod discussions;
mod lasting;
mod locks;
mod maintenance;
mod migration;
mod objects;
mod orgs;
mod packs;
mod people;
mod quota;
mod refs;
mod repos;
mod sqlite;
mod support;
mod users;
mod webhooks;
mod xet;
