//! Trees and paths.

use auth::Read;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderValue, Response, header};
use hub::files::Listing;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::query::Query;
use super::{Call, REPO_COMMIT, json, link_next};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn tree(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
    path: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let query = call.query()?;
    let (recursive, expand) = (query.is("recursive"), query.is("expand"));
    let cursor = query.get("cursor").map(|cursor| BASE64.decode(cursor)).transpose();
    let after = cursor.map_err(|_| Error::BadRequest("this cursor is not one of ours"))?;
    let limit = query.number("limit")?;
    let at = call.hub().at(&access, revision).await?;
    let mut page = call.hub().folder(&at, path, Listing { recursive, expand, after, limit }).await?;
    call.hub().name_xet(&access, &mut page.entries)?;
    let mut response = json(&page.entries);
    if let Some(next) = page.next {
        let (origin, kind) = (call.origin(), super::repos::kind_segment(access.repo().path.kind));
        let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let path = if path.is_empty() { String::new() } else { format!("/{}", quoted(path)) };
        let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        // The next page is one of the same commit, whatever happens to the branch.
        let url = format!(
            "{origin}/api/{kind}/{}/tree/{}{path}?recursive={recursive}&expand={expand}{limit}&cursor={}",
            hub::repos::id(&access.repo().path),
            at.commit,
            BASE64.encode(next)
        );
        link_next(response.headers_mut(), &url);
    }
    response.headers_mut().insert(REPO_COMMIT, commit_header(at.commit));
    Ok(response)
}

#[derive(Default, Deserialize)]
struct Paths {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    expand: bool,
}

pub(super) async fn paths(
    mut call: Call<'_>,
    target: &Target,
    revision: &str,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let content_type = call.request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|value| value.contains("json"));
    let asked = match is_json {
        true => call.json::<Paths>().await?,
        false => {
            let body = call.body().await?;
            let text = std::str::from_utf8(&body).map_err(|_| Error::BadRequest("the form is not text"))?;
            let form = Query::parse(text)?;
            Paths { paths: form.all("paths").map(str::to_owned).collect(), expand: form.is("expand") }
        }
    };
    let at = call.hub().at(&access, revision).await?;
    let mut entries = at.paths(asked.paths, asked.expand).await?;
    call.hub().name_xet(&access, &mut entries)?;
    let mut response = json(&entries);
    response.headers_mut().insert(REPO_COMMIT, commit_header(at.commit));
    Ok(response)
}

pub(super) fn commit_header(commit: database::Oid) -> HeaderValue {
    HeaderValue::try_from(commit.to_string()).expect("because it is hexadecimal")
}
