//! What a webhook is sent: version 3 of the Hub's payload (`huggingface_hub/_webhooks_payload.py`).

use auth::Access;
use database::{
    Discussion, DiscussionEvent, Gating, Happened, RefMoved, Repo, RepoKind, RepoPath, RepoState, Said,
    Visibility, Webhook, WebhookEvent, WebhookEventId,
};
use serde_json::{Map, Value, json};

use crate::repos::{id, kind_name};
use crate::{Hub, HubError, discussions};

/// What is said to a webhook of an event.
#[derive(Debug, PartialEq)]
pub enum Told {
    Payload(Value),
    /// Whoever made the webhook may not see it, and not that something happened either.
    Hidden,
    /// The repository is gone, and what was said in it.
    Gone,
}

impl Hub {
    /// Decided now, by what the webhook's owner may see now and might have seen then. `base` is the address of this hub.
    pub fn webhook_payload(
        &self,
        webhook: &Webhook,
        event: &WebhookEvent,
        base: &str,
    ) -> Result<Told, HubError> {
        let database = &self.0.database;
        let needed = needed(&event.happened);
        let sees = |repo: &Repo| -> Result<bool, HubError> {
            let access = auth::may_read_as(database, self.0.settings.auth, webhook.owner, repo)?;
            Ok(access.is_some_and(|access| access >= needed))
        };
        let now = database.repo(event.repo)?.filter(|repo| repo.state == RepoState::Live);
        let seen = sees(&as_it_was(event))? && now.as_ref().map_or(Ok(true), sees)?;
        if !seen {
            return Ok(Told::Hidden);
        }
        let talk = match talk_of(&event.happened) {
            None => None,
            Some((num, position)) => {
                let Some(discussion) = database.discussion(event.repo, num)? else {
                    return Ok(Told::Gone);
                };
                let comment = match position {
                    Some(position) => database.discussion_event(event.repo, num, position)?,
                    None => None,
                };
                Some((discussion, comment))
            }
        };
        Ok(Told::Payload(render(webhook, event, talk.as_ref(), base)))
    }
}

/// That a repository is there, and what it is called, is seen by more people than what is in it.
fn needed(happened: &Happened) -> Access {
    match happened {
        Happened::Created | Happened::Deleted | Happened::Moved { .. } | Happened::Config { .. } => {
            Access::Discover
        }
        _ => Access::Read,
    }
}

/// For a decision about what happened then.
fn as_it_was(event: &WebhookEvent) -> Repo {
    Repo {
        id: event.repo,
        path: event.path.clone(),
        visibility: event.visibility,
        state: RepoState::Live,
        head_ref: String::new(),
        generation: 0,
        gc_epoch: 0,
        acl_version: 0,
        mirror: false,
        blob_bytes_max: None,
        lfs_incomplete: false,
        gating: event.gating,
        creator: None,
        created_ms: 0,
    }
}

/// The number of the discussion that it is of, and where in it a comment stands.
fn talk_of(happened: &Happened) -> Option<(i64, Option<i64>)> {
    match *happened {
        Happened::DiscussionOpened { num, .. } => Some((num, Some(0))),
        Happened::DiscussionChanged { num, .. } => Some((num, None)),
        Happened::Commented { num, position, .. } | Happened::CommentChanged { num, position, .. } => {
            Some((num, Some(position)))
        }
        _ => None,
    }
}

pub(super) fn action_and_scope(happened: &Happened) -> (&'static str, &'static str) {
    match happened {
        Happened::Created => ("create", "repo"),
        Happened::Deleted => ("delete", "repo"),
        Happened::Moved { .. } => ("move", "repo"),
        Happened::Content { .. } => ("update", "repo.content"),
        Happened::Config { .. } => ("update", "repo.config"),
        Happened::DiscussionOpened { .. } => ("create", "discussion"),
        Happened::DiscussionChanged { .. } => ("update", "discussion"),
        Happened::Commented { .. } => ("create", "discussion.comment"),
        Happened::CommentChanged { .. } => ("update", "discussion.comment"),
    }
}

pub(super) fn event_id(id: WebhookEventId) -> String {
    format!("{:024x}", id.0)
}

