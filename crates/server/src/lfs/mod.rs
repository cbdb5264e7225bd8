//! The doors of Git LFS over HTTP: batches and locks below a repository's URL, objects below `/api/lfs/objects`.
//!
//! The former take the credentials that git takes. The latter take the token of the link that a batch gave out and
//! nothing else, since clients send such links bare; what the token grants is decided anew at each use. What happens to
//! objects is decided in the crate `lfs`; here requests are read and answers written.

mod batch;
mod body;
mod locks;
mod multipart;
mod range;
mod refusal;
mod transfer;

use std::future::Future;
use std::sync::Arc;

use ::lfs::ReceiveError;
use ::lfs::wire::MEDIA_TYPE;
use auth::transfer::{Grant, Operation};
use auth::{Authorized, Right};
use bytes::Bytes;
use database::Sha256;
use http::{HeaderValue, Response, header};

pub(crate) use batch::batch;
pub(crate) use locks::{list_locks, lock, unlock, verify_locks};
pub(crate) use multipart::{complete, upload_part};
pub(crate) use range::Asked;
pub(crate) use refusal::unreadable;
pub(crate) use transfer::{content, download, upload, verify};

use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::serve::Server;

/// A JSON document for git-lfs. What a request says it accepts does not matter: `hf` says `*/*`.
fn json(document: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(document.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// Nothing more is to be said.
fn done() -> Response<Body> {
    json("{}")
}

/// What the token in the address grants, for this `operation` on this object. Credentials beside it do not count: some
/// clients send them along wherever they are redirected.
fn grant(server: &Server, request: &Request, sha256: Sha256, operation: Operation) -> Result<Grant, Error> {
    let query = request.head.uri.query().unwrap_or_default();
    let token = query.split('&').find_map(|pair| pair.strip_prefix("token="));
    let token = token.ok_or_else(|| Error::LinkRefused("this link lacks its token".to_owned()))?;
    let grant = server.node.objects.keys().check(token, server.node.clock().now_ms())?;
    if grant.operation != operation || grant.sha256 != sha256 {
        return Err(Error::LinkRefused("the token of this link is for something else".to_owned()));
    }
    Ok(grant)
}

/// The right behind a grant, as it is now.
fn redeem<A: Right>(server: &Server, grant: &Grant, exchange: &mut Exchange) -> Result<Authorized<A>, Error> {
    let node = &server.node;
    let access = auth::transfer::redeem::<A>(node.auth, &node.database, grant).map_err(refusal::revoked)?;
    exchange.set_user(access.actor_name());
    exchange.set_repo(&access.repo().path);
    Ok(access)
}

/// What has all its bytes goes on though its client leaves, and a server that stops waits for it.
async fn to_its_end<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl Future<Output = Result<T, ReceiveError>> + Send + 'static,
) -> Result<T, Error> {
    Ok(server.pushes.spawn(work).await.map_err(Error::internal)??)
}
