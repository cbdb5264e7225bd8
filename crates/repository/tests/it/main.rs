//! The crate against real git: what git packs we take, what we write git takes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "real git is the oracle, and only tests run it")]

mod bare;
mod browse;
mod changed;
mod compact;
mod corpus;
mod delta;
mod diff;
mod edit;
mod fsck;
mod histories;
mod hostile_packs;
mod ingest;
mod merge;
mod pack;
mod pointer;
mod rewrite;
mod snapshot;
mod support;
mod walk;
mod write;
