//! Uploads under way: what may lie in storage although no backing names it.

use rusqlite::{Connection, OptionalExtension, params};

use super::links;
use super::quota::{quota_of, usage_of};
use crate::sqlite::checksum::{MULTIPART, Record, UPLOAD, UPLOAD_OBJECTS};
use crate::sqlite::{Database, DbError, PublishError, all};
use crate::{Begun, NewUpload, Publish, RepoId, Sha256, Upload, UploadId, UserId};

/// Of an object in the column `objects`.
const ENTRY_BYTES: usize = 40;

impl Database {
    /// Reserves room for what is admitted. Committed before anybody is told where to upload. Nothing is written if
    /// nothing is admitted.
    pub async fn begin_upload(&self, new: NewUpload) -> Result<Begun, PublishError> {
        self.write(move |conn, now_ms| begin(conn, now_ms, &new)).await
    }

    /// `None` also if it is closed: what arrives for it is not taken any more.
    pub fn upload(&self, id: UploadId) -> Result<Option<Upload>, DbError> {
        self.0.readers.snapshot(|conn| {
            let sql = "SELECT repo_id, account_id, expires_ms FROM upload WHERE id = ?1 AND closed = 0";
            let row = conn
                .prepare_cached(sql)?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((repo, by, expires_ms)) = row else { return Ok(None) };
            Ok(Some(Upload { id, repo, by, expires_ms, objects: objects(conn, id)? }))
        })
    }

    /// Whether [`Database::upload`] would find it, without reading what it holds.
    pub fn upload_is_open(&self, id: UploadId) -> Result<bool, DbError> {
        self.read(|conn| is_open(conn, id))
    }

    /// The ids that S3 gave to multipart uploads, so that they can be aborted.
    pub async fn set_multipart(
        &self,
        upload: UploadId,
        multiparts: Vec<(Sha256, String)>,
    ) -> Result<(), PublishError> {
        self.write(move |conn, _| {
            if !is_open(conn, upload)? {
                return Err(PublishError::UploadGone);
            }
            for (sha256, s3_id) in &multiparts {
                if !MULTIPART.replace(conn, &[&upload, sha256, s3_id])? {
                    MULTIPART.insert(conn, &[&upload, sha256, s3_id])?;
                }
            }
            Ok(())
        })
        .await
    }

    pub fn multiparts(&self, upload: UploadId) -> Result<Vec<(Sha256, String)>, DbError> {
        let sql = "SELECT sha256, s3_id FROM multipart WHERE upload_id = ?1 ORDER BY sha256";
        self.read(|conn| all(conn, sql, [upload], |row| Ok((row.get(0)?, row.get(1)?))))
    }

    /// Closes expired uploads, so that a writer that lives after all is refused, and returns them: of each the objects
    /// whose key no backing names, in whatever state. At most `limit`, the oldest first; each time, until they are
    /// swept.
    pub async fn uploads_expired(&self, limit: u32) -> Result<Vec<Upload>, DbError> {
        // Asked all the time: an idle server does not write.
        let sql = "SELECT EXISTS (SELECT 1 FROM upload WHERE expires_ms <= ?1)";
        let now_ms = self.clock().now_ms();
        if !self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([now_ms], |row| row.get(0))?))? {
            return Ok(Vec::new());
        }
        self.write(move |conn, now_ms| {
            let sql = "SELECT id, repo_id, account_id, expires_ms FROM upload WHERE expires_ms <= ?1
                       ORDER BY expires_ms LIMIT ?2";
            let rows: Vec<(UploadId, RepoId, Option<UserId>, i64)> =
                all(conn, sql, params![now_ms, limit], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?;
            rows.into_iter()
                .map(|(id, repo, by, expires_ms)| {
                    UPLOAD.change(conn, "id = ?1", [id], |row| row.set("closed", true))?;
                    Ok(Upload { id, repo, by, expires_ms, objects: pending(conn, id)? })
                })
                .collect()
        })
        .await
    }

    /// After everything under its keys is deleted. An open one is left alone.
    pub async fn upload_swept(&self, id: UploadId) -> Result<(), DbError> {
        self.write(move |conn, _| {
            let closed = "SELECT 1 FROM upload WHERE id = ?1 AND closed = 1";
            if conn.prepare_cached(closed)?.exists([id])? {
                forget(conn, id)?;
            }
            Ok(())
        })
        .await
    }
}

fn begin(conn: &Connection, now_ms: i64, new: &NewUpload) -> Result<Begun, PublishError> {
    let sql = "SELECT lower(namespace) FROM repo WHERE id = ?1 AND state = 0";
    let namespace: Option<String> =
        conn.prepare_cached(sql)?.query_row([new.repo], |row| row.get(0)).optional()?;
    let namespace = namespace.ok_or(PublishError::RepoGone)?;
    let quota = quota_of(conn, &namespace)?.or(new.quota);
    let begun = match quota {
        None => Begun { admitted: vec![true; new.objects.len()], used: 0, quota },
        Some(max) => admit(conn, now_ms, new, &namespace, max)?,
    };
    let admitted = new.objects.iter().zip(&begun.admitted).filter(|(_, admitted)| **admitted);
    let mut objects: Vec<(Sha256, u64)> = admitted.map(|(object, _)| *object).collect();
    objects.sort_unstable();
    // Its key is one, so it is one object, whatever sizes were said.
    objects.dedup_by_key(|(sha256, _)| *sha256);
    if !objects.is_empty() {
        let pending = Pending::all(objects.len()).0;
        UPLOAD.insert(conn, &[&new.id, &new.repo, &new.by, &new.expires_ms, &pending, &false])?;
        UPLOAD_OBJECTS.insert(conn, &[&new.id, &encode(&objects)])?;
    }
    Ok(begun)
}

