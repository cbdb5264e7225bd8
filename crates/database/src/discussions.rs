//! What people say about a repository, and the changes they propose: discussions and pull requests.

use crate::{Oid, RepoId, UserId};

/// The number of a discussion or pull request among those of its repo, from 1 on.
pub type DiscussionNum = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiscussionStatus {
    /// Of a pull request that is being prepared.
    Draft,
    Open,
    Closed,
    /// Of a pull request; it stays so.
    Merged,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discussion {
    pub repo: RepoId,
    pub num: DiscussionNum,
    pub status: DiscussionStatus,
    pub title: String,
    pub author: UserId,
    pub author_name: String,
    pub created_ms: i64,
    pub comments: u64,
    /// `None`: it proposes no change.
    pub pull: Option<Pull>,
}

/// What makes a discussion a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Full name of the branch that it is for.
    pub target: String,
    pub merged: Option<Merged>,
}

/// How a pull request got into its branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// By this commit.
    pub commit: Oid,
    /// Where it had left the branch; `None` if they had nothing in common.
    pub base: Option<Oid>,
    /// Where its ref was.
    pub head: Oid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscussionEvent {
    pub position: i64,
    /// `None` if nobody in particular did it.
    pub author: Option<UserId>,
    pub author_name: Option<String>,
    pub at_ms: i64,
    pub what: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Comment(Comment),
    Status(DiscussionStatus),
    Title {
        from: String,
        to: String,
    },
    Commit {
        oid: Oid,
        /// The first line of its message.
        subject: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Empty if it is hidden: then nothing is left of it.
    pub text: String,
    pub hidden: bool,
    pub edited_ms: Option<i64>,
    /// What it said before, first version first. Only those who edit are its author.
    pub history: Vec<Version>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub at_ms: i64,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Comment,
    Status,
    Title,
    Commit,
}

/// A discussion that is to be opened.
#[derive(Clone, Debug)]
pub struct NewDiscussion {
    pub title: String,
    /// The first comment.
    pub text: String,
    pub author: UserId,
}

/// A pull request that is to be opened: its ref is made in the same change.
#[derive(Clone, Debug)]
pub struct NewPull {
    pub discussion: NewDiscussion,
    pub status: DiscussionStatus,
    pub target: String,
    /// Where its ref begins.
    pub tip: Oid,
    /// Oldest first.
    pub commits: Vec<NewCommitEvent>,
}

#[derive(Clone, Debug)]
pub struct NewCommitEvent {
    pub oid: Oid,
    pub subject: String,
}

/// What a change of refs does to pull requests, in the same transaction. Refuse with
/// [`crate::Conflict::PullMoved`] if they are not as they were when the change was prepared.
#[derive(Clone, Debug)]
pub enum PullEdit {
    /// Takes the next number.
    Open(NewPull),
    /// The ref of this one moves. Told if it does; refused unless it is a draft, or open.
    Commits { num: DiscussionNum, commits: Vec<NewCommitEvent> },
    /// It is merged by the (only) ref edit of the change. Refused unless it is open, and at `merged.head`.
    Merge { num: DiscussionNum, merged: Merged, comment: Option<String> },
}

/// What is done to a discussion by itself.
#[derive(Clone, Debug)]
pub enum DiscussionEdit {
    Comment(String),
    /// Another text for the comment at this position, whose author does it.
    Edit {
        position: i64,
        text: String,
    },
    Hide {
        position: i64,
    },
    Title(String),
    Status {
        status: DiscussionStatus,
        comment: Option<String>,
    },
}

/// Which discussions to list: newest first.
#[derive(Clone, Debug, Default)]
pub struct DiscussionFilter {
    pub pulls: Option<bool>,
    /// One or the other of these.
    pub statuses: Option<[DiscussionStatus; 2]>,
    /// Folded name.
    pub author: Option<String>,
}

/// More than these events, or bytes of comments, no discussion has: it is read as a whole.
pub const DISCUSSION_EVENTS_MAX: i64 = 5000;
pub const DISCUSSION_BYTES_MAX: i64 = 8 << 20;
/// Old versions of one comment.
pub const COMMENT_EDITS_MAX: i64 = 100;

/// The full name of a pull request's ref.
pub fn pull_ref(num: DiscussionNum) -> String {
    format!("{PULL_REFS}{num}")
}

/// The number in the full name of a ref, if it is one of a pull request.
pub fn pull_of_ref(name: &str) -> Option<DiscussionNum> {
    let digits = name.strip_prefix(PULL_REFS)?;
    let num: DiscussionNum = digits.parse().ok()?;
    // Written in one way only.
    (num > 0 && num.to_string() == digits).then_some(num)
}

const PULL_REFS: &str = "refs/pr/";

impl DiscussionStatus {
    /// Its ref may move.
    pub fn is_open(self) -> bool {
        matches!(self, DiscussionStatus::Draft | DiscussionStatus::Open)
    }

    pub fn name(self) -> &'static str {
        match self {
            DiscussionStatus::Draft => "draft",
            DiscussionStatus::Open => "open",
            DiscussionStatus::Closed => "closed",
            DiscussionStatus::Merged => "merged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_of_refs() {
        assert_eq!(pull_of_ref(&pull_ref(17)), Some(17));
        for name in
            ["refs/pr/", "refs/pr/0", "refs/pr/01", "refs/pr/+1", "refs/pr/-1", "refs/pr/1/a", "refs/heads/1"]
        {
            assert_eq!(pull_of_ref(name), None, "{name}");
        }
        assert_eq!(pull_of_ref("refs/pr/99999999999999999999"), None);
    }
}
