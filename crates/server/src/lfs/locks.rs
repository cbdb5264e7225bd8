//! `…/info/lfs/locks`: files that one person at a time may change. Pushes obey them (`change`).

use std::sync::Arc;

use ::lfs::wire::locks::{self, Create, List, Page, Unlock, Verify};
use auth::{Access, Authorized, Read, Write};
use bytes::Bytes;
use database::{Lock, LockError, LockFilter, LockId, RepoId, UserId};
use http::{Response, StatusCode};

use super::json;
use crate::door::Visitor;
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::route::Target;
use crate::serve::Server;

pub(crate) async fn list_locks(
    server: &Arc<Server>,
    request: &Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    let access = visitor.may::<Read>(server)?;
    let List { path, id, page } = List::parse(request.head.uri.query().unwrap_or_default(), &server.wire)?;
    let filter = LockFilter { id, path: path.as_deref(), ..LockFilter::default() };
    let (locks, next) = one_page(server, access.repo_id(), filter, page)?;
    Ok(json(locks::list(&locks, next)))
}

pub(crate) async fn lock(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    let (access, owner) = writer(server, &visitor)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let Create { path, ref_name } = Create::parse(&body, &server.wire)?;
    server.node.writable()?;
    let max = server.node.config.lfs.locks;
    match server.node.database.create_lock(access.repo_id(), path, ref_name, owner, max).await {
        Ok(lock) => {
            let mut response = json(locks::one(&lock));
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(LockError::Exists(lock)) => {
            let message = format!("already locked by {}", lock.owner_name);
            Err(Error::Locked(Bytes::from(locks::conflict(&lock, &message, exchange.request_id()))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asked before every push, also of those who have never locked anything.
pub(crate) async fn verify_locks(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    let (access, asking) = writer(server, &visitor)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let Verify { page, .. } = Verify::parse(&body, &server.wire)?;
    let (locks, next) = one_page(server, access.repo_id(), LockFilter::default(), page)?;
    let (ours, theirs): (Vec<_>, Vec<_>) = locks.into_iter().partition(|lock| lock.owner == asking);
    Ok(json(locks::verified(&ours, &theirs, next)))
}

pub(crate) async fn unlock(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    target: &Target,
    id: &str,
) -> Result<Response<Body>, Error> {
    let visitor = Visitor::new(server, request.headers(), exchange, target)?;
    let (access, by) = writer(server, &visitor)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let Unlock { force, .. } = Unlock::parse(&body, &server.wire)?;
    let id: LockId = id.parse().map_err(|_| Error::from(LockError::NotFound))?;
    // Of one's own it takes no force.
    let by_force = force && access.granted() >= Access::Admin;
    match server.node.database.delete_lock(access.repo_id(), id, by, by_force).await {
        Ok(lock) => Ok(json(locks::one(&lock))),
        Err(LockError::NotOwner(_)) if force => {
            Err(Error::Forbidden("only an administrator of the repository may break the locks of others"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Locks are for those who push.
fn writer(server: &Server, visitor: &Visitor) -> Result<(Authorized<Write>, UserId), Error> {
    let access = visitor.may::<Write>(server)?;
    let user = access.actor().ok_or(Error::Unauthenticated)?;
    Ok((access, user))
}

/// With the last id of the page, if more follow.
fn one_page(
    server: &Server,
    repo: RepoId,
    filter: LockFilter<'_>,
    page: Page,
) -> Result<(Vec<Lock>, Option<LockId>), Error> {
    let filter = LockFilter { after: page.after, limit: page.limit.saturating_add(1), ..filter };
    let mut locks = server.node.database.locks(repo, &filter)?;
    let more = locks.len() > page.limit as usize;
    locks.truncate(page.limit as usize);
    let next = locks.last().filter(|_| more).map(|lock| lock.id);
    Ok((locks, next))
}
