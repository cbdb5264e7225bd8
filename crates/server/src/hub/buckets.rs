//! Buckets, and the files in them.

use std::ops::Range;

use auth::xet::Scope;
use auth::{Admin, Authorized, Discover, Read, Right, Write};
use database::{Bucket, BucketFile, BucketPath};
use http::{HeaderValue, Method, Response, StatusCode, header};
use hub::HubError;
use hub::buckets::{Create, Settings, bucket_info, operations};
use serde::Deserialize;
use serde_json::json as document;

use super::resolve::{self, LINKED_ETAG, LINKED_SIZE};
use super::xet::Place;
use super::{Call, json, ok};
use crate::error::Error;
use crate::http::Body;
use crate::hub_route::{BucketName, BucketRoute};
use crate::lfs::Asked;
use crate::xet::give;

pub(super) async fn dispatch(call: Call<'_>, route: BucketRoute) -> Result<Response<Body>, Error> {
    match route {
        BucketRoute::List { namespace } => list(call, &namespace),
        BucketRoute::Create { bucket } => create(call, &bucket).await,
        BucketRoute::Info { bucket } => info(call, &bucket),
        BucketRoute::Delete { bucket } => delete(call, &bucket).await,
        BucketRoute::Settings { bucket } => set(call, &bucket).await,
        BucketRoute::Tree { bucket, prefix } => tree(call, &bucket, &prefix),
        BucketRoute::PathsInfo { bucket } => paths(call, &bucket).await,
        BucketRoute::Batch { bucket } => batch(call, &bucket).await,
        BucketRoute::XetToken { bucket, write } => token(call, &bucket, write),
        BucketRoute::Resolve { bucket, path } => file(call, &bucket, &path).await,
    }
}

impl Call<'_> {
    fn bucket<A: Right>(&mut self, named: &BucketName) -> Result<Authorized<A, Bucket>, Error> {
        let identity = self.identity()?;
        let path = self.hub().bucket_path(&identity, &named.namespace, &named.name);
        // No bucket is called so.
        let path = path.map_err(|error| match error {
            HubError::Invalid(_) => auth::Denied::missing(&identity).into(),
            other => Error::from(other),
        })?;
        self.exchange.set_repo(format!("buckets/{path}"));
        Ok(self.hub().bucket(&identity, &path)?)
    }
}

fn list(mut call: Call<'_>, namespace: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    let search = query.get("search").unwrap_or_default();
    let page = call.hub().buckets(&identity, namespace, search, query.get("cursor"), query.limit()?)?;
    Ok(super::page(&call, page))
}

async fn create(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    call.identity()?;
    let create: Create = call.json().await?;
    // Who they are when it is made.
    let identity = call.identity()?;
    let path = call.hub().bucket_path(&identity, &named.namespace, &named.name)?;
    call.server.node.writable()?;
    let (origin, hub) = (call.origin(), call.hub().clone());
    let made = call.to_its_end(async move { hub.create_bucket(&identity, path, create).await }).await;
    let bucket = made.map_err(|error| match error {
        HubError::BucketExists { ref path } => {
            Error::Exists { message: error.to_string(), url: address(&origin, path) }
        }
        other => other.into(),
    })?;
    call.exchange.set_repo(format!("buckets/{}", bucket.path));
    Ok(json(&document!({
        "url": address(&origin, &bucket.path), "name": bucket.path.to_string(),
        "id": format!("{:024x}", bucket.id.0),
    })))
}

fn address(origin: &str, path: &BucketPath) -> String {
    format!("{origin}/buckets/{path}")
}

fn info(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Discover>(named)?;
    Ok(json(&bucket_info(access.bucket())))
}

async fn delete(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Admin>(named)?;
    let hub = call.hub().clone();
    call.to_its_end(async move { hub.delete_bucket(&access).await }).await?;
    call.server.node.maintenance.notify_one();
    Ok(ok())
}

async fn set(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Admin>(named)?;
    let settings: Settings = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    call.to_its_end(async move { hub.set_bucket(&access, settings).await }).await?;
    Ok(ok())
}

