//! Discussions and pull requests: what is said about a repository, and the changes that are proposed to it.
//!
//! Texts are data: nothing here renders them. Who may say what is decided by `auth`: everybody with the right to propose
//! opens and comments, authors and those who write change what was said and proposed, those who write merge.

mod wire;

use std::sync::Arc;

use auth::{Authorized, Propose, Read, Right, Write};
use change::PullError;
use database::{
    Discussion, DiscussionEdit, DiscussionError, DiscussionEvent, DiscussionFilter, DiscussionNum,
    DiscussionStatus, NewDiscussion, Pull, Said, pull_ref,
};
use repository::diff::{Limits, Patch};
use repository::edit::{self, Conflicts};
use repository::walk::{self, WalkLimits};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::at::shown;
use crate::{Hub, HubError, blocking};
pub(crate) use wire::event_id;

/// A discussion that is to be opened.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct New {
    pub title: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub pull_request: bool,
}

/// Which discussions to list.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// From 0.
    pub page: usize,
    pub limit: Option<usize>,
    pub kind: Option<String>,
    pub status: Option<String>,
    pub author: Option<String>,
}

/// Of a diff in an answer, which is held in memory.
const DIFF: Limits = Limits {
    file_bytes_max: 1 << 20,
    file_lines_max: 50_000,
    file_lines_compared_max: 50_000,
    files_max: 3000,
    bytes_max: 4 << 20,
    entries_max: 1_000_000,
};
const DIFF_PIECE: usize = 256 << 10;

const TITLE_CHARS_MIN: usize = 3;
const TITLE_CHARS_MAX: usize = 200;
const COMMENT_BYTES_MAX: usize = 64 << 10;
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;
/// How often something is said anew because rights changed meanwhile, which is rare.
const ATTEMPTS_MAX: u32 = 4;
const DISABLED: &str = "Discussions are disabled for this repository";

