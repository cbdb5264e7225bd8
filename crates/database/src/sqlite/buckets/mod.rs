//! Buckets as rows: names, visibility, life and death.
//!
//! What they hold is in [`files`]; how it gets there, and what becomes of it afterwards, in [`spare`]; what the journal tells of
//! them, in [`journal`].

pub(super) mod files;
pub(super) mod journal;
pub(super) mod spare;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{BUCKET, BUCKET_REDIRECT, Record};
use super::{CreateError, Database, DbError, all, next_id, users};
use crate::{Bucket, BucketId, BucketListing, BucketPath, NewBucket, RepoState, Visibility};

impl Database {
    /// The namespace must be a user's or an organisation's, and is spelled as that is. A redirect from the name goes.
    pub async fn create_bucket(&self, new: NewBucket) -> Result<Bucket, CreateError> {
        self.write(move |conn, now_ms| {
            let bucket = Bucket {
                path: claim(conn, &new.path, None)?,
                id: BucketId(next_id(conn, "bucket")?),
                visibility: new.visibility,
                state: RepoState::Live,
                acl_version: 0,
                creator: new.creator,
                created_ms: now_ms,
                files: 0,
                bytes: 0,
            };
            BUCKET.insert(
                conn,
                &[
                    &bucket.id,
                    &bucket.path.namespace.as_str(),
                    &bucket.path.name(),
                    &bucket.path.folded(),
                    &bucket.visibility,
                    &bucket.state,
                    &bucket.acl_version,
                    &bucket.creator,
                    &bucket.created_ms,
                    &0,
                    &0,
                    &0,
                    &0,
                    &journal::NONE,
                ],
            )?;
            Ok(bucket)
        })
        .await
    }

    /// The live bucket of that name, or else the one that was moved away from it.
    pub fn find_bucket(&self, path: &BucketPath) -> Result<Option<Bucket>, DbError> {
        let folded = path.folded();
        self.0.readers.snapshot(|conn| {
            if let Some(live) = by_name(conn, &folded)? {
                return Ok(Some(live));
            }
            let sql = concat!(
                bucket_sql!(),
                "JOIN bucket_redirect d ON d.bucket_id = b.id WHERE d.folded = ?1 AND b.state = 0"
            );
            Ok(conn.prepare_cached(sql)?.query_row([&folded], bucket).optional()?)
        })
    }

    /// Deleted ones too, until the rows of their files are.
    pub fn bucket(&self, id: BucketId) -> Result<Option<Bucket>, DbError> {
        let sql = concat!(bucket_sql!(), "WHERE b.id = ?1");
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], bucket).optional()?))
    }

    /// Live ones of a namespace.
    pub fn list_buckets(&self, listing: &BucketListing<'_>) -> Result<Vec<Bucket>, DbError> {
        let BucketListing { namespace, search, public, after, limit } = *listing;
        // '0' is the byte behind '/'.
        let sql = concat!(
            bucket_sql!(),
            "WHERE b.state = 0 AND b.folded > max(?1 || '/', coalesce(?2, '')) AND b.folded < ?1 || '0'
             AND (?3 = '' OR instr(lower(b.name), ?3) > 0) AND (?4 = 0 OR b.visibility = 0)
             ORDER BY b.folded LIMIT ?5"
        );
        self.read(|conn| all(conn, sql, params![namespace, after, search, public, limit], bucket))
    }

    /// The old name leads to the bucket from now on. Bumps acl_version.
    pub async fn rename_bucket(&self, id: BucketId, to: BucketPath) -> Result<Bucket, CreateError> {
        self.write(move |conn, _| {
            let row = BUCKET.record(conn, "id = ?1 AND state = 0", [id])?;
            let mut row = row.ok_or(CreateError::NoRepo)?;
            let to = claim(conn, &to, Some(id))?;
            let from: String = row.get("folded")?;
            row.set("namespace", to.namespace.as_str())?;
            row.set("name", to.name())?;
            row.set("folded", to.folded())?;
            bump_acl(&mut row)?;
            journal::outdate(&mut row)?;
            row.write(conn)?;
            if from != to.folded() {
                BUCKET_REDIRECT.insert(conn, &[&from, &id])?;
            }
            let sql = concat!(bucket_sql!(), "WHERE b.id = ?1");
            Ok(conn.prepare_cached(sql)?.query_row([id], bucket)?)
        })
        .await
    }

    /// False if there is no such live bucket of that version. Bumps acl_version. Of what lies in xorbs, the readers of one
    /// that is shown are told of what its files need, but for what clients were told of since `seen_ms`: that may be on its
    /// way into one.
    pub async fn set_bucket_visibility(
        &self,
        id: BucketId,
        acl_version: i64,
        visibility: Visibility,
        seen_ms: i64,
    ) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let as_it_was = "id = ?1 AND state = 0 AND acl_version = ?2";
            let Some(mut row) = BUCKET.record(conn, as_it_was, params![id, acl_version])? else {
                return Ok(false);
            };
            if visibility == Visibility::Public && row.get::<Visibility>("visibility")? != visibility {
                spare::release_xorbs(conn, id, seen_ms)?;
            }
            row.set("visibility", visibility)?;
            bump_acl(&mut row)?;
            journal::outdate(&mut row)?;
            row.write(conn)?;
            Ok(true)
        })
        .await
    }

    /// The name is free at once, and nobody reads it any more. False if there is no such live bucket. The rows of its files
    /// are deleted by [`Database::sweep_buckets`], once the journal tells that it is deleted.
    pub async fn delete_bucket(&self, id: BucketId) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let deleted = BUCKET.change(conn, "id = ?1 AND state = 0", [id], |row| {
                row.set("state", RepoState::Deleted)?;
                journal::outdate(row)?;
                bump_acl(row)
            })?;
            conn.prepare_cached("DELETE FROM bucket_redirect WHERE bucket_id = ?1")?.execute([id])?;
            Ok(deleted == 1)
        })
        .await
    }
}

