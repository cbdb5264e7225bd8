//! What nobody needs: files without backings, xorbs without files.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::xorbs::{xorb, xorb_sql};
use super::{files, wholes};
use crate::sqlite::checksum::XORB;
use crate::sqlite::{Database, DbError, all};
use crate::{BackingId, BlobState, RepoId, XetFileId, XetGarbage, Xorb, XorbId};

impl Database {
    /// Forgets up to `limit` condemned backings in xorbs that are due, and each file that no other names: there are no bytes
    /// of theirs alone. How many there were.
    pub async fn drop_xet_backings(&self, limit: u32) -> Result<usize, DbError> {
        let sql = "SELECT b.id FROM backing b JOIN xet_backing x ON x.backing_id = b.id
                   WHERE b.state = 2 AND b.not_before_ms <= ?1 ORDER BY b.not_before_ms LIMIT ?2";
        let now_ms = self.clock().now_ms();
        let due: Vec<BackingId> =
            self.read(|conn| all(conn, sql, params![now_ms, limit], |row| row.get(0)))?;
        if due.is_empty() {
            return Ok(0);
        }
        self.write(move |conn, now_ms| {
            due.iter().try_for_each(|id| drop_backing(conn, *id, now_ms))?;
            Ok(due.len())
        })
        .await
    }

    /// Condemns live xorbs behind `after` that no file names and no client was told of since `seen_before_ms`, of `looked`
    /// that were not told of; they are due at `not_before_ms`. How many, and the last that was looked at: `None` if there
    /// are no more.
    pub async fn condemn_xorbs(
        &self,
        after: XorbId,
        looked: u32,
        seen_before_ms: i64,
        not_before_ms: i64,
    ) -> Result<(usize, Option<XorbId>), DbError> {
        let sql = "SELECT id, EXISTS (SELECT 1 FROM xet_file_xorb WHERE xorb_id = xorb.id) FROM xorb
                   WHERE state = 1 AND seen_ms < ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        let found: Vec<(XorbId, bool)> = self.read(|conn| {
            all(conn, sql, params![seen_before_ms, after, looked], |row| Ok((row.get(0)?, row.get(1)?)))
        })?;
        let last = found.last().map(|(id, _)| *id).filter(|_| found.len() == looked as usize);
        let unnamed: Vec<XorbId> = found.into_iter().filter(|(_, named)| !named).map(|(id, _)| id).collect();
        if unnamed.is_empty() {
            return Ok((0, last));
        }
        let condemned = self
            .write(move |conn, _| {
                let mut condemned = 0;
                for id in unnamed {
                    // Both again: a shard may just have named it.
                    let free = "id = ?1 AND state = 1 AND seen_ms < ?2
                                AND NOT EXISTS (SELECT 1 FROM xet_file_xorb WHERE xorb_id = ?1)";
                    let Some(mut row) = XORB.record(conn, free, params![id, seen_before_ms])? else {
                        continue;
                    };
                    row.set("state", BlobState::Condemned)?;
                    row.set("not_before_ms", not_before_ms)?;
                    row.write(conn)?;
                    for table in ["repo_xorb", "bucket_xorb", "dedup_key"] {
                        let sql = format!("DELETE FROM {table} WHERE xorb_id = ?1");
                        conn.prepare_cached(&sql)?.execute([id])?;
                    }
                    condemned += 1;
                }
                Ok::<_, DbError>(condemned)
            })
            .await?;
        Ok((condemned, last))
    }

    /// The repo lets go of xorbs behind `after` that none of its live objects needs and that clients were last told of before
    /// `seen_before_ms`, `looked` at most; those that are nobody else's then are condemned, due at once, whatever clients remember. How many, and the last that was looked at:
    /// `None` if there are no more.
    pub async fn release_xorbs(
        &self,
        repo: RepoId,
        after: XorbId,
        looked: u32,
        seen_before_ms: i64,
    ) -> Result<(usize, Option<XorbId>), DbError> {
        let sql =
            "SELECT xorb_id FROM repo_xorb WHERE repo_id = ?1 AND xorb_id > ?2 ORDER BY xorb_id LIMIT ?3";
        let found: Vec<XorbId> =
            self.read(|conn| all(conn, sql, params![repo, after, looked], |row| row.get(0)))?;
        let last = found.last().copied().filter(|_| found.len() == looked as usize);
        if found.is_empty() {
            return Ok((0, None));
        }
        let condemned = self
            .write(move |conn, now_ms| {
                let mut condemned = 0;
                for id in found {
                    let needed =
                        "SELECT 1 FROM xet_file_xorb f CROSS JOIN xet_backing x ON x.file_id = f.file_id
                                  CROSS JOIN repo_object o ON o.backing_id = x.backing_id
                                  WHERE f.xorb_id = ?2 AND o.repo_id = ?1 AND o.state = 0";
                    let seen = "SELECT 1 FROM xorb WHERE id = ?1 AND seen_ms >= ?2";
                    if conn.prepare_cached(needed)?.exists(params![repo, id])?
                        || conn.prepare_cached(seen)?.exists(params![id, seen_before_ms])?
                    {
                        continue;
                    }
                    let sql = "DELETE FROM repo_xorb WHERE repo_id = ?1 AND xorb_id = ?2";
                    conn.prepare_cached(sql)?.execute(params![repo, id])?;
                    let free = "id = ?1 AND state = 1
                                AND NOT EXISTS (SELECT 1 FROM xet_file_xorb WHERE xorb_id = ?1)
                                AND NOT EXISTS (SELECT 1 FROM repo_xorb WHERE xorb_id = ?1)
                                AND NOT EXISTS (SELECT 1 FROM bucket_xorb WHERE xorb_id = ?1)";
                    let Some(mut row) = XORB.record(conn, free, [id])? else { continue };
                    row.set("state", BlobState::Condemned)?;
                    row.set("not_before_ms", now_ms)?;
                    row.write(conn)?;
                    conn.prepare_cached("DELETE FROM dedup_key WHERE xorb_id = ?1")?.execute([id])?;
                    condemned += 1;
                }
                Ok::<_, DbError>(condemned)
            })
            .await?;
        Ok((condemned, last))
    }

