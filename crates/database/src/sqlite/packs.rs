//! The life of packs outside of changes: staged before their bytes are written, condemned until they are
//! deleted.
//!
//! Where a condition says `state <> 1` beside a narrower one, it is to tell SQLite's planner that the partial index
//! `pack_not_live` has the row.

use std::collections::BTreeSet;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{PACK, PACK_SHARE, Record};
use super::objects::links;
use super::{Database, DbError, all};
use crate::{BlobState, NewPack, PackId, PackKind, RepoId, Sha256};

/// Inline packs that one sweep drops at most: each frees up to 17 pages.
const INLINE_DROPPED_MAX: u32 = 1_000;
/// Rows that one sweep drops at most of packs that other repos need.
const SHARED_DROPPED_MAX: usize = 1_000;
/// Deleted repos that one sweep forgets at most, and the refs and log lines it deletes of each.
const REPOS_FORGOTTEN_MAX: u32 = 16;
const REF_ROWS_FORGOTTEN_MAX: u32 = 20_000;
/// And its links to large objects: each costs several lookups.
const LINKS_FORGOTTEN_MAX: u32 = 2_000;

impl Database {
    /// Committed before a byte is written at the key.
    pub async fn stage_pack(&self, id: PackId, repo: RepoId) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let (state, none, inline) = (BlobState::Staged, None::<i64>, None::<Vec<u8>>);
            PACK.insert(conn, &[&repo, &id, &state, &0, &0, &0, &false, &0, &now_ms, &none, &inline])?;
            Ok(())
        })
        .await
    }

    /// Condemns a staged pack whose push failed; nothing if it went live.
    pub async fn unstage_pack(&self, id: PackId) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let staged = "state = 0 AND id = ?1 AND state <> 1";
            PACK.change(conn, staged, [id], |row| condemn(row, now_ms))?;
            Ok(())
        })
        .await
    }

    /// Stored packs to delete now, at most `limit`: condemned and due, or staged for longer than
    /// `staged_for_ms`, which no living writer takes. The latter are condemned in the same transaction, so
    /// that a writer which lives after all finds its row gone and is refused.
    ///
    /// Of a pack that another repo has live, or condemned until later, only the row is dropped, here. Inline packs that
    /// are due have no bytes elsewhere: they are dropped here too, a bounded number per call, as are deleted repos
    /// without packs.
    pub async fn packs_due(&self, staged_for_ms: i64, limit: u32) -> Result<Vec<PackId>, DbError> {
        // Asked all the time, and there is seldom anything: an idle server does not write.
        let sql = "SELECT EXISTS (SELECT 1 FROM pack WHERE state = 0 AND staged_ms < ?1 - ?2)
                       OR EXISTS (SELECT 1 FROM pack WHERE state = 2 AND not_before_ms <= ?1)
                       OR EXISTS (SELECT 1 FROM repo WHERE state = 1)";
        let now_ms = self.clock().now_ms();
        if !self.read(|conn| {
            Ok(conn.prepare_cached(sql)?.query_row(params![now_ms, staged_for_ms], |row| row.get(0))?)
        })? {
            return Ok(Vec::new());
        }
        self.write(move |conn, now_ms| {
            let stale = "state = 0 AND staged_ms < ?1";
            PACK.change(conn, stale, [now_ms - staged_for_ms], |row| condemn(row, now_ms))?;
            let sql = "DELETE FROM pack WHERE state = 2 AND state <> 1 AND id IN (
                           SELECT id FROM pack
                           WHERE state = 2 AND not_before_ms <= ?1 AND inline IS NOT NULL LIMIT ?2)";
            conn.prepare_cached(sql)?.execute(params![now_ms, INLINE_DROPPED_MAX])?;
            let due = due(conn, now_ms, limit)?;
            forget_repos(conn, now_ms)?;
            Ok(due)
        })
        .await
    }

    /// After the bytes are gone. Only condemned packs can be named; others are left alone.
    pub async fn packs_deleted(&self, ids: Vec<PackId>) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let mut delete =
                conn.prepare_cached("DELETE FROM pack WHERE state = 2 AND id = ?1 AND state <> 1")?;
            let mut unshare = conn.prepare_cached("DELETE FROM pack_share WHERE pack_id = ?1")?;
            for id in ids {
                if delete.execute([id])? > 0 {
                    unshare.execute([id])?;
                }
            }
            forget_repos(conn, now_ms)
        })
        .await
    }

    /// Every stored pack a row knows, with its state and the size of its blob (fsck, backup), ordered by id.
    /// The size is 0 while it is staged; what any repo has live is live. Scans all rows.
    pub fn packs(&self) -> Result<Vec<(PackId, BlobState, u64)>, DbError> {
        // Of rows that are damaged, the larger size is looked for.
        let sql = "SELECT id, min(state), max(bytes) FROM pack WHERE inline IS NULL GROUP BY id ORDER BY id";
        self.read(|conn| all(conn, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))
    }

    /// The live repos other than `repo` that have one of these packs, live too, in order of their ids. At most `limit`.
    pub fn packs_shared_with(
        &self,
        repo: RepoId,
        packs: &[PackId],
        limit: usize,
    ) -> Result<Vec<RepoId>, DbError> {
        self.0.readers.snapshot(|conn| {
            let sql = "SELECT s.repo_id FROM pack_share s JOIN pack p
                       ON p.repo_id = s.repo_id AND p.state = 1 AND p.id = s.pack_id
                       WHERE s.pack_id = ?1 AND s.repo_id <> ?2";
            let mut repos = BTreeSet::new();
            for pack in packs {
                repos.extend(all(conn, sql, params![pack, repo], |row| row.get::<_, RepoId>(0))?);
            }
            Ok(repos.into_iter().take(limit).collect())
        })
    }

    /// The blob of a live inline pack.
    pub fn pack_inline(&self, repo: RepoId, id: PackId) -> Result<Option<Bytes>, DbError> {
        self.read(|conn| {
            let sql =
                "SELECT inline FROM pack WHERE repo_id = ?1 AND state = 1 AND id = ?2 AND inline IS NOT NULL";
            let found: Option<Vec<u8>> =
                conn.prepare_cached(sql)?.query_row(params![repo, id], |row| row.get(0)).optional()?;
            Ok(found.map(Bytes::from))
        })
    }
}