/// More than that a bucket does not hold, in bytes: its numbers stay numbers to every client, and add up.
const BYTES_MAX: i64 = 1 << 53;

/// Whoever was let into these buckets must be asked again.
pub(super) fn bump_acl_of_namespace(conn: &Connection, folded: &str) -> rusqlite::Result<()> {
    BUCKET.change(conn, "state = 0 AND folded > ?1 || '/' AND folded < ?1 || '0'", [folded], bump_acl)?;
    Ok(())
}

/// What a namespace has in buckets, in bytes.
pub(super) fn used(conn: &Connection, folded: &str) -> Result<u64, DbError> {
    let sql = "SELECT bytes, spare_bytes FROM bucket
               WHERE state = 0 AND folded > ?1 || '/' AND folded < ?1 || '0'";
    let each: Vec<(u64, u64)> = all(conn, sql, [folded], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(each.into_iter().fold(0, |sum, (bytes, spare)| sum.saturating_add(bytes).saturating_add(spare)))
}

/// The namespace of a live bucket, folded.
pub(super) fn namespace(conn: &Connection, id: BucketId) -> Result<Option<String>, DbError> {
    let sql = "SELECT lower(namespace) FROM bucket WHERE id = ?1 AND state = 0";
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
}

fn bump_acl(bucket: &mut Record) -> rusqlite::Result<()> {
    bucket.set("acl_version", bucket.get::<i64>("acl_version")? + 1)
}

fn by_name(conn: &Connection, folded: &str) -> Result<Option<Bucket>, DbError> {
    let sql = concat!(bucket_sql!(), "WHERE b.folded = ?1 AND b.state = 0");
    Ok(conn.prepare_cached(sql)?.query_row([folded], bucket).optional()?)
}

/// Makes sure that `path` may become the name of a live bucket (of `own`, if it is that one's already), and that no
/// redirect stands there. Returns it with the namespace spelled as its owner is.
fn claim(conn: &Connection, path: &BucketPath, own: Option<BucketId>) -> Result<BucketPath, CreateError> {
    let owner = users::namespace_by_folded(conn, &path.namespace.folded())?.ok_or(CreateError::NoUser)?;
    let folded = path.folded();
    let holder = by_name(conn, &folded)?.map(|bucket| bucket.id);
    if holder.is_some() && holder != own {
        return Err(CreateError::Taken);
    }
    conn.prepare_cached("DELETE FROM bucket_redirect WHERE folded = ?1")?.execute([&folded])?;
    let mut path = path.clone();
    path.namespace = owner;
    Ok(path)
}

/// Read by [`bucket`].
macro_rules! bucket_sql {
    () => {
        "SELECT b.id, b.namespace, b.name, b.visibility, b.state, b.acl_version, b.creator, b.created_ms, b.files, b.bytes
         FROM bucket b "
    };
}
pub(super) use bucket_sql;

pub(super) fn bucket(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    Ok(Bucket {
        id: row.get(0)?,
        path: BucketPath::from_row(row.get(1)?, row.get(2)?),
        visibility: row.get(3)?,
        state: row.get(4)?,
        acl_version: row.get(5)?,
        creator: row.get(6)?,
        created_ms: row.get(7)?,
        files: row.get(8)?,
        bytes: row.get(9)?,
    })
}
