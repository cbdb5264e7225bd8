//! The settings of webhooks, and what was sent to them.

use ::hub::webhooks::Given;
use http::Response;

use super::{Call, json, page};
use crate::error::Error;
use crate::http::Body;
use crate::hub_route::WebhookRoute;

pub(super) async fn dispatch(mut call: Call<'_>, route: WebhookRoute) -> Result<Response<Body>, Error> {
    let identity = call.identity()?;
    match route {
        WebhookRoute::List => Ok(json(&call.hub().webhooks(&identity)?)),
        WebhookRoute::Get { id } => Ok(json(&call.hub().webhook(&identity, &id)?)),
        WebhookRoute::Deliveries { id } => {
            let (query, origin) = (call.query()?, call.origin());
            let (cursor, limit) = (query.get("cursor"), query.limit()?);
            let log = call.hub().webhook_log(&identity, &id, cursor, limit, &origin)?;
            Ok(page(&call, log))
        }
        WebhookRoute::Create => {
            let given = given(&mut call, &identity).await?;
            let hub = call.hub().clone();
            let made = async move { hub.create_webhook(&identity, given).await };
            Ok(json(&call.to_its_end(made).await?))
        }
        WebhookRoute::Edit { id } => {
            let given = given(&mut call, &identity).await?;
            let hub = call.hub().clone();
            let edited = async move { hub.edit_webhook(&identity, &id, given).await };
            Ok(json(&call.to_its_end(edited).await?))
        }
        WebhookRoute::Enable { id } => enable(call, identity, id, true).await,
        WebhookRoute::Disable { id } => enable(call, identity, id, false).await,
        WebhookRoute::Delete { id } => {
            let hub = call.hub().clone();
            call.to_its_end(async move { hub.delete_webhook(&identity, &id).await }).await?;
            Ok(json(&serde_json::json!({ "success": true })))
        }
        WebhookRoute::Replay { id, delivery } => {
            call.discard().await;
            call.server.node.writable()?;
            let hub = call.hub().clone();
            let again = async move { hub.replay(&identity, &id, &delivery).await };
            Ok(json(&call.to_its_end(again).await?))
        }
    }
}

/// A url is looked at before anything is written: whoever asks is told what is wrong with it. Names are looked up for
/// nobody else than those who may have webhooks.
async fn given(call: &mut Call<'_>, identity: &auth::Identity) -> Result<Given, Error> {
    call.hub().may_have_webhooks(identity)?;
    let given: Given = call.json().await?;
    call.server.node.writable()?;
    if let Some(url) = given.url.as_ref().filter(|url| url.len() <= ::hub::webhooks::URL_BYTES_MAX) {
        let checked = call.server.node.webhooks.check(url).await;
        checked.map_err(|refused| Error::Malformed(refused.to_string()))?;
    }
    Ok(given)
}

async fn enable(
    mut call: Call<'_>,
    identity: auth::Identity,
    id: String,
    enabled: bool,
) -> Result<Response<Body>, Error> {
    call.discard().await;
    let hub = call.hub().clone();
    let webhook = async move { hub.enable_webhook(&identity, &id, enabled).await };
    Ok(json(&call.to_its_end(webhook).await?))
}
