//! Repositories as rows: names, redirects, visibility, life and death.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{PACK, REDIRECT, REPO, REPO_HUB, REPO_LFS, Record};
use super::{
    CreateError, Database, DbError, all, collections, discussions, next_id, packs, ranks, search, users,
    webhooks,
};
use crate::{Gating, Happened, Repo, RepoId, RepoKind, RepoPath, RepoState, UserId, Visibility};

/// Where `HEAD` of a new repo points; unborn until that branch is pushed.
const HEAD_REF: &str = "refs/heads/main";

#[derive(Clone, Debug)]
pub struct NewRepo {
    pub path: RepoPath,
    pub visibility: Visibility,
    pub mirror: bool,
    pub blob_bytes_max: Option<u64>,
    pub lfs_incomplete: bool,
}

/// How a path was found: live under that name (any case), or moved away.
#[derive(Clone, Debug)]
pub enum Found {
    Repo(Repo),
    /// The name redirects to this live repo.
    Redirect(Repo),
}

impl Database {
    /// The namespace must be a user's or an organisation's, and is spelled as that is. A redirect from the name goes.
    pub async fn create_repo(&self, new: NewRepo) -> Result<Repo, CreateError> {
        self.create_repo_by(new, None).await
    }

    /// As [`Database::create_repo`], for somebody.
    pub async fn create_repo_by(&self, new: NewRepo, creator: Option<UserId>) -> Result<Repo, CreateError> {
        let moved = self.0.moved.clone();
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
                lfs_incomplete: new.lfs_incomplete,
                gating: Gating::Off,
                creator,
                created_ms: now_ms,
            };
            insert(conn, &repo)?;
            ranks::enlist(conn, &repo)?;
            moved.mark(repo.id);
            if creator.is_some() {
                REPO_HUB.insert(conn, &[&repo.id, &creator, &repo.gating, &false])?;
            }
            if repo.lfs_incomplete {
                REPO_LFS.insert(conn, &[&repo.id, &true, &0, &0])?;
            }
            webhooks::tell(conn, now_ms, repo.id, webhooks::Domain::Repo, || Happened::Created)?;
            Ok(repo)
        })
        .await
    }

    /// Live repo of that folded name, else the live target of a redirect from it.
    pub fn find_repo(&self, path: &RepoPath) -> Result<Option<Found>, DbError> {
        self.0.known.repos.get((path.kind, path.folded()), |(kind, folded)| self.read_found(*kind, folded))
    }

    fn read_found(&self, kind: RepoKind, folded: &str) -> Result<Option<Found>, DbError> {
        if let Some(live) = self.read(|conn| by_name(conn, kind, folded))? {
            return Ok(Some(Found::Repo(live)));
        }
        // Both again in one state: a rename between the two would hide the repo from both.
        self.0.readers.snapshot(|conn| {
            if let Some(live) = by_name(conn, kind, folded)? {
                return Ok(Some(Found::Repo(live)));
            }
            let sql = concat!(
                repo_sql!(),
                "JOIN redirect d ON d.repo_id = r.id WHERE d.kind = ?1 AND d.folded = ?2 AND r.state = 0"
            );
            let target = conn.prepare_cached(sql)?.query_row(params![kind, folded], repo).optional()?;
            Ok(target.map(Found::Redirect))
        })
    }

    /// Deleted ones too, until their packs are.
    pub fn repo(&self, id: RepoId) -> Result<Option<Repo>, DbError> {
        self.0.known.repos_by_id.get(id, |id| self.read(|conn| by_id(conn, *id)))
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

    /// Live and deleted repos with an id greater than `after`, at most `limit`, in order of their ids. Unlike
    /// [`Database::repos`], sees every repo even if names are damaged.
    pub fn repo_ids(&self, after: RepoId, limit: u32) -> Result<Vec<RepoId>, DbError> {
        let sql = "SELECT id FROM repo WHERE id > ?1 ORDER BY id LIMIT ?2";
        self.read(|conn| all(conn, sql, params![after, limit], |row| row.get(0)))
    }

    /// The old name redirects to the repo from now on; a redirect that stood at the new name goes. Bumps
    /// acl_version.
    pub async fn rename_repo(&self, id: RepoId, to: RepoPath) -> Result<Repo, CreateError> {
        self.write(move |conn, now_ms| {
            let Some(mut repo) = by_id(conn, id)?.filter(|repo| repo.state == RepoState::Live) else {
                return Err(CreateError::NoRepo);
            };
            if repo.path.kind != to.kind {
                return Err(CreateError::OtherKind);
            }
            let (to, from) = (claim(conn, &to, Some(id))?, repo.path.folded());
            let watched = webhooks::watchers(conn, id, webhooks::Domain::Repo)?;
            REPO.change(conn, "id = ?1", [id], |row| {
                row.set("namespace", to.namespace.as_str())?;
                row.set("name", to.name())?;
                row.set("folded", to.folded())?;
                outdate_manifest(row)?;
                bump_acl(row)
            })?;
            if from != to.folded() {
                REDIRECT.insert(conn, &[&to.kind, &from, &id])?;
                search::set_name(conn, id, &to)?;
            }
            webhooks::tell_moved(conn, now_ms, &repo, watched, &to)?;
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

    /// False if there is no such live repo. Bumps acl_version: it changes who may push what.
    pub async fn set_mirror(&self, id: RepoId, mirror: bool) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let changed = REPO.change(conn, "id = ?1 AND state = 0", [id], |row| {
                row.set("mirror", mirror)?;
                outdate_manifest(row)?;
                bump_acl(row)
            })?;
            Ok(changed == 1)
        })
        .await
    }

    /// The name is free at once, redirects to it too; packs leave the list and are condemned until
    /// `blobs_until_ms`. False if there is no such live repo. Its row, refs, log and links to large objects stay
    /// until the packs are deleted and its uploads have expired, for as long may somebody write under their keys.
    pub async fn delete_repo(&self, id: RepoId, blobs_until_ms: i64) -> Result<bool, DbError> {
        self.delete_repo_as_of(id, blobs_until_ms, None).await
    }

    /// As [`Database::delete_repo`], if the repo is of this generation.
    pub async fn delete_repo_as_of(
        &self,
        id: RepoId,
        blobs_until_ms: i64,
        generation: Option<i64>,
    ) -> Result<bool, DbError> {
        self.write(move |conn, now_ms| {
            let as_it_was = "id = ?1 AND state = 0 AND (?2 IS NULL OR generation = ?2)";
            let Some(mut row) = REPO.record(conn, as_it_was, params![id, generation])? else {
                return Ok(false);
            };
            webhooks::tell(conn, now_ms, id, webhooks::Domain::Repo, || Happened::Deleted)?;
            webhooks::forget_repo(conn, id)?;
            row.set("state", RepoState::Deleted)?;
            row.set("packs_count", 0)?;
            row.set("packs_bytes", 0)?;
            row.set("maint_due_ms", None::<i64>)?;
            row.set("pending", false)?;
            bump_acl(&mut row)?;
            row.write(conn)?;
            let live = "repo_id = ?1 AND state = 1";
            PACK.change(conn, live, [id], |row| packs::condemn(row, blobs_until_ms))?;
            conn.prepare_cached("DELETE FROM redirect WHERE repo_id = ?1")?.execute([id])?;
            discussions::forget(conn, id)?;
            ranks::delist(conn, id)?;
            collections::forget(conn, id)?;
            for table in ["lfs_lock", "repo_facts", "repo_xorb", "repo_like", "access_request"] {
                conn.prepare_cached(&format!("DELETE FROM {table} WHERE repo_id = ?1"))?.execute([id])?;
            }
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
    let below = "state = 0 AND kind = ?1 AND folded > ?2 || '/' AND folded < ?2 || '0'";
    for kind in RepoKind::ALL {
        REPO.change(conn, below, params![kind, folded], bump_acl)?;
    }
    Ok(())
}

/// What its manifest says of the repo is not so any more.
pub(super) fn outdate_manifest(repo: &mut Record) -> rusqlite::Result<()> {
    repo.set("manifest_generation", -1)?;
    repo.set("pending", true)
}

pub(super) fn bump_acl(repo: &mut Record) -> rusqlite::Result<()> {
    repo.set("acl_version", repo.get::<i64>("acl_version")? + 1)
}

/// Makes sure that `path` may become the name of a live repo (of `own`, if it is that one's already), and
/// that no redirect stands there. Returns it with the namespace spelled as its owner is.
fn claim(conn: &Connection, path: &RepoPath, own: Option<RepoId>) -> Result<RepoPath, CreateError> {
    let owner = users::namespace_by_folded(conn, &path.namespace.folded())?.ok_or(CreateError::NoUser)?;
    let folded = path.folded();
    let holder = by_name(conn, path.kind, &folded)?.map(|repo| repo.id);
    if holder.is_some() && holder != own {
        return Err(CreateError::Taken);
    }
    let sql = "DELETE FROM redirect WHERE kind = ?1 AND folded = ?2";
    conn.prepare_cached(sql)?.execute(params![path.kind, folded])?;
    let mut path = path.clone();
    path.namespace = owner;
    Ok(path)
}

fn insert(conn: &Connection, repo: &Repo) -> Result<(), CreateError> {
    // More than the column holds is as good as no limit.
    let blob_bytes_max = repo.blob_bytes_max.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
    REPO.insert(
        conn,
        &[
            &repo.id,
            &repo.path.kind,
            &repo.path.namespace.as_str(),
            &repo.path.name(),
            &repo.path.folded(),
            &repo.visibility,
            &repo.state,
            &repo.head_ref,
            &repo.generation,
            &repo.gc_epoch,
            &repo.acl_version,
            &repo.mirror,
            &blob_bytes_max,
            &repo.created_ms,
            // No refs, no packs, no bytes, nothing due, and nothing to say in a manifest.
            &0,
            &0,
            &0,
            &None::<i64>,
            &repo.generation,
            &false,
        ],
    )?;
    Ok(())
}

/// Read by [`repo`].
macro_rules! repo_sql {
    (@columns) => {
        "SELECT r.id, r.kind, r.namespace, r.name, r.visibility, r.state, r.head_ref, r.generation, r.gc_epoch,
                r.acl_version, r.mirror, r.blob_bytes_max, r.created_ms, coalesce(lfs.incomplete, 0),
                coalesce(h.gating, 0), h.creator"
    };
    (@from) => {
        " FROM repo r LEFT JOIN repo_lfs lfs ON lfs.repo_id = r.id LEFT JOIN repo_hub h ON h.repo_id = r.id "
    };
    () => {
        concat!(repo_sql!(@columns), repo_sql!(@from))
    };
}
pub(super) use repo_sql;

pub(super) fn repo(row: &Row<'_>) -> rusqlite::Result<Repo> {
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
        lfs_incomplete: row.get(13)?,
        gating: row.get(14)?,
        creator: row.get(15)?,
    })
}