impl Hub {
    pub fn discussions(&self, access: &Authorized<Read>, asked: &Asked) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let filter = filter(asked)?;
        let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let start = asked.page.saturating_mul(limit);
        let (repo, database) = (access.repo(), &self.0.database);
        let (count, page) = database.discussions(repo.id, &filter, start as u64, limit as u64)?;
        let page: Vec<Value> = page.iter().map(|discussion| wire::discussion(repo, discussion)).collect();
        Ok(json!({ "discussions": page, "count": count, "start": start }))
    }

    /// With everything that was said, and, of a pull request, what stands in the way of a merge; `with_diff`, also what it
    /// changes.
    pub async fn discussion(
        &self,
        access: &Authorized<Read>,
        num: DiscussionNum,
        with_diff: bool,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let found = self.0.database.discussion_events(access.repo_id(), num)?;
        let (discussion, events) = found.ok_or_else(|| missing(num))?;
        let mut document = wire::discussion(access.repo(), &discussion);
        let Value::Object(fields) = &mut document else { return Ok(document) };
        let events = events.iter().map(|event| wire::event(&discussion, event));
        fields.insert("events".to_owned(), events.collect());
        if let Some(pull) = &discussion.pull {
            let mut changes = json!({ "base": pull.target });
            if let Some(merged) = pull.merged {
                changes["mergeCommitId"] = json!(merged.commit.to_string());
            }
            fields.insert("changes".to_owned(), changes);
            let conflicts = self.conflicts(access, &discussion, &pull.target).await?;
            let conflicts = match conflicts.more {
                // There are too many to be told one by one.
                true => json!(true),
                false => json!(conflicts.paths),
            };
            fields.insert("filesWithConflicts".to_owned(), conflicts);
            if with_diff {
                fields.insert("diff".to_owned(), json!(self.diff(access, num, pull).await?));
            }
        }
        Ok(document)
    }

    async fn conflicts(
        &self,
        access: &Authorized<Read>,
        discussion: &Discussion,
        target: &str,
    ) -> Result<Conflicts, HubError> {
        if !discussion.status.is_open() {
            return Ok(Conflicts::default());
        }
        let snapshot = self.snapshot(access.repo()).await?;
        let tip_of = |name: &str| snapshot.find_ref(name).map(|row| row.oid);
        let (Some(ours), Some(theirs)) = (tip_of(target), tip_of(&pull_ref(discussion.num))) else {
            return Ok(Conflicts::default());
        };
        blocking(move || {
            let base = walk::merge_base(&snapshot, &ours, &theirs, &WalkLimits::default())?;
            edit::conflicts(&snapshot, base, [ours, theirs]).map_err(HubError::internal)
        })
        .await
    }

    /// What a pull request changes, or changed, since it left its branch. `None` if its ref is gone.
    async fn diff(
        &self,
        access: &Authorized<Read>,
        num: DiscussionNum,
        pull: &Pull,
    ) -> Result<Option<String>, HubError> {
        let snapshot = self.snapshot(access.repo()).await?;
        let tip_of = |name: &str| snapshot.find_ref(name).map(|row| row.oid);
        let (target, head) = match pull.merged {
            Some(merged) => (merged.base, Some(merged.head)),
            None => (tip_of(&pull.target), tip_of(&pull_ref(num))),
        };
        let Some(head) = head else { return Ok(None) };
        blocking(move || {
            // Of one that is merged, it is where they parted already.
            let base = match target {
                Some(target) => walk::merge_base(&snapshot, &target, &head, &WalkLimits::default())?,
                None => None,
            };
            let tree = |commit: database::Oid| snapshot.commit(&commit).map(|commit| commit.tree);
            let (old, new) = (base.map(tree).transpose()?, tree(head)?);
            let mut patch = Patch::new(Arc::clone(&snapshot), old, Some(new), DIFF)?;
            let mut text = Vec::new();
            while patch.write(DIFF_PIECE, &mut text)? {}
            Ok(Some(String::from_utf8_lossy(&text).into_owned()))
        })
        .await
    }

    pub async fn open_discussion(&self, access: &Authorized<Propose>, new: New) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let title = title(&new.title)?;
        let text = comment(&new.description)?;
        let num = match new.pull_request {
            true => self.0.changes.open_pull(access, title, text).await?,
            false => self.open_talk(access, title, text).await?,
        };
        Ok(json!({ "num": num, "pullRequest": new.pull_request }))
    }

    pub async fn comment_discussion(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        text: &str,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let text = comment(text)?;
        if text.is_empty() {
            return Err(HubError::Invalid("a comment cannot be empty".to_owned()));
        }
        self.existing(access, num)?;
        let event = self.edit_discussion(access, num, DiscussionEdit::Comment(text)).await?;
        self.told(access, num, "newMessage", &event)
    }

    /// By its author alone: nobody speaks for others.
    pub async fn edit_comment(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        id: &str,
        text: &str,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let text = comment(text)?;
        if text.is_empty() {
            return Err(HubError::Invalid("a comment cannot be empty; hide it instead".to_owned()));
        }
        let (position, event) = self.existing_comment(access, num, id)?;
        if event.author != Some(actor(access)?) {
            return Err(HubError::Forbidden("only its author edits a comment".to_owned()));
        }
        let event = self.edit_discussion(access, num, DiscussionEdit::Edit { position, text }).await?;
        self.told(access, num, "updatedComment", &event)
    }

    /// Nothing is left of what it said.
    pub async fn hide_comment(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        id: &str,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let (position, event) = self.existing_comment(access, num, id)?;
        if !event.author.is_some_and(|author| access.may_change_of(author)) {
            return Err(HubError::Forbidden(
                "only its author and who may write to the repository hide a comment".to_owned(),
            ));
        }
        let event = self.edit_discussion(access, num, DiscussionEdit::Hide { position }).await?;
        self.told(access, num, "updatedComment", &event)
    }

    pub async fn rename_discussion(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        new: &str,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let new = title(new)?;
        self.changeable(access, num)?;
        let event = self.edit_discussion(access, num, DiscussionEdit::Title(new)).await?;
        self.told(access, num, "newTitle", &event)
    }

    pub async fn set_discussion_status(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        status: &str,
        text: Option<&str>,
    ) -> Result<Value, HubError> {
        self.may_discuss(access)?;
        let status = match status {
            "open" => DiscussionStatus::Open,
            "closed" => DiscussionStatus::Closed,
            "draft" => DiscussionStatus::Draft,
            _ => return Err(HubError::Invalid("status is open, closed or draft".to_owned())),
        };
        let comment = text.map(comment).transpose()?.filter(|text| !text.is_empty());
        self.changeable(access, num)?;
        let event = self.edit_discussion(access, num, DiscussionEdit::Status { status, comment }).await?;
        self.told(access, num, "newStatus", &event)
    }

    pub async fn merge_pull(
        &self,
        access: Authorized<Write>,
        num: DiscussionNum,
        text: Option<&str>,
    ) -> Result<Value, HubError> {
        self.may_discuss(&access)?;
        let comment = text.map(comment).transpose()?.filter(|text| !text.is_empty());
        let description = self.description(&access, String::new());
        let merged = self.0.changes.merge_pull(access, num, description, comment).await?;
        Ok(json!({ "success": true, "mergeCommitId": merged.commit.to_string() }))
    }

    /// Refused where the owner does not want any.
    pub(crate) fn may_discuss<A: Right>(&self, access: &Authorized<A>) -> Result<(), HubError> {
        match self.0.database.discussions_disabled(access.repo_id())? {
            true => Err(HubError::Forbidden(DISABLED.to_owned())),
            false => Ok(()),
        }
    }

    fn existing<A: Right>(&self, access: &Authorized<A>, num: DiscussionNum) -> Result<Discussion, HubError> {
        self.0.database.discussion(access.repo_id(), num)?.ok_or_else(|| missing(num))
    }

    /// By its author, and by those who write to the repository.
    fn changeable(&self, access: &Authorized<Propose>, num: DiscussionNum) -> Result<(), HubError> {
        match access.may_change_of(self.existing(access, num)?.author) {
            true => Ok(()),
            false => Err(HubError::Forbidden(
                "only its author and who may write to the repository change a discussion".to_owned(),
            )),
        }
    }

    fn existing_comment(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        id: &str,
    ) -> Result<(i64, DiscussionEvent), HubError> {
        let discussion = self.existing(access, num)?;
        let no_comment =
            || HubError::NotFound(format!("there is no comment {} in discussion {num}", shown(id)));
        let position = wire::position(&discussion, id).ok_or_else(no_comment)?;
        let event = self.0.database.discussion_event(access.repo_id(), num, position)?;
        let event = event.filter(|event| matches!(&event.what, Said::Comment(_))).ok_or_else(no_comment)?;
        Ok((position, event))
    }

    async fn edit_discussion(
        &self,
        access: &Authorized<Propose>,
        num: DiscussionNum,
        edit: DiscussionEdit,
    ) -> Result<DiscussionEvent, HubError> {
        let (by, database) = (actor(access)?, &self.0.database);
        for _ in 0..ATTEMPTS_MAX {
            // By the right as it is when it is written.
            let access = access.reauthorize(database)?;
            let (repo, acl_version) = (access.repo_id(), access.acl_version());
            match database.edit_discussion(repo, acl_version, num, by, edit.clone()).await {
                Err(DiscussionError::Moved) => {}
                other => return Ok(other?),
            }
        }
        Err(DiscussionError::Moved.into())
    }

    /// A discussion that proposes no change.
    async fn open_talk(
        &self,
        access: &Authorized<Propose>,
        title: String,
        text: String,
    ) -> Result<DiscussionNum, HubError> {
        let (author, database) = (actor(access)?, &self.0.database);
        for _ in 0..ATTEMPTS_MAX {
            let access = access.reauthorize(database)?;
            let new = NewDiscussion { title: title.clone(), text: text.clone(), author };
            match database.open_discussion(access.repo_id(), access.acl_version(), new).await {
                Err(DiscussionError::Moved) => {}
                other => return Ok(other?.num),
            }
        }
        Err(DiscussionError::Moved.into())
    }

    fn told<A: Right>(
        &self,
        access: &Authorized<A>,
        num: DiscussionNum,
        name: &str,
        event: &DiscussionEvent,
    ) -> Result<Value, HubError> {
        let discussion = self.existing(access, num)?;
        Ok(json!({ name: wire::event(&discussion, event) }))
    }
}

