//! Requests for access to gated repositories.

use auth::{Admin, Discover};
use http::{HeaderValue, Response, StatusCode, header};
use hub::access::{Decision, Decisions, Of, status_name, status_named};
use serde_json::{Map, Value, json as document};

use super::{Call, Query, json, ok, page};
use crate::error::Error;
use crate::http::Body;
use crate::route::Target;

/// Sends a browser back to the repository, whose answers come as a form; others send JSON, or nothing.
pub(super) async fn ask(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let fields = fields(&mut call).await?;
    let visitor = call.visitor(target)?;
    let access = visitor.may::<Discover>(call.server)?;
    call.server.node.writable()?;
    let location = format!("{}/{}", call.origin(), access.repo().path);
    let (hub, identity) = (call.hub().clone(), visitor.identity().clone());
    let asked = async move { hub.ask_for_access(&identity, &access, fields).await };
    let status = call.to_its_end(asked).await?;
    let mut response = json(&document!({ "status": status_name(status) }));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(location).map_err(Error::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

async fn fields(call: &mut Call<'_>) -> Result<Map<String, Value>, Error> {
    let media_type = call.request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match media_type.is_some_and(|media_type| media_type.starts_with("application/json")) {
        true => call.json().await,
        false => {
            let body = call.body().await?;
            let text = std::str::from_utf8(&body).map_err(|_| Error::BadRequest("the form is not text"))?;
            let form = Query::parse(text)?;
            Ok(form.pairs().map(|(name, value)| (name.to_owned(), value.into())).collect())
        }
    }
}

pub(super) fn list(mut call: Call<'_>, target: &Target, status: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    let status = status_named(status).ok_or(Error::NotFound)?;
    let requests = call.hub().access_requests(&access, status, call.query()?.get("cursor"))?;
    Ok(page(&call, requests))
}

pub(super) fn report(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    Ok(json(&call.hub().access_report(&access)?))
}

pub(super) async fn handle(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    let decision: Decision = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    call.to_its_end(async move { hub.decide(&access, decision).await }).await?;
    Ok(ok())
}

pub(super) async fn handle_many(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    let decisions: Decisions = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let told = call.to_its_end(async move { hub.decide_many(&access, decisions).await }).await?;
    Ok(json(&told))
}

pub(super) async fn grant(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Admin>(target)?;
    let of: Of = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    call.to_its_end(async move { hub.grant(&access, &of).await }).await?;
    Ok(ok())
}

pub(super) async fn cancel(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    call.discard().await;
    let visitor = call.visitor(target)?;
    let access = visitor.may::<Discover>(call.server)?;
    let (hub, identity) = (call.hub().clone(), visitor.identity().clone());
    call.to_its_end(async move { hub.withdraw_request(&identity, &access).await }).await?;
    Ok(ok())
}
