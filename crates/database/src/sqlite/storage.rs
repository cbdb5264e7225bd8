//! What each repository and bucket of a namespace takes.

use rusqlite::params;

use super::buckets::bucket_sql;
use super::repos::{repo, repo_sql};
use super::{Database, DbError, all, buckets};
use crate::{Bucket, BucketId, Repo, RepoId};

/// One repository, in bytes.
#[derive(Clone, Debug)]
pub struct RepoStorage {
    pub repo: Repo,
    /// Of its packs.
    pub packs_bytes: u64,
    /// Of the large objects that it links.
    pub large_bytes: u64,
    /// When its default branch was last changed, as far as that was found out.
    pub modified_ms: Option<i64>,
}

impl Database {
    /// Of all repositories and buckets of a namespace (folded), in bytes.
    pub fn storage_total(&self, folded: &str) -> Result<u64, DbError> {
        let sql = "SELECT coalesce(sum(r.packs_bytes + coalesce(lfs.bytes, 0)), 0)
                   FROM repo r LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id
                   WHERE r.state = 0 AND r.kind IN (0, 1, 2) AND r.folded > ?1 || '/' AND r.folded < ?1 || '0'";
        self.read(|conn| {
            let repos: u64 = conn.prepare_cached(sql)?.query_row([folded], |row| row.get(0))?;
            Ok(repos.saturating_add(buckets::used(conn, folded)?))
        })
    }

    /// Buckets of a namespace (folded), behind `after`, in the order of ids.
    pub fn buckets_of(&self, folded: &str, after: BucketId, limit: u32) -> Result<Vec<Bucket>, DbError> {
        let sql = concat!(
            bucket_sql!(),
            "WHERE b.state = 0 AND b.folded > ?1 || '/' AND b.folded < ?1 || '0' AND b.id > ?2 ORDER BY b.id LIMIT ?3"
        );
        self.read(|conn| all(conn, sql, params![folded, after, limit], buckets::bucket))
    }

    /// Of a namespace (folded), behind `after`, in the order of ids.
    pub fn storage_of(&self, folded: &str, after: RepoId, limit: u32) -> Result<Vec<RepoStorage>, DbError> {
        // '0' is the byte behind '/'.
        let ids = "SELECT r.id, r.packs_bytes, coalesce(lfs.bytes, 0), f.modified_ms
                   FROM repo r LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id LEFT JOIN repo_facts f ON f.repo_id = r.id
                   WHERE r.state = 0 AND r.kind IN (0, 1, 2) AND r.folded > ?1 || '/' AND r.folded < ?1 || '0'
                   AND r.id > ?2 ORDER BY r.id LIMIT ?3";
        self.0.readers.snapshot(|conn| {
            let rows: Vec<(RepoId, u64, u64, Option<i64>)> =
                all(conn, ids, params![folded, after, limit], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?;
            let mut found = Vec::with_capacity(rows.len());
            for (id, packs_bytes, large_bytes, modified_ms) in rows {
                let sql = concat!(repo_sql!(), "WHERE r.id = ?1");
                let repo = conn.prepare_cached(sql)?.query_row([id], repo)?;
                found.push(RepoStorage { repo, packs_bytes, large_bytes, modified_ms });
            }
            Ok(found)
        })
    }
}
