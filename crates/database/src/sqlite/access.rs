//! Who is let into gated repositories, and who asks to be.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{ACCESS_REQUEST, REPO};
use super::{Database, DbError, all, next_id, repos};
use crate::{
    ACCESS_REQUESTS_MAX, AccessRequest, AccessRequestId, AccessStatus, Asked, Decide, Decided, Gating,
    Namespace, RepoId, Request, UserId,
};

impl Database {
    /// The gated repos that somebody was let into, in order.
    pub fn admissions(&self, user: UserId) -> Result<Arc<[RepoId]>, DbError> {
        let known = self.0.known.admissions.get(user, |user| self.read_admissions(*user).map(Some))?;
        Ok(known.unwrap_or_default())
    }

    fn read_admissions(&self, user: UserId) -> Result<Arc<[RepoId]>, DbError> {
        let sql = "SELECT repo_id FROM access_request WHERE account_id = ?1 AND status = ?2 ORDER BY repo_id";
        self.read(|conn| Ok(all(conn, sql, params![user, AccessStatus::Accepted], |row| row.get(0))?.into()))
    }

    /// Who asks is let in at once, or waits for the owner, as the repo's gating says.
    pub async fn ask_for_access(&self, id: RepoId, user: UserId, fields: String) -> Result<Asked, DbError> {
        self.write(move |conn, now_ms| {
            let live = repos::by_id(conn, id)?.filter(|repo| repo.state == crate::RepoState::Live);
            let status = match live.map(|repo| repo.gating) {
                None | Some(Gating::Off) => return Ok(Asked::Open),
                Some(Gating::Auto) => AccessStatus::Accepted,
                Some(Gating::Manual) => AccessStatus::Pending,
            };
            let known = ACCESS_REQUEST.record(conn, "repo_id = ?1 AND account_id = ?2", params![id, user])?;
            if let Some(mut row) = known {
                let stands: AccessStatus = row.get("status")?;
                // Those who waited when it was made automatic need not wait on.
                if (stands, status) == (AccessStatus::Pending, AccessStatus::Accepted) {
                    row.set("status", status)?;
                    row.write(conn)?;
                    return Ok(Asked::Now(status));
                }
                return Ok(Asked::Already(stands));
            }
            if too_many(conn, user)? {
                return Ok(Asked::TooMany);
            }
            insert(conn, id, user, status, now_ms, false, &fields)?;
            Ok(Asked::Now(status))
        })
        .await
    }

