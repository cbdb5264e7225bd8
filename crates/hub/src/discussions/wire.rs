//! What clients parse (`huggingface_hub/community.py`).

use database::{Comment, Discussion, DiscussionEvent, Repo, Said};
use serde_json::{Value, json};

use crate::dates::iso;
use crate::repos::{id, kind_name};

pub(super) fn discussion(repo: &Repo, discussion: &Discussion) -> Value {
    json!({
        "num": discussion.num,
        "title": discussion.title,
        "status": discussion.status.name(),
        "author": author(&discussion.author_name),
        "createdAt": iso(discussion.created_ms),
        "isPullRequest": discussion.pull.is_some(),
        "numComments": discussion.comments,
        "pinned": false,
        "repo": { "name": id(&repo.path), "type": kind_name(repo.path.kind) },
        "repoOwner": { "name": repo.path.namespace.as_str() },
    })
}

pub(super) fn event(discussion: &Discussion, event: &DiscussionEvent) -> Value {
    let (kind, data) = match &event.what {
        Said::Comment(said) => ("comment", comment(event, said)),
        Said::Status(status) => ("status-change", json!({ "status": status.name() })),
        Said::Title { from, to } => ("title-change", json!({ "from": from, "to": to })),
        Said::Commit { oid, subject } => ("commit", json!({ "oid": oid.to_string(), "subject": subject })),
    };
    let mut document = json!({
        "id": event_id(discussion, event.position), "type": kind, "createdAt": iso(event.at_ms), "data": data,
    });
    if let Some(name) = &event.author_name {
        document["author"] = author(name);
    }
    document
}

fn comment(event: &DiscussionEvent, said: &Comment) -> Value {
    let author = event.author_name.as_deref().map(author);
    let version = |text: &str, at_ms: i64| json!({ "raw": text, "html": html(text), "updatedAt": iso(at_ms), "author": author });
    let history = said.history.iter().map(|before| version(&before.text, before.at_ms));
    json!({
        "edited": said.edited_ms.is_some(),
        "hidden": said.hidden,
        "numEdits": said.history.len(),
        "latest": version(&said.text, said.edited_ms.unwrap_or(event.at_ms)),
        "history": history.collect::<Value>(),
    })
}

fn author(name: &str) -> Value {
    json!({ "name": name, "fullname": name, "type": "user", "avatarUrl": "" })
}

/// The text as it is: no mark-up in it counts.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 16);
    html.push_str("<p>");
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' => html.push_str("<br>"),
            c => html.push(c),
        }
    }
    html.push_str("</p>");
    html
}

/// Names an event for ever, as 24 hexadecimal digits: the repository, the discussion, the place in it.
pub(crate) fn event_id(discussion: &Discussion, position: i64) -> String {
    format!("{:08x}{:08x}{position:08x}", discussion.repo.0, discussion.num)
}

/// Where the event is, if it is one of this discussion.
pub(super) fn position(discussion: &Discussion, event: &str) -> Option<i64> {
    let place = event.get(event.len().checked_sub(8)?..)?;
    let position = i64::from_str_radix(place, 16).ok()?;
    (position >= 0 && event_id(discussion, position).eq_ignore_ascii_case(event)).then_some(position)
}

#[cfg(test)]
mod tests {
    use database::{DiscussionStatus, RepoId, UserId};

    use super::*;

    #[test]
    fn events_are_found_by_their_ids() {
        let (status, pull) = (DiscussionStatus::Open, None);
        let (title, author_name) = (String::new(), String::new());
        let (repo, author) = (RepoId(0xabc), UserId(1));
        let at =
            Discussion { repo, num: 7, status, title, author, author_name, created_ms: 0, comments: 1, pull };
        let id = event_id(&at, 300);
        assert_eq!(id, "00000abc000000070000012c");
        assert_eq!(position(&at, &id.to_uppercase()), Some(300));
        let other = Discussion { num: 8, ..at.clone() };
        assert_eq!(position(&other, &id), None);
        for bad in
            ["", "2c", "é0000abc000000070000012c", "00000abc00000007ffffffffé", "00000abc00000007+000012c"]
        {
            assert_eq!(position(&at, bad), None, "{bad}");
        }
        assert_eq!(html("<script>\n&'\""), "<p>&lt;script&gt;<br>&amp;&#39;&quot;</p>");
    }
}
