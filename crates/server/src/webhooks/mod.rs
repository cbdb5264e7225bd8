//! Webhooks on their way out. What is to be sent is in the rows, in the same transaction as what it tells of; here it is
//! taken from there, sent, and marked. Whatever ends this process in between, it is sent again, under the same name.
//!
//! One delivery of a webhook is under way at a time, so that events arrive in order and a target that hangs holds up
//! nobody else; and of one user a quarter of all at most.

pub(crate) mod guard;
mod schedule;
mod send;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::hub::HubError;
use ::hub::webhooks::{Told, webhook_id};
use bytes::Bytes;
use database::fault::{self, Point};
use database::{Attempt, DbError, Sending, Then, UserId, WebhookId};
use rand::RngExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::boot;
use crate::config::Config;
use crate::error::chain;
use guard::{Guard, Refused, Target};
use schedule::{Before, Outcome};
use send::{Envelope, Sender};

/// What is sent with, and what was counted.
pub struct Webhooks {
    sender: Sender,
    pub counters: Counters,
}

/// Since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub delivered: AtomicU64,
    /// Attempts.
    pub failed: AtomicU64,
    pub given_up: AtomicU64,
    pub withheld: AtomicU64,
    pub suspended: AtomicU64,
}

/// What waits for a time is looked for so often; what is new is not waited for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Webhooks that are due and looked at, so as to find some whose turn it is.
const LOOKED_AT: u32 = 1000;
/// After a failure of this machine's, most likely its disk's.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a stopping server waits for answers. What is cut off is sent again.
const GRACE: Duration = Duration::from_secs(5);

impl Webhooks {
    pub fn new(config: &Config) -> Webhooks {
        let sender = Sender::new(Guard::new(config), config.webhooks.timeout.duration());
        Webhooks { sender, counters: Counters::default() }
    }

    /// Whether a webhook may have this url. A name that has no address yet may get one.
    pub(crate) async fn check(&self, url: &str) -> Result<(), Refused> {
        let target = Target::parse(url)?;
        let resolved = tokio::time::timeout(self.sender.within, self.sender.guard.resolve(&target)).await;
        match resolved {
            Ok(Err(Refused::Unknown(_))) | Err(_) => Ok(()),
            Ok(resolved) => resolved.map(drop),
        }
    }
}

/// Sends what is due until `stop`.
pub(crate) async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut under_way = UnderWay::new(&node.config);
    loop {
        under_way.fill(&node);
        tokio::select! {
            () = stop.cancelled() => break,
            () = node.database.webhooks_queued() => {}
            () = under_way.one_ends() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    let _ = tokio::time::timeout(GRACE, under_way.all_end()).await;
}

/// Deliveries that are being sent.
struct UnderWay {
    tasks: JoinSet<WebhookId>,
    webhooks: HashMap<WebhookId, UserId>,
    max: usize,
    of_one_user_max: usize,
}

impl UnderWay {
    fn new(config: &Config) -> UnderWay {
        let max = config.webhooks.concurrency.get();
        UnderWay { tasks: JoinSet::new(), webhooks: HashMap::new(), max, of_one_user_max: max.div_ceil(4) }
    }

    /// Begins as many as may be; who has waited longest comes first.
    fn fill(&mut self, node: &Arc<Node>) {
        if self.webhooks.len() >= self.max {
            return;
        }
        let due = match node.database.webhooks_due(LOOKED_AT) {
            Ok(due) => due,
            Err(error) => return tracing::error!(%error, "webhooks that are due cannot be listed"),
        };
        for (id, owner) in due {
            let of_owner = self.webhooks.values().filter(|other| **other == owner).count();
            if self.webhooks.len() >= self.max {
                return;
            }
            if self.webhooks.contains_key(&id) || of_owner >= self.of_one_user_max {
                continue;
            }
            self.webhooks.insert(id, owner);
            let node = Arc::clone(node);
            self.tasks.spawn(async move {
                // Its own task, in which a panic ends.
                if let Err(failure) = tokio::spawn(async move { deliver(&node, id).await }).await {
                    tracing::error!(%failure, "a delivery of a webhook ended abnormally");
                }
                id
            });
        }
    }

    /// Waits for ever if there is none.
    async fn one_ends(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(id)) => drop(self.webhooks.remove(&id)),
            // They end in no other way.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    async fn all_end(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn deliver(node: &Node, id: WebhookId) {
    if let Err(error) = try_to_deliver(node, id).await {
        tracing::error!(error = %chain(&error), "a webhook cannot be served; it is tried again");
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    }
}

async fn try_to_deliver(node: &Node, id: WebhookId) -> Result<(), HubError> {
    let Some(sending) = node.database.next_delivery(id)? else { return Ok(()) };
    // What cannot be marked as sent would be sent again and again.
    if node.writable().is_err() {
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        return Ok(());
    }
    let base = boot::url(node.config.server.public_url.as_ref(), node.config.server.listen);
    let payload = match node.hub.webhook_payload(&sending.webhook, &sending.event, &base)? {
        Told::Payload(payload) => Bytes::from(payload.to_string()),
        Told::Hidden => return withhold(node, &sending, Then::Forget, None).await,
        Told::Gone => {
            let why = "the repository is gone, and what was said in it";
            return withhold(node, &sending, Then::Gone, Some(why.to_owned())).await;
        }
    };
    let (webhook, delivery) = (webhook_id(id), sending.delivery.to_string());
    let secret = sending.webhook.secret.as_deref();
    let at_ms = node.clock().now_ms();
    let envelope = Envelope { webhook: &webhook, delivery: &delivery, secret, at_ms };
    let headers = envelope.headers(&payload).map_err(HubError::internal)?;
    fault::point(Point::WebhookSending);
    let answered = node.webhooks.sender.post(&sending.webhook.url, headers, payload).await;
    fault::point(Point::WebhookAnswered);
    let (status, error) = match &answered {
        Ok(status) => (Some(*status), schedule::said(*status)),
        Err(error) => (None, Some(chain(error).to_string())),
    };
    mark(node, &sending, status, error).await?;
    Ok(())
}

/// Nothing is sent.
async fn withhold(node: &Node, sending: &Sending, then: Then, error: Option<String>) -> Result<(), HubError> {
    node.webhooks.counters.withheld.fetch_add(1, Ordering::Relaxed);
    let attempt = Attempt { delivery: sending.delivery, status: None, error, then };
    Ok(node.database.end_attempt(attempt).await?)
}

async fn mark(
    node: &Node,
    sending: &Sending,
    status: Option<u16>,
    error: Option<String>,
) -> Result<(), DbError> {
    let (outcome, now_ms) = (status.map_or(Outcome::Failed, Outcome::Answered), node.clock().now_ms());
    let before = Before {
        age_ms: now_ms - sending.queued_ms,
        attempts: sending.attempts,
        failures: sending.failures,
        given_up: sending.given_up,
    };
    let then = schedule::then(outcome, before, now_ms, rand::rng().random());
    let counters = &node.webhooks.counters;
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    match then {
        Then::Delivered => count(&counters.delivered),
        Then::Again { .. } | Then::Gone | Then::Forget => count(&counters.failed),
        Then::GiveUp { suspends, .. } => {
            count(&counters.failed);
            count(&counters.given_up);
            let (id, error) = (webhook_id(sending.webhook.id), error.as_deref().unwrap_or_default());
            tracing::info!(webhook = id, delivery = %sending.delivery, suspends, error, "a delivery is given up");
            if suspends {
                count(&counters.suspended);
            }
        }
    }
    node.database.end_attempt(Attempt { delivery: sending.delivery, status, error, then }).await
}
