//! What is stored: claims to be verified, bytes to be deleted.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{add_bytes, add_to_totals, column};
use crate::sqlite::checksum::{BACKING, REPO_OBJECT};
use crate::sqlite::{Database, DbError, all, next_id};
use crate::{
    BackingId, BlobState, Claim, LinkState, Proof, Publish, RepoId, Sha256, UploadId, XetFileId, object_key,
};

impl Database {
    /// The SHA-256 of a live backing was computed and is right. If the same object is stored verified already, the links
    /// move there and this one is condemned, due at once; but those of a file in xorbs only to the same file, since its
    /// readers know it by that name. False if nothing links it any more, now or before.
    pub async fn object_verified(&self, backing: BackingId) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let Some(mut row) = BACKING.record(conn, "id = ?1 AND state = 1", [backing])? else {
                return Ok(false);
            };
            if row.get::<Proof>("proof")? == Proof::Verified {
                return Ok(true);
            }
            let (sha256, size) = (row.get("sha256")?, row.get("size")?);
            let other = match xet_file(conn, backing)? {
                None => verified(conn, &sha256, size)?,
                Some(file) => verified_as(conn, &sha256, size, file)?,
            };
            let Some(other) = other else {
                row.set("proof", Proof::Verified)?;
                row.write(conn)?;
                return Ok(true);
            };
            REPO_OBJECT.change(conn, "backing_id = ?1", [backing], |link| link.set("backing_id", other))?;
            condemn_if_unlinked(conn, backing, now_ms)?;
            Ok(false)
        })
        .await
    }

    /// The bytes of a live backing that was only claimed are not what they were said to be. Its links say so from now on;
    /// it is condemned, due after `grace_ms`. False if it was not live any more, or is proven: what was acknowledged is
    /// never taken back by a read that went wrong.
    pub async fn object_corrupt(&self, backing: BackingId, grace_ms: i64) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let sql = "SELECT 1 FROM backing WHERE id = ?1 AND state = 1 AND proof = 0";
            if !conn.prepare_cached(sql)?.exists([backing])? {
                return Ok(false);
            }
            disown(conn, backing, now_ms.saturating_add(grace_ms))?;
            Ok(true)
        })
        .await
    }

    /// How sure a live backing is by now; `None` if it is not live any more.
    pub fn backing_proof(&self, backing: BackingId) -> Result<Option<Proof>, DbError> {
        let sql = "SELECT proof FROM backing WHERE id = ?1 AND state = 1";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([backing], |row| row.get(0)).optional()?))
    }

    /// What is to be verified, in the order of ids, behind `after`.
    pub fn claims(&self, after: BackingId, limit: u32) -> Result<Vec<Claim>, DbError> {
        let sql = "SELECT b.id, o.repo_id, b.sha256, b.size, b.upload_id, o.account_id
                   FROM backing b JOIN repo_object o ON o.backing_id = b.id
                   WHERE b.state = 1 AND b.proof = 0 AND b.id > ?1 ORDER BY b.id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![after, limit], |row| {
                let (backing, repo, sha256) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Claim { backing, repo, sha256, size: row.get(3)?, upload: row.get(4)?, by: row.get(5)? })
            })
        })
    }

    /// Condemned and due, stored whole: ids, storage keys and sizes of bytes to delete now.
    pub async fn backings_due(&self, limit: u32) -> Result<Vec<(BackingId, String, u64)>, DbError> {
        let sql = "SELECT id, sha256, upload_id, size FROM backing WHERE state = 2 AND not_before_ms <= ?1
                   AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = backing.id)
                   ORDER BY not_before_ms LIMIT ?2";
        let now_ms = self.clock().now_ms();
        self.read(|conn| {
            all(conn, sql, params![now_ms, limit], |row| {
                Ok((row.get(0)?, object_key(&row.get(1)?, row.get::<_, UploadId>(2)?), row.get(3)?))
            })
        })
    }

    /// After their bytes are gone. Only condemned ones can be named; others are left alone. A row stays, and is due once
    /// more, if somebody may still hold a URL that writes to the key.
    pub async fn backings_deleted(&self, ids: Vec<BackingId>) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            for id in ids {
                let dead = "DELETE FROM backing WHERE id = ?1 AND state = 2 AND writable_until_ms <= ?2
                            AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = ?1)";
                if conn.prepare_cached(dead)?.execute(params![id, now_ms])? == 0 {
                    BACKING.change(conn, "id = ?1 AND state = 2", [id], |row| {
                        row.set("not_before_ms", row.get::<i64>("writable_until_ms")?)
                    })?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Live ones that are stored whole, in the order of ids, behind `after`: for fsck and backup.
    #[expect(clippy::type_complexity, reason = "a row as it is")]
    pub fn backings(
        &self,
        after: BackingId,
        limit: u32,
    ) -> Result<Vec<(BackingId, Sha256, u64, UploadId, Proof)>, DbError> {
        let sql = "SELECT id, sha256, size, upload_id, proof FROM backing WHERE state = 1 AND id > ?1
                   AND NOT EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = backing.id)
                   ORDER BY id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![after, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
        })
    }
}

