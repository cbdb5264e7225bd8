//! What is in a bucket: edits, lists, single files.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{BYTES_MAX, journal, spare};
use crate::sqlite::checksum::{BUCKET, BUCKET_FILE, Record};
use crate::sqlite::objects::{column, quota};
use crate::sqlite::xet::files;
use crate::sqlite::{BatchError, Database, DbError, all};
use crate::{
    BucketAct, BucketBatch, BucketEntry, BucketFile, BucketId, BucketPut, BucketRefusal, BucketSource,
    HolderId, XetFileId, XetHash,
};

/// Read by [`file`].
macro_rules! file_sql {
    () => {
        "SELECT p.path, p.file_id, f.hash, p.size, p.mtime_ms, p.uploaded_ms, p.content_type
         FROM bucket_file p LEFT JOIN xet_file f ON f.id = p.file_id "
    };
}

impl Database {
    /// Makes the edits that can be made, in their order, and says of each why it was not. Durable when it returns.
    pub async fn edit_bucket(&self, batch: BucketBatch) -> Result<Vec<Option<BucketRefusal>>, BatchError> {
        self.write(move |conn, now_ms| {
            let row = BUCKET.record(conn, "id = ?1 AND state = 0", [batch.bucket])?;
            let row = row.ok_or(BatchError::Gone)?;
            if row.get::<i64>("acl_version")? != batch.acl_version {
                return Err(BatchError::Moved);
            }
            Edits::begin(conn, now_ms, &batch, row)?.run(&batch)
        })
        .await
    }

    /// Those that begin with `prefix` and are not before `from`, in the order of their bytes; up to `limit` of them, and
    /// where the next begins. If not `deep`, what is in a folder below the prefix is left to one entry: the prefix is a folder
    /// itself, or the beginning of names.
    pub fn bucket_entries(
        &self,
        bucket: BucketId,
        prefix: &str,
        deep: bool,
        from: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<BucketEntry>, Option<String>), DbError> {
        let sql = concat!(file_sql!(), "WHERE p.bucket_id = ?1 AND p.path >= ?2 ORDER BY p.path");
        self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let mut entries: Vec<BucketEntry> = Vec::new();
            let mut from = from.unwrap_or(prefix).max(prefix).to_owned();
            'seek: loop {
                let mut rows = statement.query(params![bucket, from])?;
                while let Some(row) = rows.next()? {
                    let path = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
                    if !path.starts_with(prefix) {
                        return Ok((entries, None));
                    }
                    if entries.len() == limit {
                        return Ok((entries, Some(path.to_owned())));
                    }
                    match folder_below(prefix, path).filter(|_| !deep) {
                        None => entries.push(BucketEntry::File(file(row)?)),
                        Some(folder) => {
                            // '0' is the byte behind '/'.
                            from = format!("{folder}0");
                            entries.push(BucketEntry::Folder(folder.to_owned()));
                            continue 'seek;
                        }
                    }
                }
                return Ok((entries, None));
            }
        })
    }

    /// Those of these paths that are files, in their order, in one state.
    pub fn bucket_files(&self, bucket: BucketId, paths: &[String]) -> Result<Vec<BucketFile>, DbError> {
        let sql = concat!(file_sql!(), "WHERE p.bucket_id = ?1 AND p.path = ?2");
        self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let mut find = |path: &String| statement.query_row(params![bucket, path], file).optional();
            let found: Vec<_> = paths.iter().map(&mut find).collect::<rusqlite::Result<_>>()?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    pub fn bucket_file(&self, bucket: BucketId, path: &str) -> Result<Option<BucketFile>, DbError> {
        let sql = concat!(file_sql!(), "WHERE p.bucket_id = ?1 AND p.path = ?2");
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row(params![bucket, path], file).optional()?))
    }
}

/// The folder in which `path` lies below `prefix`, if it does not lie right there.
fn folder_below<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let rest = &path[prefix.len()..];
    let begin = prefix.len() + usize::from(!prefix.is_empty() && rest.starts_with('/'));
    path[begin..].find('/').map(|end| &path[..begin + end])
}

pub(super) fn file(row: &Row<'_>) -> rusqlite::Result<BucketFile> {
    Ok(BucketFile {
        path: row.get(0)?,
        file: row.get(1)?,
        hash: row.get::<_, Option<XetHash>>(2)?.unwrap_or(XetHash::EMPTY),
        size: row.get(3)?,
        mtime_ms: row.get(4)?,
        uploaded_ms: row.get(5)?,
        content_type: row.get(6)?,
    })
}

