//! Files in xorbs, and what is still to be known of them.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::xorbs;
use crate::sqlite::checksum::{XET_FILE, XET_FILE_XORB};
use crate::sqlite::objects::{backings, column};
use crate::sqlite::{Database, DbError, all, next_id};
use crate::{
    BackingId, HolderId, NewXetFile, Possessed, RepoId, Sha256, XetFile, XetFileId, XetHash, XetTerm, XorbId,
};

macro_rules! file_sql {
    () => {
        "SELECT f.id, f.hash, f.size, f.terms FROM xet_file f "
    };
}

/// Of the file `f`, whether a live link of the repo `?2` is it. From the file to its links: of the repo there may be many.
macro_rules! is_linked_sql {
    () => {
        "SELECT 1 FROM xet_backing x CROSS JOIN backing b ON b.id = x.backing_id
         CROSS JOIN repo_object o ON o.backing_id = b.id
         WHERE x.file_id = f.id AND b.state = 1 AND o.repo_id = ?2 AND o.state = 0"
    };
}

impl Database {
    /// A file that this one has by exactly these chunks. What is stored and only others have is not found.
    pub fn xet_file_of(
        &self,
        holder: impl Into<HolderId>,
        hash: &XetHash,
    ) -> Result<Option<XetFile>, DbError> {
        const OF_REPO: &str = concat!(file_sql!(), "WHERE f.hash = ?1 AND EXISTS (", is_linked_sql!(), ")");
        // One that left its path lately is still read.
        const OF_BUCKET: &str = concat!(
            file_sql!(),
            "WHERE f.hash = ?1 AND (
                 EXISTS (SELECT 1 FROM bucket_file WHERE file_id = f.id AND bucket_id = ?2)
                 OR EXISTS (SELECT 1 FROM bucket_spare WHERE bucket_id = ?2 AND file_id = f.id))"
        );
        let (sql, id) = match holder.into() {
            HolderId::Repo(id) => (OF_REPO, id.0),
            HolderId::Bucket(id) => (OF_BUCKET, id.0),
        };
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row(params![hash, id], file).optional()?))?
            .transpose()
    }

    /// Whoever asks found its id in a link.
    pub fn xet_file(&self, id: XetFileId) -> Result<Option<XetFile>, DbError> {
        let sql = concat!(file_sql!(), "WHERE f.id = ?1");
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], file).optional()?))?.transpose()
    }

    /// By which clients name it.
    pub fn xet_hash(&self, id: XetFileId) -> Result<Option<XetHash>, DbError> {
        let sql = "SELECT hash FROM xet_file WHERE id = ?1";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?))
    }

    /// In the order of `ids`, in one state.
    pub fn xet_hashes(&self, ids: &[XetFileId]) -> Result<Vec<Option<XetHash>>, DbError> {
        self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached("SELECT hash FROM xet_file WHERE id = ?1")?;
            let mut find = |id| Ok(statement.query_row([id], |row| row.get(0)).optional()?);
            ids.iter().map(&mut find).collect()
        })
    }

    /// Those that live links of the repo are, of links that were made since `since_ms`; with their SHA-256.
    pub fn xet_files_since(&self, repo: RepoId, since_ms: i64) -> Result<Vec<(Sha256, XetFile)>, DbError> {
        let sql = "SELECT f.id, f.hash, f.size, f.terms, o.sha256 FROM repo_object o
                   JOIN xet_backing x ON x.backing_id = o.backing_id JOIN xet_file f ON f.id = x.file_id
                   WHERE o.repo_id = ?1 AND o.state = 0 AND o.linked_ms >= ?2 ORDER BY o.sha256";
        let found = self.read(|conn| {
            all(conn, sql, params![repo, since_ms], |row| Ok((row.get::<_, Sha256>(4)?, file(row)?)))
        })?;
        found.into_iter().map(|(sha256, file)| Ok((sha256, file?))).collect()
    }

    /// In the order of ids, behind `after`: for fsck.
    pub fn xet_files_after(&self, after: XetFileId, limit: u32) -> Result<Vec<XetFile>, DbError> {
        let sql = concat!(file_sql!(), "WHERE f.id > ?1 ORDER BY f.id LIMIT ?2");
        self.read(|conn| all(conn, sql, params![after, limit], file))?.into_iter().collect()
    }

    /// Files whose SHA-256 is to be computed, in the order of ids, behind `after`.
    pub fn possessed(&self, after: BackingId, limit: u32) -> Result<Vec<Possessed>, DbError> {
        // The conditions are those of the index `backing_possessed`.
        let sql = "SELECT b.id, x.file_id, o.repo_id, b.sha256, b.size, o.account_id
                   FROM backing b JOIN xet_backing x ON x.backing_id = b.id
                   JOIN repo_object o ON o.backing_id = b.id
                   WHERE b.state = 1 AND b.proof = 1 AND b.id > ?1 ORDER BY b.id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![after, limit], |row| {
                let (backing, file, repo) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (sha256, size, by) = (row.get(3)?, row.get(4)?, row.get(5)?);
                Ok(Possessed { backing, file, repo, sha256, size, by })
            })
        })
    }

    /// The content of a file that is possessed has another SHA-256 than its uploader said. Its links say so from now on.
    /// False if it was not live any more, or is proven.
    pub async fn xet_object_corrupt(&self, backing: BackingId) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let sql = "SELECT 1 FROM backing b JOIN xet_backing x ON x.backing_id = b.id
                       WHERE b.id = ?1 AND b.state = 1 AND b.proof = 1";
            if !conn.prepare_cached(sql)?.exists([backing])? {
                return Ok(false);
            }
            backings::disown(conn, backing, now_ms)?;
            Ok(true)
        })
        .await
    }
}