fn actor<A: Right>(access: &Authorized<A>) -> Result<database::UserId, HubError> {
    access.actor().ok_or(HubError::Denied(auth::Denied::Unauthenticated))
}

fn missing(num: DiscussionNum) -> HubError {
    HubError::NotFound(format!("there is no discussion {num} in this repository"))
}

/// One line, without what stands around it.
fn title(text: &str) -> Result<String, HubError> {
    let text = text.trim();
    let chars = text.chars().count();
    match (TITLE_CHARS_MIN..=TITLE_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(HubError::Invalid(format!(
            "a title is one line of {TITLE_CHARS_MIN} to {TITLE_CHARS_MAX} characters, not {chars}"
        ))),
    }
}

/// The title of a pull request that a commit opens: what the commit says, as far as it is one.
pub(crate) fn title_of_commit(summary: &str) -> String {
    let line: String = summary.lines().next().unwrap_or_default().replace(char::is_control, " ");
    let line: String = line.trim().chars().take(TITLE_CHARS_MAX).collect();
    title(&line).unwrap_or_else(|_| "Upload files".to_owned())
}

pub(crate) fn comment(text: &str) -> Result<String, HubError> {
    let text = text.trim();
    match text.len() <= COMMENT_BYTES_MAX {
        true => Ok(text.replace('\0', "")),
        false => Err(HubError::TooLarge(format!(
            "a comment has at most {COMMENT_BYTES_MAX} bytes, and this one has {}; put long texts into a file",
            text.len()
        ))),
    }
}

