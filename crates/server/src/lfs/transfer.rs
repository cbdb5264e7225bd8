//! `/api/lfs/objects/{oid}`: objects as they are, and the word that one was put into the bucket.

use std::ops::Range;
use std::sync::Arc;

use ::lfs::Object;
use ::lfs::wire::transfer::Verify;
use auth::transfer::Operation;
use auth::{Propose, Read};
use bytes::BytesMut;
use database::Sha256;
use http::{HeaderValue, Method, Response, StatusCode, header};
use storage::StoreError;

use super::body::{check_head, pour};
use super::range::Asked;
use super::{done, grant, redeem, refusal, to_its_end};
use crate::error::Error;
use crate::http::{Body, Exchange, Request};
use crate::serve::Server;

/// Up to so many bytes leave in one write with the head before them.
const AT_ONCE: u64 = 64 * 1024;

pub(crate) async fn download(
    server: &Arc<Server>,
    request: &Request,
    exchange: &mut Exchange,
    sha256: Sha256,
) -> Result<Response<Body>, Error> {
    let grant = grant(server, request, sha256, Operation::Download)?;
    let access = redeem::<Read>(server, &grant, exchange)?;
    let object = server.node.objects.open(&access, &grant).await?;
    let (size, etag) = (object.size, format!("\"{sha256}\""));
    let is_head = request.head.method == Method::HEAD;
    let (status, range) = match Asked::of(request.headers(), &etag, size) {
        Asked::Unmodified => (StatusCode::NOT_MODIFIED, None),
        // A range is of a GET's content.
        _ if is_head => (StatusCode::OK, Some(0..size)),
        Asked::Whole => (StatusCode::OK, Some(0..size)),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Asked::Nothing => return Err(Error::NoSuchRange { size }),
    };
    let body = match &range {
        Some(range) if !is_head => content(&object, range.clone()).await.map_err(refusal::unreadable)?,
        _ => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let ascii = |text: String| HeaderValue::try_from(text).expect("because it is ASCII");
    let headers = response.headers_mut();
    headers.insert(header::ETAG, ascii(etag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(Range { start, end }) = range {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Never shown in the browser, where it could run in our name.
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        if status == StatusCode::PARTIAL_CONTENT {
            headers.insert(header::CONTENT_RANGE, ascii(format!("bytes {start}-{}/{size}", end - 1)));
        }
    }
    Ok(response)
}

pub(crate) async fn upload(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    sha256: Sha256,
) -> Result<Response<Body>, Error> {
    let grant = grant(server, request, sha256, Operation::Upload)?;
    let access = redeem::<Propose>(server, &grant, exchange)?;
    check_head(request, grant.size)?;
    server.node.objects_writable(grant.size)?;
    let mut receiving = server.node.objects.receive(access, &grant).await?;
    pour(&server.node, request, &mut receiving).await?;
    to_its_end(server, receiving.finish()).await?;
    Ok(done())
}

pub(crate) async fn verify(
    server: &Arc<Server>,
    request: &mut Request,
    exchange: &mut Exchange,
    sha256: Sha256,
) -> Result<Response<Body>, Error> {
    let grant = grant(server, request, sha256, Operation::Verify)?;
    let access = redeem::<Propose>(server, &grant, exchange)?;
    let body = request.stage(&server.fetch_bodies).await?;
    let Verify { sha256, size } = Verify::parse(&body, &server.wire)?;
    let objects = server.node.objects.clone();
    to_its_end(server, async move { objects.verify(access, &grant, (sha256, size)).await }).await?;
    Ok(done())
}

/// A small piece is read at once: were the head on its way first, the rest would be another packet.
pub(crate) async fn content(object: &Object, range: Range<u64>) -> Result<Body, StoreError> {
    let len = range.end - range.start;
    let Some(mut reader) = object.reader(range).await? else { return Ok(Body::empty()) };
    if len > AT_ONCE {
        return Ok(Body::object(reader));
    }
    let first = reader.next().await?.unwrap_or_default();
    if reader.remaining() == 0 {
        return Ok(Body::from(first));
    }
    let mut bytes = BytesMut::from(first);
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Body::from(bytes.freeze()))
}
