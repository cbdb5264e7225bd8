//! `/api/lfs/objects/{oid}/parts/{n}` and `…/complete`: uploads in parts, as Hugging Face's clients make them.

use std::sync::Arc;

use ::lfs::wire::transfer::Complete;
use auth::Propose;
use auth::transfer::Operation;
use database::Sha256;
use http::{HeaderValue, Response, header};

use super::body::{check_head, pour};
use super::{done, grant, redeem, to_its_end};
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::serve::Server;

pub(crate) async fn upload_part(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    sha256: Sha256,
    number: u32,
) -> Result<Response<Body>, Error> {
    let grant = grant(server, request, sha256, Operation::Part)?;
    if grant.part.is_none_or(|part| part.number != number) {
        return Err(Error::LinkRefused("the token of this link is for another part".to_owned()));
    }
    let access = redeem::<Propose>(server, &grant, exchange)?;
    let mut receiving = server.node.objects.receive_part(access, &grant).await?;
    check_head(request, receiving.remaining())?;
    server.node.objects_writable(receiving.remaining())?;
    pour(&server.node, request, &mut receiving).await?;
    let etag = to_its_end(server, receiving.finish()).await?;
    let mut response = done();
    let etag = HeaderValue::try_from(etag).map_err(Error::internal)?;
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// The parts are one object now, if they are all there and make it up.
pub(crate) async fn complete(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    sha256: Sha256,
) -> Result<Response<Body>, Error> {
    let grant = grant(server, request, sha256, Operation::Complete)?;
    let access = redeem::<Propose>(server, &grant, exchange)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let Complete { sha256: named, parts } = Complete::parse(&body, &server.wire)?;
    if named != sha256 {
        return Err(Error::Unprocessable(format!("these are the parts of {sha256}, not of {named}")));
    }
    let objects = server.node.objects.clone();
    to_its_end(server, async move { objects.complete(access, &grant, parts).await }).await?;
    Ok(done())
}
