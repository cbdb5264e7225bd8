//! Stored xorbs, and who brought them.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::sqlite::checksum::{BUCKET_XORB, DEDUP_KEY, REPO_XORB, XORB};
use crate::sqlite::{Database, DbError, PublishError, all, next_id};
use crate::{BlobState, HolderId, ProvenXorb, UploadId, XetHash, XetStats, Xorb, XorbId, XorbPlaced};

macro_rules! xorb_sql {
    () => {
        "SELECT x.id, x.hash, x.upload_id, x.chunks, x.raw_bytes, x.stored_bytes FROM xorb x "
    };
}
pub(super) use xorb_sql;

/// Clients remember for weeks, so that an hour more or less does not count, but a write for each answer would.
const SEEN_EVERY_MS: i64 = 3_600_000;

impl Database {
    /// Names the keys of a xorb that is about to be written. Committed before anything may lie there.
    pub async fn stage_xorb(&self, hash: XetHash) -> Result<(XorbId, UploadId), DbError> {
        let upload = UploadId::new();
        Ok((self.stage_stored_xorb(hash, upload).await?, upload))
    }

    /// As [`Database::stage_xorb`], of one that lies under its keys already: when rows are made anew.
    pub async fn stage_stored_xorb(&self, hash: XetHash, upload: UploadId) -> Result<XorbId, DbError> {
        self.write(move |conn, now_ms| {
            let id = XorbId(next_id(conn, "xorb")?);
            let (state, none) = (BlobState::Staged, None::<i64>);
            let values: [&dyn ToSql; 9] = [&id, &hash, &upload, &state, &0, &0, &0, &now_ms, &none];
            XORB.insert(conn, &values)?;
            Ok(id)
        })
        .await
    }

    /// A staged xorb is whole and durable, with its index: it is live from now on, and its holder has it. `UploadGone` if it
    /// is not staged any more.
    pub async fn publish_xorb(
        &self,
        holder: impl Into<HolderId>,
        proven: ProvenXorb,
    ) -> Result<XorbPlaced, PublishError> {
        let holder = holder.into();
        self.write(move |conn, now_ms| {
            check_live(conn, holder)?;
            let staged = XORB.record(conn, "id = ?1 AND state = 0", [proven.id])?;
            let mut row = staged.ok_or(PublishError::UploadGone)?;
            if let Some(first) = live(conn, &row.get("hash")?)? {
                row.set("state", BlobState::Condemned)?;
                row.set("not_before_ms", now_ms)?;
                row.write(conn)?;
                link(conn, now_ms, holder, first.id)?;
                return Ok(XorbPlaced::Duplicate(first));
            }
            row.set("state", BlobState::Live)?;
            row.set("chunks", proven.chunks)?;
            row.set("raw_bytes", proven.raw_bytes)?;
            row.set("stored_bytes", proven.stored_bytes)?;
            row.set("seen_ms", now_ms)?;
            row.write(conn)?;
            for key in &proven.dedup_keys {
                add_dedup_key(conn, key, proven.id)?;
            }
            link(conn, now_ms, holder, proven.id)?;
            Ok(XorbPlaced::Live(Xorb {
                id: proven.id,
                hash: row.get("hash")?,
                upload: row.get("upload_id")?,
                chunks: proven.chunks,
                raw_bytes: proven.raw_bytes,
                stored_bytes: proven.stored_bytes,
            }))
        })
        .await
    }

    /// A staged xorb will not come: what lies under its keys is deleted with the next sweep.
    pub async fn give_up_xorb(&self, id: XorbId) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            XORB.change(conn, "id = ?1 AND state = 0", [id], |row| {
                row.set("state", BlobState::Condemned)?;
                row.set("not_before_ms", now_ms)
            })?;
            Ok(())
        })
        .await
    }

    /// The holder brought the bytes of a live xorb. False if it is live no more.
    pub async fn link_xorb(&self, holder: impl Into<HolderId>, id: XorbId) -> Result<bool, PublishError> {
        let holder = holder.into();
        self.write(move |conn, now_ms| {
            check_live(conn, holder)?;
            if !is_live(conn, id)? {
                return Ok(false);
            }
            link(conn, now_ms, holder, id)?;
            Ok(true)
        })
        .await
    }

    /// Clients were told of these: they are kept for as long as clients remember. Those that are live no more are left alone.
    pub async fn see_xorbs(&self, ids: Vec<XorbId>) -> Result<(), DbError> {
        let before_ms = self.clock().now_ms() - SEEN_EVERY_MS;
        let sql = "SELECT EXISTS (SELECT 1 FROM xorb WHERE id = ?1 AND state = 1 AND seen_ms < ?2)";
        let forgotten = self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let is_old = |id: &XorbId| Ok(statement.query_row(params![id, before_ms], |row| row.get(0))?);
            ids.iter().map(is_old).collect::<Result<Vec<bool>, DbError>>()
        })?;
        if !forgotten.contains(&true) {
            return Ok(());
        }
        self.write(move |conn, now_ms| ids.iter().try_for_each(|id| see(conn, now_ms, *id))).await
    }

    /// The live xorb of that hash.
    pub fn xorb(&self, hash: &XetHash) -> Result<Option<Xorb>, DbError> {
        self.read(|conn| live(conn, hash))
    }

    /// Live ones, in the order of `hashes`, in one state.
    pub fn xorbs_named(&self, hashes: &[XetHash]) -> Result<Vec<Option<Xorb>>, DbError> {
        self.0.readers.snapshot(|conn| hashes.iter().map(|hash| live(conn, hash)).collect())
    }

    /// In the order of `ids`, in any state but deleted.
    pub fn xorbs(&self, ids: &[XorbId]) -> Result<Vec<Option<Xorb>>, DbError> {
        self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached(concat!(xorb_sql!(), "WHERE x.id = ?1"))?;
            let mut find = |id| Ok(statement.query_row([id], xorb).optional()?);
            ids.iter().map(&mut find).collect()
        })
    }

    /// Whether the holder brought this xorb, or proved to have chunks of it.
    pub fn has_xorb(&self, holder: impl Into<HolderId>, id: XorbId) -> Result<bool, DbError> {
        self.read(|conn| has(conn, holder.into(), id))
    }

    /// Live ones in the order of ids, behind `after`: for fsck and backup.
    pub fn xorbs_after(&self, after: XorbId, limit: u32) -> Result<Vec<Xorb>, DbError> {
        let sql = concat!(xorb_sql!(), "WHERE x.state = 1 AND x.id > ?1 ORDER BY x.id LIMIT ?2");
        self.read(|conn| all(conn, sql, params![after, limit], xorb))
    }

    /// One scan of the live xorbs and one of the files.
    pub fn xet_stats(&self) -> Result<XetStats, DbError> {
        let sql = "SELECT count(*), coalesce(sum(raw_bytes), 0), coalesce(sum(stored_bytes), 0),
                          (SELECT count(*) FROM xet_file), (SELECT coalesce(sum(size), 0) FROM xet_file)
                   FROM xorb WHERE state = 1";
        self.read(|conn| {
            Ok(conn.prepare_cached(sql)?.query_row([], |row| {
                Ok(XetStats {
                    xorbs: row.get(0)?,
                    raw_bytes: row.get(1)?,
                    stored_bytes: row.get(2)?,
                    files: row.get(3)?,
                    file_bytes: row.get(4)?,
                })
            })?)
        })
    }
}