    /// Of `files`, each once and with how many of its live links are to go: those that are left without any, and the xorbs
    /// that only they name.
    pub fn xet_garbage(&self, files: &[(XetFileId, u64)]) -> Result<XetGarbage, DbError> {
        self.0.readers.snapshot(|conn| {
            let mut garbage = XetGarbage::default();
            let (mut gone, mut xorbs) = (BTreeSet::new(), BTreeSet::new());
            let links = "SELECT count(*) + EXISTS (SELECT 1 FROM bucket_file WHERE file_id = ?1)
                         + EXISTS (SELECT 1 FROM bucket_spare WHERE file_id = ?1)
                         FROM xet_backing x JOIN repo_object o ON o.backing_id = x.backing_id
                         WHERE x.file_id = ?1 AND o.state = 0";
            for (file, going) in files {
                let links: u64 = conn.prepare_cached(links)?.query_row([file], |row| row.get(0))?;
                if links <= *going && gone.insert(*file) {
                    let named = "SELECT xorb_id FROM xet_file_xorb WHERE file_id = ?1";
                    let named: Vec<XorbId> = all(conn, named, [file], |row| row.get(0))?;
                    xorbs.extend(named);
                }
            }
            garbage.files = gone.len() as u64;
            for xorb in xorbs {
                let users = "SELECT file_id FROM xet_file_xorb WHERE xorb_id = ?1";
                let users: Vec<XetFileId> = all(conn, users, [xorb], |row| row.get(0))?;
                if users.iter().all(|file| gone.contains(file)) {
                    let bytes = "SELECT stored_bytes FROM xorb WHERE id = ?1";
                    garbage.xorbs += 1;
                    garbage.stored_bytes +=
                        conn.prepare_cached(bytes)?.query_row([xorb], |row| row.get::<_, u64>(0))?;
                }
            }
            Ok(garbage)
        })
    }

    /// Condemned and due: their bytes are to be deleted now.
    pub fn xorbs_due(&self, limit: u32) -> Result<Vec<Xorb>, DbError> {
        let sql = concat!(
            xorb_sql!(),
            "WHERE x.state = 2 AND x.not_before_ms <= ?1 ORDER BY x.not_before_ms LIMIT ?2"
        );
        self.read(|conn| all(conn, sql, params![self.clock().now_ms(), limit], xorb))
    }

    /// After their bytes are gone. Only condemned ones can be named; others are left alone.
    pub async fn xorbs_deleted(&self, ids: Vec<XorbId>) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let mut delete = conn.prepare_cached("DELETE FROM xorb WHERE id = ?1 AND state = 2")?;
            ids.iter().try_for_each(|id| delete.execute([id]).map(drop))?;
            Ok(())
        })
        .await
    }

    /// Staged before then: what lies under their keys is litter, unless it is still being written.
    pub fn xorbs_staged(&self, before_ms: i64, limit: u32) -> Result<Vec<XorbId>, DbError> {
        // The condition is that of the index `xorb_staged`.
        let sql = "SELECT id FROM xorb WHERE state = 0 AND seen_ms < ?1 ORDER BY seen_ms LIMIT ?2";
        self.read(|conn| all(conn, sql, params![before_ms, limit], |row| row.get(0)))
    }
}

fn drop_backing(conn: &Connection, id: BackingId, now_ms: i64) -> Result<(), DbError> {
    let sql = "SELECT x.file_id FROM xet_backing x JOIN backing b ON b.id = x.backing_id
               WHERE b.id = ?1 AND b.state = 2";
    let file: Option<XetFileId> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(file) = file else { return Ok(()) };
    wholes::condemn_of(conn, id, now_ms)?;
    conn.prepare_cached("DELETE FROM xet_backing WHERE backing_id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM backing WHERE id = ?1")?.execute([id])?;
    files::drop_if_unneeded(conn, file)
}
