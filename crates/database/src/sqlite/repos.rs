//! Repositories as rows: names, redirects, visibility, life and death.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{CreateError, Database, DbError, all, next_id, users};
use crate::{Repo, RepoId, RepoKind, RepoPath, RepoState, Visibility};

/// Where `HEAD` of a new repo points; unborn until that branch is pushed.
const HEAD_REF: &str = "refs/heads/main";

#[derive(Clone, Debug)]
pub struct NewRepo {
    pub path: RepoPath,
    pub visibility: Visibility,
    pub mirror: bool,
    pub blob_bytes_max: Option<u64>,
}

/// How a path was found: live under that name (any case), or moved away.
#[derive(Clone, Debug)]
pub enum Found {
    Repo(Repo),
    /// The name redirects to this live repo.
    Redirect(Repo),
}

impl Database {
    /// The namespace must be a user's, and is spelled as the user is. A redirect from the name goes.
    pub async fn create_repo(&self, new: NewRepo) -> Result<Repo, CreateError> {
        self.write(move |conn, now_ms| {
            let path = claim(conn, &new.path, None)?;
            let repo = Repo {
                id: RepoId(next_id(conn, "repo")?),
                path,
                visibility: new.visibility,
                state: RepoState::Live,
                head_ref: HEAD_REF.to_owned(),
                generation: 0,
                gc_epoch: 0,
                acl_version: 0,
                mirror: new.mirror,
                blob_bytes_max: new.blob_bytes_max,
                created_ms: now_ms,
            };
            insert(conn, &repo)?;
            Ok(repo)
        })
        .await
    }

    /// Live repo of that folded name, else the live target of a redirect from it.
    pub fn find_repo(&self, path: &RepoPath) -> Result<Option<Found>, DbError> {
        let folded = path.folded();
        if let Some(live) = self.read(|conn| by_name(conn, path.kind, &folded))? {
            return Ok(Some(Found::Repo(live)));
        }
        // Both again in one state: a rename between the two would hide the repo from both.
        self.0.readers.snapshot(|conn| {
            if let Some(live) = by_name(conn, path.kind, &folded)? {
                return Ok(Some(Found::Repo(live)));
            }
            let sql = concat!(
                repo_sql!(),
                "JOIN redirect d ON d.repo_id = r.id WHERE d.kind = ?1 AND d.folded = ?2 AND r.state = 0"
            );
            let target = conn.prepare_cached(sql)?.query_row(params![path.kind, folded], repo).optional()?;
            Ok(target.map(Found::Redirect))
        })
    }

    /// Deleted ones too, until their packs are.
    pub fn repo(&self, id: RepoId) -> Result<Option<Repo>, DbError> {
        self.read(|conn| by_id(conn, id))
    }

    /// Live repos in order of (kind, folded path), after `after` (exclusive), at most `limit`.
    pub fn repos(&self, after: Option<&RepoPath>, limit: u32) -> Result<Vec<Repo>, DbError> {
        let (kind, folded) = match after {
            Some(path) => (path.kind, path.folded()),
            None => (RepoKind::Model, String::new()),
        };
        let sql = concat!(
            repo_sql!(),
            "WHERE r.state = 0 AND (r.kind, r.folded) > (?1, ?2) ORDER BY r.kind, r.folded LIMIT ?3"
        );
        self.read(|conn| all(conn, sql, params![kind, folded, limit], repo))
    }

    /// The old name redirects to the repo from now on; a redirect that stood at the new name goes. Bumps
    /// acl_version.
    pub async fn rename_repo(&self, id: RepoId, to: RepoPath) -> Result<Repo, CreateError> {
        self.write(move |conn, _| {
            let Some(mut repo) = by_id(conn, id)?.filter(|repo| repo.state == RepoState::Live) else {
                return Err(CreateError::NoRepo);
            };
            if repo.path.kind != to.kind {
                return Err(CreateError::OtherKind);
            }
            let (to, from) = (claim(conn, &to, Some(id))?, repo.path.folded());
            let sql = "UPDATE repo SET namespace = ?2, name = ?3, folded = ?4, acl_version = acl_version + 1
                       WHERE id = ?1";
            conn.prepare_cached(sql)?.execute(params![id, to.namespace.as_str(), to.name(), to.folded()])?;
            if from != to.folded() {
                let sql = "INSERT INTO redirect (kind, folded, repo_id) VALUES (?1, ?2, ?3)";
                conn.prepare_cached(sql)?.execute(params![to.kind, from, id])?;
            }
            repo.path = to;
            repo.acl_version += 1;
            Ok(repo)
        })
        .await
    }

