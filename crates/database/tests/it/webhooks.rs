//! What webhooks are told: by whom, of what, in which order, and what becomes of it.

use std::time::Duration;

use database::{
    AsOf, Attempt, Change, DeliveryId, DeliveryState, DiscussionEdit, DiscussionStatus, Gating, Happened,
    NewDiscussion, NewWebhook, RefMoved, RepoId, RepoSettings, Sending, Set, Then, UserId, Visibility,
    WEBHOOK_LOG_MAX, WEBHOOK_REFS_MAX, WEBHOOK_WAITING_MAX, WEBHOOKS_MAX, Watch, Watched, Webhook,
    WebhookDomains, WebhookEdit, WebhookError, WebhookState,
};

use crate::support::{Hub, change, create, hub, new_repo, oid, path, update};

const BOTH: WebhookDomains = WebhookDomains { repo: true, discussion: true };
const ADA: UserId = UserId(1);

impl Hub {
    async fn webhook(&self, domains: WebhookDomains, watched: Vec<Watch>) -> Webhook {
        let new = NewWebhook { owner: ADA, url: "http://ci/".into(), secret: None, domains, watched };
        self.db.create_webhook(new).await.unwrap()
    }

    /// All that waits, taken one by one.
    async fn told(&self, webhook: &Webhook) -> Vec<Happened> {
        let mut told = Vec::new();
        while let Some(sending) = self.db.next_delivery(webhook.id).unwrap() {
            self.end(sending.delivery, Then::Delivered).await;
            told.push(sending.event.happened);
        }
        self.assert_sound();
        told
    }

    async fn end(&self, delivery: DeliveryId, then: Then) {
        let (status, error) = (Some(200), None);
        self.db.end_attempt(Attempt { delivery, status, error, then }).await.unwrap();
    }

    fn next(&self, webhook: &Webhook) -> Sending {
        self.db.next_delivery(webhook.id).unwrap().unwrap()
    }

    fn is_due(&self, webhook: &Webhook) -> bool {
        self.db.webhooks_due(10).unwrap().contains(&(webhook.id, webhook.owner))
    }

    /// Makes and deletes a branch, `times` times: two events each.
    async fn move_refs(&self, times: u32) {
        for _ in 0..times {
            self.apply(vec![create("refs/heads/x", oid(1))]).await;
            self.apply(vec![update("refs/heads/x", oid(1), database::Oid::NULL)]).await;
        }
    }

    fn states(&self, webhook: &Webhook) -> Vec<DeliveryState> {
        let log = self.db.deliveries(webhook.id, None, 2000).unwrap();
        log.into_iter().rev().map(|delivery| delivery.state).collect()
    }

    async fn begin_talk(&self) -> i64 {
        let new = NewDiscussion { title: "a title".into(), text: "first".into(), author: ADA };
        self.db.open_discussion(self.repo.id, self.repo().acl_version, new).await.unwrap().num
    }

