//! How much a namespace takes and may take.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::uploads::pending;
use super::{column, links};
use crate::sqlite::checksum::QUOTA;
use crate::sqlite::{Database, DbError, all};
use crate::{Namespace, RepoId, RepoKind, Sha256, UploadId, Usage};

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
            let (usage, _) = usage_of(conn, self.clock().now_ms(), &folded)?;
            Ok(Usage { quota: quota_of(conn, &folded)?, ..usage })
        })
    }
}

pub(super) fn quota_of(conn: &Connection, folded: &str) -> Result<Option<u64>, DbError> {
    let sql = "SELECT bytes_max FROM quota WHERE folded = ?1";
    let found: Option<i64> = conn.prepare_cached(sql)?.query_row([folded], |row| row.get(0)).optional()?;
    Ok(found.map(|max| if max == i64::MAX { u64::MAX } else { u64::try_from(max).unwrap_or(0) }))
}

/// Also what is reserved: by uploads that have not expired, for objects that are not linked yet, each once per repo.
/// A batch that is asked for again takes no more room.
pub(super) fn usage_of(
    conn: &Connection,
    now_ms: i64,
    folded: &str,
) -> Result<(Usage, HashSet<(RepoId, Sha256)>), DbError> {
    let mut usage = Usage::default();
    let mut reserved = HashSet::new();
    for kind in RepoKind::ALL {
        // '0' is the byte behind '/'.
        let sql = "SELECT coalesce(sum(lfs.bytes), 0) FROM repo r JOIN repo_lfs lfs ON lfs.repo_id = r.id
                   WHERE r.state = 0 AND r.kind = ?1 AND r.folded > ?2 || '/' AND r.folded < ?2 || '0'";
        let used: u64 = conn.prepare_cached(sql)?.query_row(params![kind, folded], |row| row.get(0))?;
        usage.used = usage.used.saturating_add(used);
        let sql = "SELECT u.id, u.repo_id FROM repo r JOIN upload u ON u.repo_id = r.id
                   WHERE r.state = 0 AND r.kind = ?1 AND r.folded > ?2 || '/' AND r.folded < ?2 || '0'
                   AND u.closed = 0 AND u.expires_ms > ?3";
        let uploads: Vec<(UploadId, RepoId)> =
            all(conn, sql, params![kind, folded, now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (upload, repo) in uploads {
            for (sha256, size) in pending(conn, upload)? {
                if !links::is_live(conn, repo, &sha256)? && reserved.insert((repo, sha256)) {
                    usage.reserved = usage.reserved.saturating_add(size);
                }
            }
        }
    }
    Ok((usage, reserved))
}