/// A verified live backing of an object; if there are several, one that is whole.
pub(in crate::sqlite) fn verified(
    conn: &Connection,
    sha256: &Sha256,
    size: i64,
) -> Result<Option<BackingId>, DbError> {
    // The conditions are those of the index `backing_verified`.
    let sql = "SELECT id FROM backing WHERE sha256 = ?1 AND size = ?2 AND state = 1 AND proof = 2
               ORDER BY EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = backing.id) LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row(params![sha256, size], |row| row.get(0)).optional()?)
}

/// The verified live backing of an object that is this very file.
pub(in crate::sqlite) fn verified_as(
    conn: &Connection,
    sha256: &Sha256,
    size: i64,
    file: XetFileId,
) -> Result<Option<BackingId>, DbError> {
    let sql = "SELECT b.id FROM xet_backing x JOIN backing b ON b.id = x.backing_id
               WHERE x.file_id = ?3 AND b.sha256 = ?1 AND b.size = ?2 AND b.state = 1 AND b.proof = 2";
    Ok(conn.prepare_cached(sql)?.query_row(params![sha256, size, file], |row| row.get(0)).optional()?)
}

/// Of a backing that is in xorbs.
fn xet_file(conn: &Connection, backing: BackingId) -> Result<Option<XetFileId>, DbError> {
    let sql = "SELECT file_id FROM xet_backing WHERE backing_id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([backing], |row| row.get(0)).optional()?)
}

/// A new live one under the key of `publish`.
pub(in crate::sqlite) fn insert(
    conn: &Connection,
    publish: &Publish,
    writable_until_ms: i64,
) -> Result<BackingId, DbError> {
    let id = BackingId(next_id(conn, "backing")?);
    let Publish { sha256, upload, proof, .. } = publish;
    let (size, state, not_before_ms) = (column(publish.size), BlobState::Live, None::<i64>);
    let values: [&dyn ToSql; 8] =
        [&id, sha256, &size, upload, proof, &state, &writable_until_ms, &not_before_ms];
    BACKING.insert(conn, &values)?;
    add_to_totals(conn, 1, size)?;
    Ok(id)
}

/// The links of a backing say from now on that it is not what it was said to be; it is condemned, due at `not_before_ms`.
pub(in crate::sqlite) fn disown(
    conn: &Connection,
    backing: BackingId,
    not_before_ms: i64,
) -> Result<(), DbError> {
    let sql = "SELECT repo_id, size FROM repo_object WHERE backing_id = ?1";
    let links: Vec<(RepoId, i64)> = all(conn, sql, [backing], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (repo, size) in links {
        add_bytes(conn, repo, -size)?;
    }
    REPO_OBJECT.change(conn, "backing_id = ?1", [backing], |link| {
        link.set("state", LinkState::Corrupt)?;
        link.set("backing_id", None::<i64>)
    })?;
    condemn_if_unlinked(conn, backing, not_before_ms)?;
    Ok(())
}

/// The last link that leaves takes the backing along.
pub(in crate::sqlite) fn condemn_if_unlinked(
    conn: &Connection,
    backing: BackingId,
    not_before_ms: i64,
) -> Result<(), DbError> {
    if conn.prepare_cached("SELECT 1 FROM repo_object WHERE backing_id = ?1")?.exists([backing])? {
        return Ok(());
    }
    if let Some(mut row) = BACKING.record(conn, "id = ?1 AND state = 1", [backing])? {
        row.set("state", BlobState::Condemned)?;
        row.set("not_before_ms", not_before_ms)?;
        row.write(conn)?;
        add_to_totals(conn, -1, -row.get::<i64>("size")?)?;
    }
    Ok(())
}
