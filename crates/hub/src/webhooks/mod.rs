//! Webhooks: addresses of other programs that are told of what happens to repositories. Each is one user's, who is told
//! what they may see, decided anew when it is sent. Nothing is sent here: the server does, with what [`Hub::webhook_payload`] gives.

mod payload;

use auth::{Identity, Principal};
use database::{
    Delivery, DeliveryId, DeliveryState, Found, NewWebhook, RepoKind, RepoPath, TokenRole,
    WEBHOOK_WATCHED_MAX, Watch, Watched, Webhook, WebhookDomains, WebhookEdit, WebhookError, WebhookId,
    WebhookState,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::at::shown;
use crate::dates::iso;
use crate::listing::Page;
use crate::repos::{id as repo_id, kind_name};
use crate::{Hub, HubError};

pub use payload::Told;

/// It goes into a header.
const SECRET_BYTES_MAX: usize = 256;
pub const URL_BYTES_MAX: usize = 2048;
/// Deliveries on a page of the log.
const PAGE: u32 = 50;

/// A webhook that is to be made, or what is to be changed of one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Given {
    pub url: Option<String>,
    /// Clients that change something else send none.
    #[serde(default)]
    pub watched: Vec<Item>,
    pub domains: Option<Vec<String>>,
    pub secret: Option<String>,
    pub job_source_id: Option<String>,
    pub secrets: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct Item {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
}

impl Hub {
    /// Those of whoever asks, oldest first.
    pub fn webhooks(&self, identity: &Identity) -> Result<Value, HubError> {
        let principal = principal(identity)?;
        let all = self.0.database.webhooks(principal.user.id)?;
        all.iter().map(|webhook| self.webhook_document(identity, webhook)).collect()
    }

    pub fn webhook(&self, identity: &Identity, id: &str) -> Result<Value, HubError> {
        let webhook = self.own_webhook(identity, id)?;
        Ok(json!({ "webhook": self.webhook_document(identity, &webhook)? }))
    }

    /// To be asked before anything is done for somebody who makes or changes a webhook.
    pub fn may_have_webhooks(&self, identity: &Identity) -> Result<(), HubError> {
        writer(identity).map(drop)
    }

    /// Whether `given.url` may be called is for the caller to decide.
    pub async fn create_webhook(&self, identity: &Identity, given: Given) -> Result<Value, HubError> {
        let principal = writer(identity)?;
        let edit = self.edit_of(identity, given)?;
        let url = edit.url.ok_or_else(|| HubError::Invalid("a webhook needs a url".to_owned()))?;
        let watched = edit.watched.ok_or_else(|| {
            HubError::Invalid(
                "a webhook needs something to watch, such as {\"type\": \"user\", \"name\": …}".to_owned(),
            )
        })?;
        let domains = edit.domains.unwrap_or(WebhookDomains { repo: true, discussion: true });
        let secret = edit.secret.filter(|secret| !secret.is_empty());
        let new = NewWebhook { owner: principal.user.id, url, secret, domains, watched };
        let webhook = self.0.database.create_webhook(new).await?;
        Ok(json!({ "webhook": self.webhook_document(identity, &webhook)? }))
    }

    /// What is not given stays. As for creation.
    pub async fn edit_webhook(&self, identity: &Identity, id: &str, given: Given) -> Result<Value, HubError> {
        let webhook = self.owned_by_writer(identity, id)?;
        let edit = self.edit_of(identity, given)?;
        let webhook = self.0.database.edit_webhook(webhook.id, edit).await?;
        Ok(json!({ "webhook": self.webhook_document(identity, &webhook)? }))
    }

    pub async fn enable_webhook(
        &self,
        identity: &Identity,
        id: &str,
        enabled: bool,
    ) -> Result<Value, HubError> {
        let webhook = self.owned_by_writer(identity, id)?;
        let webhook = self.0.database.enable_webhook(webhook.id, enabled).await?;
        Ok(json!({ "webhook": self.webhook_document(identity, &webhook)? }))
    }

    pub async fn delete_webhook(&self, identity: &Identity, id: &str) -> Result<(), HubError> {
        let webhook = self.owned_by_writer(identity, id)?;
        match self.0.database.delete_webhook(webhook.id).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// What was sent to a webhook, or waits to be, the latest first. `base` is the address of this hub.
    pub fn webhook_log(
        &self,
        identity: &Identity,
        id: &str,
        cursor: Option<&str>,
        limit: Option<u32>,
        base: &str,
    ) -> Result<Page, HubError> {
        let webhook = self.own_webhook(identity, id)?;
        let before =
            cursor.map(|cursor| delivery_id(cursor, "this cursor is not one of ours")).transpose()?;
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let rows = self.0.database.deliveries(webhook.id, before, limit)?;
        let more = rows.last().filter(|_| rows.len() == limit as usize);
        let cursor = more.map(|last| last.id.to_string());
        let rows = rows.iter().map(|delivery| self.delivery_document(&webhook, delivery, base));
        let rows: Result<Vec<Value>, HubError> = rows.filter_map(Result::transpose).collect();
        Ok(Page { items: rows?, cursor })
    }

    /// Sends an event of the log once more, behind all that waits; returns the name of the new delivery.
    pub async fn replay(&self, identity: &Identity, id: &str, log: &str) -> Result<Value, HubError> {
        let webhook = self.owned_by_writer(identity, id)?;
        let delivery = delivery_id(log, "there is no such delivery")?;
        let again = self.0.database.replay(webhook.id, delivery).await?;
        Ok(json!({ "success": true, "id": again.to_string() }))
    }

    fn edit_of(&self, identity: &Identity, given: Given) -> Result<WebhookEdit, HubError> {
        if given.job_source_id.is_some() || given.secrets.is_some() {
            return Err(HubError::NotImplemented("this hub does not support jobs: give a url".to_owned()));
        }
        if given.watched.len() > WEBHOOK_WATCHED_MAX {
            return Err(HubError::Invalid(format!("a webhook watches {WEBHOOK_WATCHED_MAX} things at most")));
        }
        if given.url.as_ref().is_some_and(|url| url.len() > URL_BYTES_MAX) {
            return Err(HubError::Invalid(format!("a url has {URL_BYTES_MAX} bytes at most")));
        }
        let secret = given.secret.map(secret).transpose()?;
        let domains = given.domains.map(|names| domains(&names)).transpose()?;
        let watched: Result<Vec<Watch>, HubError> =
            given.watched.iter().map(|item| self.watch(identity, item)).collect();
        let watched = Some(watched?).filter(|watched| !watched.is_empty());
        Ok(WebhookEdit { url: given.url, secret, domains, watched })
    }

    /// A repository that may not be seen is as good as none.
    fn watch(&self, identity: &Identity, item: &Item) -> Result<Watch, HubError> {
        let database = &self.0.database;
        let none =
            || HubError::NotFound(format!("there is no {} called {}", shown(&item.kind), shown(&item.name)));
        let kind = match item.kind.as_str() {
            "user" => {
                let user = database.user(&item.name)?.filter(|user| !user.disabled);
                return Ok(Watch::User(user.ok_or_else(none)?.id));
            }
            "org" => return Ok(Watch::Org(database.org(&item.name)?.ok_or_else(none)?.id)),
            "model" => RepoKind::Model,
            "dataset" => RepoKind::Dataset,
            "space" => RepoKind::Space,
            "bucket" => {
                return Err(HubError::NotImplemented(
                    "webhooks of this hub do not watch buckets: they watch users, orgs, models, datasets and Spaces"
                        .to_owned(),
                ));
            }
            _ => {
                let kinds = "what is watched is a user, org, model, dataset or space";
                return Err(HubError::Invalid(kinds.to_owned()));
            }
        };
        let path =
            item.name.split_once('/').and_then(|(namespace, name)| RepoPath::new(kind, namespace, name).ok());
        let repo = match database.find_repo(&path.ok_or_else(none)?)? {
            Some(Found::Repo(repo) | Found::Redirect(repo)) => repo,
            None => return Err(none()),
        };
        let seen = auth::authorize::<auth::Discover>(self.0.settings.auth, identity, repo);
        Ok(Watch::Repo(seen.map_err(|_| none())?.repo_id()))
    }

    fn own_webhook(&self, identity: &Identity, id: &str) -> Result<Webhook, HubError> {
        let principal = principal(identity)?;
        let id = i64::from_str_radix(id, 16).map_err(|_| missing())?;
        let webhook = self.0.database.webhook(WebhookId(id))?;
        webhook.filter(|webhook| webhook.owner == principal.user.id).ok_or_else(missing)
    }

    fn owned_by_writer(&self, identity: &Identity, id: &str) -> Result<Webhook, HubError> {
        writer(identity)?;
        self.own_webhook(identity, id)
    }

    /// Without what may not be seen any more, and without the secret for a token that only reads.
    fn webhook_document(&self, identity: &Identity, webhook: &Webhook) -> Result<Value, HubError> {
        let mut watched = Vec::new();
        for item in self.0.database.watched(webhook.id)? {
            match item {
                Watched::User(name) => watched.push(json!({ "type": "user", "name": name.as_str() })),
                Watched::Org(name) => watched.push(json!({ "type": "org", "name": name.as_str() })),
                Watched::Repo(repo) => {
                    let seen = auth::authorize::<auth::Discover>(self.0.settings.auth, identity, *repo);
                    if let Ok(seen) = seen {
                        let path = &seen.repo().path;
                        watched.push(json!({ "type": kind_name(path.kind), "name": repo_id(path) }));
                    }
                }
            }
        }
        let domains = [("repo", webhook.domains.repo), ("discussion", webhook.domains.discussion)];
        let domains: Vec<&str> =
            domains.into_iter().filter(|(_, is_for)| *is_for).map(|(name, _)| name).collect();
        let secret = webhook.secret.as_deref().filter(|_| writer(identity).is_ok());
        Ok(json!({
            "id": webhook_id(webhook.id),
            "watched": watched,
            "url": webhook.url,
            "domains": domains,
            "secret": secret,
            "disabled": match webhook.state {
                WebhookState::Enabled => Value::Bool(false),
                WebhookState::Disabled => Value::Bool(true),
                WebhookState::Suspended => "suspended-after-failure".into(),
            },
            "job": null,
            "createdAt": iso(webhook.created_ms),
        }))
    }

    /// With what would be sent now. `None`: what happened is none of the owner's business, and they were never told.
    fn delivery_document(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        base: &str,
    ) -> Result<Option<Value>, HubError> {
        let (action, scope) = payload::action_and_scope(&delivery.event.happened);
        let payload = match self.webhook_payload(webhook, &delivery.event, base)? {
            Told::Payload(payload) => payload,
            Told::Hidden if delivery.attempts == 0 => return Ok(None),
            Told::Hidden | Told::Gone => Value::Null,
        };
        Ok(Some(json!({
            "id": delivery.id.to_string(),
            "event": { "id": payload::event_id(delivery.event.id), "action": action, "scope": scope },
            "state": match delivery.state {
                DeliveryState::Waiting => "waiting",
                DeliveryState::Delivered => "delivered",
                DeliveryState::GivenUp => "given-up",
                DeliveryState::Gone => "gone",
                DeliveryState::Dropped => "dropped",
            },
            "createdAt": iso(delivery.queued_ms),
            "attempts": delivery.attempts,
            "triedAt": delivery.tried_ms.map(iso),
            "nextAt": delivery.due_ms.map(iso),
            "status": delivery.status,
            "error": delivery.error,
            "payload": payload,
        })))
    }
}

/// As clients know it.
pub fn webhook_id(id: WebhookId) -> String {
    format!("{:024x}", id.0)
}

fn principal(identity: &Identity) -> Result<&Principal, HubError> {
    Ok(identity.principal().ok_or(auth::Denied::Unauthenticated)?)
}

fn writer(identity: &Identity) -> Result<&Principal, HubError> {
    let principal = principal(identity)?;
    match principal.role {
        TokenRole::Write => Ok(principal),
        TokenRole::Read => {
            Err(HubError::Forbidden("to change webhooks takes a token that may write".to_owned()))
        }
    }
}

fn secret(text: String) -> Result<String, HubError> {
    let is_fit = text.len() <= SECRET_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    match is_fit {
        true => Ok(text),
        false => Err(HubError::Invalid(format!(
            "a secret goes into a header: it has {SECRET_BYTES_MAX} characters at most, all of them visible ASCII"
        ))),
    }
}

fn domains(names: &[String]) -> Result<WebhookDomains, HubError> {
    let mut domains = WebhookDomains { repo: false, discussion: false };
    for name in names {
        match name.as_str() {
            "repo" => domains.repo = true,
            "discussion" => domains.discussion = true,
            _ => return Err(HubError::Invalid("domains are repo and discussion".to_owned())),
        }
    }
    match names.is_empty() {
        false => Ok(domains),
        true => Err(HubError::Invalid("a webhook is for a domain at least: repo or discussion".to_owned())),
    }
}

fn delivery_id(text: &str, otherwise: &'static str) -> Result<DeliveryId, HubError> {
    text.parse().map_err(|_| HubError::NotFound(otherwise.to_owned()))
}

fn missing() -> HubError {
    HubError::NotFound("Webhook not found".to_owned())
}

impl From<WebhookError> for HubError {
    fn from(error: WebhookError) -> HubError {
        let text = error.to_string();
        match error {
            WebhookError::Gone => missing(),
            WebhookError::NoDelivery | WebhookError::NoTarget => HubError::NotFound(text),
            WebhookError::TooMany { .. } | WebhookError::Crowded { .. } => HubError::Forbidden(text),
            WebhookError::Disabled => HubError::Conflict(text),
            WebhookError::Db(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_fit_into_a_header() {
        assert_eq!(secret("s3cret!".to_owned()).unwrap(), "s3cret!");
        assert_eq!(secret(String::new()).unwrap(), "");
        assert!(secret("x".repeat(SECRET_BYTES_MAX)).is_ok());
        for bad in ["a b", "a\r\nX-Evil: 1", "schlüssel", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert!(matches!(secret(bad.to_owned()), Err(HubError::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn domains_by_name() {
        let named =
            |names: &[&str]| domains(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["repo"]).unwrap(), WebhookDomains { repo: true, discussion: false });
        assert_eq!(named(&["discussion", "repo"]).unwrap(), WebhookDomains { repo: true, discussion: true });
        assert!(named(&[]).is_err() && named(&["repo", "papers"]).is_err());
    }
}
