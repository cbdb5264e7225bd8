//! All files of a shard, in one transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, ToSql};

use super::{files, xorbs};
use crate::sqlite::checksum::{REPO_OBJECT, XET_BACKING};
use crate::sqlite::objects::{add_bytes, backings, column, links, quota};
use crate::sqlite::{Database, DbError, RegisterError};
use crate::{
    BackingId, LinkState, NewXetObject, Proof, Publish, Sha256, UploadId, XetRegistered, XetRegistration,
    XorbId,
};

impl Database {
    /// Links each file to the repo, with all xorbs that it is made of: all of them, or, after an error, none. Done again,
    /// it changes nothing. A xorb that is condemned in this very moment is refused, and one that is named here is not
    /// condemned after it.
    pub async fn register_xet(
        &self,
        registration: XetRegistration,
    ) -> Result<Vec<XetRegistered>, RegisterError> {
        self.write(move |conn, now_ms| register(conn, now_ms, &registration)).await
    }
}

fn register(
    conn: &Connection,
    now_ms: i64,
    registration: &XetRegistration,
) -> Result<Vec<XetRegistered>, RegisterError> {
    let namespace = quota::namespace(conn, registration.repo)?.ok_or(RegisterError::RepoGone)?;
    let mut named: BTreeSet<XorbId> = registration.xorbs.iter().copied().collect();
    named.extend(
        registration.objects.iter().flat_map(|object| object.file.terms.iter().map(|term| term.xorb)),
    );
    for xorb in named {
        if !xorbs::is_live(conn, xorb)? {
            return Err(RegisterError::XorbGone(xorb));
        }
        xorbs::link(conn, now_ms, registration.repo.into(), xorb)?;
    }
    let quota = quota::limit(conn, &namespace, registration.quota)?;
    let mut used = match quota {
        Some(_) => quota::taken(conn, now_ms, &namespace)?,
        None => 0,
    };
    let mut registered = Vec::with_capacity(registration.objects.len());
    for object in &registration.objects {
        if let Some(known) = known(conn, now_ms, registration, object)? {
            registered.push(known);
            continue;
        }
        let more = object.file.size.saturating_sub(counted(conn, registration, &object.sha256)?);
        if let Some(quota) = quota.filter(|quota| more > 0 && used.saturating_add(more) > *quota) {
            return Err(RegisterError::OverQuota { used, quota });
        }
        used = used.saturating_add(more);
        registered.push(place(conn, now_ms, registration, object)?);
    }
    Ok(registered)
}

/// What its link counts already.
fn counted(conn: &Connection, registration: &XetRegistration, sha256: &Sha256) -> Result<u64, RegisterError> {
    Ok(links::live_bytes(conn, registration.repo, sha256)?.unwrap_or(0))
}

/// The link that the repo has, if it does as well as a new one. What is proven here by computation takes the place of
/// what somebody only says, and nothing else does.
fn known(
    conn: &Connection,
    now_ms: i64,
    registration: &XetRegistration,
    object: &NewXetObject,
) -> Result<Option<XetRegistered>, RegisterError> {
    let link = links::find(conn, registration.repo, &object.sha256)?.filter(|link| link.is_usable());
    let Some(link) = link else { return Ok(None) };
    let Some(backing) = link.backing.filter(|backing| backing.proof >= object.proof) else { return Ok(None) };
    links::renew(conn, now_ms, registration.repo, &object.sha256)?;
    Ok(Some(XetRegistered { backing: backing.id, proof: backing.proof, was_here: true }))
}

fn place(
    conn: &Connection,
    now_ms: i64,
    registration: &XetRegistration,
    object: &NewXetObject,
) -> Result<XetRegistered, RegisterError> {
    let XetRegistration { repo, by, .. } = *registration;
    let NewXetObject { file, sha256, proof } = object;
    let (sha256, proof, size) = (*sha256, *proof, column(file.size));
    let link = links::find(conn, repo, &sha256)?;
    let (backing, proof) = match shared(conn, object)? {
        Some(backing) => (backing, Proof::Verified),
        None => {
            let id = files::find_or_insert(conn, file)?;
            let publish = Publish {
                // Its key is one under which nothing ever lies.
                upload: UploadId::new(),
                repo,
                sha256,
                size: file.size,
                proof,
                by,
            };
            let backing = backings::insert(conn, &publish, now_ms)?;
            XET_BACKING.insert(conn, &[&backing, &id])?;
            (backing, proof)
        }
    };
    let values: [&dyn ToSql; 7] = [&repo, &sha256, &LinkState::Live, &backing, &size, &now_ms, &by];
    let old = link.as_ref().and_then(|link| link.backing);
    match &link {
        None => REPO_OBJECT.insert(conn, &values)?,
        Some(_) => drop(REPO_OBJECT.replace(conn, &values)?),
    }
    let before = link.filter(|_| old.is_some()).map_or(0, |link| column(link.size));
    add_bytes(conn, repo, size - before)?;
    if let Some(old) = old {
        backings::condemn_if_unlinked(conn, old.id, now_ms)?;
    }
    Ok(XetRegistered { backing, proof, was_here: false })
}

/// A verified backing of the object that is these very chunks; or any, if these are verified as well.
fn shared(conn: &Connection, object: &NewXetObject) -> Result<Option<BackingId>, DbError> {
    let NewXetObject { file, sha256, proof } = object;
    let size = column(file.size);
    if let Some(known) = files::find(conn, &file.hash)?
        && let Some(backing) = backings::verified_as(conn, sha256, size, known)?
    {
        return Ok(Some(backing));
    }
    match proof {
        Proof::Verified => backings::verified(conn, sha256, size),
        _ => Ok(None),
    }
}
