//! Large objects as rows: uploads under way, what is stored, which repo may use it, how much a namespace takes.
//!
//! The life of an object's bytes: an `upload` row names their key before they exist ([`uploads`]) and holds room for
//! them in the quota ([`reservations`]); `publish_object`
//! makes a backing of them and links it ([`links`]); the last link that goes condemns the backing, and when it is due
//! the bytes are deleted and then the row ([`backings`]).

pub(super) mod backings;
mod copies;
pub(super) mod links;
pub(super) mod quota;
pub(super) mod reservations;
pub(super) mod uploads;

use rusqlite::{Connection, Result};

use super::checksum::{REPO_LFS, TOTAL};
use crate::RepoId;

/// The repo's live links grow by so many bytes.
pub(super) fn add_bytes(conn: &Connection, repo: RepoId, bytes: i64) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match REPO_LFS.record(conn, "repo_id = ?1", [repo])? {
        Some(mut row) => {
            row.set("bytes", row.get::<i64>("bytes")? + bytes)?;
            row.write(conn)
        }
        None => REPO_LFS.insert(conn, &[&repo, &false, &bytes, &0]),
    }
}

/// So many more live backings, and bytes in them.
fn add_to_totals(conn: &Connection, objects: i64, bytes: i64) -> Result<()> {
    for (name, more) in [("objects", objects), ("objects_bytes", bytes)] {
        TOTAL.change(conn, "name = ?1", [name], |row| row.set("value", row.get::<i64>("value")? + more))?;
    }
    Ok(())
}

/// As a column holds it. More than that is more than any disk.
pub(super) fn column(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
