//! What the journal of a bucket tells, and which ones are behind.
//!
//! Whatever it tells of raises a bucket's `version` in the same transaction; that it is deleted, too, so that its row goes only
//! after the journal says so.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::files;
use crate::sqlite::checksum::{BUCKET, Record};
use crate::sqlite::{Database, DbError, all};
use crate::{
    BucketBehind, BucketHead, BucketId, BucketJournaled, BucketLine, BucketPath, XetHash, XetTerm, XorbId,
};

/// What a bucket's journal tells of that has none.
pub(super) const NONE: i64 = -1;
/// Names of xorbs that are remembered while a bucket is read.
const XORBS_MAX: usize = 10_000;

impl Database {
    /// Buckets whose journal is behind, deleted ones too; in the order of ids.
    pub fn buckets_behind(&self, limit: u32) -> Result<Vec<BucketBehind>, DbError> {
        // By `bucket_behind`.
        let sql = "SELECT id, state, files FROM bucket WHERE journaled < version ORDER BY id LIMIT ?1";
        self.read(|conn| {
            all(conn, sql, [limit], |row| {
                Ok(BucketBehind { id: row.get(0)?, state: row.get(1)?, files: row.get(2)? })
            })
        })
    }

    /// Live ones behind `after`, in the order of ids: for fsck.
    pub fn buckets_journaled(&self, after: BucketId, limit: u32) -> Result<Vec<BucketJournaled>, DbError> {
        let sql = "SELECT id, namespace, name, journaled FROM bucket WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![after, limit], |row| {
                let path = BucketPath::from_row(row.get(1)?, row.get(2)?);
                Ok(BucketJournaled { id: row.get(0)?, path, journaled: row.get(3)? })
            })
        })
    }

    /// One state of a live bucket: what `begin` makes of its head, after each `line` in the order of paths. `None` if there is
    /// none. Changes go on meanwhile, and memory does not grow with the number of files.
    pub fn read_bucket<W, E: From<DbError>>(
        &self,
        id: BucketId,
        begin: impl FnOnce(BucketHead) -> Result<W, E>,
        mut line: impl FnMut(&mut W, BucketLine) -> Result<(), E>,
    ) -> Result<Option<W>, E> {
        // The terms stand at the first of a file's paths, which `bucket_file_by_file` finds.
        let sql = "SELECT p.path, p.file_id, f.hash, p.size, p.mtime_ms, p.uploaded_ms, p.content_type,
                          CASE WHEN NOT EXISTS (
                              SELECT 1 FROM bucket_file e WHERE e.file_id = p.file_id AND e.file_id IS NOT NULL
                              AND e.bucket_id = p.bucket_id AND e.path < p.path) THEN f.terms END
                   FROM bucket_file p LEFT JOIN xet_file f ON f.id = p.file_id
                   WHERE p.bucket_id = ?1 ORDER BY p.path";
        let read = |conn: &Connection| -> Result<Option<W>, E> {
            let Some(head) = head(conn, id)? else { return Ok(None) };
            let mut made = begin(head)?;
            let mut xorbs = HashMap::new();
            let mut statement = conn.prepare_cached(sql).map_err(DbError::from)?;
            let mut rows = statement.query([id]).map_err(DbError::from)?;
            while let Some(row) = rows.next().map_err(DbError::from)? {
                line(&mut made, told(conn, &mut xorbs, row)?)?;
            }
            Ok(Some(made))
        };
        self.0.readers.snapshot(|conn| Ok(read(conn)))?
    }

    /// The journal tells of this version, durably. Nothing if it tells of a later one, or the bucket is gone.
    pub async fn bucket_journaled(&self, id: BucketId, version: i64) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let behind = "id = ?1 AND state = 0 AND journaled < ?2 AND version >= ?2";
            BUCKET.change(conn, behind, params![id, version], |row| row.set("journaled", version))?;
            Ok(())
        })
        .await
    }

    /// The journal tells that this bucket is deleted, durably.
    pub async fn bucket_buried(&self, id: BucketId) -> Result<(), DbError> {
        self.write(move |conn, _| {
            BUCKET.change(conn, "id = ?1 AND state = 1", [id], |row| {
                row.set("journaled", row.get::<i64>("version")?)
            })?;
            Ok(())
        })
        .await
    }
}

/// What the journal tells of changes.
pub(super) fn outdate(bucket: &mut Record) -> rusqlite::Result<()> {
    bucket.set("version", bucket.get::<i64>("version")? + 1)
}

/// There are no journals.
pub(in crate::sqlite) fn lose(conn: &Connection) -> rusqlite::Result<()> {
    BUCKET.change(conn, "state = 0", [], |row| row.set("journaled", NONE))?;
    Ok(())
}

fn head(conn: &Connection, id: BucketId) -> Result<Option<BucketHead>, DbError> {
    let sql = "SELECT version, namespace, name, visibility,
                      EXISTS (SELECT 1 FROM org WHERE folded = lower(bucket.namespace))
               FROM bucket WHERE id = ?1 AND state = 0";
    let head = |row: &Row<'_>| {
        let path = BucketPath::from_row(row.get(1)?, row.get(2)?);
        Ok(BucketHead { version: row.get(0)?, path, visibility: row.get(3)?, of_org: row.get(4)? })
    };
    Ok(conn.prepare_cached(sql)?.query_row([id], head).optional()?)
}

fn told(
    conn: &Connection,
    xorbs: &mut HashMap<XorbId, XetHash>,
    row: &Row<'_>,
) -> Result<BucketLine, DbError> {
    let file = files::file(row)?;
    let Some(bytes) = row.get_ref(7)?.as_blob_or_null().map_err(rusqlite::Error::from)? else {
        return Ok(BucketLine { file, terms: None });
    };
    let corrupt = || DbError::Corrupt(format!("the terms of file {}", file.hash));
    let mut terms = Vec::new();
    for term in XetTerm::decode(bytes).ok_or_else(corrupt)? {
        let hash = match xorbs.get(&term.xorb) {
            Some(hash) => *hash,
            None => {
                let sql = "SELECT hash FROM xorb WHERE id = ?1";
                let found = conn.prepare_cached(sql)?.query_row([term.xorb], |row| row.get(0)).optional()?;
                if xorbs.len() >= XORBS_MAX {
                    xorbs.clear();
                }
                *xorbs.entry(term.xorb).or_insert(found.ok_or_else(corrupt)?)
            }
        };
        terms.push((hash, term.chunk_start, term.chunk_end));
    }
    Ok(BucketLine { file, terms: Some(terms) })
}
