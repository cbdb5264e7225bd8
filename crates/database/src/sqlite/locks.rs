//! File locks of Git LFS.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{LFS_LOCK, REPO_LFS};
use super::{Database, DbError, LockError, all};
use crate::{Lock, LockFilter, LockId, RepoId, UserId};

macro_rules! lock_sql {
    () => {
        "SELECT l.id, l.path, l.account_id, u.name, l.ref_name, l.locked_ms
         FROM lfs_lock l JOIN account u ON u.id = l.account_id "
    };
}

impl Database {
    /// The repo has at most `max` locks.
    pub async fn create_lock(
        &self,
        repo: RepoId,
        path: String,
        ref_name: Option<String>,
        owner: UserId,
        max: u64,
    ) -> Result<Lock, LockError> {
        self.write(move |conn, now_ms| {
            let live = "SELECT 1 FROM repo WHERE id = ?1 AND state = 0";
            if !conn.prepare_cached(live)?.exists([repo])? {
                return Err(LockError::RepoGone);
            }
            if let Some(held) = by_path(conn, repo, &path)? {
                return Err(LockError::Exists(Box::new(held)));
            }
            let sql = "SELECT count(*) FROM lfs_lock WHERE repo_id = ?1";
            let count: u64 = conn.prepare_cached(sql)?.query_row([repo], |row| row.get(0))?;
            if count >= max {
                return Err(LockError::TooMany { max });
            }
            let id = LockId(following(conn, repo)?);
            LFS_LOCK.insert(conn, &[&repo, &id, &path, &owner, &ref_name, &now_ms])?;
            outdate(conn, repo)?;
            by_id(conn, repo, id)?.ok_or(LockError::NotFound)
        })
        .await
    }

    /// Another's lock only with `force`.
    pub async fn delete_lock(
        &self,
        repo: RepoId,
        id: LockId,
        by: UserId,
        force: bool,
    ) -> Result<Lock, LockError> {
        self.write(move |conn, _| {
            let lock = by_id(conn, repo, id)?.ok_or(LockError::NotFound)?;
            if lock.owner != by && !force {
                return Err(LockError::NotOwner(Box::new(lock)));
            }
            let sql = "DELETE FROM lfs_lock WHERE repo_id = ?1 AND id = ?2";
            conn.prepare_cached(sql)?.execute(params![repo, id])?;
            Ok(lock)
        })
        .await
    }

    /// In the order of ids.
    pub fn locks(&self, repo: RepoId, filter: &LockFilter<'_>) -> Result<Vec<Lock>, DbError> {
        let LockFilter { id, path, after, limit } = *filter;
        let after = after.unwrap_or(LockId(ulid::Ulid::nil()));
        // One lock by its id or its path, then whether it fits the rest.
        let one = match (id, path) {
            (Some(id), _) => self.read(|conn| by_id(conn, repo, id))?,
            (None, Some(path)) => self.read(|conn| by_path(conn, repo, path))?,
            (None, None) => {
                let sql = concat!(lock_sql!(), "WHERE l.repo_id = ?1 AND l.id > ?2 ORDER BY l.id LIMIT ?3");
                return self.read(|conn| all(conn, sql, params![repo, after, limit], lock));
            }
        };
        let fits = |lock: &Lock| lock.id > after && limit > 0 && path.is_none_or(|path| path == lock.path);
        Ok(one.into_iter().filter(fits).collect())
    }

    /// The version of the repo's locks, and those that are not `than`'s, in one state. A push that compares with the
    /// version in its change notices a lock taken meanwhile.
    pub fn locks_of_others(&self, repo: RepoId, than: Option<UserId>) -> Result<(i64, Vec<Lock>), DbError> {
        self.0.readers.snapshot(|conn| {
            let sql = concat!(
                lock_sql!(),
                "WHERE l.repo_id = ?1 AND (?2 IS NULL OR l.account_id <> ?2) ORDER BY l.id"
            );
            Ok((version(conn, repo)?, all(conn, sql, params![repo, than], lock)?))
        })
    }
}

pub(super) fn version(conn: &Connection, repo: RepoId) -> Result<i64, DbError> {
    let sql = "SELECT locks_version FROM repo_lfs WHERE repo_id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([repo], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// A lock more: who looked before must look again.
fn outdate(conn: &Connection, repo: RepoId) -> Result<(), DbError> {
    match REPO_LFS.record(conn, "repo_id = ?1", [repo])? {
        Some(mut row) => {
            row.set("locks_version", row.get::<i64>("locks_version")? + 1)?;
            row.write(conn)?;
        }
        None => REPO_LFS.insert(conn, &[&repo, &false, &0, &1])?,
    }
    Ok(())
}

/// Behind every lock of the repo, so that a listing by id misses none that is made meanwhile.
fn following(conn: &Connection, repo: RepoId) -> Result<ulid::Ulid, DbError> {
    let sql = "SELECT id FROM lfs_lock WHERE repo_id = ?1 ORDER BY id DESC LIMIT 1";
    let last: Option<LockId> = conn.prepare_cached(sql)?.query_row([repo], |row| row.get(0)).optional()?;
    let new = ulid::Ulid::new();
    Ok(match last {
        Some(LockId(last)) if new <= last => last.increment().unwrap_or(new),
        _ => new,
    })
}

fn by_id(conn: &Connection, repo: RepoId, id: LockId) -> Result<Option<Lock>, DbError> {
    let sql = concat!(lock_sql!(), "WHERE l.repo_id = ?1 AND l.id = ?2");
    Ok(conn.prepare_cached(sql)?.query_row(params![repo, id], lock).optional()?)
}

fn by_path(conn: &Connection, repo: RepoId, path: &str) -> Result<Option<Lock>, DbError> {
    let sql = concat!(lock_sql!(), "WHERE l.repo_id = ?1 AND l.path = ?2");
    Ok(conn.prepare_cached(sql)?.query_row(params![repo, path], lock).optional()?)
}

fn lock(row: &Row<'_>) -> rusqlite::Result<Lock> {
    Ok(Lock {
        id: row.get(0)?,
        path: row.get(1)?,
        owner: row.get(2)?,
        owner_name: row.get(3)?,
        ref_name: row.get(4)?,
        locked_ms: row.get(5)?,
    })
}