/// In order, each object that still fits. What this repo links, or has reserved by a batch that was given up say, takes
/// no more room.
fn admit(
    conn: &Connection,
    now_ms: i64,
    new: &NewUpload,
    namespace: &str,
    max: u64,
) -> Result<Begun, DbError> {
    let (usage, mut counted) = usage_of(conn, now_ms, namespace)?;
    let used = usage.used.saturating_add(usage.reserved);
    let mut total = used;
    let mut admitted = Vec::with_capacity(new.objects.len());
    for (sha256, size) in &new.objects {
        let is_counted = counted.contains(&(new.repo, *sha256)) || links::is_live(conn, new.repo, sha256)?;
        let after = if is_counted { total } else { total.saturating_add(*size) };
        admitted.push(after <= max);
        if after <= max {
            total = after;
            counted.insert((new.repo, *sha256));
        }
    }
    Ok(Begun { admitted, used, quota: Some(max) })
}

fn encode(objects: &[(Sha256, u64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(objects.len() * ENTRY_BYTES);
    for (sha256, size) in objects {
        bytes.extend_from_slice(&sha256.0);
        bytes.extend_from_slice(&size.to_be_bytes());
    }
    bytes
}

/// What an upload was for, in the order of SHA-256.
fn objects(conn: &Connection, id: UploadId) -> Result<Vec<(Sha256, u64)>, DbError> {
    with_entries(conn, id, |entries| entries.iter().map(decode).collect())
}

/// The place of an object among them. Large batches bring as many objects as they have, so this reads only a few entries.
fn position(conn: &Connection, id: UploadId, object: &(Sha256, u64)) -> Result<Option<usize>, DbError> {
    with_entries(conn, id, |entries| entries.binary_search_by_key(object, decode).ok())
}

fn with_entries<T>(
    conn: &Connection,
    id: UploadId,
    read: impl FnOnce(&[[u8; ENTRY_BYTES]]) -> T,
) -> Result<T, DbError> {
    let mut statement = conn.prepare_cached("SELECT objects FROM upload_objects WHERE upload_id = ?1")?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?;
    let bytes = match &row {
        Some(row) => row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?,
        None => &[],
    };
    match bytes.as_chunks() {
        (entries, []) => Ok(read(entries)),
        _ => Err(DbError::Corrupt(format!("the objects of upload {id}"))),
    }
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> (Sha256, u64) {
    let (mut sha256, mut size) = ([0; 32], [0; 8]);
    sha256.copy_from_slice(&entry[..32]);
    size.copy_from_slice(&entry[32..]);
    (Sha256(sha256), u64::from_be_bytes(size))
}

/// Those of its objects that got no backing: only they may lie under a key that no backing names, or named.
pub(super) fn pending(conn: &Connection, id: UploadId) -> Result<Vec<(Sha256, u64)>, DbError> {
    let sql = "SELECT pending FROM upload WHERE id = ?1";
    let bits: Option<Vec<u8>> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let pending = Pending(bits.unwrap_or_default());
    let objects = objects(conn, id)?.into_iter().enumerate();
    Ok(objects.filter(|(position, _)| pending.is_set(*position)).map(|(_, object)| object).collect())
}

fn is_open(conn: &Connection, id: UploadId) -> Result<bool, DbError> {
    Ok(conn.prepare_cached("SELECT 1 FROM upload WHERE id = ?1 AND closed = 0")?.exists([id])?)
}

/// An open upload, and one of its objects that got no backing yet.
pub(super) struct Arriving {
    row: Record,
    id: UploadId,
    position: usize,
    pending: Pending,
}

impl Arriving {
    /// `None`: nothing is waited for under this key, now or any more.
    pub(super) fn find(conn: &Connection, publish: &Publish) -> Result<Option<Arriving>, DbError> {
        let Publish { upload: id, repo, sha256, size, .. } = *publish;
        let open = "id = ?1 AND repo_id = ?2 AND closed = 0";
        let Some(row) = UPLOAD.record(conn, open, params![id, repo])? else { return Ok(None) };
        let Some(position) = position(conn, id, &(sha256, size))? else { return Ok(None) };
        let pending = Pending(row.get("pending")?);
        Ok(pending.is_set(position).then_some(Arriving { row, id, position, pending }))
    }

    pub(super) fn expires_ms(&self) -> Result<i64, DbError> {
        Ok(self.row.get("expires_ms")?)
    }

    /// It got its backing; with the last one, the upload is over.
    pub(super) fn arrived(mut self, conn: &Connection) -> Result<(), DbError> {
        self.pending.clear(self.position);
        if self.pending.is_empty() {
            return forget(conn, self.id);
        }
        self.row.set("pending", &self.pending.0)?;
        Ok(self.row.write(conn)?)
    }
}

/// The column: a bit per object.
struct Pending(Vec<u8>);

impl Pending {
    fn all(count: usize) -> Pending {
        let mut pending = Pending(vec![0; count.div_ceil(8)]);
        (0..count).for_each(|position| pending.0[position / 8] |= 1 << (position % 8));
        pending
    }

    fn is_set(&self, position: usize) -> bool {
        self.0.get(position / 8).is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    }

    fn clear(&mut self, position: usize) {
        if let Some(byte) = self.0.get_mut(position / 8) {
            *byte &= !(1 << (position % 8));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

fn forget(conn: &Connection, id: UploadId) -> Result<(), DbError> {
    conn.prepare_cached("DELETE FROM upload_objects WHERE upload_id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM multipart WHERE upload_id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM upload WHERE id = ?1")?.execute([id])?;
    Ok(())
}
