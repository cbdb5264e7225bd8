//! Who likes what.

use auth::Discover;
use http::Response;

use super::{Call, ok, page};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

pub(super) async fn set(mut call: Call<'_>, target: &Target, likes: bool) -> Result<Response<Body>, Error> {
    call.discard().await;
    let visitor = call.visitor(target)?;
    let access = visitor.may::<Discover>(call.server)?;
    call.server.node.writable()?;
    let (hub, identity) = (call.hub().clone(), visitor.identity().clone());
    call.to_its_end(async move { hub.like(&identity, access.repo_id(), likes).await }).await?;
    Ok(ok())
}

pub(super) fn likers(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Discover>(target)?;
    let likers = call.hub().likers(&access, call.query()?.get("cursor"))?;
    Ok(page(&call, likers))
}

pub(super) fn of_user(mut call: Call<'_>, name: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let likes = call.hub().user_likes(&identity, name, call.query()?.get("cursor"))?;
    Ok(page(&call, likes))
}
