//! Repositories and large files made of others'.

use auth::{Read, Write};
use http::Response;
use hub::HubError;
use hub::copies::{Duplicate, Shared};
use hub::repos::id;
use serde::Deserialize;
use serde_json::json as document;

use super::repos::kind_named;
use super::{Call, json};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn duplicate(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let source = call.access::<Read>(target)?;
    let duplicate: Duplicate = call.json().await?;
    call.server.node.writable()?;
    let (origin, hub) = (call.origin(), call.hub().clone());
    let made = call.to_its_end(async move { hub.duplicate(&identity, source, duplicate).await }).await;
    let repo = made.map_err(|error| match error {
        HubError::Exists { ref path, .. } => {
            Error::Exists { message: error.to_string(), url: format!("{origin}/{path}") }
        }
        other => other.into(),
    })?;
    call.server.node.maintenance.notify_one();
    Ok(json(&document!({
        "url": format!("{origin}/{}", repo.path), "name": id(&repo.path), "id": format!("{:024x}", repo.id.0),
        "filesCopyPending": false,
    })))
}

#[derive(Deserialize)]
struct Sharing {
    target: Named,
    files: Vec<Shared>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
}

/// Asked of the source; where to is in the body.
pub(super) async fn share(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let source = call.access::<Read>(target)?;
    let Sharing { target: Named { kind, name }, files } = call.json().await?;
    let path = call.hub().path_of(&identity, kind_named(kind.as_deref())?, &name, None);
    let to = call.access::<Write>(&Target { path: path.ok(), dot_git: false })?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let failed = call.to_its_end(async move { hub.share(source, to, &files).await }).await?;
    Ok(json(&document!({ "failed": failed })))
}
