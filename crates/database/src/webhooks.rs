//! Who is told of what happens: webhooks, what they watch, and what waits to be sent to them.

use crate::{
    DiscussionNum, DiscussionStatus, Gating, Namespace, Oid, Repo, RepoId, RepoPath, UserId, Visibility,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId(pub i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookEventId(pub i64);

/// Names a delivery for ever, also after a backup was restored and numbers are given once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub ulid::Ulid);

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DeliveryId {
    type Err = ulid::DecodeError;

    fn from_str(text: &str) -> Result<DeliveryId, ulid::DecodeError> {
        ulid::Ulid::from_string(text).map(DeliveryId)
    }
}

/// Webhooks of one user.
pub const WEBHOOKS_MAX: i64 = 100;
/// What one of them watches.
pub const WEBHOOK_WATCHED_MAX: usize = 100;
/// Webhooks that watch the same thing: each is a row when something happens to it.
pub const WEBHOOK_WATCHERS_MAX: i64 = 1000;
/// Deliveries that wait for one webhook; beyond it the oldest are dropped.
pub const WEBHOOK_WAITING_MAX: i64 = 1000;
/// Deliveries that ended and are kept to be looked at, of one webhook.
pub const WEBHOOK_LOG_MAX: i64 = 200;
/// Refs of one change that are told; of a mirror's million the rest is counted.
pub const WEBHOOK_REFS_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub id: WebhookId,
    pub owner: UserId,
    pub url: String,
    /// Sent with each delivery, and the key of its signature.
    pub secret: Option<String>,
    pub domains: WebhookDomains,
    pub state: WebhookState,
    pub created_ms: i64,
}

/// Which events a webhook is for: those of repositories, of discussions, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookDomains {
    pub repo: bool,
    pub discussion: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookState {
    Enabled,
    Disabled,
    /// By the hub, after too many failures.
    Suspended,
}

/// By id, so that a new name changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// All repositories of a user.
    User(UserId),
    /// All of an organisation.
    Org(crate::OrgId),
    Repo(RepoId),
}

/// What is watched, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    User(Namespace),
    Org(Namespace),
    Repo(Box<Repo>),
}

#[derive(Clone, Debug)]
pub struct NewWebhook {
    pub owner: UserId,
    pub url: String,
    pub secret: Option<String>,
    pub domains: WebhookDomains,
    pub watched: Vec<Watch>,
}

/// What is to be changed; the rest stays.
#[derive(Clone, Debug, Default)]
pub struct WebhookEdit {
    pub url: Option<String>,
    /// Empty: none from now on.
    pub secret: Option<String>,
    pub domains: Option<WebhookDomains>,
    pub watched: Option<Vec<Watch>>,
}

/// Something that happened to a repository, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    pub id: WebhookEventId,
    pub at_ms: i64,
    pub repo: RepoId,
    pub path: RepoPath,
    pub visibility: Visibility,
    pub gating: Gating,
    /// The id of the user or organisation it belonged to.
    pub owner: i64,
    /// Of the default branch, afterwards.
    pub head: Option<Oid>,
    pub happened: Happened,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Created,
    Deleted,
    /// From [`WebhookEvent::path`].
    Moved {
        to: RepoPath,
        owner: i64,
    },
    /// The first refs that moved, and how many more did.
    Content {
        refs: Vec<RefMoved>,
        more: u64,
    },
    /// Those that are set have changed.
    Config {
        visibility: Option<Visibility>,
        gating: Option<Gating>,
        discussions_disabled: Option<bool>,
    },
    /// By its first comment, at position 0.
    DiscussionOpened {
        num: DiscussionNum,
        status: DiscussionStatus,
    },
    /// Its title, or its status, which was this afterwards.
    DiscussionChanged {
        num: DiscussionNum,
        status: DiscussionStatus,
    },
    Commented {
        num: DiscussionNum,
        status: DiscussionStatus,
        position: i64,
    },
    /// It was edited or hidden.
    CommentChanged {
        num: DiscussionNum,
        status: DiscussionStatus,
        position: i64,
    },
}

/// Null: absent, before or afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefMoved {
    pub name: String,
    pub old: Oid,
    pub new: Oid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSort {
    Created,
    Deleted,
    Moved,
    Content,
    Config,
    DiscussionOpened,
    DiscussionChanged,
    Commented,
    CommentChanged,
}

/// Where a delivery stands. All but the first are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    Waiting,
    /// The target answered that it has it.
    Delivered,
    /// The target failed, or refused it, too often.
    GivenUp,
    /// What it tells of is there no more.
    Gone,
    /// Too many waited, or the webhook was disabled.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub event: WebhookEvent,
    pub state: DeliveryState,
    pub queued_ms: i64,
    pub attempts: u32,
    /// Of the last attempt.
    pub tried_ms: Option<i64>,
    /// What the target answered last.
    pub status: Option<u16>,
    pub error: Option<String>,
    /// Of the next attempt, if it is the webhook's next.
    pub due_ms: Option<i64>,
}

/// The next delivery of a webhook.
#[derive(Clone, Debug)]
pub struct Sending {
    pub delivery: DeliveryId,
    pub webhook: Webhook,
    pub event: WebhookEvent,
    pub queued_ms: i64,
    /// Of this delivery, so far.
    pub attempts: u32,
    /// Attempts that failed since the target last took something, of whatever delivery.
    pub failures: u32,
    /// Deliveries that were given up since then.
    pub given_up: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub delivery: DeliveryId,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Delivered,
    Again {
        due_ms: i64,
    },
    /// And the next one may be tried from `next_ms` on.
    GiveUp {
        next_ms: i64,
        suspends: bool,
    },
    /// There is nothing left to send.
    Gone,
    /// It is not for this webhook: nothing of it stays, as if nobody had been told that something happened.
    Forget,
}