    async fn say(&self, num: i64, edit: DiscussionEdit) {
        self.db.edit_discussion(self.repo.id, self.repo().acl_version, num, ADA, edit).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_watched_is_told_of() {
    let hub = hub().await;
    let org = hub.db.create_org("lab".parse().unwrap(), Some(ADA)).await.unwrap();
    let of_repo = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    let of_user = hub.webhook(BOTH, vec![Watch::User(ADA)]).await;
    let of_org = hub.webhook(BOTH, vec![Watch::Org(org.id)]).await;
    let twice = hub.webhook(BOTH, vec![Watch::User(ADA), Watch::Repo(hub.repo.id), Watch::User(ADA)]).await;
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    let refs = vec![RefMoved { name: "refs/heads/main".into(), old: database::Oid::NULL, new: oid(1) }];
    let content = Happened::Content { refs, more: 0 };
    let event = hub.next(&of_repo).event;
    assert_eq!(
        (event.repo, &event.path, event.head, event.owner),
        (hub.repo.id, &hub.repo.path, Some(oid(1)), 1)
    );
    for webhook in [&of_repo, &of_user, &twice] {
        assert_eq!(hub.told(webhook).await, vec![content.clone()]);
    }
    assert_eq!(hub.told(&of_org).await, []);

    let other = hub.db.create_repo(new_repo("Acme/other")).await.unwrap();
    for (webhook, expected) in
        [(&of_user, vec![Happened::Created]), (&twice, vec![Happened::Created]), (&of_repo, vec![])]
    {
        assert_eq!(hub.told(webhook).await, expected);
    }
    // Both namespaces are told of a move between them, and who watches the repo still does.
    let moved = hub.db.rename_repo(hub.repo.id, path("lab/model")).await.unwrap();
    let to = Happened::Moved { to: moved.path, owner: org.id.0 };
    for webhook in [&of_repo, &of_user, &of_org, &twice] {
        assert_eq!(hub.told(webhook).await, vec![to.clone()]);
    }
    hub.apply(vec![create("refs/heads/next", oid(2))]).await;
    assert_eq!(
        (hub.told(&of_user).await.len(), hub.told(&of_org).await.len(), hub.told(&of_repo).await.len()),
        (0, 1, 1)
    );
    assert!(hub.db.delete_repo(hub.repo.id, 0).await.unwrap());
    assert_eq!(
        (hub.told(&of_org).await, hub.told(&of_repo).await),
        (vec![Happened::Deleted], vec![Happened::Deleted])
    );
    assert_eq!(hub.db.watched(of_repo.id).unwrap(), []);
    assert!(!hub.db.delete_repo(hub.repo.id, 0).await.unwrap());
    assert_eq!(hub.told(&of_org).await, []);
    assert!(
        matches!(&hub.db.watched(of_org.id).unwrap()[..], [Watched::Org(name)] if name.as_str() == "lab")
    );
    assert!(hub.db.delete_repo(other.id, 0).await.unwrap());
}

#[tokio::test]
async fn settings_that_change_are_told_and_others_are_not() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    let set = async |settings| {
        assert_eq!(
            hub.db.set_repo_settings(hub.repo.id, settings, AsOf::default()).await.unwrap(),
            Set::Done
        );
        hub.told(&webhook).await
    };
    let none = RepoSettings::default();
    let config = |visibility, gating, discussions_disabled| {
        vec![Happened::Config { visibility, gating, discussions_disabled }]
    };
    let public = Some(Visibility::Public);
    assert_eq!(set(RepoSettings { visibility: public, ..none }).await, config(public, None, None));
    assert_eq!(set(RepoSettings { visibility: public, ..none }).await, []);
    let gating = Some(Gating::Auto);
    assert_eq!(set(RepoSettings { visibility: public, gating, ..none }).await, config(None, gating, None));
    let discussions_disabled = Some(true);
    assert_eq!(
        set(RepoSettings { discussions_disabled, gating, ..none }).await,
        config(None, None, discussions_disabled)
    );
}

#[tokio::test]
async fn what_is_said_is_told() {
    let hub = hub().await;
    let webhook = hub.webhook(WebhookDomains { repo: false, discussion: true }, vec![Watch::User(ADA)]).await;
    let only_repos =
        hub.webhook(WebhookDomains { repo: true, discussion: false }, vec![Watch::User(ADA)]).await;
    let num = hub.begin_talk().await;
    hub.say(num, DiscussionEdit::Comment("more".into())).await;
    hub.say(num, DiscussionEdit::Edit { position: 1, text: "better".into() }).await;
    hub.say(num, DiscussionEdit::Title("another".into())).await;
    let (status, comment) = (DiscussionStatus::Closed, Some("so long".into()));
    hub.say(num, DiscussionEdit::Status { status, comment }).await;
    hub.say(num, DiscussionEdit::Hide { position: 0 }).await;
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    let open = DiscussionStatus::Open;
    assert_eq!(
        hub.told(&webhook).await,
        [
            Happened::DiscussionOpened { num, status: open },
            Happened::Commented { num, status: open, position: 1 },
            Happened::CommentChanged { num, status: open, position: 1 },
            Happened::DiscussionChanged { num, status: open },
            Happened::Commented { num, status: open, position: 3 },
            Happened::DiscussionChanged { num, status },
            Happened::CommentChanged { num, status, position: 0 },
        ]
    );
    assert!(matches!(&hub.told(&only_repos).await[..], [Happened::Content { .. }]));
}

#[tokio::test]
async fn what_is_undone_is_not_told() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::User(ADA)]).await;
    hub.conflict(Change {
        acl_version: Some(99),
        ..change(hub.repo.id, vec![create("refs/heads/a", oid(1))])
    })
    .await;
    hub.apply(vec![update("refs/heads/a", oid(7), oid(1))]).await;
    assert!(hub.db.create_repo(new_repo("acme/model")).await.is_err());
    assert!(hub.db.rename_repo(RepoId(99), path("acme/x")).await.is_err());
    assert_eq!(hub.told(&webhook).await, []);
}

