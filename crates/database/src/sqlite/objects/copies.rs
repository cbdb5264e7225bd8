//! Links of one repo made anew in another, which point at the same bytes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::backings::condemn_if_unlinked;
use super::{add_bytes, column, links, quota, reservations};
use crate::sqlite::checksum::REPO_OBJECT;
use crate::sqlite::writer::Sort;
use crate::sqlite::{CopyError, Database, DbError, apply};
use crate::{Applied, Change, Copied, LinkState, ObjectCopies, Proof, RepoId, Sha256};

impl Database {
    /// Links what can be linked, and tells of each object in order. Over quota nothing is linked.
    pub async fn copy_objects(&self, copies: ObjectCopies) -> Result<Vec<Copied>, CopyError> {
        self.write(move |conn, now_ms| copy(conn, now_ms, &copies, false)).await
    }

    /// Links the objects and applies the change, or does neither: a repository that is made of another one. What the
    /// source lost is lost in the copy too.
    ///
    /// An object that is missing or not proven fails it, unless `incomplete`: then it is missing in the copy as well.
    pub async fn apply_copy(
        &self,
        copies: ObjectCopies,
        incomplete: bool,
        change: Change,
    ) -> Result<Applied, CopyError> {
        let clock = self.clock().clone();
        let work = move |conn: &Connection| {
            let now_ms = clock.now_ms();
            let copied = copy(conn, now_ms, &copies, true)?;
            let lacks = |copied: &Copied| match copied {
                Copied::Linked(_) | Copied::Lost => false,
                Copied::Missing => !incomplete,
                Copied::Unverified => true,
            };
            if let Some((sha256, copied)) =
                copies.objects.iter().zip(copied).find(|(_, copied)| lacks(copied))
            {
                return Err(CopyError::Object { sha256: *sha256, copied });
            }
            let (applied, _) = apply::apply(conn, now_ms, change, &[])?;
            Ok(applied)
        };
        self.0.writer.run(Sort::Apply, work).await
    }
}

fn copy(
    conn: &Connection,
    now_ms: i64,
    copies: &ObjectCopies,
    lost_too: bool,
) -> Result<Vec<Copied>, CopyError> {
    if acl_version(conn, copies.from)? != Some(copies.from_acl_version) {
        return Err(CopyError::SourceMoved);
    }
    if acl_version(conn, copies.to)? != Some(copies.to_acl_version) {
        return Err(CopyError::TargetMoved);
    }
    let namespace = quota::namespace(conn, copies.to)?.ok_or(CopyError::TargetMoved)?;
    let quota = quota::limit(conn, &namespace, copies.quota)?;
    let mut used = match quota {
        Some(_) => {
            quota::used(conn, &namespace)?.saturating_add(reservations::reserved(conn, now_ms, &namespace)?)
        }
        None => 0,
    };
    let mut done = BTreeMap::new();
    let mut copied = Vec::with_capacity(copies.objects.len());
    for sha256 in &copies.objects {
        let one = match done.get(sha256) {
            Some(one) => *one,
            None => {
                let (one, more) = copy_one(conn, now_ms, copies, sha256, lost_too)?;
                if let Some(quota) = quota.filter(|quota| more > 0 && used.saturating_add(more) > *quota) {
                    return Err(CopyError::OverQuota { used, quota });
                }
                used = used.saturating_add(more);
                one
            }
        };
        done.insert(*sha256, one);
        copied.push(one);
    }
    Ok(copied)
}

/// And how many bytes more it counts.
fn copy_one(
    conn: &Connection,
    now_ms: i64,
    copies: &ObjectCopies,
    sha256: &Sha256,
    lost_too: bool,
) -> Result<(Copied, u64), DbError> {
    let (from, to) = (links::find(conn, copies.from, sha256)?, links::find(conn, copies.to, sha256)?);
    let Some(from) = from else { return Ok((Copied::Missing, 0)) };
    if let Some(to) = to.as_ref().filter(|to| to.is_usable()) {
        links::renew(conn, now_ms, copies.to, sha256)?;
        return Ok((Copied::Linked(to.size), 0));
    }
    let Some(backing) = from.backing else {
        if lost_too && to.is_none() {
            let none = None::<i64>;
            let size = column(from.size);
            let values: [&dyn ToSql; 7] =
                [&copies.to, sha256, &from.state, &none, &size, &now_ms, &copies.by];
            REPO_OBJECT.insert(conn, &values)?;
        }
        return Ok((Copied::Lost, 0));
    };
    if backing.proof != Proof::Verified {
        return Ok((Copied::Unverified, 0));
    }
    let size = column(from.size);
    let values: [&dyn ToSql; 7] =
        [&copies.to, sha256, &LinkState::Live, &backing.id, &size, &now_ms, &copies.by];
    match &to {
        None => REPO_OBJECT.insert(conn, &values)?,
        Some(_) => drop(REPO_OBJECT.replace(conn, &values)?),
    }
    // A claim that gives way counted already, with the size it was claimed to have.
    let old = to.as_ref().and_then(|to| to.backing);
    let counted = to.filter(|_| old.is_some()).map_or(0, |to| to.size);
    add_bytes(conn, copies.to, size - column(counted))?;
    if let Some(old) = old {
        condemn_if_unlinked(conn, old.id, now_ms)?;
    }
    Ok((Copied::Linked(from.size), from.size.saturating_sub(counted)))
}

/// Of a live repo.
fn acl_version(conn: &Connection, repo: RepoId) -> Result<Option<i64>, DbError> {
    let sql = "SELECT acl_version FROM repo WHERE id = ?1 AND state = 0";
    Ok(conn.prepare_cached(sql)?.query_row(params![repo], |row| row.get(0)).optional()?)
}
