//! Files that are at no path: how they come, and when they go.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{BYTES_MAX, files as at_paths, namespace};
use crate::sqlite::checksum::{BUCKET, BUCKET_SPARE};
use crate::sqlite::objects::{column, quota};
use crate::sqlite::xet::{files, xorbs};
use crate::sqlite::{Database, DbError, RegisterError, all};
use crate::{BucketId, BucketRegistration, HolderId, XetFileId, XorbId};

/// Rows that one step of a sweep deletes.
const SWEPT_MAX: u32 = 1_000;

impl Database {
    /// Files of a shard become files that the bucket may have at paths: all of them, or, after an error, none. True of each
    /// that it had. Done again, it changes nothing. A xorb that is condemned in this very moment is refused.
    pub async fn register_in_bucket(&self, new: BucketRegistration) -> Result<Vec<bool>, RegisterError> {
        self.write(move |conn, now_ms| register(conn, now_ms, &new)).await
    }

    /// One step of cleaning up: of files that were uploaded before `uploaded_before_ms` and never put anywhere, those that
    /// left their paths before `left_before_ms`, and what is left of deleted buckets that the journal tells of as such. True if there may be more.
    pub async fn sweep_buckets(&self, uploaded_before_ms: i64, left_before_ms: i64) -> Result<bool, DbError> {
        // Asked all the time, and there is seldom anything: an idle server does not write.
        let due = "SELECT EXISTS (SELECT 1 FROM bucket WHERE state = 1 AND journaled = version)
                   OR EXISTS (SELECT 1 FROM bucket_spare WHERE uploaded = 1 AND since_ms < ?1)
                   OR EXISTS (SELECT 1 FROM bucket_spare WHERE uploaded = 0 AND since_ms < ?2)";
        let is_due = |conn: &Connection| {
            let moments = params![uploaded_before_ms, left_before_ms];
            Ok(conn.prepare_cached(due)?.query_row(moments, |row| row.get(0))?)
        };
        if !self.read(is_due)? {
            return Ok(false);
        }
        self.write(move |conn, _| {
            let sql = "SELECT bucket_id, file_id FROM bucket_spare
                       WHERE uploaded = 1 AND since_ms < ?1 OR uploaded = 0 AND since_ms < ?2 LIMIT ?3";
            let params = params![uploaded_before_ms, left_before_ms, SWEPT_MAX];
            let stale: Vec<(BucketId, XetFileId)> =
                all(conn, sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
            for (bucket, file) in &stale {
                forget(conn, *bucket, *file)?;
            }
            let more = sweep_deleted(conn)?;
            Ok(more || stale.len() == SWEPT_MAX as usize)
        })
        .await
    }
}

fn register(conn: &Connection, now_ms: i64, new: &BucketRegistration) -> Result<Vec<bool>, RegisterError> {
    let namespace = namespace(conn, new.bucket)?.ok_or(RegisterError::RepoGone)?;
    let holder = HolderId::Bucket(new.bucket);
    let mut named: BTreeSet<XorbId> = new.xorbs.iter().copied().collect();
    named.extend(new.files.iter().flat_map(|file| file.terms.iter().map(|term| term.xorb)));
    for xorb in named {
        if !xorbs::is_live(conn, xorb)? {
            return Err(RegisterError::XorbGone(xorb));
        }
        xorbs::link(conn, now_ms, holder, xorb)?;
    }
    let quota = quota::limit(conn, &namespace, new.quota)?;
    let mut used = match quota {
        Some(_) => quota::taken(conn, now_ms, &namespace)?,
        None => 0,
    };
    let mut were_here = Vec::with_capacity(new.files.len());
    let mut bytes = 0i64;
    let sql = "SELECT spare_bytes FROM bucket WHERE id = ?1";
    let before: i64 = conn.prepare_cached(sql)?.query_row([new.bucket], |row| row.get(0))?;
    for file in &new.files {
        let known = files::find(conn, &file.hash)?;
        let at_path = known.map_or(Ok(false), |id| at_paths::has(conn, new.bucket, id))?;
        let held = known.map_or(Ok(0), |id| uploaded_bytes(conn, new.bucket, id, column(file.size)))?;
        let counts = at_path || held > 0;
        if !counts && quota.is_some_and(|quota| used.saturating_add(file.size) > quota) {
            return Err(RegisterError::OverQuota { used, quota: quota.unwrap_or_default() });
        }
        let more = if counts { 0 } else { column(file.size) };
        let room = BYTES_MAX - before - bytes;
        if more > room {
            let (used, quota) = (before.unsigned_abs(), BYTES_MAX.unsigned_abs());
            return Err(RegisterError::OverQuota { used, quota });
        }
        let id = files::find_or_insert(conn, file)?;
        // Also of what is at a path, which it may leave before it is put elsewhere.
        put(conn, now_ms, new.bucket, id, !at_path)?;
        if !counts {
            used = used.saturating_add(file.size);
            bytes += more;
        }
        were_here.push(counts);
    }
    add_bytes(conn, new.bucket, bytes)?;
    Ok(were_here)
}

/// From now on. What was uploaded stays so.
fn put(
    conn: &Connection,
    now_ms: i64,
    bucket: BucketId,
    file: XetFileId,
    uploaded: bool,
) -> Result<(), DbError> {
    match BUCKET_SPARE.record(conn, "bucket_id = ?1 AND file_id = ?2", params![bucket, file])? {
        None => BUCKET_SPARE.insert(conn, &[&bucket, &file, &now_ms, &uploaded])?,
        Some(mut row) => {
            row.set("since_ms", now_ms)?;
            row.set("uploaded", uploaded || row.get::<bool>("uploaded")?)?;
            row.write(conn)?;
        }
    }
    Ok(())
}

/// A file left a path of the bucket. If that was the last, readers go on with it for a while.
pub(super) fn leave(
    conn: &Connection,
    now_ms: i64,
    bucket: BucketId,
    file: XetFileId,
) -> Result<(), DbError> {
    match at_paths::has(conn, bucket, file)? {
        true => Ok(()),
        false => put(conn, now_ms, bucket, file, false),
    }
}

/// Of this file, if it was uploaded and counts as such.
pub(super) fn uploaded_bytes(
    conn: &Connection,
    bucket: BucketId,
    file: XetFileId,
    size: i64,
) -> Result<i64, DbError> {
    let sql = "SELECT 1 FROM bucket_spare WHERE bucket_id = ?1 AND file_id = ?2 AND uploaded = 1";
    Ok(if conn.prepare_cached(sql)?.exists(params![bucket, file])? { size } else { 0 })
}

pub(super) fn has(conn: &Connection, bucket: BucketId, file: XetFileId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM bucket_spare WHERE bucket_id = ?1 AND file_id = ?2";
    Ok(conn.prepare_cached(sql)?.exists(params![bucket, file])?)
}

/// It is at a path now, or is about to be. Its bytes are counted there.
pub(super) fn take(conn: &Connection, bucket: BucketId, file: XetFileId) -> Result<(), DbError> {
    let sql = "DELETE FROM bucket_spare WHERE bucket_id = ?1 AND file_id = ?2";
    conn.prepare_cached(sql)?.execute(params![bucket, file])?;
    Ok(())
}

fn forget(conn: &Connection, bucket: BucketId, file: XetFileId) -> Result<(), DbError> {
    let sql = "SELECT size FROM xet_file WHERE id = ?1";
    let size: i64 = conn.prepare_cached(sql)?.query_row([file], |row| row.get(0))?;
    let held = uploaded_bytes(conn, bucket, file, size)?;
    take(conn, bucket, file)?;
    add_bytes(conn, bucket, -held)?;
    files::drop_if_unneeded(conn, file)
}

fn add_bytes(conn: &Connection, bucket: BucketId, bytes: i64) -> Result<(), DbError> {
    if bytes != 0 {
        BUCKET.change(conn, "id = ?1", [bucket], |row| {
            row.set("spare_bytes", row.get::<i64>("spare_bytes")? + bytes)
        })?;
    }
    Ok(())
}

/// One step, of one deleted bucket. True if there may be more.
fn sweep_deleted(conn: &Connection) -> Result<bool, DbError> {
    let sql = "SELECT id FROM bucket WHERE state = 1 AND journaled = version ORDER BY id LIMIT 1";
    let Some(bucket) = all(conn, sql, [], |row| row.get::<_, BucketId>(0))?.pop() else { return Ok(false) };
    if at_paths::forget(conn, bucket, SWEPT_MAX)? {
        return Ok(true);
    }
    let sql = "SELECT file_id FROM bucket_spare WHERE bucket_id = ?1 LIMIT ?2";
    let spare: Vec<XetFileId> = all(conn, sql, params![bucket, SWEPT_MAX], |row| row.get(0))?;
    for file in &spare {
        forget(conn, bucket, *file)?;
    }
    let sql = "DELETE FROM bucket_xorb WHERE bucket_id = ?1 AND xorb_id IN (
                   SELECT xorb_id FROM bucket_xorb WHERE bucket_id = ?1 LIMIT ?2)";
    let xorbs = conn.prepare_cached(sql)?.execute(params![bucket, SWEPT_MAX])?;
    if spare.len().max(xorbs) < SWEPT_MAX as usize {
        conn.prepare_cached("DELETE FROM bucket WHERE id = ?1")?.execute([bucket])?;
    }
    Ok(true)
}

/// The bucket lets go of the xorbs that none of its files needs and that clients were last told of before `seen_ms`.
pub(super) fn release_xorbs(conn: &Connection, bucket: BucketId, seen_ms: i64) -> Result<(), DbError> {
    // From the xorb to its files, of which there are few, and not through all of the bucket.
    let sql = "DELETE FROM bucket_xorb WHERE bucket_id = ?1
               AND NOT EXISTS (SELECT 1 FROM xet_file_xorb f CROSS JOIN bucket_file p ON p.file_id = f.file_id
                               WHERE f.xorb_id = bucket_xorb.xorb_id AND p.bucket_id = ?1)
               AND NOT EXISTS (SELECT 1 FROM xorb WHERE id = bucket_xorb.xorb_id AND seen_ms >= ?2)";
    conn.prepare_cached(sql)?.execute(params![bucket, seen_ms])?;
    Ok(())
}
