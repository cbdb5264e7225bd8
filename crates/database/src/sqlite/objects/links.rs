//! Which repo may use which object, and how a stored one becomes usable.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::backings::{self, condemn_if_unlinked, verified};
use super::uploads::Arriving;
use super::{add_bytes, column, reservations};
use crate::sqlite::checksum::REPO_OBJECT;
use crate::sqlite::{Database, DbError, PublishError, all};
use crate::{Backing, BackingId, Link, LinkState, Proof, Publish, Published, RepoId, Sha256};

macro_rules! link_sql {
    () => {
        "SELECT o.sha256, o.size, o.state, o.linked_ms, o.account_id, b.id, b.upload_id, b.proof, x.file_id,
                w.upload_id
         FROM repo_object o LEFT JOIN backing b ON b.id = o.backing_id
         LEFT JOIN xet_backing x ON x.backing_id = b.id
         LEFT JOIN whole_copy w ON w.backing_id = x.backing_id AND w.state = 1 "
    };
}

const BY_KEY: &str = concat!(link_sql!(), "WHERE o.repo_id = ?1 AND o.sha256 = ?2");

impl Database {
    pub fn link(&self, repo: RepoId, sha256: &Sha256) -> Result<Option<Link>, DbError> {
        self.0.known.links.get((repo, *sha256), |(repo, sha256)| self.read(|conn| find(conn, *repo, sha256)))
    }

    /// In the order of `of`, in one state.
    pub fn links(&self, repo: RepoId, of: &[Sha256]) -> Result<Vec<Option<Link>>, DbError> {
        self.0.readers.snapshot(|conn| {
            let mut statement = conn.prepare_cached(BY_KEY)?;
            let mut find = |sha256| Ok(statement.query_row(params![repo, sha256], link).optional()?);
            of.iter().map(&mut find).collect()
        })
    }

    /// Objects that are not live: removed, or other ones than was said. An index of its own makes this cheap where there
    /// are none.
    pub fn links_lost(&self, repo: RepoId) -> Result<Vec<Sha256>, DbError> {
        // The condition is that of the index `repo_object_lost`.
        let sql = "SELECT sha256 FROM repo_object WHERE repo_id = ?1 AND state <> 0";
        self.read(|conn| all(conn, sql, [repo], |row| row.get(0)))
    }

    /// By SHA-256, behind `after`.
    pub fn links_after(&self, repo: RepoId, after: Option<Sha256>, limit: u32) -> Result<Vec<Link>, DbError> {
        let sql = concat!(link_sql!(), "WHERE o.repo_id = ?1 AND o.sha256 > ?2 ORDER BY o.sha256 LIMIT ?3");
        // No bytes at all come before any SHA-256.
        let after: &[u8] = after.as_ref().map_or(&[], |after| &after.0);
        self.read(|conn| all(conn, sql, params![repo, after, limit], link))
    }

    /// Links what lies under the upload's key to its repo. Done again, it says the same again, as long as it is so.
    ///
    /// An error leaves what lies there to the rows: to those of the upload, or of a backing that was made of it before.
    pub async fn publish_object(&self, publish: Publish) -> Result<Published, PublishError> {
        self.write(move |conn, now_ms| {
            let live = "SELECT 1 FROM repo WHERE id = ?1 AND state = 0";
            if !conn.prepare_cached(live)?.exists([publish.repo])? {
                return Err(PublishError::RepoGone);
            }
            if let Some(published) = of_key(conn, &publish)? {
                return Ok(published);
            }
            let arriving = Arriving::find(conn, &publish)?.ok_or(PublishError::UploadGone)?;
            let held = reservations::find(conn, now_ms, publish.repo, &publish.sha256)?;
            if is_here(conn, &publish)? {
                renew(conn, now_ms, publish.repo, &publish.sha256)?;
                return Ok(Published::Duplicate);
            }
            arriving.check_room(conn, now_ms, &publish, held.as_ref())?;
            reservations::delete(conn, publish.repo, &publish.sha256)?;
            let published = place(conn, now_ms, &publish, arriving.expires_ms()?)?;
            match (published, held) {
                (Published::Linked(_), held) => arriving.arrived(conn, held)?,
                // A duplicate waits for the upload's end, lest its key be forgotten while it can be written.
                (Published::Duplicate, Some(held)) => {
                    reservations::give_back(conn, held.upload, held.bytes)?;
                }
                (Published::Duplicate, None) => {}
            }
            Ok(published)
        })
        .await
    }

    /// Those of `of` that are live are as new as if they were uploaded now: a collection that is under way must not think
    /// them forgotten.
    pub async fn renew_links(&self, repo: RepoId, of: Vec<Sha256>) -> Result<(), DbError> {
        self.write(move |conn, now_ms| of.iter().try_for_each(|sha256| renew(conn, now_ms, repo, sha256)))
            .await
    }

