//! Branches, tags, commits.

use auth::{Read, Write};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use hub::refs::NewBranch;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Call, json, link_next, ok};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

pub(super) async fn list(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let query = call.query()?;
    let pull_requests = query.is("include_prs") || query.is("include_pull_requests");
    Ok(json(&call.hub().refs(&access, pull_requests).await?))
}

pub(super) async fn commits(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    if is_conversion(call.request.headers()) {
        return Err(Error::NotImplemented(
            "this hub does not convert models to safetensors: convert it and upload that".to_owned(),
        ));
    }
    let query = call.query()?;
    let (page, limit) = (query.number("p")?.unwrap_or(0), query.number("limit")?);
    let formatted = query.all("expand").any(|field| field == "formatted");
    let at = call.hub().at(&access, revision).await?;
    let log = call.hub().log(&at, page, limit, formatted).await?;
    let mut response = json(&log.commits);
    response.headers_mut().insert(TOTAL_COUNT, HeaderValue::from(log.total));
    let shown = page.saturating_mul(limit.unwrap_or(log.commits.len())) + log.commits.len();
    if shown < log.total && !log.commits.is_empty() {
        let (origin, kind) = (call.origin(), super::repos::kind_segment(access.repo().path.kind));
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let formatted = if formatted { "&expand[]=formatted" } else { "" };
        let url = format!(
            "{origin}/api/{kind}/{}/commits/{}?p={}{limit}{formatted}",
            hub::repos::id(&access.repo().path),
            utf8_percent_encode(revision, NON_ALPHANUMERIC),
            page + 1
        );
        link_next(response.headers_mut(), &url);
    }
    Ok(response)
}

/// Of a model without safetensors `transformers` looks for a pull request that has them, and asks for commits then only.
/// Where there is none, it sends the token to a service on the internet which would make one at huggingface.co. It gives
/// up when this fails.
fn is_conversion(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("transformers/"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Branch {
    starting_point: Option<String>,
    #[serde(default)]
    empty_branch: bool,
    #[serde(default)]
    overwrite: bool,
}

pub(super) async fn create_branch(
    mut call: Call<'_>,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let Branch { starting_point, empty_branch: empty, overwrite } = call.json().await?;
    call.server.node.writable()?;
    let new = NewBranch { starting_point, empty, overwrite };
    let (hub, name) = (call.hub().clone(), name.to_owned());
    call.to_its_end(async move { hub.create_branch(access, &name, new).await }).await?;
    Ok(ok())
}

pub(super) async fn delete_branch(
    mut call: Call<'_>,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let (hub, name) = (call.hub().clone(), name.to_owned());
    call.to_its_end(async move { hub.delete_branch(access, &name).await }).await?;
    Ok(ok())
}

#[derive(Deserialize)]
struct Tag {
    tag: String,
    message: Option<String>,
}

pub(super) async fn create_tag(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let Tag { tag, message } = call.json().await?;
    call.server.node.writable()?;
    let (hub, revision) = (call.hub().clone(), revision.to_owned());
    call.to_its_end(async move { hub.create_tag(access, &revision, &tag, message).await }).await?;
    Ok(ok())
}

pub(super) async fn delete_tag(
    mut call: Call<'_>,
    target: &Target,
    name: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let (hub, name) = (call.hub().clone(), name.to_owned());
    call.to_its_end(async move { hub.delete_tag(access, &name).await }).await?;
    Ok(ok())
}

#[derive(Default, Deserialize)]
struct SuperSquash {
    message: Option<String>,
}

pub(super) async fn super_squash(
    mut call: Call<'_>,
    target: &Target,
    branch: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let SuperSquash { message } = call.json().await?;
    call.server.node.writable()?;
    let (hub, branch) = (call.hub().clone(), branch.to_owned());
    call.to_its_end(async move { hub.super_squash(access, &branch, message).await }).await?;
    Ok(ok())
}
