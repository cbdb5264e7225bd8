//! Files in xorbs that are stored as one object besides, for their readers.

use rusqlite::{Connection, ToSql, params};

use crate::sqlite::checksum::{BACKING, WHOLE_COPY};
use crate::sqlite::objects::column;
use crate::sqlite::{Database, DbError, all};
use crate::{BackingId, BlobState, Proof, Sha256, UploadId, object_key};

impl Database {
    /// Names the key of a copy that is about to be written. Committed before anything may lie there. `None`: the backing is
    /// no proven file in xorbs (any more), or has one.
    pub async fn stage_whole(&self, backing: BackingId) -> Result<Option<UploadId>, DbError> {
        self.write(move |conn, now_ms| {
            let Some((sha256, size)) = wants(conn, backing)? else { return Ok(None) };
            let (upload, state, none) = (UploadId::new(), BlobState::Staged, None::<i64>);
            let values: [&dyn ToSql; 7] = [&upload, &backing, &sha256, &column(size), &state, &now_ms, &none];
            WHOLE_COPY.insert(conn, &values)?;
            Ok(Some(upload))
        })
        .await
    }

    /// All bytes are durable under the key, and proven. False if nobody needs them any more; then they are condemned.
    pub async fn publish_whole(&self, upload: UploadId) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let staged = WHOLE_COPY.record(conn, "upload_id = ?1 AND state = 0", [upload])?;
            let Some(mut row) = staged else { return Ok(false) };
            let is_wanted = wants(conn, row.get("backing_id")?)?.is_some();
            match is_wanted {
                true => row.set("state", BlobState::Live)?,
                false => {
                    row.set("state", BlobState::Condemned)?;
                    row.set("not_before_ms", now_ms)?;
                }
            }
            row.write(conn)?;
            Ok(is_wanted)
        })
        .await
    }

    /// A staged copy will not come: what lies under its key is deleted with the next sweep.
    pub async fn give_up_whole(&self, upload: UploadId) -> Result<(), DbError> {
        self.write(move |conn, now_ms| condemn(conn, "upload_id = ?1 AND state = 0", params![upload], now_ms))
            .await
    }

    /// All copies go, `until_ms` at the earliest; what they are copies of stays.
    pub async fn condemn_wholes(&self, until_ms: i64) -> Result<(), DbError> {
        if !self
            .read(|conn| Ok(conn.prepare_cached("SELECT 1 FROM whole_copy WHERE state = 1")?.exists([])?))?
        {
            return Ok(());
        }
        self.write(move |conn, _| condemn(conn, "state = 1", [], until_ms)).await
    }

    /// Staged before then: what lies under their keys is litter, unless it is still being written.
    pub fn wholes_staged(&self, before_ms: i64, limit: u32) -> Result<Vec<(UploadId, BackingId)>, DbError> {
        // The condition is that of the index `whole_copy_staged`.
        let sql = "SELECT upload_id, backing_id FROM whole_copy WHERE state = 0 AND staged_ms < ?1
                   ORDER BY staged_ms LIMIT ?2";
        self.read(|conn| all(conn, sql, params![before_ms, limit], |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// Condemned and due: storage keys and sizes of bytes to delete now.
    pub fn wholes_due(&self, limit: u32) -> Result<Vec<(UploadId, String, u64)>, DbError> {
        let sql = "SELECT upload_id, sha256, size FROM whole_copy WHERE state = 2 AND not_before_ms <= ?1
                   ORDER BY not_before_ms LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![self.clock().now_ms(), limit], |row| {
                let upload = row.get(0)?;
                Ok((upload, object_key(&row.get(1)?, upload), row.get(2)?))
            })
        })
    }

    /// After their bytes are gone. Only condemned ones can be named; others are left alone.
    pub async fn wholes_deleted(&self, uploads: Vec<UploadId>) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let mut delete =
                conn.prepare_cached("DELETE FROM whole_copy WHERE upload_id = ?1 AND state = 2")?;
            uploads.iter().try_for_each(|upload| delete.execute([upload]).map(drop))?;
            Ok(())
        })
        .await
    }

    /// Live ones in the order of their backings, behind `after`: for fsck.
    pub fn wholes_after(
        &self,
        after: BackingId,
        limit: u32,
    ) -> Result<Vec<(BackingId, Sha256, u64, UploadId)>, DbError> {
        let sql =
            "SELECT backing_id, sha256, size, upload_id FROM whole_copy WHERE state = 1 AND backing_id > ?1
                   ORDER BY backing_id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![after, limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
        })
    }
}

/// What a copy of the backing would be, if it may have one and has none.
fn wants(conn: &Connection, backing: BackingId) -> Result<Option<(Sha256, u64)>, DbError> {
    let sql = "id = ?1 AND state = 1 AND EXISTS (SELECT 1 FROM xet_backing WHERE backing_id = ?1)
               AND NOT EXISTS (SELECT 1 FROM whole_copy WHERE backing_id = ?1 AND state = 1)";
    let Some(row) = BACKING.record(conn, sql, [backing])? else { return Ok(None) };
    let is_proven = row.get::<Proof>("proof")? == Proof::Verified;
    Ok(if is_proven { Some((row.get("sha256")?, row.get("size")?)) } else { None })
}

/// The copies of a backing that is about to be forgotten.
pub(super) fn condemn_of(conn: &Connection, backing: BackingId, now_ms: i64) -> Result<(), DbError> {
    condemn(conn, "backing_id = ?1 AND state = 1", params![backing], now_ms)
}

fn condemn(
    conn: &Connection,
    which: &str,
    params: impl rusqlite::Params,
    not_before_ms: i64,
) -> Result<(), DbError> {
    WHOLE_COPY.change(conn, which, params, |row| {
        row.set("state", BlobState::Condemned)?;
        row.set("not_before_ms", not_before_ms)
    })?;
    Ok(())
}