    /// The owner wants it gone: who asks for it is told so. Bytes that no other repo links are condemned, due at once.
    /// False if there is no link, or it is removed already.
    pub async fn remove_link(&self, repo: RepoId, sha256: Sha256) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let here = "repo_id = ?1 AND sha256 = ?2 AND state <> 1";
            let Some(mut row) = REPO_OBJECT.record(conn, here, params![repo, sha256])? else {
                return Ok(false);
            };
            row.set("state", LinkState::Removed)?;
            row.set("backing_id", None::<i64>)?;
            row.write(conn)?;
            if let Some(backing) = row.get("backing_id")? {
                add_bytes(conn, repo, -row.get::<i64>("size")?)?;
                condemn_if_unlinked(conn, backing, now_ms)?;
            }
            Ok(true)
        })
        .await
    }
}

/// What became of the very key of `publish`, if it has been a backing before.
fn of_key(conn: &Connection, publish: &Publish) -> Result<Option<Published>, PublishError> {
    let Publish { upload, repo, sha256, .. } = *publish;
    let sql = "SELECT id FROM backing WHERE sha256 = ?1 AND upload_id = ?2";
    let backing: Option<BackingId> =
        conn.prepare_cached(sql)?.query_row(params![sha256, upload], |row| row.get(0)).optional()?;
    let Some(backing) = backing else { return Ok(None) };
    let sql = "SELECT 1 FROM repo_object WHERE repo_id = ?1 AND sha256 = ?2 AND backing_id = ?3";
    match conn.prepare_cached(sql)?.exists(params![repo, sha256, backing])? {
        true => Ok(Some(Published::Linked(backing))),
        // Condemned, or another repo's now: not litter, whatever the caller thinks.
        false => Err(PublishError::UploadGone),
    }
}

/// The repo has the object by other bytes that are proven as well as these.
fn is_here(conn: &Connection, publish: &Publish) -> Result<bool, DbError> {
    let backing = find(conn, publish.repo, &publish.sha256)?.and_then(|link| link.backing);
    Ok(backing.is_some_and(|old| old.proof >= publish.proof))
}

pub(in crate::sqlite) fn renew(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    sha256: &Sha256,
) -> Result<(), DbError> {
    let live = "repo_id = ?1 AND sha256 = ?2 AND state = 0";
    REPO_OBJECT.change(conn, live, params![repo, sha256], |row| row.set("linked_ms", now_ms))?;
    Ok(())
}

fn place(
    conn: &Connection,
    now_ms: i64,
    publish: &Publish,
    writable_until_ms: i64,
) -> Result<Published, DbError> {
    let Publish { repo, sha256, proof, by, .. } = *publish;
    let (size, link) = (column(publish.size), find(conn, repo, &sha256)?);
    let old = link.as_ref().and_then(|link| link.backing);
    let shared = if proof == Proof::Verified { verified(conn, &sha256, size)? } else { None };
    let backing = match shared {
        Some(backing) => backing,
        None => backings::insert(conn, publish, writable_until_ms)?,
    };
    let values: [&dyn ToSql; 7] = [&repo, &sha256, &LinkState::Live, &backing, &size, &now_ms, &by];
    if link.is_none() {
        REPO_OBJECT.insert(conn, &values)?;
    } else {
        REPO_OBJECT.replace(conn, &values)?;
    }
    // A claim that gives way counted already, with the size it was claimed to have.
    let counted = link.filter(|_| old.is_some()).map_or(0, |link| column(link.size));
    add_bytes(conn, repo, size - counted)?;
    if let Some(old) = old {
        condemn_if_unlinked(conn, old.id, now_ms)?;
    }
    Ok(if shared.is_some() { Published::Duplicate } else { Published::Linked(backing) })
}

/// Takes a link away for good; what only it held is condemned. The bytes it counted.
pub(in crate::sqlite) fn drop_link(
    conn: &Connection,
    repo: RepoId,
    sha256: &Sha256,
    until_ms: i64,
) -> Result<i64, DbError> {
    let Some(link) = find(conn, repo, sha256)? else { return Ok(0) };
    let sql = "DELETE FROM repo_object WHERE repo_id = ?1 AND sha256 = ?2";
    conn.prepare_cached(sql)?.execute(params![repo, sha256])?;
    let Some(backing) = link.backing else { return Ok(0) };
    condemn_if_unlinked(conn, backing.id, until_ms)?;
    Ok(column(link.size))
}

pub(in crate::sqlite) fn find(
    conn: &Connection,
    repo: RepoId,
    sha256: &Sha256,
) -> Result<Option<Link>, DbError> {
    Ok(conn.prepare_cached(BY_KEY)?.query_row(params![repo, sha256], link).optional()?)
}

/// What counts for it, if it is live.
pub(in crate::sqlite) fn live_bytes(
    conn: &Connection,
    repo: RepoId,
    sha256: &Sha256,
) -> Result<Option<u64>, DbError> {
    let sql = "SELECT size FROM repo_object WHERE repo_id = ?1 AND sha256 = ?2 AND state = 0";
    Ok(conn.prepare_cached(sql)?.query_row(params![repo, sha256], |row| row.get(0)).optional()?)
}

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    let backing: Option<BackingId> = row.get(5)?;
    let backing = match backing {
        Some(id) => {
            let (upload, proof, xet, whole) = (row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?);
            Some(Backing { id, upload, proof, xet, whole })
        }
        None => None,
    };
    let (sha256, size, state) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(Link { sha256, size, state, linked_ms: row.get(3)?, by: row.get(4)?, backing })
}