#[tokio::test]
async fn of_many_refs_the_first_are_told_and_the_others_counted() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    hub.apply((0..WEBHOOK_REFS_MAX + 3).map(|n| create(&format!("refs/tags/{n}"), oid(1))).collect()).await;
    let told = hub.told(&webhook).await;
    let [Happened::Content { refs, more: 3 }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(refs.len(), WEBHOOK_REFS_MAX);
}

#[tokio::test]
async fn one_after_the_other_under_one_name_each() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    assert!(!hub.is_due(&webhook) && hub.db.next_delivery(webhook.id).unwrap().is_none());
    hub.move_refs(2).await;
    assert!(hub.is_due(&webhook));
    let first = hub.next(&webhook).delivery;
    assert_eq!(hub.next(&webhook).delivery, first);
    let due_ms = hub.clock.now_ms() + 60_000;
    hub.end(first, Then::Again { due_ms }).await;
    let again = hub.next(&webhook);
    assert_eq!((again.delivery, again.attempts, again.failures), (first, 1, 1));
    assert!(!hub.is_due(&webhook), "those behind it wait, too");
    let log = hub.db.deliveries(webhook.id, None, 10).unwrap();
    assert_eq!(log.last().map(|delivery| (delivery.id, delivery.due_ms)), Some((first, Some(due_ms))));
    assert_eq!((log.len(), log[0].due_ms), (4, None));
    let rest = hub.db.deliveries(webhook.id, Some(log[1].id), 10).unwrap();
    assert_eq!(rest, log[2..]);
    hub.clock.advance_ms(60_001);
    assert!(hub.is_due(&webhook));
    hub.end(first, Then::Delivered).await;
    let second = hub.next(&webhook);
    assert!(second.delivery != first && second.failures == 0 && hub.is_due(&webhook));
    // Who asks for the next one now gets it.
    hub.end(second.delivery, Then::Again { due_ms: i64::MAX }).await;
    let edit = WebhookEdit { url: Some("http://ci2/".into()), ..WebhookEdit::default() };
    assert_eq!(hub.db.edit_webhook(webhook.id, edit).await.unwrap().url, "http://ci2/");
    assert!(hub.is_due(&webhook));
    hub.end(second.delivery, Then::Gone).await;
    assert_eq!(hub.states(&webhook)[..2], [DeliveryState::Delivered, DeliveryState::Gone]);
    hub.end(hub.next(&webhook).delivery, Then::Forget).await;
    assert_eq!(hub.states(&webhook).len(), 3, "nothing of it is left");
    hub.told(&webhook).await;
    assert!(!hub.is_due(&webhook));
    assert_eq!(hub.db.stats().unwrap().webhooks_waiting, 0);
}

#[tokio::test]
async fn whoever_waits_for_work_is_told_after_the_commit() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    hub.apply(vec![create("refs/heads/main", oid(1))]).await;
    tokio::time::timeout(Duration::from_secs(5), hub.db.webhooks_queued()).await.unwrap();
    assert!(hub.is_due(&webhook));
    hub.db.delete_webhook(webhook.id).await.unwrap();
    hub.apply(vec![update("refs/heads/main", oid(1), oid(2))]).await;
    let idle = tokio::time::timeout(Duration::from_millis(50), hub.db.webhooks_queued()).await;
    assert!(idle.is_err(), "nobody watches");
}