/// Whether a path of the bucket has this file.
pub(super) fn has(conn: &Connection, bucket: BucketId, id: XetFileId) -> Result<bool, DbError> {
    // By `bucket_file_by_file`.
    let sql = "SELECT 1 FROM bucket_file WHERE file_id = ?2 AND bucket_id = ?1 AND file_id IS NOT NULL";
    Ok(conn.prepare_cached(sql)?.exists(params![bucket, id])?)
}

/// A batch under way: the counts of the bucket as they are so far.
struct Edits<'c> {
    conn: &'c Connection,
    now_ms: i64,
    bucket: BucketId,
    row: Record,
    files: i64,
    bytes: i64,
    spare_bytes: i64,
    quota: Option<u64>,
    /// Of the namespace; 0 if there is no quota.
    used: u64,
    /// Whether it still is as it was when it was found that it may be read.
    sources: HashMap<HolderId, bool>,
}

impl<'c> Edits<'c> {
    fn begin(
        conn: &'c Connection,
        now_ms: i64,
        batch: &BucketBatch,
        row: Record,
    ) -> Result<Edits<'c>, DbError> {
        let namespace = row.get::<String>("namespace")?.to_ascii_lowercase();
        let quota = quota::limit(conn, &namespace, batch.quota)?;
        let used = match quota {
            Some(_) => quota::taken(conn, now_ms, &namespace)?,
            None => 0,
        };
        Ok(Edits {
            conn,
            now_ms,
            bucket: batch.bucket,
            files: row.get("files")?,
            bytes: row.get("bytes")?,
            spare_bytes: row.get("spare_bytes")?,
            row,
            quota,
            used,
            sources: HashMap::new(),
        })
    }

    fn run(mut self, batch: &BucketBatch) -> Result<Vec<Option<BucketRefusal>>, BatchError> {
        let mut refusals = Vec::with_capacity(batch.edits.len());
        for edit in &batch.edits {
            refusals.push(match &edit.act {
                BucketAct::Put(put) => self.put(&edit.path, put)?,
                BucketAct::Delete => {
                    self.remove(&edit.path)?;
                    None
                }
            });
        }
        self.row.set("files", self.files)?;
        self.row.set("bytes", self.bytes)?;
        self.row.set("spare_bytes", self.spare_bytes)?;
        if refusals.iter().any(Option::is_none) {
            journal::outdate(&mut self.row)?;
        }
        self.row.write(self.conn)?;
        Ok(refusals)
    }

    fn put(&mut self, path: &str, put: &BucketPut) -> Result<Option<BucketRefusal>, DbError> {
        let (id, size) = match self.found(put)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let old = self.record(path)?;
        let old_size: i64 = old.as_ref().map_or(Ok(0), |row| row.get("size"))?;
        let old_id: Option<XetFileId> = old.as_ref().map_or(Ok(None), |row| row.get("file_id"))?;
        // What was uploaded for it counts already.
        let held = id.map_or(Ok(0), |id| spare::uploaded_bytes(self.conn, self.bucket, id, size))?;
        let more = size - old_size - held;
        if let Some(quota) = self.quota.filter(|_| more > 0)
            && self.used.saturating_add(more.unsigned_abs()) > quota
        {
            return Ok(Some(BucketRefusal::OverQuota { used: self.used, quota }));
        }
        if self.bytes + size - old_size > BYTES_MAX {
            return Ok(Some(BucketRefusal::Full));
        }
        self.used = self.used.saturating_add_signed(more);
        if let Some(id) = id {
            spare::take(self.conn, self.bucket, id)?;
        }
        self.spare_bytes -= held;
        self.bytes += size - old_size;
        let uploaded_ms = match put.from {
            BucketSource::Again { uploaded_ms } => uploaded_ms,
            BucketSource::Here | BucketSource::Other { .. } => self.now_ms,
        };
        let BucketPut { mtime_ms, content_type, .. } = put;
        let values: [&dyn ToSql; 7] = [&self.bucket, &path, &id, &size, mtime_ms, &uploaded_ms, content_type];
        match old {
            None => {
                self.files += 1;
                BUCKET_FILE.insert(self.conn, &values)?;
            }
            Some(_) => drop(BUCKET_FILE.replace(self.conn, &values)?),
        }
        if let Some(left) = old_id.filter(|old| Some(*old) != id) {
            spare::leave(self.conn, self.now_ms, self.bucket, left)?;
        }
        Ok(None)
    }

    fn remove(&mut self, path: &str) -> Result<(), DbError> {
        let Some(old) = self.record(path)? else { return Ok(()) };
        let size: i64 = old.get("size")?;
        let sql = "DELETE FROM bucket_file WHERE bucket_id = ?1 AND path = ?2";
        self.conn.prepare_cached(sql)?.execute(params![self.bucket, path])?;
        if let Some(left) = old.get("file_id")? {
            spare::leave(self.conn, self.now_ms, self.bucket, left)?;
        }
        self.files -= 1;
        self.bytes -= size;
        self.used = self.used.saturating_add_signed(-size);
        Ok(())
    }

    fn record(&self, path: &str) -> Result<Option<Record>, DbError> {
        Ok(BUCKET_FILE.record(self.conn, "bucket_id = ?1 AND path = ?2", params![self.bucket, path])?)
    }

    /// The file that is meant, if whoever asks may have it, and its size.
    fn found(&mut self, put: &BucketPut) -> Result<Result<(Option<XetFileId>, i64), BucketRefusal>, DbError> {
        if put.hash == XetHash::EMPTY {
            return Ok(Ok((None, 0)));
        }
        let (conn, bucket) = (self.conn, self.bucket);
        let missing = match put.from {
            BucketSource::Here | BucketSource::Again { .. } => BucketRefusal::NotUploaded,
            BucketSource::Other { .. } => BucketRefusal::NotInSource,
        };
        let Some(id) = files::find(conn, &put.hash)? else { return Ok(Err(missing)) };
        let is_its = match put.from {
            BucketSource::Here | BucketSource::Again { .. } => {
                has(conn, bucket, id)? || spare::has(conn, bucket, id)?
            }
            BucketSource::Other { holder, acl_version } => {
                let stands = match self.sources.get(&holder) {
                    Some(stands) => *stands,
                    None => self.is_as_it_was(holder, acl_version)?,
                };
                self.sources.insert(holder, stands);
                stands
                    && match holder {
                        HolderId::Repo(repo) => files::is_linked(conn, repo, id)?,
                        HolderId::Bucket(other) => has(conn, other, id)?,
                    }
            }
        };
        if !is_its {
            return Ok(Err(missing));
        }
        let size = conn.prepare_cached("SELECT size FROM xet_file WHERE id = ?1")?;
        let size: u64 = { size }.query_row([id], |row| row.get(0))?;
        Ok(Ok((Some(id), column(size))))
    }

    fn is_as_it_was(&self, holder: HolderId, acl_version: i64) -> Result<bool, DbError> {
        let (sql, id) = match holder {
            HolderId::Repo(id) => {
                ("SELECT 1 FROM repo WHERE id = ?1 AND state = 0 AND acl_version = ?2", id.0)
            }
            HolderId::Bucket(id) => {
                ("SELECT 1 FROM bucket WHERE id = ?1 AND state = 0 AND acl_version = ?2", id.0)
            }
        };
        Ok(self.conn.prepare_cached(sql)?.exists(params![id, acl_version])?)
    }
}