/// The row of a file, new or as it is: the hash says the content, so whatever terms came first do.
pub(in crate::sqlite) fn find_or_insert(conn: &Connection, new: &NewXetFile) -> Result<XetFileId, DbError> {
    if let Some(id) = find(conn, &new.hash)? {
        return Ok(id);
    }
    let id = XetFileId(next_id(conn, "xet_file")?);
    let (size, terms) = (column(new.size), XetTerm::encode(&new.terms));
    let values: [&dyn ToSql; 4] = [&id, &new.hash, &size, &terms];
    XET_FILE.insert(conn, &values)?;
    for xorb in named(&new.terms) {
        XET_FILE_XORB.insert(conn, &[&id, &xorb])?;
    }
    if let (Some(key), Some(first)) = (&new.dedup_key, new.terms.first()) {
        xorbs::add_dedup_key(conn, key, first.xorb)?;
    }
    Ok(id)
}

/// Whether a live link of the repo is this file.
pub(in crate::sqlite) fn is_linked(conn: &Connection, repo: RepoId, id: XetFileId) -> Result<bool, DbError> {
    let sql = concat!("SELECT 1 FROM xet_file f WHERE f.id = ?1 AND EXISTS (", is_linked_sql!(), ")");
    Ok(conn.prepare_cached(sql)?.exists(params![id, repo])?)
}

/// Whoever had it has let go of it.
pub(in crate::sqlite) fn drop_if_unneeded(conn: &Connection, id: XetFileId) -> Result<(), DbError> {
    let needed = "SELECT EXISTS (SELECT 1 FROM xet_backing WHERE file_id = ?1)
                  OR EXISTS (SELECT 1 FROM bucket_file WHERE file_id = ?1)
                  OR EXISTS (SELECT 1 FROM bucket_spare WHERE file_id = ?1)";
    if !conn.prepare_cached(needed)?.query_row([id], |row| row.get::<_, bool>(0))? {
        conn.prepare_cached("DELETE FROM xet_file_xorb WHERE file_id = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM xet_file WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

pub(in crate::sqlite) fn find(conn: &Connection, hash: &XetHash) -> Result<Option<XetFileId>, DbError> {
    let sql = "SELECT id FROM xet_file WHERE hash = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([hash], |row| row.get(0)).optional()?)
}

/// Each once.
pub(super) fn named(terms: &[XetTerm]) -> Vec<XorbId> {
    let mut xorbs: Vec<_> = terms.iter().map(|term| term.xorb).collect();
    xorbs.sort_unstable();
    xorbs.dedup();
    xorbs
}

fn file(row: &Row<'_>) -> rusqlite::Result<Result<XetFile, DbError>> {
    let (id, hash, size): (XetFileId, XetHash, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let terms = XetTerm::decode(row.get_ref(3)?.as_blob()?);
    let file = terms.map(|terms| XetFile { id, hash, size, terms });
    Ok(file.ok_or_else(|| DbError::Corrupt(format!("the terms of file {hash}"))))
}
