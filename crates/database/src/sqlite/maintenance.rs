//! Which repositories wait for compaction or for their manifest.
//!
//! A [change](crate::Change) that adds packs marks its repo; the mark moves on with each such change, so that
//! a repo is looked at once it rests, or has many packs.

use rusqlite::params;

use super::{Database, DbError, all};
use crate::RepoId;

/// How long a repo must rest before its packs are looked at, in milliseconds.
pub(super) const REST_MS: i64 = 30_000;
/// With so many live packs it is looked at, rested or not.
pub(super) const PACKS_MAX: i64 = 32;

impl Database {
    /// Live repos whose maintenance is due, oldest first.
    pub fn maintenance_due(&self, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql =
            "SELECT id FROM repo WHERE pending = 1 AND maint_due_ms <= ?1 ORDER BY maint_due_ms, id LIMIT ?2";
        self.read(|conn| all(conn, sql, params![self.clock().now_ms(), limit], |row| row.get(0)))
    }

    /// Live repos that are marked, due or not, oldest first.
    pub fn maintenance_pending(&self, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql = "SELECT id FROM repo WHERE pending = 1 AND maint_due_ms IS NOT NULL
                   ORDER BY maint_due_ms, id LIMIT ?1";
        self.read(|conn| all(conn, sql, [limit], |row| row.get(0)))
    }

    /// Makes a live repo due now. False if there is none.
    pub async fn mark_maintenance(&self, id: RepoId) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let sql = "UPDATE repo SET maint_due_ms = ?2, pending = 1 WHERE id = ?1 AND state = 0";
            Ok(conn.prepare_cached(sql)?.execute(params![id, now_ms])? == 1)
        })
        .await
    }

    /// Done: clears the mark unless the repo's generation moved past `at_generation` (then it is due again in
    /// 30 s).
    pub async fn maintenance_done(&self, id: RepoId, at_generation: i64) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let sql = "UPDATE repo SET maint_due_ms = CASE WHEN generation > ?2 THEN ?3 END,
                                       pending = generation > ?2 OR generation > manifest_generation
                       WHERE id = ?1 AND state = 0";
            conn.prepare_cached(sql)?.execute(params![id, at_generation, now_ms + REST_MS])?;
            Ok(())
        })
        .await
    }

    /// Live repos whose manifest is older than their generation.
    pub fn manifests_due(&self, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql =
            "SELECT id FROM repo WHERE pending = 1 AND manifest_generation < generation ORDER BY id LIMIT ?1";
        self.read(|conn| all(conn, sql, [limit], |row| row.get(0)))
    }

    pub async fn manifest_written(&self, id: RepoId, generation: i64) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let sql = "UPDATE repo SET manifest_generation = ?2,
                                       pending = maint_due_ms IS NOT NULL OR generation > ?2
                       WHERE id = ?1 AND state = 0 AND manifest_generation < ?2";
            conn.prepare_cached(sql)?.execute(params![id, generation])?;
            Ok(())
        })
        .await
    }
}
