//! Uploads under way: what may lie in storage although no backing names it.

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::reservations::{Reservation, Reserving};
use super::{column, links, quota, reservations};
use crate::sqlite::checksum::{MULTIPART, Record, UPLOAD, UPLOAD_OBJECTS};
use crate::sqlite::{Database, DbError, PublishError, all};
use crate::{Awaited, Begun, NewUpload, Publish, Quota, RepoId, Sha256, Upload, UploadId, UserId};

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

    /// By the last upload of the repo, of those open, that is to bring each of `objects`. Of many under way only the last
    /// ones are looked at.
    pub fn uploads_awaiting(&self, repo: RepoId, objects: &[(Sha256, u64)]) -> Result<Vec<Awaited>, DbError> {
        const UPLOADS_MAX: u32 = 100;
        let sql = "SELECT id, account_id FROM upload WHERE repo_id = ?1 AND closed = 0
                   ORDER BY expires_ms DESC, id DESC LIMIT ?2";
        self.0.readers.snapshot(|conn| {
            let uploads: Vec<(UploadId, Option<UserId>)> =
                all(conn, sql, params![repo, UPLOADS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (mut wanted, mut found) = (objects.to_vec(), Vec::new());
            for (upload, by) in uploads {
                let is_in = |entries: &[[u8; ENTRY_BYTES]], object: &(Sha256, u64)| {
                    entries.binary_search_by_key(object, decode).is_ok()
                };
                let (here, left): (Vec<_>, Vec<_>) = with_entries(conn, upload, |entries| {
                    wanted.iter().copied().partition(|object| is_in(entries, object))
                })?;
                found.extend(here.into_iter().map(|(sha256, size)| Awaited { upload, by, sha256, size }));
                wanted = left;
                if wanted.is_empty() {
                    break;
                }
            }
            Ok(found)
        })
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
    let namespace = quota::namespace(conn, new.repo)?.ok_or(PublishError::RepoGone)?;
    let quota = quota::limit(conn, &namespace, new.quota)?;
    let mut reserving = Reserving::new(conn, now_ms, new.repo);
    let (admitted, used) = match quota {
        None => (vec![true; new.objects.len()], 0),
        Some(max) => {
            let used = taken(conn, now_ms, &namespace)?;
            (admit(&mut reserving, new, used, max)?, used)
        }
    };
    let objects = new.objects.iter().zip(&admitted).filter(|(_, admitted)| **admitted);
    let mut objects: Vec<(Sha256, u64)> = objects.map(|(object, _)| *object).collect();
    objects.sort_unstable();
    // Its key is one, so it is one object, whatever sizes were said.
    objects.dedup_by_key(|(sha256, _)| *sha256);
    if !objects.is_empty() {
        let pending = Pending::all(objects.len()).0;
        let reserved = reserving.write(new, &objects)?;
        let given = given_to_column(new.quota);
        let values: [&dyn ToSql; 8] =
            [&new.id, &new.repo, &new.by, &new.expires_ms, &pending, &false, &given, &reserved];
        UPLOAD.insert(conn, &values)?;
        UPLOAD_OBJECTS.insert(conn, &[&new.id, &encode(&objects)])?;
    }
    Ok(Begun { admitted, used, quota })
}

/// By links and by what is reserved.
fn taken(conn: &Connection, now_ms: i64, namespace: &str) -> Result<u64, DbError> {
    let reserved = reservations::reserved(conn, now_ms, namespace)?;
    Ok(quota::used(conn, namespace)?.saturating_add(reserved))
}

/// In order, each object that still fits. What this repo links, or has reserved by a batch that was given up say, takes
/// no more room than it does already.
fn admit(reserving: &mut Reserving<'_>, new: &NewUpload, used: u64, max: u64) -> Result<Vec<bool>, DbError> {
    let mut total = used;
    let mut admitted = Vec::with_capacity(new.objects.len());
    for (sha256, size) in &new.objects {
        let after = total.saturating_add(reserving.more(sha256, *size)?);
        let fits = after <= max;
        if fits {
            total = after;
            reserving.take(sha256, *size);
        }
        admitted.push(fits);
    }
    Ok(admitted)
}

/// NULL for what counts against nothing.
fn given_to_column(quota: Quota) -> Option<i64> {
    match quota {
        Quota::Exempt => None,
        Quota::Default(default) => Some(default.map_or(i64::MAX, column)),
    }
}

fn given_of_column(column: Option<i64>) -> Quota {
    match column {
        None => Quota::Exempt,
        Some(i64::MAX) => Quota::Default(None),
        Some(max) => Quota::Default(Some(u64::try_from(max).unwrap_or(0))),
    }
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

/// Those of its objects whose key no backing names, or named. One that was announced again after a rebuild is named by the
/// backing that another repo made of it.
pub(super) fn pending(conn: &Connection, id: UploadId) -> Result<Vec<(Sha256, u64)>, DbError> {
    let sql = "SELECT pending FROM upload WHERE id = ?1";
    let bits: Option<Vec<u8>> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let pending = Pending(bits.unwrap_or_default());
    let objects = objects(conn, id)?.into_iter().enumerate();
    let mut named = conn.prepare_cached("SELECT 1 FROM backing WHERE sha256 = ?1 AND upload_id = ?2")?;
    let mut unnamed = Vec::new();
    for (_, object) in objects.filter(|(position, _)| pending.is_set(*position)) {
        if !named.exists(params![object.0, id])? {
            unnamed.push(object);
        }
    }
    Ok(unnamed)
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

    /// Whether there is room for it. What was reserved for it is its own; more than that was not asked for when it was
    /// announced, or the link that it was to replace is gone, and counts as it does for a new object.
    pub(super) fn check_room(
        &self,
        conn: &Connection,
        now_ms: i64,
        publish: &Publish,
        held: Option<&Reservation>,
    ) -> Result<(), PublishError> {
        let linked = links::live_bytes(conn, publish.repo, &publish.sha256)?.unwrap_or(0);
        let needed = publish.size.saturating_sub(linked);
        let held = held.filter(|held| held.counts).map_or(0, |held| held.bytes);
        if needed <= held {
            return Ok(());
        }
        let namespace = quota::namespace(conn, publish.repo)?.ok_or(PublishError::RepoGone)?;
        let given = given_of_column(self.row.get("quota")?);
        let Some(quota) = quota::limit(conn, &namespace, given)? else { return Ok(()) };
        let used = taken(conn, now_ms, &namespace)?.saturating_sub(held);
        match used.saturating_add(needed) <= quota {
            true => Ok(()),
            false => Err(PublishError::OverQuota { used, quota }),
        }
    }

    /// It got its backing; with the last one, the upload is over. `held` is what was reserved for it.
    pub(super) fn arrived(mut self, conn: &Connection, held: Option<Reservation>) -> Result<(), DbError> {
        let mut reserved: i64 = self.row.get("reserved")?;
        match held {
            Some(held) if held.upload == self.id => reserved = reserved.saturating_sub(column(held.bytes)),
            Some(held) => reservations::give_back(conn, held.upload, held.bytes)?,
            None => {}
        }
        self.row.set("reserved", reserved)?;
        self.pending.clear(self.position);
        self.row.set("pending", &self.pending.0)?;
        self.row.write(conn)?;
        if self.pending.is_empty() { forget(conn, self.id) } else { Ok(()) }
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
    let sql = "SELECT repo_id FROM upload WHERE id = ?1 AND reserved <> 0";
    let holds: Option<RepoId> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    if let Some(repo) = holds {
        reservations::delete_all(conn, repo, id, &objects(conn, id)?)?;
    }
    conn.prepare_cached("DELETE FROM upload_objects WHERE upload_id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM multipart WHERE upload_id = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM upload WHERE id = ?1")?.execute([id])?;
    Ok(())
}