/// The holder may be given things.
pub(super) fn check_live(conn: &Connection, holder: HolderId) -> Result<(), PublishError> {
    let (sql, id) = match holder {
        HolderId::Repo(id) => ("SELECT 1 FROM repo WHERE id = ?1 AND state = 0", id.0),
        HolderId::Bucket(id) => ("SELECT 1 FROM bucket WHERE id = ?1 AND state = 0", id.0),
    };
    match conn.prepare_cached(sql)?.exists([id])? {
        true => Ok(()),
        false => Err(PublishError::RepoGone),
    }
}

fn live(conn: &Connection, hash: &XetHash) -> Result<Option<Xorb>, DbError> {
    let sql = concat!(xorb_sql!(), "WHERE x.hash = ?1 AND x.state = 1");
    Ok(conn.prepare_cached(sql)?.query_row([hash], xorb).optional()?)
}

pub(in crate::sqlite) fn is_live(conn: &Connection, id: XorbId) -> Result<bool, DbError> {
    Ok(conn.prepare_cached("SELECT 1 FROM xorb WHERE id = ?1 AND state = 1")?.exists([id])?)
}

fn has(conn: &Connection, holder: HolderId, id: XorbId) -> Result<bool, DbError> {
    let (sql, holder) = match holder {
        HolderId::Repo(id) => ("SELECT 1 FROM repo_xorb WHERE repo_id = ?1 AND xorb_id = ?2", id.0),
        HolderId::Bucket(id) => ("SELECT 1 FROM bucket_xorb WHERE bucket_id = ?1 AND xorb_id = ?2", id.0),
    };
    Ok(conn.prepare_cached(sql)?.exists(params![holder, id])?)
}

/// A live one, which a client just named.
pub(in crate::sqlite) fn link(
    conn: &Connection,
    now_ms: i64,
    holder: HolderId,
    id: XorbId,
) -> Result<(), DbError> {
    if !has(conn, holder, id)? {
        match holder {
            HolderId::Repo(repo) => REPO_XORB.insert(conn, &[&repo, &id])?,
            HolderId::Bucket(bucket) => BUCKET_XORB.insert(conn, &[&bucket, &id])?,
        }
    }
    see(conn, now_ms, id)
}

fn see(conn: &Connection, now_ms: i64, id: XorbId) -> Result<(), DbError> {
    let forgotten = "id = ?1 AND state = 1 AND seen_ms < ?2";
    XORB.change(conn, forgotten, params![id, now_ms - SEEN_EVERY_MS], |row| row.set("seen_ms", now_ms))?;
    Ok(())
}

pub(super) fn add_dedup_key(conn: &Connection, chunk: &[u8; 16], xorb: XorbId) -> Result<(), DbError> {
    let sql = "SELECT 1 FROM dedup_key WHERE chunk = ?1 AND xorb_id = ?2";
    if !conn.prepare_cached(sql)?.exists(params![&chunk[..], xorb])? {
        DEDUP_KEY.insert(conn, &[&&chunk[..], &xorb])?;
    }
    Ok(())
}

/// Of the columns of `xorb_sql`.
pub(super) fn xorb(row: &Row<'_>) -> rusqlite::Result<Xorb> {
    Ok(Xorb {
        id: row.get(0)?,
        hash: row.get(1)?,
        upload: row.get(2)?,
        chunks: row.get(3)?,
        raw_bytes: row.get(4)?,
        stored_bytes: row.get(5)?,
    })
}
