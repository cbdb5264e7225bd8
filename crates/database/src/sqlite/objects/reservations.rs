//! Room in a quota for what was announced and did not arrive yet.
//!
//! A row per object says how many bytes are held for it beyond what its repo links, and by which upload: the latest that
//! announced the object, so that a batch which is asked for again holds nothing twice. The upload's row has the sum of
//! what it holds, and all of it is free when that expires. So a batch costs a look at each of its objects and at the
//! open uploads of the namespace, however many objects those have.
//!
//! Where there is no quota nothing is held. If one is set later, the objects that were announced before are looked at
//! when they arrive.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{column, links};
use crate::sqlite::checksum::{RESERVATION, UPLOAD};
use crate::sqlite::{DbError, all};
use crate::{NewUpload, RepoId, RepoKind, Sha256, UploadId};

/// By the primary key.
pub(super) const OF_OBJECT: &str =
    "SELECT upload_id, bytes FROM reservation WHERE repo_id = ?1 AND sha256 = ?2";
/// By `repo_by_name` and `upload_by_repo`. That has not the sum itself: it would be written with each object that
/// arrives. '0' is the byte behind '/'.
pub(super) const OF_NAMESPACE: &str = "SELECT u.reserved FROM repo r JOIN upload u ON u.repo_id = r.id
     WHERE r.state = 0 AND r.kind = ?1 AND r.folded > ?2 || '/' AND r.folded < ?2 || '0'
     AND u.expires_ms > ?3 AND u.reserved > 0";

/// What is held for one object.
pub(super) struct Reservation {
    pub(super) upload: UploadId,
    pub(super) bytes: u64,
    /// Else it is expired, and counts for nothing.
    pub(super) counts: bool,
}

/// By the open uploads of a namespace.
pub(in crate::sqlite) fn reserved(conn: &Connection, now_ms: i64, folded: &str) -> Result<u64, DbError> {
    let mut sum = 0u64;
    for kind in RepoKind::ALL {
        let of_kind: Vec<i64> = all(conn, OF_NAMESPACE, params![kind, folded, now_ms], |row| row.get(0))?;
        sum = of_kind.into_iter().map(wide).fold(sum, u64::saturating_add);
    }
    Ok(sum)
}

/// Of an object, if something is held for it.
pub(super) fn find(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    sha256: &Sha256,
) -> Result<Option<Reservation>, DbError> {
    let Some((upload, bytes)) = row(conn, repo, sha256)? else { return Ok(None) };
    let counts = expires_ms(conn, upload)?.is_some_and(|expires_ms| expires_ms > now_ms);
    Ok(Some(Reservation { upload, bytes: wide(bytes), counts }))
}

/// Takes away what was held for an object, since it is linked now. What its upload holds is left to the caller.
pub(super) fn delete(conn: &Connection, repo: RepoId, sha256: &Sha256) -> Result<(), DbError> {
    let sql = "DELETE FROM reservation WHERE repo_id = ?1 AND sha256 = ?2";
    conn.prepare_cached(sql)?.execute(params![repo, sha256])?;
    Ok(())
}

/// The same, and its upload holds so much less.
pub(super) fn give_back(conn: &Connection, upload: UploadId, bytes: u64) -> Result<(), DbError> {
    UPLOAD.change(conn, "id = ?1", [upload], |row| {
        row.set("reserved", row.get::<i64>("reserved")?.saturating_sub(column(bytes)))
    })?;
    Ok(())
}

/// All that `upload` holds, when it goes; `of` is what it was for.
pub(super) fn delete_all(
    conn: &Connection,
    repo: RepoId,
    upload: UploadId,
    of: &[(Sha256, u64)],
) -> Result<(), DbError> {
    let sql = "DELETE FROM reservation WHERE repo_id = ?1 AND sha256 = ?2 AND upload_id = ?3";
    let mut statement = conn.prepare_cached(sql)?;
    for (sha256, _) in of {
        statement.execute(params![repo, sha256, upload])?;
    }
    Ok(())
}

