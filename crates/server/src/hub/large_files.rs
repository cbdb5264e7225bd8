//! Large files as their owner sees them, and what repositories take.

use auth::{Read, Write};
use database::{HolderId, Sha256};
use http::Response;
use serde::Deserialize;

use super::{Call, json, link_next, ok};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

const NO_CURSOR: Error = Error::BadRequest("this cursor is not one of ours");

pub(super) async fn list(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let query = call.query()?;
    let after = query.get("cursor").map(str::parse::<Sha256>).transpose().map_err(|_| NO_CURSOR)?;
    let limit = query.number("limit")?;
    let page = call.hub().large_files(&access, after, limit).await?;
    let mut response = json(&page.files);
    if let Some(next) = page.next {
        let (origin, kind) = (call.origin(), super::kind_segment(access.repo().path.kind));
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let id = hub::repos::id(&access.repo().path);
        link_next(
            response.headers_mut(),
            &format!("{origin}/api/{kind}/{id}/lfs-files?cursor={next}{limit}"),
        );
    }
    Ok(response)
}

pub(super) async fn delete(call: Call<'_>, target: &Target, sha256: String) -> Result<Response<Body>, Error> {
    let rewrite_history = call.query()?.is("rewriteHistory");
    remove(call, target, vec![sha256], rewrite_history).await
}

#[derive(Deserialize)]
struct Batch {
    deletions: Deletions,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletions {
    sha: Vec<String>,
    #[serde(default)]
    rewrite_history: bool,
}

pub(super) async fn batch(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    // Decided before the body is read, and again for what is in it.
    call.access::<Write>(target)?;
    let Batch { deletions: Deletions { sha, rewrite_history } } = call.json().await?;
    remove(call, target, sha, rewrite_history).await
}

async fn remove(
    mut call: Call<'_>,
    target: &Target,
    objects: Vec<String>,
    rewrite_history: bool,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let removal = async move { hub.delete_large_files(&access, &objects, rewrite_history).await };
    call.to_its_end(removal).await?;
    call.server.node.maintenance.notify_one();
    Ok(ok())
}

pub(super) async fn tree_size(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let at = call.hub().at(&access, revision).await?;
    let size = call.hub().tree_size(&at, path).await?;
    let mut response = json(&size);
    response.headers_mut().insert(super::REPO_COMMIT, super::files::commit_header(at.commit));
    Ok(response)
}

pub(super) fn storage(mut call: Call<'_>, organization: Option<&str>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    let after = query.get("cursor").map(str::parse).transpose().map_err(|_| NO_CURSOR)?;
    let (storage, next) = call.hub().storage(&identity, organization, after.map(HolderId::from_code))?;
    let mut response = json(&storage);
    if let Some(next) = next.map(HolderId::code) {
        let path = call.request.head.uri.path();
        let url = format!("{}{path}?cursor={next}", call.origin());
        link_next(response.headers_mut(), &url);
    }
    Ok(response)
}