/// `talk`: the discussion, and the comment, that the event is about.
fn render(
    webhook: &Webhook,
    event: &WebhookEvent,
    talk: Option<&(Discussion, Option<DiscussionEvent>)>,
    base: &str,
) -> Value {
    let (action, scope) = action_and_scope(&event.happened);
    let mut payload = Map::new();
    payload.insert("event".into(), json!({ "action": action, "scope": scope }));
    payload.insert("repo".into(), repo(event, base));
    if let Some((discussion, comment)) = talk {
        payload.insert("discussion".into(), self::discussion(event, discussion, base));
        if let Some(comment) = comment.as_ref().and_then(|said| self::comment(event, discussion, said, base))
        {
            payload.insert("comment".into(), comment);
        }
    }
    match &event.happened {
        Happened::Moved { to, owner } => {
            payload.insert("movedTo".into(), json!({ "name": id(to), "owner": { "id": object_id(*owner) } }));
        }
        Happened::Content { refs, more } => {
            payload.insert("updatedRefs".into(), refs.iter().map(updated_ref).collect());
            if *more > 0 {
                payload.insert("updatedRefsOmitted".into(), (*more).into());
            }
        }
        Happened::Config { visibility, gating, discussions_disabled } => {
            let config = updated_config(*visibility, *gating, *discussions_disabled);
            payload.insert("updatedConfig".into(), config);
        }
        _ => {}
    }
    payload.insert("webhook".into(), json!({ "id": super::webhook_id(webhook.id), "version": 3 }));
    Value::Object(payload)
}

fn repo(event: &WebhookEvent, base: &str) -> Value {
    let (path, mut fields) = (&event.path, Map::new());
    fields.insert("type".into(), kind_name(path.kind).into());
    fields.insert("name".into(), id(path).into());
    fields.insert("id".into(), object_id(event.repo.0).into());
    fields.insert("private".into(), (event.visibility == Visibility::Private).into());
    fields.insert("url".into(), json!({ "web": web(path, base), "api": api(path, base) }));
    if let Some(head) = event.head {
        fields.insert("headSha".into(), head.to_string().into());
    }
    fields.insert("owner".into(), json!({ "id": object_id(event.owner) }));
    Value::Object(fields)
}

fn discussion(event: &WebhookEvent, discussion: &Discussion, base: &str) -> Value {
    let num = discussion.num;
    let (path, status) = (&event.path, status_then(&event.happened).unwrap_or(discussion.status));
    let mut fields = json!({
        "id": format!("{:012x}{num:012x}", discussion.repo.0),
        "num": num,
        "title": discussion.title,
        "status": status.name(),
        "isPullRequest": discussion.pull.is_some(),
        "author": { "id": object_id(discussion.author.0) },
        "pinned": false,
        "url": {
            "web": format!("{}/discussions/{num}", web(path, base)),
            "api": format!("{}/discussions/{num}", api(path, base)),
        },
    });
    if let Some(pull) = &discussion.pull {
        fields["changes"] = json!({ "base": pull.target });
        if let Some(merged) = pull.merged.filter(|_| status == database::DiscussionStatus::Merged) {
            fields["changes"]["mergeCommitId"] = merged.commit.to_string().into();
        }
    }
    fields
}

/// Afterwards; by now it may be another.
fn status_then(happened: &Happened) -> Option<database::DiscussionStatus> {
    match *happened {
        Happened::DiscussionOpened { status, .. }
        | Happened::DiscussionChanged { status, .. }
        | Happened::Commented { status, .. }
        | Happened::CommentChanged { status, .. } => Some(status),
        _ => None,
    }
}

/// As it is now: of one that was hidden meanwhile nothing is told any more.
fn comment(
    event: &WebhookEvent,
    discussion: &Discussion,
    said: &DiscussionEvent,
    base: &str,
) -> Option<Value> {
    let Said::Comment(comment) = &said.what else { return None };
    let id = discussions::event_id(discussion, said.position);
    let author = said.author.unwrap_or(discussion.author);
    let mut fields = json!({
        "id": id,
        "author": { "id": object_id(author.0) },
        "hidden": comment.hidden,
        "url": { "web": format!("{}/discussions/{}#{id}", web(&event.path, base), discussion.num) },
    });
    if !comment.hidden {
        fields["content"] = comment.text.as_str().into();
    }
    Some(fields)
}

