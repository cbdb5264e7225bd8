//! Which repositories wait for compaction or for their manifest.
//!
//! A [change](crate::Change) that adds packs marks its repo; the mark moves on with each such change, so that
//! a repo is looked at once it rests, or has many packs.

use rusqlite::params;

use super::checksum::REPO;
use super::repos::outdate_manifest;
use super::{Database, DbError, all, buckets};
use crate::RepoId;

/// How long a repo must rest before its packs are looked at, in milliseconds.
pub(super) const REST_MS: i64 = 30_000;
/// With so many live packs it is looked at, rested or not.
pub(super) const PACKS_MAX: i64 = 32;

const LIVE: &str = "id = ?1 AND state = 0";

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
            let marked = REPO.change(conn, LIVE, [id], |row| {
                row.set("maint_due_ms", now_ms)?;
                row.set("pending", true)
            })?;
            Ok(marked == 1)
        })
        .await
    }

    /// Done: clears the mark unless the repo's generation moved past `at_generation` (then it is due again in
    /// 30 s).
    pub async fn maintenance_done(&self, id: RepoId, at_generation: i64) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            REPO.change(conn, LIVE, [id], |row| {
                let generation: i64 = row.get("generation")?;
                let due = (generation > at_generation).then_some(now_ms + REST_MS);
                row.set("maint_due_ms", due)?;
                row.set("pending", due.is_some() || generation > row.get("manifest_generation")?)
            })?;
            Ok(())
        })
        .await
    }

    /// There are no manifests: after a restore. Every live repo and bucket gets one again.
    pub async fn manifests_lost(&self) -> Result<(), DbError> {
        self.write(move |conn, _| {
            buckets::journal::lose(conn)?;
            REPO.change(conn, "state = 0", [], outdate_manifest)?;
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

    /// The manifest says what the repo was at this generation and `acl_version`; nothing if that has moved on.
    pub async fn manifest_written(
        &self,
        id: RepoId,
        generation: i64,
        acl_version: i64,
    ) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let behind = "id = ?1 AND state = 0 AND manifest_generation < ?2 AND acl_version = ?3";
            REPO.change(conn, behind, params![id, generation, acl_version], |row| {
                let due: Option<i64> = row.get("maint_due_ms")?;
                row.set("manifest_generation", generation)?;
                row.set("pending", due.is_some() || row.get::<i64>("generation")? > generation)
            })?;
            Ok(())
        })
        .await
    }
}
