//! Repositories as a whole.

use auth::{Admin, Discover, Read, Write};
use database::{Order, RepoKind, RepoPath};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use hub::info::Wanted;
use hub::listing::Query as Asked;
use hub::repos::{Create, Settings, id};
use hub::{HubError, card};
use serde::Deserialize;
use serde_json::{Value, json as document};

use super::{Call, json, ok};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

/// As addresses of the API have it.
pub(crate) fn kind_segment(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "models",
        RepoKind::Dataset => "datasets",
        RepoKind::Space => "spaces",
    }
}

pub(super) fn kind_named(name: Option<&str>) -> Result<RepoKind, Error> {
    match name {
        None | Some("model") => Ok(RepoKind::Model),
        Some("dataset") => Ok(RepoKind::Dataset),
        Some("space") => Ok(RepoKind::Space),
        Some("bucket") => Err(Error::BadRequest("buckets are at /api/buckets")),
        Some("kernel") => {
            Err(Error::NotImplemented("this hub has models, datasets, Spaces and buckets only".to_owned()))
        }
        Some(_) => Err(Error::BadRequest("type is model, dataset or space")),
    }
}

#[derive(Deserialize)]
struct Typed<T> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(flatten)]
    rest: T,
}

pub(super) async fn create(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let Typed { kind, rest } = call.json::<Typed<Create>>().await?;
    let kind = kind_named(kind.as_deref())?;
    call.server.node.writable()?;
    let origin = call.origin();
    let hub = call.hub().clone();
    let made = call.to_its_end(async move { hub.create(&identity, kind, rest).await }).await;
    let repo = made.map_err(|error| match error {
        HubError::Exists { ref path, .. } => {
            Error::Exists { message: error.to_string(), url: format!("{origin}/{path}") }
        }
        other => other.into(),
    })?;
    call.exchange.set_repo(&repo.path);
    call.server.node.maintenance.notify_one();
    let named = id(&repo.path);
    Ok(json(&document!({
        "url": format!("{origin}/{}", repo.path), "name": named, "id": format!("{:024x}", repo.id.0),
    })))
}

#[derive(Deserialize)]
struct Named {
    name: String,
    organization: Option<String>,
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let Typed { kind, rest: Named { name, organization } } = call.json::<Typed<Named>>().await?;
    let kind = kind_named(kind.as_deref())?;
    let path = call.hub().path_of(&identity, kind, &name, organization.as_deref());
    let target = Target { path: path.ok(), dot_git: false };
    let access = call.access::<Admin>(&target)?;
    let hub = call.hub().clone();
    call.to_its_end(async move { hub.delete(&access).await }).await?;
    Ok(ok())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    from_repo: String,
    to_repo: String,
}

pub(super) async fn rename(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let Typed { kind, rest: Move { from_repo, to_repo } } = call.json::<Typed<Move>>().await?;
    if kind.as_deref() == Some("bucket") {
        return super::buckets::rename(call, &from_repo, &to_repo).await;
    }
    let kind = kind_named(kind.as_deref())?;
    let from = call.hub().path_of(&identity, kind, &from_repo, None);
    let to: RepoPath = call.hub().path_of(&identity, kind, &to_repo, None)?;
    let access = call.access::<Admin>(&Target { path: from.ok(), dot_git: false })?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let repo = call.to_its_end(async move { hub.rename(&identity, &access, to).await }).await?;
    call.server.node.maintenance.notify_one();
    Ok(json(&document!({ "url": format!("{}/{}", call.origin(), repo.path) })))
}

pub(super) async fn set(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    let settings: Settings = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let changed = call.to_its_end(async move { hub.set(&access, settings).await }).await;
    // Also if it failed half way.
    if !matches!(changed, Ok(false)) {
        call.server.node.drop_cached_answers();
    }
    changed?;
    Ok(ok())
}

pub(super) fn auth_check(mut call: Call<'_>, target: &Target, write: bool) -> Result<Response<Body>, Error> {
    match write {
        true => drop(call.access::<Write>(target)?),
        false => drop(call.access::<Read>(target)?),
    }
    Ok(ok())
}

