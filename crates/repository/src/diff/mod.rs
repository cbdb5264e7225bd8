//! What differs between two trees: file by file ([`Changes`]), and as the unified diff that `git diff` prints
//! ([`Patch`]).
//!
//! Both are made in steps, so that whoever sends a patch holds a piece of it and no thread. Ids are written in full, as
//! by `git diff --full-index`, and a file that was renamed is one that was deleted and one that is new.

mod changes;
mod lines;
mod patch;

pub use changes::{Change, Changes};
pub use patch::{Limits, Patch};