    /// Takes back one's own request that was not decided. False if there is none.
    pub async fn withdraw_request(&self, id: RepoId, user: UserId) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            let sql = "DELETE FROM access_request WHERE repo_id = ?1 AND account_id = ?2 AND status = ?3";
            Ok(conn.prepare_cached(sql)?.execute(params![id, user, AccessStatus::Pending])? > 0)
        })
        .await
    }

    /// Who was let in and is so no more is told so at the next request: bumps acl_version.
    pub async fn decide_request(
        &self,
        id: RepoId,
        request: Request,
        status: AccessStatus,
        reason: Option<String>,
    ) -> Result<Decided, DbError> {
        let decided = self.decide_requests(id, vec![Decide { request, status, reason }]).await?;
        Ok(decided.into_iter().next().unwrap_or(Decided::NoRequest))
    }

    /// Many at once, in one transaction: what became of each, in order. What cannot be done leaves the others be.
    pub async fn decide_requests(&self, id: RepoId, all: Vec<Decide>) -> Result<Vec<Decided>, DbError> {
        self.write(move |conn, _| {
            let (mut decided, mut shut_out) = (Vec::with_capacity(all.len()), false);
            for one in all {
                decided.push(decide(conn, id, one, &mut shut_out)?);
            }
            if shut_out {
                REPO.change(conn, "id = ?1", [id], repos::bump_acl)?;
            }
            Ok(decided)
        })
        .await
    }

    /// Lets somebody in who did not ask, or whose request waits or was rejected.
    pub async fn grant_access(&self, id: RepoId, user: UserId) -> Result<Decided, DbError> {
        self.write(move |conn, now_ms| {
            if !conn.prepare_cached("SELECT 1 FROM repo WHERE id = ?1 AND state = 0")?.exists([id])? {
                return Ok(Decided::NoRequest);
            }
            let known = ACCESS_REQUEST.record(conn, "repo_id = ?1 AND account_id = ?2", params![id, user])?;
            match known {
                Some(row) if row.get::<AccessStatus>("status")? == AccessStatus::Accepted => {
                    Ok(Decided::Already)
                }
                Some(mut row) => {
                    row.set("status", AccessStatus::Accepted)?;
                    row.set("reason", None::<String>)?;
                    row.write(conn)?;
                    Ok(Decided::Done)
                }
                None if too_many(conn, user)? => Ok(Decided::TooMany),
                None => {
                    insert(conn, id, user, AccessStatus::Accepted, now_ms, true, "{}")?;
                    Ok(Decided::Done)
                }
            }
        })
        .await
    }

    /// The latest first, with an id smaller than `before`.
    pub fn access_requests(
        &self,
        id: RepoId,
        status: AccessStatus,
        before: Option<AccessRequestId>,
        limit: u32,
    ) -> Result<Vec<AccessRequest>, DbError> {
        let sql = "SELECT q.id, q.account_id, u.name, q.status, q.asked_ms, q.granted, q.fields, q.reason
                   FROM access_request q JOIN account u ON u.id = q.account_id
                   WHERE q.repo_id = ?1 AND q.status = ?2 AND q.id < ?3 ORDER BY q.id DESC LIMIT ?4";
        let before = before.map_or(i64::MAX, |before| before.0);
        self.read(|conn| all(conn, sql, params![id, status, before, limit], request))
    }

    /// Where somebody's own request stands.
    pub fn access_status(&self, id: RepoId, user: UserId) -> Result<Option<AccessStatus>, DbError> {
        let sql = "SELECT status FROM access_request WHERE repo_id = ?1 AND account_id = ?2";
        self.read(|conn| {
            Ok(conn.prepare_cached(sql)?.query_row(params![id, user], |row| row.get(0)).optional()?)
        })
    }
}

/// `shut_out` is set if somebody is in no more.
fn decide(
    conn: &Connection,
    id: RepoId,
    Decide { request, status, reason }: Decide,
    shut_out: &mut bool,
) -> Result<Decided, DbError> {
    let row = match request {
        Request::Of(user) => {
            ACCESS_REQUEST.record(conn, "repo_id = ?1 AND account_id = ?2", params![id, user])?
        }
        Request::Id(request) => {
            ACCESS_REQUEST.record(conn, "repo_id = ?1 AND id = ?2", params![id, request])?
        }
    };
    let Some(mut row) = row else { return Ok(Decided::NoRequest) };
    let stands: AccessStatus = row.get("status")?;
    if stands == status {
        return Ok(Decided::Already);
    }
    row.set("status", status)?;
    row.set("reason", reason)?;
    row.write(conn)?;
    *shut_out |= stands == AccessStatus::Accepted;
    Ok(Decided::Done)
}

fn too_many(conn: &Connection, user: UserId) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) >= ?2 FROM access_request WHERE account_id = ?1";
    conn.prepare_cached(sql)?.query_row(params![user, ACCESS_REQUESTS_MAX], |row| row.get(0))
}

fn insert(
    conn: &Connection,
    id: RepoId,
    user: UserId,
    status: AccessStatus,
    now_ms: i64,
    granted: bool,
    fields: &str,
) -> Result<(), DbError> {
    let request = AccessRequestId(next_id(conn, "access_request")?);
    let row: [&dyn rusqlite::ToSql; 8] =
        [&request, &id, &user, &status, &now_ms, &granted, &fields, &None::<String>];
    Ok(ACCESS_REQUEST.insert(conn, &row)?)
}

fn request(row: &Row<'_>) -> rusqlite::Result<AccessRequest> {
    Ok(AccessRequest {
        id: row.get(0)?,
        user: row.get(1)?,
        name: Namespace::from_row(row.get(2)?),
        status: row.get(3)?,
        asked_ms: row.get(4)?,
        granted: row.get(5)?,
        fields: row.get(6)?,
        reason: row.get(7)?,
    })
}