pub(super) async fn info(
    mut call: Call<'_>,
    target: &Target,
    revision: Option<&str>,
) -> Result<Response<Body>, Error> {
    let access = call.access::<Discover>(target)?;
    let query = call.query()?;
    let at = match revision {
        Some(revision) => Some(call.hub().at(&access, revision).await?),
        None => call.hub().head(&access).await?,
    };
    let wanted =
        Wanted { expand: query.all("expand").map(str::to_owned).collect(), blobs: query.is("blobs") };
    let mut fields = call.hub().info(&access, at.as_ref(), &wanted).await?;
    if query.is("securityStatus")
        && let Value::Object(fields) = &mut fields
    {
        fields.insert("securityRepoStatus".into(), document!({ "scansDone": false, "filesWithIssues": [] }));
    }
    let mut response = json(&fields);
    if let Some(at) = at {
        response.headers_mut().insert(super::REPO_COMMIT, super::files::commit_header(at.commit));
    }
    Ok(response)
}

/// What a list can be asked for that is not known of any repository here: nothing fits, and the answer says why.
const UNKNOWN: &[(&str, &str)] = &[
    ("num_parameters", "how many parameters models have"),
    ("apps", "which apps run a model"),
    ("inference", "where models are served"),
    ("inference_provider", "where models are served"),
];

const WARNING: HeaderName = HeaderName::from_static("x-hf-warning");

pub(super) async fn list(mut call: Call<'_>, kind: RepoKind) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    let given = |name: &str| query.get(name).is_some_and(|value| !value.is_empty());
    if let Some((_, what)) = UNKNOWN.iter().find(|(name, _)| given(name)) {
        let mut response = json(&document!([]));
        // `huggingface_hub` shows it once per topic, which is what stands before the semicolon.
        let warning = HeaderValue::try_from(format!("Filters; This hub does not know {what}: nothing fits."));
        response.headers_mut().insert(WARNING, warning.map_err(Error::internal)?);
        return Ok(response);
    }
    let commas = |name: &str| -> Vec<String> {
        let values = query.all(name).flat_map(|value| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let prefixed = |name: &'static str, prefix: &'static str| {
        commas(name).into_iter().map(move |value| match value.starts_with(prefix) {
            true => value,
            false => format!("{prefix}{value}"),
        })
    };
    let mut tags = commas("filter");
    for name in ["tags", "library", "pipeline_tag", "task", "other"] {
        tags.extend(commas(name));
    }
    tags.extend(prefixed("trained_dataset", "dataset:"));
    tags.extend(prefixed("license", "license:"));
    match kind {
        RepoKind::Model => tags.extend(commas("language")),
        RepoKind::Dataset | RepoKind::Space => tags.extend(prefixed("language", "language:")),
    }
    let mut terms = Vec::new();
    if kind == RepoKind::Space {
        terms.extend(prefixed("models", "models:"));
        terms.extend(prefixed("datasets", "datasets:"));
        if query.is("linked") {
            terms.push("linked".to_owned());
        }
    }
    let order = match query.get("sort") {
        None => Order::default(),
        Some(name) => hub::listing::order_named(name)
            .ok_or(Error::BadRequest("sort is createdAt, lastModified, downloads, likes or trendingScore"))?,
    };
    let asked = Asked {
        author: query.get("author").map(str::to_owned),
        search: query.all("search").flat_map(hub::search::words).collect(),
        tags,
        terms,
        gated: query.get("gated").map(|_| query.is("gated")),
        order,
        ascending: query.get("direction") == Some("1"),
        limit: query.limit()?,
        cursor: query.get("cursor").map(str::to_owned),
        expand: query.all("expand").map(str::to_owned).collect(),
        full: query.is("full"),
        card_data: query.is("cardData"),
        config: query.is("config") || query.is("fetch_config"),
    };
    let page = call.hub().list(&identity, kind, &asked).await?;
    Ok(super::page(&call, page))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Yaml {
    content: String,
    repo_type: Option<String>,
}

/// Asked before every upload of a README. What is wrong with it is in the answer, whose status says whether anything is.
pub(super) async fn validate_yaml(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let Yaml { content, repo_type } = call.json().await?;
    let kind = kind_named(repo_type.as_deref())?;
    let verdict = tokio::task::spawn_blocking(move || card::validate(content.as_bytes(), kind));
    let verdict = verdict.await.map_err(Error::internal)?;
    let messages =
        |texts: &[String]| -> Value { texts.iter().map(|text| document!({ "message": text })).collect() };
    let mut response = json(&document!({
        "errors": messages(&verdict.errors), "warnings": messages(&verdict.warnings),
    }));
    if !verdict.errors.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The tasks that models are listed by.
pub(super) fn tasks() -> Value {
    let task = |(id, label): &(&str, &str)| {
        (
            (*id).to_owned(),
            document!({ "id": id, "label": label, "datasets": [], "models": [], "spaces": [], "metrics": [] }),
        )
    };
    Value::Object(card::PIPELINES.iter().map(task).collect())
}
