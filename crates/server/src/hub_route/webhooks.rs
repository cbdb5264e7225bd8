//! The routes of webhooks, which are one's own.

use http::Method;

use super::{GET, HubRoute, NOT_FOUND, POST, only};
use crate::route::NoRoute;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookRoute {
    /// `GET /api/settings/webhooks`
    List,
    /// `POST /api/settings/webhooks`
    Create,
    /// `GET /api/settings/webhooks/{id}`
    Get { id: String },
    /// `POST /api/settings/webhooks/{id}`
    Edit { id: String },
    /// `DELETE /api/settings/webhooks/{id}`
    Delete { id: String },
    /// `POST /api/settings/webhooks/{id}/enable`
    Enable { id: String },
    /// `POST /api/settings/webhooks/{id}/disable`
    Disable { id: String },
    /// `GET /api/settings/webhooks/{id}/deliveries`: ours; other hubs show it in a browser only.
    Deliveries { id: String },
    /// `POST /api/settings/webhooks/{id}/replay/{delivery}`
    Replay { id: String, delivery: String },
}

/// `None` if it is none of these; `rest` is behind `/api`.
pub(super) fn api(method: &Method, rest: &[&str]) -> Option<Result<HubRoute, NoRoute>> {
    let ["settings", "webhooks", rest @ ..] = rest else { return None };
    let owned = |id: &str| id.to_owned();
    let (allow, route) = match *rest {
        [] if method == Method::POST => ("GET, HEAD, POST", WebhookRoute::Create),
        [] => ("GET, HEAD, POST", WebhookRoute::List),
        [id] => {
            let id = owned(id);
            let route = match *method {
                Method::POST => WebhookRoute::Edit { id },
                Method::DELETE => WebhookRoute::Delete { id },
                _ => WebhookRoute::Get { id },
            };
            ("GET, HEAD, POST, DELETE", route)
        }
        [id, "enable"] => (POST, WebhookRoute::Enable { id: owned(id) }),
        [id, "disable"] => (POST, WebhookRoute::Disable { id: owned(id) }),
        [id, "deliveries"] => (GET, WebhookRoute::Deliveries { id: owned(id) }),
        [id, "replay", delivery] => (POST, WebhookRoute::Replay { id: owned(id), delivery: owned(delivery) }),
        _ => return Some(Err(NOT_FOUND)),
    };
    Some(only(method, allow, HubRoute::Webhooks(route)))
}

impl WebhookRoute {
    pub(super) fn takes_a_body(&self) -> bool {
        matches!(self, WebhookRoute::Create | WebhookRoute::Edit { .. })
    }
}

super::labels! {
    WebhookRoute:
    List => "hub.webhooks",
    Create => "hub.webhook.create",
    Get => "hub.webhook",
    Edit => "hub.webhook.edit",
    Delete => "hub.webhook.delete",
    Enable => "hub.webhook.enable",
    Disable => "hub.webhook.disable",
    Deliveries => "hub.webhook.deliveries",
    Replay => "hub.webhook.replay",
}
