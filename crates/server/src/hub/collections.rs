//! Collections of repositories.

use http::Response;
use hub::collections::{Add, Create, Edit, EditItem, Query};
use serde_json::json as document;

use super::{Call, json, ok, page};
use crate::error::Error;
use crate::http::Body;

pub(super) fn list(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let query = call.query()?;
    let all =
        |name: &str| -> Vec<String> { query.all(name).take(LISTED_BY_MAX).map(str::to_owned).collect() };
    let asked = Query {
        owners: all("owner"),
        items: all("item"),
        sort: query.get("sort").map(str::to_owned),
        limit: query.limit()?,
        cursor: query.get("cursor").map(str::to_owned),
    };
    let collections = call.hub().list_collections(&identity, &asked)?;
    Ok(page(&call, collections))
}

/// Owners, or items, of one query.
const LISTED_BY_MAX: usize = 100;

pub(super) async fn create(mut call: Call<'_>) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let create: Create = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let made = call.to_its_end(async move { hub.create_collection(&identity, create).await }).await?;
    Ok(json(&made))
}

pub(super) fn get(mut call: Call<'_>, slug: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    Ok(json(&call.hub().collection(&identity, slug)?))
}

pub(super) async fn edit(mut call: Call<'_>, slug: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let edit: Edit = call.json().await?;
    call.server.node.writable()?;
    let (hub, slug) = (call.hub().clone(), slug.to_owned());
    let edited = async move { hub.edit_collection(&identity, &slug, edit).await };
    let edited = call.to_its_end(edited).await?;
    Ok(json(&document!({ "success": true, "data": edited })))
}

pub(super) async fn delete(mut call: Call<'_>, slug: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let (hub, slug) = (call.hub().clone(), slug.to_owned());
    call.to_its_end(async move { hub.delete_collection(&identity, &slug).await }).await?;
    Ok(ok())
}

pub(super) async fn add(mut call: Call<'_>, slug: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let add: Add = call.json().await?;
    call.server.node.writable()?;
    let (hub, slug) = (call.hub().clone(), slug.to_owned());
    let with = call.to_its_end(async move { hub.add_item(&identity, &slug, add).await }).await?;
    Ok(json(&with))
}

pub(super) async fn edit_item(mut call: Call<'_>, slug: &str, item: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let edit: EditItem = call.json().await?;
    call.server.node.writable()?;
    let (hub, slug, item) = (call.hub().clone(), slug.to_owned(), item.to_owned());
    call.to_its_end(async move { hub.edit_item(&identity, &slug, &item, edit).await }).await?;
    Ok(ok())
}

pub(super) async fn drop_item(mut call: Call<'_>, slug: &str, item: &str) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    let (hub, slug, item) = (call.hub().clone(), slug.to_owned(), item.to_owned());
    call.to_its_end(async move { hub.drop_item(&identity, &slug, &item).await }).await?;
    Ok(ok())
}
