//! Discussions and pull requests.

use auth::{Propose, Read, Write};
use database::DiscussionNum;
use http::Response;
use hub::discussions::{Asked, New};
use serde::Deserialize;
use serde_json::Value;

use super::{Call, json};
use crate::error::Error;
use crate::http::Body;
use crate::hub_route::DiscussionRoute;
use crate::route::Target;

pub(super) async fn dispatch(call: Call<'_>, route: DiscussionRoute) -> Result<Response<Body>, Error> {
    match route {
        DiscussionRoute::List { repo } => list(call, &repo),
        DiscussionRoute::Open { repo } => open(call, &repo).await,
        DiscussionRoute::Details { repo, num } => details(call, &repo, &num).await,
        DiscussionRoute::Comment { repo, num } => comment(call, &repo, &num).await,
        DiscussionRoute::Edit { repo, num, id } => edit(call, &repo, &num, id).await,
        DiscussionRoute::Hide { repo, num, id } => hide(call, &repo, &num, id).await,
        DiscussionRoute::Title { repo, num } => rename(call, &repo, &num).await,
        DiscussionRoute::Status { repo, num } => set_status(call, &repo, &num).await,
        DiscussionRoute::Merge { repo, num } => merge(call, &repo, &num).await,
    }
}

/// Asked for only after the repository, so that what cannot be a number tells no more than one that there is not.
fn number(text: &str) -> Result<DiscussionNum, Error> {
    text.parse()
        .map_err(|_| Error::Missing("there is no such discussion: it is named by its number".to_owned()))
}

fn list(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let query = call.query()?;
    let text = |name: &str| query.get(name).map(str::to_owned);
    let asked = Asked {
        page: query.number("p")?.unwrap_or(0),
        limit: query.number("limit")?,
        kind: text("type"),
        status: text("status"),
        author: text("author"),
    };
    Ok(json(&call.hub().discussions(&access, &asked)?))
}

async fn open(mut call: Call<'_>, target: &Target) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let new: New = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let path = access.repo().path.clone();
    let mut opened = call.to_its_end(async move { hub.open_discussion(&access, new).await }).await?;
    opened["url"] = Value::from(address(&call, &path, &opened["num"]));
    Ok(json(&opened))
}

/// Where people would look at it; clients take the number from there.
pub(super) fn address(call: &Call<'_>, path: &database::RepoPath, num: &impl std::fmt::Display) -> String {
    format!("{}/{path}/discussions/{num}", call.origin())
}

async fn details(mut call: Call<'_>, target: &Target, num: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Read>(target)?;
    let num = number(num)?;
    let with_diff = call.query()?.is("diff");
    Ok(json(&call.hub().discussion(&access, num, with_diff).await?))
}

#[derive(Deserialize)]
struct Comment {
    comment: String,
}

async fn comment(mut call: Call<'_>, target: &Target, num: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let num = number(num)?;
    let Comment { comment } = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let told = call.to_its_end(async move { hub.comment_discussion(&access, num, &comment).await });
    Ok(json(&told.await?))
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

async fn edit(mut call: Call<'_>, target: &Target, num: &str, id: String) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let num = number(num)?;
    let Content { content } = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let told = call.to_its_end(async move { hub.edit_comment(&access, num, &id, &content).await });
    Ok(json(&told.await?))
}

async fn hide(mut call: Call<'_>, target: &Target, num: &str, id: String) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let num = number(num)?;
    call.discard().await;
    let hub = call.hub().clone();
    let told = call.to_its_end(async move { hub.hide_comment(&access, num, &id).await });
    Ok(json(&told.await?))
}

#[derive(Deserialize)]
struct Title {
    title: String,
}

async fn rename(mut call: Call<'_>, target: &Target, num: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let num = number(num)?;
    let Title { title } = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let told = call.to_its_end(async move { hub.rename_discussion(&access, num, &title).await });
    Ok(json(&told.await?))
}

#[derive(Deserialize)]
struct Status {
    status: String,
    comment: Option<String>,
}

async fn set_status(mut call: Call<'_>, target: &Target, num: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Propose>(target)?;
    let num = number(num)?;
    let Status { status, comment } = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let told =
        call.to_its_end(
            async move { hub.set_discussion_status(&access, num, &status, comment.as_deref()).await },
        );
    Ok(json(&told.await?))
}

#[derive(Default, Deserialize)]
struct Merge {
    comment: Option<String>,
}

async fn merge(mut call: Call<'_>, target: &Target, num: &str) -> Result<Response<Body>, Error> {
    let access = call.access::<Write>(target)?;
    let num = number(num)?;
    // Nothing, or null: no comment.
    let merge: Option<Merge> = call.json().await?;
    call.server.node.writable()?;
    let hub = call.hub().clone();
    let comment = merge.unwrap_or_default().comment;
    let told = call.to_its_end(async move { hub.merge_pull(access, num, comment.as_deref()).await }).await?;
    call.server.node.maintenance.notify_one();
    Ok(json(&told))
}