/// What one batch takes, object by object, before anything is written.
pub(super) struct Reserving<'c> {
    conn: &'c Connection,
    now_ms: i64,
    repo: RepoId,
    objects: HashMap<Sha256, Wanted>,
    /// When the uploads that hold something for them expire.
    expiries: HashMap<UploadId, Option<i64>>,
}

struct Wanted {
    /// By its row, whether or not that counts.
    held: Option<(UploadId, i64)>,
    /// The largest size announced so far, beyond what is linked.
    bytes: u64,
    /// Of its link.
    linked: u64,
}

impl<'c> Reserving<'c> {
    pub(super) fn new(conn: &'c Connection, now_ms: i64, repo: RepoId) -> Reserving<'c> {
        Reserving { conn, now_ms, repo, objects: HashMap::new(), expiries: HashMap::new() }
    }

    /// How much more than now is taken with `size` bytes of this object.
    pub(super) fn more(&mut self, sha256: &Sha256, size: u64) -> Result<u64, DbError> {
        if !self.objects.contains_key(sha256) {
            let wanted = self.read(sha256)?;
            self.objects.insert(*sha256, wanted);
        }
        let Wanted { bytes, linked, .. } = self.objects[sha256];
        Ok(size.saturating_sub(linked).saturating_sub(bytes))
    }

    /// After [`Reserving::more`] of the same.
    pub(super) fn take(&mut self, sha256: &Sha256, size: u64) {
        if let Some(wanted) = self.objects.get_mut(sha256) {
            wanted.bytes = wanted.bytes.max(size.saturating_sub(wanted.linked));
        }
    }

    fn read(&mut self, sha256: &Sha256) -> Result<Wanted, DbError> {
        let linked = links::live_bytes(self.conn, self.repo, sha256)?.unwrap_or(0);
        let held = row(self.conn, self.repo, sha256)?;
        let bytes = match held {
            Some((upload, bytes)) if self.counts(upload)? => wide(bytes),
            _ => 0,
        };
        Ok(Wanted { held, bytes, linked })
    }

    fn counts(&mut self, upload: UploadId) -> Result<bool, DbError> {
        let expires_ms = match self.expiries.get(&upload) {
            Some(expires_ms) => *expires_ms,
            None => {
                let expires_ms = expires_ms(self.conn, upload)?;
                self.expiries.insert(upload, expires_ms);
                expires_ms
            }
        };
        Ok(expires_ms.is_some_and(|expires_ms| expires_ms > self.now_ms))
    }

    /// Has the upload `new` hold what `objects` (each once) take. Gives the sum.
    pub(super) fn write(self, new: &NewUpload, objects: &[(Sha256, u64)]) -> Result<i64, DbError> {
        let mut sum = 0i64;
        let mut passed_on: HashMap<UploadId, i64> = HashMap::new();
        for (sha256, _) in objects {
            let Some(Wanted { held, bytes, .. }) = self.objects.get(sha256).filter(|wanted| wanted.bytes > 0)
            else {
                continue;
            };
            let bytes = column(*bytes);
            sum = sum.saturating_add(bytes);
            let values: [&dyn rusqlite::ToSql; 4] = [&self.repo, sha256, &new.id, &bytes];
            match held {
                None => RESERVATION.insert(self.conn, &values)?,
                Some((before, held)) => {
                    let passed_on = passed_on.entry(*before).or_default();
                    *passed_on = passed_on.saturating_add(*held);
                    RESERVATION.replace(self.conn, &values)?;
                }
            }
        }
        for (before, bytes) in passed_on {
            give_back(self.conn, before, wide(bytes))?;
        }
        Ok(sum)
    }
}

fn row(conn: &Connection, repo: RepoId, sha256: &Sha256) -> Result<Option<(UploadId, i64)>, DbError> {
    let mut statement = conn.prepare_cached(OF_OBJECT)?;
    Ok(statement.query_row(params![repo, sha256], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// `None` if it is gone.
fn expires_ms(conn: &Connection, upload: UploadId) -> Result<Option<i64>, DbError> {
    let sql = "SELECT expires_ms FROM upload WHERE id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([upload], |row| row.get(0)).optional()?)
}

/// What a column cannot hold is more than there is room for.
fn wide(bytes: i64) -> u64 {
    if bytes == i64::MAX { u64::MAX } else { u64::try_from(bytes).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::{Clock, Database, NewRepo, Quota, Visibility};

    /// A user, a repo and so many open uploads, each of the objects 0 to `objects` of its own.
    async fn uploads(uploads: usize, objects: usize) -> (tempfile::TempDir, Connection, RepoId) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.db");
        let db = Database::open(&file, Clock::default()).unwrap();
        db.create_user("acme".parse().unwrap(), false).await.unwrap();
        let (path, visibility) = ("acme/model".parse().unwrap(), Visibility::Private);
        let new = NewRepo { path, visibility, mirror: false, blob_bytes_max: None, lfs_incomplete: false };
        let repo = db.create_repo(new).await.unwrap().id;
        for n in 0..uploads {
            let object = |m| (sha(n, m), 10);
            let objects = (0..objects).map(object).collect();
            let quota = Quota::Default(Some(1 << 40));
            let new = NewUpload { id: UploadId::new(), repo, by: None, objects, expires_ms: i64::MAX, quota };
            db.begin_upload(new).await.unwrap();
        }
        db.close().await;
        (directory, Connection::open(file).unwrap(), repo)
    }

    fn sha(upload: usize, object: usize) -> Sha256 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(upload as u64).to_be_bytes());
        bytes[8..16].copy_from_slice(&(object as u64).to_be_bytes());
        Sha256(bytes)
    }

    /// Steps of SQLite's machine that `sql` took since the last look.
    fn steps(conn: &Connection, sql: &str) -> i32 {
        conn.prepare_cached(sql).unwrap().reset_status(StatementStatus::VmStep)
    }

    /// A batch in a namespace with many open ones costs a glance at each of those and none at their objects.
    #[tokio::test]
    async fn the_cost_of_a_batch_is_that_of_its_own_objects() {
        let mut costs = Vec::new();
        for objects in [1, 50] {
            let (_directory, conn, repo) = uploads(300, objects).await;
            conn.set_prepared_statement_cache_capacity(128);
            let _ = (steps(&conn, OF_NAMESPACE), steps(&conn, OF_OBJECT));
            let sum = reserved(&conn, 0, "acme").unwrap();
            assert_eq!(sum, 300 * objects as u64 * 10);
            let mut reserving = Reserving::new(&conn, 0, repo);
            for object in 0..20 {
                assert_eq!(reserving.more(&sha(1000, object), 10).unwrap(), 10);
            }
            costs.push((steps(&conn, OF_NAMESPACE), steps(&conn, OF_OBJECT)));
        }
        assert_eq!(costs[0], costs[1]);
        let (of_namespace, of_objects) = costs[0];
        assert!(of_namespace < 300 * 20, "a few steps for each open upload: {of_namespace}");
        assert!(of_objects < 20 * 30, "a few steps for each object: {of_objects}");
    }

    #[tokio::test]
    async fn rows_are_found_by_indexes() {
        let (_directory, conn, _) = uploads(0, 0).await;
        let plan = |sql: &str| -> String {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = statement.raw_query();
            let lines: Vec<String> = rows.mapped(|row| row.get(3)).map(Result::unwrap).collect();
            lines.join("\n")
        };
        let of_namespace = plan(OF_NAMESPACE);
        assert!(of_namespace.contains("SEARCH r USING"), "{of_namespace}");
        assert!(
            of_namespace.contains("SEARCH u USING INDEX upload_by_repo (repo_id=? AND expires_ms>?)"),
            "{of_namespace}"
        );
        let of_object = plan(OF_OBJECT);
        assert!(of_object.contains("PRIMARY KEY (repo_id=? AND sha256=?)"), "{of_object}");
    }
}