/// `POST /api/repos/move` of a bucket.
pub(super) async fn rename(mut call: Call<'_>, from: &str, to: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let named = |id: &str| {
        let (namespace, name) = id.split_once('/').unwrap_or(("me", id));
        BucketName { namespace: namespace.to_owned(), name: name.to_owned() }
    };
    let (from, to) = (named(from), named(to));
    let access = call.bucket::<Admin>(&from)?;
    let to = call.hub().bucket_path(&identity, &to.namespace, &to.name)?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let bucket = call.to_its_end(async move { hub.rename_bucket(&identity, &access, to).await }).await?;
    Ok(json(&document!({ "url": address(&call.origin(), &bucket.path) })))
}

fn tree(mut call: Call<'_>, named: &BucketName, prefix: &str) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Read>(named)?;
    let query = call.query()?;
    let (recursive, limit) = (query.is("recursive"), query.limit()?);
    let page = call.hub().bucket_tree(&access, prefix, recursive, query.get("cursor"), limit)?;
    Ok(super::page(&call, page))
}

#[derive(Deserialize)]
struct Paths {
    paths: Vec<String>,
}

async fn paths(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Read>(named)?;
    let Paths { paths } = call.json().await?;
    Ok(json(&call.hub().bucket_paths(&access, &paths)?))
}

/// 422 if nothing of it was done.
async fn batch(mut call: Call<'_>, named: &BucketName) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Write>(named)?;
    let operations = operations(&call.body().await?)?;
    call.server.node.writable()?;
    let (asked, hub) = (operations.len(), call.hub().clone());
    let edited = async move { hub.edit_bucket(&access, &operations).await };
    let failed = call.to_its_end(edited).await?;
    let done = asked - failed.len();
    let mut response = json(&document!({ "processed": asked, "succeeded": done, "failed": failed }));
    if asked > 0 && done == 0 {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

fn token(mut call: Call<'_>, named: &BucketName, write: bool) -> Result<Response<Body>, Error> {
    let origin = call.origin();
    match write {
        true => give(call.server, &call.bucket::<Write>(named)?, Scope::Write, &origin)?.response(),
        false => give(call.server, &call.bucket::<Read>(named)?, Scope::Read, &origin)?.response(),
    }
}

async fn file(mut call: Call<'_>, named: &BucketName, path: &str) -> Result<Response<Body>, Error> {
    let access = call.bucket::<Read>(named)?;
    let file = call.hub().bucket_file(&access, path)?;
    let place = Place::in_bucket(&call, access.bucket(), file.hash)?;
    let etag = format!("\"{}\"", file.hash);
    if super::xet::asks_for_place(call.request.headers()) {
        let mut response = json(&document!({ "hash": place.hash(), "size": file.size }));
        resolve::name_as(&mut response, path, None, true);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::xet::FILE_INFO));
        headers.insert(header::ETAG, HeaderValue::try_from(etag).map_err(Error::internal)?);
        headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
        place.announce(headers)?;
        return Ok(response);
    }
    let is_head = call.request.head.method == Method::HEAD;
    let (status, range) = match Asked::of(call.request.headers(), &etag, file.size) {
        Asked::Unmodified => (StatusCode::NOT_MODIFIED, None),
        // A range is of a GET's content.
        _ if is_head => (StatusCode::OK, Some(0..file.size)),
        Asked::Whole => (StatusCode::OK, Some(0..file.size)),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Asked::Nothing => return Err(Error::NoSuchRange { size: file.size }),
    };
    let body = match &range {
        Some(range) if !is_head => bytes(&call, &file, range.clone()).await?,
        _ => Body::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(range) = range {
        resolve::describe(&mut response, &range, file.size, status);
    }
    let download = call.query()?.is("download");
    resolve::name_as(&mut response, path, file.content_type.as_deref(), download);
    let etag = HeaderValue::try_from(etag).map_err(Error::internal)?;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag.clone());
    headers.insert(LINKED_ETAG, etag);
    headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
    place.announce(headers)?;
    Ok(response)
}

async fn bytes(call: &Call<'_>, file: &BucketFile, range: Range<u64>) -> Result<Body, Error> {
    let stream = call.hub().bucket_bytes(file, range).await?;
    Ok(stream.map_or_else(Body::empty, |stream| Body::object(lfs::Body::Xet(Box::new(stream)))))
}