#[tokio::test]
async fn disabled_it_is_told_nothing() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    hub.move_refs(1).await;
    let disabled = hub.db.enable_webhook(webhook.id, false).await.unwrap();
    assert_eq!(disabled.state, WebhookState::Disabled);
    assert_eq!(hub.states(&webhook), [DeliveryState::Dropped; 2]);
    hub.move_refs(1).await;
    assert_eq!(hub.told(&webhook).await, []);
    let dropped = hub.db.deliveries(webhook.id, None, 1).unwrap()[0].clone();
    let refused = hub.db.replay(webhook.id, dropped.id).await;
    assert!(matches!(refused, Err(WebhookError::Disabled)));
    assert_eq!(hub.db.enable_webhook(webhook.id, true).await.unwrap().state, WebhookState::Enabled);
    let again = hub.db.replay(webhook.id, dropped.id).await.unwrap();
    let sending = hub.next(&webhook);
    assert_eq!((sending.delivery, &sending.event), (again, &dropped.event));
    assert_ne!(again, dropped.id);
    hub.end(again, Then::GiveUp { next_ms: 0, suspends: true }).await;
    assert_eq!(hub.db.webhook(webhook.id).unwrap().unwrap().state, WebhookState::Suspended);
    // It had arrived after all, as its answer says that comes after it was dropped.
    hub.end(dropped.id, Then::Delivered).await;
    assert_eq!(hub.states(&webhook)[1..], [DeliveryState::Delivered, DeliveryState::GivenUp]);
    hub.assert_sound();
    let unknown = hub.db.replay(webhook.id, DeliveryId(ulid::Ulid::new())).await;
    assert!(matches!(unknown, Err(WebhookError::Disabled)));
    hub.db.enable_webhook(webhook.id, true).await.unwrap();
    let unknown = hub.db.replay(webhook.id, DeliveryId(ulid::Ulid::new())).await;
    assert!(matches!(unknown, Err(WebhookError::NoDelivery)));
}

#[tokio::test]
async fn a_webhook_that_is_suspended_drops_what_waits() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    hub.move_refs(2).await;
    hub.end(hub.next(&webhook).delivery, Then::GiveUp { next_ms: 5, suspends: false }).await;
    assert_eq!(hub.next(&webhook).given_up, 1);
    hub.end(hub.next(&webhook).delivery, Then::GiveUp { next_ms: 5, suspends: true }).await;
    use DeliveryState::{Dropped, GivenUp};
    assert_eq!(hub.states(&webhook), [GivenUp, GivenUp, Dropped, Dropped]);
    assert!(!hub.is_due(&webhook));
    hub.assert_sound();
}

#[tokio::test]
async fn what_waits_and_what_is_kept_is_bounded() {
    let hub = hub().await;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id)]).await;
    hub.move_refs(u32::try_from(WEBHOOK_WAITING_MAX / 2).unwrap()).await;
    let oldest = hub.next(&webhook).delivery;
    hub.end(oldest, Then::Again { due_ms: i64::MAX }).await;
    hub.move_refs(2).await;
    assert_ne!(hub.next(&webhook).delivery, oldest);
    assert!(!hub.is_due(&webhook), "a flood does not call a target that fails any sooner");
    // It was under way when it was dropped, and failed.
    let failed = hub.next(&webhook).failures;
    hub.end(oldest, Then::Again { due_ms: i64::MAX - 1 }).await;
    assert_eq!(hub.next(&webhook).failures, failed + 1);
    let of_oldest = hub.db.deliveries(webhook.id, None, 2000).unwrap().pop().unwrap();
    assert_eq!((of_oldest.id, of_oldest.state, of_oldest.attempts), (oldest, DeliveryState::Dropped, 1));
    let states = hub.states(&webhook);
    let waiting = states.iter().filter(|state| **state == DeliveryState::Waiting).count();
    assert_eq!((waiting as i64, states.len() - waiting), (WEBHOOK_WAITING_MAX, 4));
    assert_eq!(hub.db.stats().unwrap().webhooks_waiting, WEBHOOK_WAITING_MAX as u64);
    hub.assert_sound();
    hub.move_refs(u32::try_from(WEBHOOK_LOG_MAX / 2).unwrap()).await;
    let log = hub.db.deliveries(webhook.id, None, 2000).unwrap();
    assert_eq!(log.len() as i64, WEBHOOK_WAITING_MAX + WEBHOOK_LOG_MAX);
    // The very one that has to make room for it.
    let last = log.last().unwrap();
    let again = hub.db.replay(webhook.id, last.id).await.unwrap();
    assert_eq!(hub.db.deliveries(webhook.id, None, 1).unwrap()[0].id, again);
    assert!(hub.db.replay(webhook.id, last.id).await.is_err());
    hub.assert_sound();
    hub.db.enable_webhook(webhook.id, false).await.unwrap();
    assert_eq!(hub.states(&webhook).len() as i64, WEBHOOK_LOG_MAX);
    hub.assert_sound();
    hub.clock.advance_ms(1000);
    let now_ms = hub.clock.now_ms();
    assert_eq!(hub.db.sweep_deliveries(now_ms, 150).await.unwrap(), 150);
    assert_eq!(hub.db.sweep_deliveries(now_ms, 150).await.unwrap(), 50);
    assert_eq!(hub.db.sweep_deliveries(now_ms, 150).await.unwrap(), 0);
    assert_eq!(hub.states(&webhook), []);
    hub.assert_sound();
}