/// The pack is no longer staged or live, and may be deleted from `not_before_ms` on.
pub(super) fn condemn(pack: &mut Record, not_before_ms: i64) -> rusqlite::Result<()> {
    pack.set("state", BlobState::Condemned)?;
    pack.set("staged_ms", None::<i64>)?;
    pack.set("not_before_ms", not_before_ms)
}

/// Stored packs whose bytes can go now. The rows of others that are due are dropped, at most [`SHARED_DROPPED_MAX`].
fn due(conn: &Connection, now_ms: i64, limit: u32) -> Result<Vec<PackId>, DbError> {
    // Those after the last one looked at: what stays is not looked at twice.
    let sql = "SELECT repo_id, id, not_before_ms FROM pack
               WHERE state = 2 AND not_before_ms <= ?1 AND inline IS NULL
               ORDER BY not_before_ms LIMIT ?2 OFFSET ?3";
    let (mut due, mut dropped) = (Vec::new(), 0);
    while due.len() < limit as usize && dropped < SHARED_DROPPED_MAX {
        let next = (limit as usize - due.len()).min(SHARED_DROPPED_MAX - dropped);
        let page: Vec<(RepoId, PackId)> =
            all(conn, sql, params![now_ms, next, due.len()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if page.is_empty() {
            break;
        }
        for (repo, id) in page {
            if is_needed_by_others(conn, now_ms, repo, id)? {
                drop_row(conn, repo, id)?;
                dropped += 1;
            } else {
                due.push(id);
            }
        }
    }
    due.sort_unstable();
    due.dedup();
    Ok(due)
}

/// Another repo has the pack live, or condemned until later.
fn is_needed_by_others(conn: &Connection, now_ms: i64, repo: RepoId, id: PackId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM pack_share s JOIN pack p
               ON p.repo_id = s.repo_id AND p.state IN (1, 2) AND p.id = s.pack_id
               WHERE s.pack_id = ?1 AND s.repo_id <> ?2 AND (p.state = 1 OR p.not_before_ms > ?3)";
    Ok(conn.prepare_cached(sql)?.exists(params![id, repo, now_ms])?)
}

/// The repo has the condemned pack no more; its bytes stay.
fn drop_row(conn: &Connection, repo: RepoId, id: PackId) -> Result<(), DbError> {
    let sql = "DELETE FROM pack WHERE repo_id = ?1 AND state = 2 AND id = ?2";
    conn.prepare_cached(sql)?.execute(params![repo, id])?;
    let sql = "DELETE FROM pack_share WHERE pack_id = ?1 AND repo_id = ?2";
    conn.prepare_cached(sql)?.execute(params![id, repo])?;
    Ok(())
}

/// A stored pack that is live in `from`, as its row there says: kind, objects, bytes.
fn live_in(conn: &Connection, from: RepoId, id: PackId) -> Result<Option<(PackKind, u64, i64)>, DbError> {
    let sql = "SELECT kind, objects, bytes FROM pack
               WHERE repo_id = ?1 AND state = 1 AND id = ?2 AND inline IS NULL";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    Ok(conn.prepare_cached(sql)?.query_row(params![from, id], row).optional()?)
}

/// Whether `repo` may have the stored pack `new`, of so many bytes, that is live in `from`.
pub(super) fn can_be_shared(
    conn: &Connection,
    from: RepoId,
    repo: RepoId,
    new: &NewPack,
    bytes: i64,
) -> Result<bool, DbError> {
    let has = "SELECT 1 FROM pack WHERE repo_id = ?1 AND state IN (1, 2) AND id = ?2";
    Ok(live_in(conn, from, new.id)? == Some((new.kind, new.objects, bytes))
        && !conn.prepare_cached(has)?.exists(params![repo, new.id])?)
}

/// Both repos have the pack from now on.
pub(super) fn share(conn: &Connection, id: PackId, repos: [RepoId; 2]) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM pack_share WHERE pack_id = ?1 AND repo_id = ?2";
    for repo in repos {
        if !conn.prepare_cached(sql)?.exists(params![id, repo])? {
            PACK_SHARE.insert(conn, &[&id, &repo])?;
        }
    }
    Ok(())
}

/// Deletes what is left of deleted repos once their packs are gone; a large one takes several calls.
fn forget_repos(conn: &Connection, now_ms: i64) -> Result<(), DbError> {
    let sql = "SELECT id FROM repo WHERE state = 1
               AND NOT EXISTS (SELECT 1 FROM pack WHERE repo_id = repo.id)
               AND NOT EXISTS (SELECT 1 FROM upload WHERE repo_id = repo.id) LIMIT ?1";
    let repos: Vec<RepoId> = all(conn, sql, [REPOS_FORGOTTEN_MAX], |row| row.get(0))?;
    for id in repos {
        let sql = "DELETE FROM ref WHERE repo_id = ?1 AND name IN (
                       SELECT name FROM ref WHERE repo_id = ?1 ORDER BY name LIMIT ?2)";
        let refs = conn.prepare_cached(sql)?.execute(params![id, REF_ROWS_FORGOTTEN_MAX])?;
        let sql = "DELETE FROM ref_log WHERE repo_id = ?1 AND (generation, position) IN (
                       SELECT generation, position FROM ref_log WHERE repo_id = ?1
                       ORDER BY generation, position LIMIT ?2)";
        let lines = conn.prepare_cached(sql)?.execute(params![id, REF_ROWS_FORGOTTEN_MAX])?;
        let links_are_gone = forget_links(conn, id, now_ms)?;
        if refs.max(lines) < REF_ROWS_FORGOTTEN_MAX as usize && links_are_gone {
            for table in ["repo_lfs", "repo_hub", "repo_facts"] {
                conn.prepare_cached(&format!("DELETE FROM {table} WHERE repo_id = ?1"))?.execute([id])?;
            }
            conn.prepare_cached("DELETE FROM repo WHERE id = ?1")?.execute([id])?;
        }
    }
    Ok(())
}

/// The objects that only a deleted repo had have waited as long as its packs. False if there are more links.
fn forget_links(conn: &Connection, repo: RepoId, now_ms: i64) -> Result<bool, DbError> {
    let sql = "SELECT sha256 FROM repo_object WHERE repo_id = ?1 ORDER BY sha256 LIMIT ?2";
    let linked: Vec<Sha256> = all(conn, sql, params![repo, LINKS_FORGOTTEN_MAX], |row| row.get(0))?;
    for sha256 in &linked {
        links::drop_link(conn, repo, sha256, now_ms)?;
    }
    Ok(linked.len() < LINKS_FORGOTTEN_MAX as usize)
}