/// Up to `limit` files of a deleted bucket, which are let go of. True if there may be more.
pub(super) fn forget(conn: &Connection, bucket: BucketId, limit: u32) -> Result<bool, DbError> {
    let sql = "SELECT path, file_id FROM bucket_file WHERE bucket_id = ?1 ORDER BY path LIMIT ?2";
    let found: Vec<(String, Option<XetFileId>)> =
        all(conn, sql, params![bucket, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (path, id) in &found {
        let sql = "DELETE FROM bucket_file WHERE bucket_id = ?1 AND path = ?2";
        conn.prepare_cached(sql)?.execute(params![bucket, path])?;
        if let Some(id) = id {
            files::drop_if_unneeded(conn, *id)?;
        }
    }
    Ok(found.len() == limit as usize)
}

#[cfg(test)]
mod tests {
    use super::folder_below;

    #[test]
    fn a_prefix_is_a_folder_or_the_beginning_of_names() {
        for (prefix, path, folder) in [
            ("", "a", None),
            ("", "a/b/c", Some("a")),
            ("a", "a", None),
            ("a", "a/b", None),
            ("a", "a/b/c", Some("a/b")),
            ("a/", "a/b/c", Some("a/b")),
            ("a/", "a/b", None),
            ("a", "ab/c", Some("ab")),
            ("a", "ab.txt", None),
            ("a/b", "a/b/c/d/e", Some("a/b/c")),
            ("a/b", "a/bc/d", Some("a/bc")),
        ] {
            assert_eq!(folder_below(prefix, path), folder, "{prefix} {path}");
        }
    }
}
