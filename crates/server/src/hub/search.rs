//! Search of everything at once, what trends, and all tags.

use database::RepoKind;
use http::Response;

use super::{Call, json};
use crate::error::Error;
use crate::http::Body;

pub(super) async fn quick(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    // `models` and `model`, one or several.
    let kinds = query.all("type").flat_map(|value| value.split(','));
    let kinds: Vec<String> = kinds.map(|kind| kind.trim_end_matches('s').to_owned()).collect();
    let question = query.get("q").unwrap_or_default();
    Ok(json(&call.hub().quick_search(&identity, question, &kinds, query.limit()?).await?))
}

pub(super) async fn trending(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    let kinds = match query.get("type") {
        None | Some("all") => RepoKind::ALL.to_vec(),
        Some("model") => vec![RepoKind::Model],
        Some("dataset") => vec![RepoKind::Dataset],
        Some("space") => vec![RepoKind::Space],
        Some(_) => return Err(Error::BadRequest("type is all, model, dataset or space")),
    };
    Ok(json(&call.hub().trending(&identity, &kinds, query.limit()?).await?))
}

pub(super) async fn tags(mut call: Call<'_>, kind: RepoKind) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    Ok(json(&call.hub().tags_by_type(&identity, kind, query.get("type")).await?))
}
