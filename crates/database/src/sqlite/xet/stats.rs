//! How much there is of large objects, and what it takes.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::sqlite::{Database, DbError, all};
use crate::{AllLargeStats, LargeStats, RepoId, RepoPath};

/// Of each repository, what is stored and needed by it alone, and what others need as well. A thing is named by `of`, and
/// `needs` are pairs of repository and thing, each once.
macro_rules! shares_sql {
    ($needs:literal, $table:literal, $bytes:literal) => {
        concat!(
            "WITH needs AS MATERIALIZED (",
            $needs,
            "),
                  users AS MATERIALIZED (SELECT of, count(*) AS repos FROM needs GROUP BY of)
             SELECT n.repo_id, coalesce(sum(t.",
            $bytes,
            ") FILTER (WHERE u.repos = 1), 0),
                    coalesce(sum(t.",
            $bytes,
            ") FILTER (WHERE u.repos > 1), 0)
             FROM needs n JOIN users u ON u.of = n.of JOIN ",
            $table,
            " t ON t.id = n.of GROUP BY n.repo_id"
        )
    };
}

const WHOLE: &str = shares_sql!(
    "SELECT DISTINCT o.repo_id, o.backing_id AS of FROM repo_object o JOIN repo r ON r.id = o.repo_id AND r.state = 0
     WHERE o.state = 0 AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = o.backing_id)",
    "backing",
    "size"
);

const XORBS: &str = shares_sql!(
    "SELECT DISTINCT o.repo_id, f.xorb_id AS of FROM repo_object o JOIN repo r ON r.id = o.repo_id AND r.state = 0
     JOIN xet_backing x ON x.backing_id = o.backing_id JOIN xet_file_xorb f ON f.file_id = x.file_id
     WHERE o.state = 0",
    "xorb",
    "stored_bytes"
);

impl Database {
    /// Reads all links, in one state.
    pub fn large_stats(&self) -> Result<AllLargeStats, DbError> {
        self.0.readers.snapshot(|conn| {
            let sql = "SELECT r.id, r.kind, r.namespace, r.name, count(*), sum(o.size)
                       FROM repo_object o JOIN repo r ON r.id = o.repo_id WHERE o.state = 0 AND r.state = 0
                       GROUP BY r.id ORDER BY r.kind, r.folded";
            let mut stats = AllLargeStats::default();
            let mut at: HashMap<RepoId, usize> = HashMap::new();
            let repos: Vec<(RepoId, RepoPath, LargeStats)> = all(conn, sql, [], |row| {
                let (objects, logical_bytes) = (row.get(4)?, row.get(5)?);
                let path = RepoPath::from_row(row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((row.get(0)?, path, LargeStats { objects, logical_bytes, ..LargeStats::default() }))
            })?;
            for (id, path, repo) in repos {
                stats.all.objects += repo.objects;
                stats.all.logical_bytes += repo.logical_bytes;
                at.insert(id, stats.repos.len());
                stats.repos.push((path, repo));
            }
            for sql in [WHOLE, XORBS] {
                let shares: Vec<(RepoId, u64, u64)> =
                    all(conn, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                for (id, own, shared) in shares {
                    stats.all.own_bytes += own;
                    if let Some((_, repo)) = at.get(&id).and_then(|at| stats.repos.get_mut(*at)) {
                        repo.own_bytes += own;
                        repo.shared_bytes += shared;
                    }
                }
            }
            // Each once: all that is needed, but for what one alone needs.
            let whole = "SELECT coalesce(sum(size), 0) FROM backing b WHERE EXISTS (
                             SELECT 1 FROM repo_object o JOIN repo r ON r.id = o.repo_id
                             WHERE o.backing_id = b.id AND o.state = 0 AND r.state = 0)
                         AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = b.id)";
            let xorbs = "SELECT coalesce(sum(stored_bytes), 0) FROM xorb WHERE id IN (
                             SELECT f.xorb_id FROM xet_file_xorb f JOIN xet_backing x ON x.file_id = f.file_id
                             JOIN repo_object o ON o.backing_id = x.backing_id
                             JOIN repo r ON r.id = o.repo_id WHERE o.state = 0 AND r.state = 0)";
            let needed = sum(conn, whole)? + sum(conn, xorbs)?;
            stats.all.shared_bytes = needed.saturating_sub(stats.all.own_bytes);
            let kept = "SELECT coalesce(sum(stored_bytes), 0) FROM xorb
                        WHERE state = 1 AND id NOT IN (SELECT xorb_id FROM xet_file_xorb)";
            stats.kept_bytes = sum(conn, kept)?;
            Ok(stats)
        })
    }
}

fn sum(conn: &Connection, sql: &str) -> Result<u64, DbError> {
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}
