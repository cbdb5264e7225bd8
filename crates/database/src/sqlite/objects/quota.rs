//! How much a namespace takes and may take.

use rusqlite::{Connection, OptionalExtension, params};

use super::{column, reservations};
use crate::sqlite::checksum::QUOTA;
use crate::sqlite::{Database, DbError, buckets};
use crate::{Namespace, Quota, RepoId, RepoKind, Usage};

impl Database {
    /// What is set for this namespace; if nothing is, the node's default counts.
    pub fn quota(&self, namespace: &Namespace) -> Result<Option<u64>, DbError> {
        self.read(|conn| quota_of(conn, &namespace.folded()))
    }

    /// `None`: the node's default counts again. `u64::MAX`: there is no limit, whatever the default.
    pub async fn set_quota(&self, namespace: Namespace, bytes_max: Option<u64>) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let folded = namespace.folded();
            match bytes_max.map(column) {
                None => {
                    conn.prepare_cached("DELETE FROM quota WHERE folded = ?1")?.execute([&folded])?;
                }
                Some(max) if !QUOTA.replace(conn, &[&folded, &max])? => {
                    QUOTA.insert(conn, &[&folded, &max])?
                }
                Some(_) => {}
            }
            Ok(())
        })
        .await
    }

    pub fn usage(&self, namespace: &Namespace) -> Result<Usage, DbError> {
        self.0.readers.snapshot(|conn| {
            let folded = namespace.folded();
            let reserved = reservations::reserved(conn, self.clock().now_ms(), &folded)?;
            Ok(Usage { used: used(conn, &folded)?, reserved, quota: quota_of(conn, &folded)? })
        })
    }
}

pub(in crate::sqlite) fn quota_of(conn: &Connection, folded: &str) -> Result<Option<u64>, DbError> {
    let sql = "SELECT bytes_max FROM quota WHERE folded = ?1";
    let found: Option<i64> = conn.prepare_cached(sql)?.query_row([folded], |row| row.get(0)).optional()?;
    Ok(found.map(|max| if max == i64::MAX { u64::MAX } else { u64::try_from(max).unwrap_or(0) }))
}

pub(in crate::sqlite) fn used(conn: &Connection, folded: &str) -> Result<u64, DbError> {
    let mut sum = 0u64;
    for kind in RepoKind::ALL {
        // '0' is the byte behind '/'.
        let sql = "SELECT coalesce(sum(lfs.bytes), 0) FROM repo r JOIN repo_lfs lfs ON lfs.repo_id = r.id
                   WHERE r.state = 0 AND r.kind = ?1 AND r.folded > ?2 || '/' AND r.folded < ?2 || '0'";
        let used: u64 = conn.prepare_cached(sql)?.query_row(params![kind, folded], |row| row.get(0))?;
        sum = sum.saturating_add(used);
    }
    Ok(sum.saturating_add(buckets::used(conn, folded)?))
}

/// And what is held for uploads under way.
pub(in crate::sqlite) fn taken(conn: &Connection, now_ms: i64, folded: &str) -> Result<u64, DbError> {
    Ok(used(conn, folded)?.saturating_add(reservations::reserved(conn, now_ms, folded)?))
}

/// What counts against an upload, of which `given` is as its row has it: `None` if nothing does.
pub(in crate::sqlite) fn limit(
    conn: &Connection,
    folded: &str,
    given: Quota,
) -> Result<Option<u64>, DbError> {
    match given {
        Quota::Exempt => Ok(None),
        Quota::Default(default) => Ok(quota_of(conn, folded)?.or(default)),
    }
}

/// The namespace of a live repo, folded.
pub(in crate::sqlite) fn namespace(conn: &Connection, repo: RepoId) -> Result<Option<String>, DbError> {
    let sql = "SELECT lower(namespace) FROM repo WHERE id = ?1 AND state = 0";
    Ok(conn.prepare_cached(sql)?.query_row([repo], |row| row.get(0)).optional()?)
}