fn updated_ref(moved: &RefMoved) -> Value {
    let sha = |oid: database::Oid| if oid.is_null() { Value::Null } else { oid.to_string().into() };
    json!({ "ref": moved.name, "oldSha": sha(moved.old), "newSha": sha(moved.new) })
}

fn updated_config(
    visibility: Option<Visibility>,
    gating: Option<Gating>,
    discussions_disabled: Option<bool>,
) -> Value {
    let mut config = Map::new();
    if let Some(visibility) = visibility {
        config.insert("private".into(), (visibility == Visibility::Private).into());
    }
    if let Some(gating) = gating {
        let gated = match gating {
            Gating::Off => Value::Bool(false),
            Gating::Auto => "auto".into(),
            Gating::Manual => "manual".into(),
        };
        config.insert("gated".into(), gated);
    }
    if let Some(disabled) = discussions_disabled {
        config.insert("discussionsDisabled".into(), disabled.into());
    }
    Value::Object(config)
}

fn object_id(id: i64) -> String {
    format!("{id:024x}")
}

fn web(path: &RepoPath, base: &str) -> String {
    let kind = match path.kind {
        RepoKind::Model => "",
        RepoKind::Dataset => "datasets/",
        RepoKind::Space => "spaces/",
    };
    format!("{base}/{kind}{}", id(path))
}

fn api(path: &RepoPath, base: &str) -> String {
    format!("{base}/api/{}s/{}", kind_name(path.kind), id(path))
}

#[cfg(test)]
mod tests {
    use database::{
        Comment, DiscussionStatus, Merged, Oid, Pull, RepoId, UserId, WebhookDomains, WebhookId, WebhookState,
    };