fn filter(asked: &Asked) -> Result<DiscussionFilter, HubError> {
    use DiscussionStatus::{Closed, Draft, Merged, Open};
    let invalid = |what: &str| Err(HubError::Invalid(what.to_owned()));
    let pulls = match asked.kind.as_deref() {
        None | Some("" | "all") => None,
        Some("discussion") => Some(false),
        Some("pull_request") => Some(true),
        Some(_) => return invalid("type is discussion, pull_request or all"),
    };
    let statuses = match asked.status.as_deref() {
        None | Some("" | "all") => None,
        // What one may still do something about, and the rest.
        Some("open") => Some([Draft, Open]),
        Some("closed") => Some([Closed, Merged]),
        Some("draft") => Some([Draft; 2]),
        Some("merged") => Some([Merged; 2]),
        Some(_) => return invalid("status is open, closed, draft, merged or all"),
    };
    let author = asked.author.as_deref().filter(|author| !author.is_empty()).map(str::to_ascii_lowercase);
    Ok(DiscussionFilter { pulls, statuses, author })
}

impl From<DiscussionError> for HubError {
    fn from(error: DiscussionError) -> HubError {
        let text = error.to_string();
        match error {
            DiscussionError::RepoGone => HubError::RepoNotFound,
            DiscussionError::Moved => HubError::Busy(text),
            DiscussionError::Gone | DiscussionError::NoComment => HubError::NotFound(text),
            DiscussionError::Status(_) => HubError::Conflict(text),
            DiscussionError::Full => HubError::Invalid(text),
            DiscussionError::Db(error) => error.into(),
        }
    }
}

impl From<PullError> for HubError {
    fn from(error: PullError) -> HubError {
        let text = error.to_string();
        match error {
            PullError::Missing(_) => HubError::NotFound(text),
            PullError::Status { .. } | PullError::Conflicts { .. } => HubError::Conflict(text),
            PullError::NoTarget(_)
            | PullError::Unborn(_)
            | PullError::Card(_)
            | PullError::ObjectsMissing(_)
            | PullError::Ref(_)
            | PullError::Edit(_) => HubError::Invalid(text),
            PullError::Locked(_) => HubError::Forbidden(text),
            PullError::Revoked => HubError::Denied(auth::Denied::Forbidden),
            PullError::Contended => HubError::Busy(text),
            PullError::Full => HubError::Full,
            PullError::Internal(source) => HubError::Internal(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        assert_eq!(title("  <b>x</b> ").unwrap(), "<b>x</b>");
        assert_eq!(title(&"é".repeat(200)).unwrap().chars().count(), 200);
        for bad in ["", " ab ", "a\nb c", &"x".repeat(201)] {
            assert!(title(bad).is_err(), "{bad}");
        }
        assert_eq!(title_of_commit("Add x\n\nmore"), "Add x");
        assert_eq!(title_of_commit("ab"), "Upload files");
        assert_eq!(title_of_commit(&"x".repeat(300)).len(), 200);
    }

    #[test]
    fn comments_have_a_bound() {
        assert_eq!(comment(" a ").unwrap(), "a");
        assert!(comment(&"x".repeat(COMMENT_BYTES_MAX)).is_ok());
        assert!(matches!(comment(&"x".repeat(COMMENT_BYTES_MAX + 1)), Err(HubError::TooLarge(_))));
    }
}
