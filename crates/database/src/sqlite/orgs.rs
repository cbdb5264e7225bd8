//! Organisations and who belongs to them.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{ORG, ORG_MEMBER};
use super::{CreateError, Database, DbError, all, buckets, next_id, repos, users};
use crate::{Member, Membership, Namespace, Org, OrgId, OrgRole, UserId};

impl Database {
    /// `owner` is its first administrator; without one, somebody who administrates the hub adds them. Taken if a user or
    /// an organisation of that folded name exists.
    pub async fn create_org(&self, name: Namespace, owner: Option<UserId>) -> Result<Org, CreateError> {
        self.write(move |conn, now_ms| {
            if users::namespace_by_folded(conn, &name.folded())?.is_some() {
                return Err(CreateError::Taken);
            }
            let known = "SELECT 1 FROM account WHERE id = ?1";
            if let Some(owner) = owner
                && !conn.prepare_cached(known)?.exists([owner])?
            {
                return Err(CreateError::NoUser);
            }
            let id = OrgId(next_id(conn, "org")?);
            ORG.insert(conn, &[&id, &name.as_str(), &name.folded(), &now_ms])?;
            if let Some(owner) = owner {
                ORG_MEMBER.insert(conn, &[&id, &owner, &OrgRole::Admin])?;
            }
            Ok(Org { id, name, created_ms: now_ms })
        })
        .await
    }

    /// By name in any case.
    pub fn org(&self, name: &str) -> Result<Option<Org>, DbError> {
        let folded = name.to_ascii_lowercase();
        self.read(|conn| by_folded(conn, &folded))
    }

    /// All of them, in order of their folded names.
    pub fn orgs(&self) -> Result<Vec<Org>, DbError> {
        let sql = "SELECT id, name, created_ms FROM org ORDER BY folded";
        self.read(|conn| all(conn, sql, [], org))
    }

    /// Those with `part`, folded, in their name; what begins with it comes first.
    pub fn orgs_like(&self, part: &str, limit: u32) -> Result<Vec<Org>, DbError> {
        let sql = "SELECT id, name, created_ms FROM org WHERE instr(folded, ?1) > 0
                   ORDER BY instr(folded, ?1), folded LIMIT ?2";
        self.read(|conn| all(conn, sql, params![part, limit], org))
    }

    /// By user name.
    pub fn members(&self, org: OrgId) -> Result<Vec<Member>, DbError> {
        let sql = "SELECT u.id, u.name, m.role FROM org_member m JOIN account u ON u.id = m.account_id
                   WHERE m.org_id = ?1 ORDER BY u.folded";
        self.read(|conn| {
            all(conn, sql, [org], |row| {
                Ok(Member { user: row.get(0)?, name: Namespace::from_row(row.get(1)?), role: row.get(2)? })
            })
        })
    }

    /// The organisations of a user, by name.
    pub fn memberships(&self, user: UserId) -> Result<Arc<[Membership]>, DbError> {
        let known = self.0.known.memberships.get(user, |user| self.read_memberships(*user).map(Some))?;
        Ok(known.unwrap_or_default())
    }

    fn read_memberships(&self, user: UserId) -> Result<Arc<[Membership]>, DbError> {
        let sql = "SELECT o.name, m.role FROM org_member m JOIN org o ON o.id = m.org_id
                   WHERE m.account_id = ?1 ORDER BY o.folded";
        self.read(|conn| {
            let all = all(conn, sql, [user], |row| {
                Ok(Membership { org: Namespace::from_row(row.get(0)?), role: row.get(1)? })
            })?;
            Ok(all.into())
        })
    }

    /// `None` takes the user out. False if there is no such organisation or user, or if nobody would be left who may change
    /// it. Bumps `acl_version` of the organisation's repos.
    pub async fn set_member(
        &self,
        org: OrgId,
        user: UserId,
        role: Option<OrgRole>,
    ) -> Result<bool, CreateError> {
        self.write(move |conn, _| {
            let sql = "SELECT folded FROM org WHERE id = ?1";
            let folded: Option<String> =
                conn.prepare_cached(sql)?.query_row([org], |row| row.get(0)).optional()?;
            let Some(folded) = folded else { return Ok(false) };
            if !conn.prepare_cached("SELECT 1 FROM account WHERE id = ?1")?.exists([user])? {
                return Ok(false);
            }
            let others = "SELECT 1 FROM org_member WHERE org_id = ?1 AND account_id <> ?2 AND role = ?3";
            let has_others = conn.prepare_cached(others)?.exists(params![org, user, OrgRole::Admin])?;
            if role != Some(OrgRole::Admin) && !has_others {
                return Ok(false);
            }
            match role {
                None => {
                    let sql = "DELETE FROM org_member WHERE org_id = ?1 AND account_id = ?2";
                    conn.prepare_cached(sql)?.execute(params![org, user])?;
                }
                Some(role) => {
                    if !ORG_MEMBER.replace(conn, &[&org, &user, &role])? {
                        ORG_MEMBER.insert(conn, &[&org, &user, &role])?;
                    }
                }
            }
            repos::bump_acl_of_namespace(conn, &folded)?;
            buckets::bump_acl_of_namespace(conn, &folded)?;
            Ok(true)
        })
        .await
    }
}

pub(super) fn by_folded(conn: &Connection, folded: &str) -> Result<Option<Org>, DbError> {
    let sql = "SELECT id, name, created_ms FROM org WHERE folded = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([folded], org).optional()?)
}

fn org(row: &Row<'_>) -> rusqlite::Result<Org> {
    Ok(Org { id: row.get(0)?, name: Namespace::from_row(row.get(1)?), created_ms: row.get(2)? })
}