    use super::*;

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId(0xab),
            owner: UserId(1),
            url: "http://ci".into(),
            secret: None,
            domains: WebhookDomains { repo: true, discussion: true },
            state: WebhookState::Enabled,
            created_ms: 0,
        }
    }

    fn event(happened: Happened) -> WebhookEvent {
        WebhookEvent {
            id: WebhookEventId(1),
            at_ms: 0,
            repo: RepoId(0x11),
            path: "datasets/Acme/x".parse().unwrap(),
            visibility: Visibility::Private,
            gating: Gating::Off,
            owner: 7,
            head: Some(Oid([0xaa; 20])),
            happened,
        }
    }

    fn rendered(happened: Happened, talk: Option<(Discussion, Option<DiscussionEvent>)>) -> Value {
        render(&webhook(), &event(happened), talk.as_ref(), "https://hub")
    }

    /// What all of them have.
    fn frame(action: &str, scope: &str) -> Value {
        json!({
            "event": { "action": action, "scope": scope },
            "repo": {
                "type": "dataset", "name": "Acme/x", "id": "000000000000000000000011", "private": true,
                "url": { "web": "https://hub/datasets/Acme/x", "api": "https://hub/api/datasets/Acme/x" },
                "headSha": "aa".repeat(20), "owner": { "id": "000000000000000000000007" },
            },
            "webhook": { "id": "0000000000000000000000ab", "version": 3 },
        })
    }

    fn with(mut payload: Value, field: &str, value: Value) -> Value {
        payload[field] = value;
        payload
    }

    #[test]
    fn of_repositories() {
        assert_eq!(rendered(Happened::Created, None), frame("create", "repo"));
        assert_eq!(rendered(Happened::Deleted, None), frame("delete", "repo"));
        let moved = Happened::Moved { to: "datasets/Other/y".parse().unwrap(), owner: 8 };
        let to = json!({ "name": "Other/y", "owner": { "id": "000000000000000000000008" } });
        assert_eq!(rendered(moved, None), with(frame("move", "repo"), "movedTo", to));
        let refs = vec![
            RefMoved { name: "refs/heads/main".into(), old: Oid::NULL, new: Oid([1; 20]) },
            RefMoved { name: "refs/tags/v1".into(), old: Oid([2; 20]), new: Oid::NULL },
        ];
        let told = json!([
            { "ref": "refs/heads/main", "oldSha": null, "newSha": "01".repeat(20) },
            { "ref": "refs/tags/v1", "oldSha": "02".repeat(20), "newSha": null },
        ]);
        let whole = with(frame("update", "repo.content"), "updatedRefs", told);
        assert_eq!(rendered(Happened::Content { refs: refs.clone(), more: 0 }, None), whole);
        let cut = with(whole, "updatedRefsOmitted", json!(3));
        assert_eq!(rendered(Happened::Content { refs, more: 3 }, None), cut);
    }

    #[test]
    fn of_settings() {
        let config = |visibility, gating, discussions_disabled| {
            let payload = rendered(Happened::Config { visibility, gating, discussions_disabled }, None);
            assert_eq!(payload["event"], json!({ "action": "update", "scope": "repo.config" }));
            payload["updatedConfig"].clone()
        };
        assert_eq!(config(Some(Visibility::Public), None, None), json!({ "private": false }));
        assert_eq!(
            config(None, Some(Gating::Manual), Some(true)),
            json!({ "gated": "manual", "discussionsDisabled": true })
        );
        assert_eq!(config(None, Some(Gating::Off), None), json!({ "gated": false }));
    }

    #[test]
    fn of_discussions() {
        let merged = Merged { commit: Oid([3; 20]), base: None, head: Oid([4; 20]) };
        let pull = |merged| Some(Pull { target: "refs/heads/main".into(), merged });
        let discussion = Discussion {
            repo: RepoId(0x11),
            num: 5,
            status: DiscussionStatus::Merged,
            title: "A change".into(),
            author: UserId(9),
            author_name: "ada".into(),
            created_ms: 0,
            comments: 1,
            pull: pull(Some(merged)),
        };
        let said = |text: &str, hidden| DiscussionEvent {
            position: 2,
            author: Some(UserId(10)),
            author_name: Some("bob".into()),
            at_ms: 0,
            what: Said::Comment(Comment { text: text.into(), hidden, edited_ms: None, history: vec![] }),
        };
        let told = |status: &str, changes: Value| {
            json!({
                "id": "000000000011000000000005", "num": 5, "title": "A change", "status": status, "isPullRequest": true,
                "author": { "id": "000000000000000000000009" }, "pinned": false, "changes": changes,
                "url": {
                    "web": "https://hub/datasets/Acme/x/discussions/5",
                    "api": "https://hub/api/datasets/Acme/x/discussions/5",
                },
            })
        };
        let change = Happened::DiscussionChanged { num: 5, status: DiscussionStatus::Merged };
        let changes = json!({ "base": "refs/heads/main", "mergeCommitId": "03".repeat(20) });
        let expected = with(frame("update", "discussion"), "discussion", told("merged", changes));
        assert_eq!(rendered(change, Some((discussion.clone(), None))), expected);

        // It was open when this was said.
        let comment = Happened::Commented { num: 5, status: DiscussionStatus::Open, position: 2 };
        let base = json!({ "base": "refs/heads/main" });
        let expected = with(frame("create", "discussion.comment"), "discussion", told("open", base));
        let id = "000000110000000500000002";
        let of_comment = json!({
            "id": id, "author": { "id": "00000000000000000000000a" }, "hidden": false, "content": "hello",
            "url": { "web": format!("https://hub/datasets/Acme/x/discussions/5#{id}") },
        });
        let expected = with(expected, "comment", of_comment);
        assert_eq!(
            rendered(comment.clone(), Some((discussion.clone(), Some(said("hello", false))))),
            expected
        );
        let hidden = rendered(comment, Some((discussion, Some(said("", true)))));
        assert_eq!(hidden["comment"]["hidden"], true);
        assert_eq!(hidden["comment"].get("content"), None);
    }

    #[test]
    fn models_have_no_prefix() {
        let path: RepoPath = "acme/m".parse().unwrap();
        assert_eq!(
            (web(&path, "http://h"), api(&path, "http://h")),
            ("http://h/acme/m".into(), "http://h/api/models/acme/m".into())
        );
    }
}