#[tokio::test]
async fn webhooks_are_bounded_and_can_be_changed_and_deleted() {
    let hub = hub().await;
    let bob = hub.db.create_user("bob".parse().unwrap(), false).await.unwrap().id;
    let webhook = hub.webhook(BOTH, vec![Watch::Repo(hub.repo.id), Watch::User(bob)]).await;
    let names = |watched: Vec<Watched>| -> Vec<String> {
        let name = |watched| match watched {
            Watched::User(name) | Watched::Org(name) => name.to_string(),
            Watched::Repo(repo) => repo.path.to_string(),
        };
        watched.into_iter().map(name).collect()
    };
    assert_eq!(names(hub.db.watched(webhook.id).unwrap()), ["Acme/model", "bob"]);
    let edit = WebhookEdit {
        watched: Some(vec![Watch::User(ADA)]),
        domains: Some(WebhookDomains { repo: true, discussion: false }),
        secret: Some("s".into()),
        ..WebhookEdit::default()
    };
    let edited = hub.db.edit_webhook(webhook.id, edit).await.unwrap();
    assert_eq!((edited.secret.as_deref(), edited.domains.discussion), (Some("s"), false));
    assert_eq!(names(hub.db.watched(webhook.id).unwrap()), ["Acme"]);
    let cleared = WebhookEdit { secret: Some(String::new()), ..WebhookEdit::default() };
    assert_eq!(hub.db.edit_webhook(webhook.id, cleared).await.unwrap().secret, None);
    let nowhere = WebhookEdit { watched: Some(vec![Watch::Repo(RepoId(99))]), ..WebhookEdit::default() };
    assert!(matches!(hub.db.edit_webhook(webhook.id, nowhere).await, Err(WebhookError::NoTarget)));
    assert_eq!(names(hub.db.watched(webhook.id).unwrap()), ["Acme"], "it is undone as a whole");

    hub.move_refs(3).await;
    assert!(hub.db.delete_webhook(webhook.id).await.unwrap());
    assert!(!hub.db.delete_webhook(webhook.id).await.unwrap());
    hub.assert_sound();
    for _ in 0..WEBHOOKS_MAX {
        hub.webhook(BOTH, vec![]).await;
    }
    let new =
        NewWebhook { owner: ADA, url: "http://ci/".into(), secret: None, domains: BOTH, watched: vec![] };
    let refused = hub.db.create_webhook(new).await;
    assert!(matches!(refused, Err(WebhookError::TooMany { max: WEBHOOKS_MAX })));
    assert_eq!(hub.db.webhooks(ADA).unwrap().len() as i64, WEBHOOKS_MAX);
    assert_eq!(hub.db.webhooks(bob).unwrap(), []);
}