    /// The names, folded, that redirect to this repo.
    pub fn redirects(&self, id: RepoId) -> Result<Vec<RepoPath>, DbError> {
        let sql = "SELECT kind, folded FROM redirect WHERE repo_id = ?1 ORDER BY kind, folded";
        self.read(|conn| {
            let rows: Vec<(RepoKind, String)> = all(conn, sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let path = |(kind, folded): (RepoKind, String)| {
                let (namespace, name) =
                    folded.split_once('/').ok_or_else(|| DbError::Corrupt(folded.clone()))?;
                Ok(RepoPath::from_row(kind, namespace.to_owned(), name.to_owned()))
            };
            rows.into_iter().map(path).collect()
        })
    }

    /// False if there is no such live repo. Bumps acl_version.
    pub async fn set_visibility(&self, id: RepoId, visibility: Visibility) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let sql =
                "UPDATE repo SET visibility = ?2, acl_version = acl_version + 1 WHERE id = ?1 AND state = 0";
            Ok(conn.prepare_cached(sql)?.execute(params![id, visibility])? == 1)
        })
        .await
    }

    /// False if there is no such live repo. Bumps acl_version: it changes who may push what.
    pub async fn set_mirror(&self, id: RepoId, mirror: bool) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let sql =
                "UPDATE repo SET mirror = ?2, acl_version = acl_version + 1 WHERE id = ?1 AND state = 0";
            Ok(conn.prepare_cached(sql)?.execute(params![id, mirror])? == 1)
        })
        .await
    }

    /// The name is free at once, redirects to it too; packs leave the list and are condemned until
    /// `blobs_until_ms`. False if there is no such live repo. Its row, refs and log stay until the packs are
    /// deleted.
    pub async fn delete_repo(&self, id: RepoId, blobs_until_ms: i64) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let sql =
                "UPDATE repo SET state = 1, acl_version = acl_version + 1, packs_count = 0, packs_bytes = 0,
                                       maint_due_ms = NULL, pending = 0
                       WHERE id = ?1 AND state = 0";
            if conn.prepare_cached(sql)?.execute([id])? == 0 {
                return Ok(false);
            }
            let sql = "UPDATE pack SET state = 2, not_before_ms = ?2 WHERE repo_id = ?1 AND state = 1";
            conn.prepare_cached(sql)?.execute(params![id, blobs_until_ms])?;
            conn.prepare_cached("DELETE FROM redirect WHERE repo_id = ?1")?.execute([id])?;
            Ok(true)
        })
        .await
    }
}

/// Finds a repo, live or deleted, within a transaction or a read.
pub(super) fn by_id(conn: &Connection, id: RepoId) -> Result<Option<Repo>, DbError> {
    let sql = concat!(repo_sql!(), "WHERE r.id = ?1");
    Ok(conn.prepare_cached(sql)?.query_row([id], repo).optional()?)
}

/// The live repo of that name.
fn by_name(conn: &Connection, kind: RepoKind, folded: &str) -> Result<Option<Repo>, DbError> {
    let sql = concat!(repo_sql!(), "WHERE r.kind = ?1 AND r.folded = ?2 AND r.state = 0");
    Ok(conn.prepare_cached(sql)?.query_row(params![kind, folded], repo).optional()?)
}

/// Whoever was let into these repos must be asked again.
pub(super) fn bump_acl_of_namespace(conn: &Connection, folded: &str) -> rusqlite::Result<()> {
    // '0' is the byte behind '/'.
    let sql = "UPDATE repo SET acl_version = acl_version + 1
               WHERE state = 0 AND kind = ?1 AND folded > ?2 || '/' AND folded < ?2 || '0'";
    for kind in RepoKind::ALL {
        conn.prepare_cached(sql)?.execute(params![kind, folded])?;
    }
    Ok(())
}

/// Makes sure that `path` may become the name of a live repo (of `own`, if it is that one's already), and
/// that no redirect stands there. Returns it with the namespace spelled as its user is.
fn claim(conn: &Connection, path: &RepoPath, own: Option<RepoId>) -> Result<RepoPath, CreateError> {
    let user = users::user_by_folded(conn, &path.namespace.folded())?.ok_or(CreateError::NoUser)?;
    let folded = path.folded();
    let holder = by_name(conn, path.kind, &folded)?.map(|repo| repo.id);
    if holder.is_some() && holder != own {
        return Err(CreateError::Taken);
    }
    let sql = "DELETE FROM redirect WHERE kind = ?1 AND folded = ?2";
    conn.prepare_cached(sql)?.execute(params![path.kind, folded])?;
    let mut path = path.clone();
    path.namespace = user.name;
    Ok(path)
}

fn insert(conn: &Connection, repo: &Repo) -> Result<(), CreateError> {
    let sql = "INSERT INTO repo (id, kind, namespace, name, folded, visibility, state, head_ref, generation, gc_epoch,
                                 acl_version, mirror, blob_bytes_max, created_ms, refs_count, packs_count,
                                 packs_bytes, maint_due_ms, manifest_generation, pending)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0, 0, NULL, ?9, 0)";
    conn.prepare_cached(sql)?.execute(params![
        repo.id,
        repo.path.kind,
        repo.path.namespace.as_str(),
        repo.path.name(),
        repo.path.folded(),
        repo.visibility,
        repo.state,
        repo.head_ref,
        repo.generation,
        repo.gc_epoch,
        repo.acl_version,
        repo.mirror,
        // More than the column holds is as good as no limit.
        repo.blob_bytes_max.map(|max| i64::try_from(max).unwrap_or(i64::MAX)),
        repo.created_ms,
    ])?;
    Ok(())
}

macro_rules! repo_sql {
    () => {
        "SELECT r.id, r.kind, r.namespace, r.name, r.visibility, r.state, r.head_ref, r.generation, r.gc_epoch,
                r.acl_version, r.mirror, r.blob_bytes_max, r.created_ms
         FROM repo r "
    };
}
use repo_sql;

fn repo(row: &Row<'_>) -> rusqlite::Result<Repo> {
    Ok(Repo {
        id: row.get(0)?,
        path: RepoPath::from_row(row.get(1)?, row.get(2)?, row.get(3)?),
        visibility: row.get(4)?,
        state: row.get(5)?,
        head_ref: row.get(6)?,
        generation: row.get(7)?,
        gc_epoch: row.get(8)?,
        acl_version: row.get(9)?,
        mirror: row.get(10)?,
        blob_bytes_max: row.get(11)?,
        created_ms: row.get(12)?,
    })
}
