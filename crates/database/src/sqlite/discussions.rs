//! Discussions and pull requests: what is said, and what the changes of refs (`apply`) say in them.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::checksum::{DISCUSSION, DISCUSSION_EDIT, DISCUSSION_EVENT, REPO, Record};
use super::{Database, DbError, DiscussionError, all, webhooks};
use crate::{
    COMMENT_EDITS_MAX, Change, Comment, Conflict, DISCUSSION_BYTES_MAX, DISCUSSION_EVENTS_MAX, Discussion,
    DiscussionEdit, DiscussionEvent, DiscussionFilter, DiscussionNum, DiscussionStatus, EventKind, Expected,
    Happened, Merged, NewCommitEvent, NewDiscussion, NewPull, Oid, Pull, PullEdit, RefEdit, RefOutcome,
    RepoId, Said, UserId, Version, pull_ref,
};

macro_rules! discussion_sql {
    () => {
        "SELECT d.repo_id, d.num, d.status, d.title, d.account_id, u.name, d.created_ms, d.comments, d.target,
                d.merged, d.merged_base, d.merged_head
         FROM discussion d JOIN account u ON u.id = d.account_id "
    };
}

macro_rules! event_sql {
    () => {
        "SELECT e.position, e.kind, e.account_id, u.name, e.at_ms, e.edited_ms, e.edits, e.hidden, e.status, e.oid,
                e.previous, e.text
         FROM discussion_event e LEFT JOIN account u ON u.id = e.account_id "
    };
}

impl Database {
    /// Opens one that proposes no change. The right was decided at `acl_version` of the repo.
    pub async fn open_discussion(
        &self,
        repo: RepoId,
        acl_version: i64,
        new: NewDiscussion,
    ) -> Result<Discussion, DiscussionError> {
        self.write(move |conn, now_ms| {
            check_repo(conn, repo, acl_version)?;
            let num = next_num(conn, repo)?;
            insert(conn, now_ms, repo, num, &new, DiscussionStatus::Open, None)?;
            by_num(conn, repo, num)?.ok_or(DiscussionError::Gone)
        })
        .await
    }

    /// What `by` does to one of them, and the event that it made or changed; with a comment beside a change of status, the
    /// latter. The right was decided at `acl_version` of the repo, for a discussion that had this status.
    pub async fn edit_discussion(
        &self,
        repo: RepoId,
        acl_version: i64,
        num: DiscussionNum,
        by: UserId,
        edit: DiscussionEdit,
    ) -> Result<DiscussionEvent, DiscussionError> {
        self.write(move |conn, now_ms| {
            check_repo(conn, repo, acl_version)?;
            let row = DISCUSSION.record(conn, "repo_id = ?1 AND num = ?2", params![repo, num])?;
            let mut open = Open { conn, now_ms, by: Some(by), row: row.ok_or(DiscussionError::Gone)? };
            let position = open.edit(edit)?;
            event_at(conn, repo, num, position)?.ok_or(DiscussionError::Gone)
        })
        .await
    }

    pub fn discussion(&self, repo: RepoId, num: DiscussionNum) -> Result<Option<Discussion>, DbError> {
        self.read(|conn| by_num(conn, repo, num))
    }

    /// A discussion and all that was said in it, in one state.
    pub fn discussion_events(
        &self,
        repo: RepoId,
        num: DiscussionNum,
    ) -> Result<Option<(Discussion, Vec<DiscussionEvent>)>, DbError> {
        self.0.readers.snapshot(|conn| {
            let Some(discussion) = by_num(conn, repo, num)? else { return Ok(None) };
            let sql = concat!(event_sql!(), "WHERE e.repo_id = ?1 AND e.num = ?2 ORDER BY e.position");
            let rows: Vec<EventRow> = all(conn, sql, params![repo, num], event_row)?;
            let events = rows.into_iter().map(|row| row.into_event(conn, repo, num));
            Ok(Some((discussion, events.collect::<Result<_, _>>()?)))
        })
    }

    pub fn discussion_event(
        &self,
        repo: RepoId,
        num: DiscussionNum,
        position: i64,
    ) -> Result<Option<DiscussionEvent>, DbError> {
        self.0.readers.snapshot(|conn| event_at(conn, repo, num, position))
    }

    /// How many there are, and of those, newest first, `limit` behind the first `offset`. One scan of the repo's.
    pub fn discussions(
        &self,
        repo: RepoId,
        filter: &DiscussionFilter,
        offset: u64,
        limit: u64,
    ) -> Result<(u64, Vec<Discussion>), DbError> {
        let (one, other) = filter.statuses.map_or((None, None), |[one, other]| (Some(one), Some(other)));
        let rows = "WHERE d.repo_id = ?1 AND (?2 IS NULL OR d.status IN (?2, ?3))
                    AND (?4 IS NULL OR (d.target IS NOT NULL) = ?4) AND (?5 IS NULL OR u.folded = ?5) ";
        self.0.readers.snapshot(|conn| {
            let sql =
                format!("SELECT count(*) FROM discussion d JOIN account u ON u.id = d.account_id {rows}");
            let given = params![repo, one, other, filter.pulls, filter.author];
            let count: u64 = conn.prepare_cached(&sql)?.query_row(given, |row| row.get(0))?;
            let sql = [discussion_sql!(), rows, "ORDER BY d.num DESC LIMIT ?6 OFFSET ?7"].concat();
            let offset = i64::try_from(offset).unwrap_or(i64::MAX);
            let given = params![repo, one, other, filter.pulls, filter.author, limit, offset];
            Ok((count, all(conn, &sql, given, discussion)?))
        })
    }

    /// Whether `author` has a pull request whose ref may move.
    pub fn has_open_pull(&self, repo: RepoId, author: UserId) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM discussion WHERE repo_id = ?1 AND account_id = ?2 AND target IS NOT NULL
                   AND status IN (0, 1)";
        self.read(|conn| Ok(conn.prepare_cached(sql)?.exists(params![repo, author])?))
    }
}

/// A discussion that is being changed.
struct Open<'c> {
    conn: &'c Connection,
    now_ms: i64,
    by: Option<UserId>,
    row: Record,
}

impl Open<'_> {
    /// Gives the position of the event that tells of it.
    fn edit(&mut self, edit: DiscussionEdit) -> Result<i64, DiscussionError> {
        match edit {
            DiscussionEdit::Comment(text) => self.comment(&text),
            DiscussionEdit::Edit { position, text } => self.change_comment(position, |open, comment| {
                let (edits, before): (i64, String) = (comment.get("edits")?, comment.get("text")?);
                if edits >= COMMENT_EDITS_MAX {
                    return Err(DiscussionError::Full);
                }
                open.take_room(text.len())?;
                let since: Option<i64> = comment.get("edited_ms")?;
                let since = since.map_or_else(|| comment.get("at_ms"), Ok)?;
                let (repo, num) = open.key()?;
                DISCUSSION_EDIT.insert(open.conn, &[&repo, &num, &position, &edits, &since, &before])?;
                comment.set("edits", edits + 1)?;
                comment.set("edited_ms", open.now_ms)?;
                Ok(comment.set("text", text)?)
            }),
            DiscussionEdit::Hide { position } => self.change_comment(position, |open, comment| {
                let (repo, num) = open.key()?;
                let sql = "DELETE FROM discussion_edit WHERE repo_id = ?1 AND num = ?2 AND position = ?3";
                open.conn.prepare_cached(sql)?.execute(params![repo, num, position])?;
                comment.set("hidden", true)?;
                comment.set("edits", 0)?;
                Ok(comment.set("text", "")?)
            }),
            DiscussionEdit::Title(title) => {
                let before: String = self.row.get("title")?;
                let position = self.tell(EventKind::Title, None, None, Some(&before), &title)?;
                self.row.set("title", title)?;
                self.write()?;
                Ok(position)
            }
            DiscussionEdit::Status { status, comment } => {
                let before: DiscussionStatus = self.row.get("status")?;
                let is_pull = self.row.get::<Option<String>>("target")?.is_some();
                let may_be = match status {
                    DiscussionStatus::Open | DiscussionStatus::Closed => true,
                    DiscussionStatus::Draft => is_pull,
                    DiscussionStatus::Merged => false,
                };
                if before == status || before == DiscussionStatus::Merged || !may_be {
                    return Err(DiscussionError::Status(before));
                }
                if let Some(text) = comment {
                    self.comment(&text)?;
                }
                let position = self.tell(EventKind::Status, Some(status), None, None, "")?;
                self.row.set("status", status)?;
                self.write()?;
                Ok(position)
            }
        }
    }

    fn comment(&mut self, text: &str) -> Result<i64, DiscussionError> {
        self.take_room(text.len())?;
        let position = self.tell(EventKind::Comment, None, None, None, text)?;
        self.row.set("comments", self.now::<i64>("comments")? + 1)?;
        self.write()?;
        Ok(position)
    }

    fn change_comment(
        &mut self,
        position: i64,
        change: impl FnOnce(&mut Self, &mut Record) -> Result<(), DiscussionError>,
    ) -> Result<i64, DiscussionError> {
        let (repo, num) = self.key()?;
        let place = "repo_id = ?1 AND num = ?2 AND position = ?3";
        let comment = DISCUSSION_EVENT.record(self.conn, place, params![repo, num, position])?;
        let mut comment = comment.ok_or(DiscussionError::NoComment)?;
        // A hidden one stays as it is: nothing.
        if comment.get::<EventKind>("kind")? != EventKind::Comment || comment.get::<bool>("hidden")? {
            return Err(DiscussionError::NoComment);
        }
        change(self, &mut comment)?;
        comment.write(self.conn)?;
        self.write()?;
        let status = self.now("status")?;
        self.tell_webhooks(Happened::CommentChanged { num, status, position })?;
        Ok(position)
    }

    /// Of the commits of a pull request those are told for which there is room.
    fn commits(&mut self, commits: &[NewCommitEvent]) -> Result<(), DbError> {
        for NewCommitEvent { oid, subject } in commits {
            match self.tell(EventKind::Commit, None, Some(*oid), None, subject) {
                Ok(_) => {}
                Err(DiscussionError::Full) => break,
                Err(DiscussionError::Db(error)) => return Err(error),
                Err(other) => return Err(DbError::Corrupt(other.to_string())),
            }
        }
        self.write()
    }

    fn take_room(&mut self, bytes: usize) -> Result<(), DiscussionError> {
        let bytes = self.now::<i64>("bytes")? + i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        if bytes > DISCUSSION_BYTES_MAX {
            return Err(DiscussionError::Full);
        }
        Ok(self.row.set("bytes", bytes)?)
    }

    fn tell(
        &mut self,
        kind: EventKind,
        status: Option<DiscussionStatus>,
        oid: Option<Oid>,
        before: Option<&str>,
        text: &str,
    ) -> Result<i64, DiscussionError> {
        let position: i64 = self.now("events")?;
        // How it ends is always told.
        if position >= DISCUSSION_EVENTS_MAX && kind != EventKind::Status {
            return Err(DiscussionError::Full);
        }
        let (repo, num) = self.key()?;
        let (none, nothing) = (None::<i64>, 0);
        let values: [&dyn ToSql; 13] = [
            &repo,
            &num,
            &position,
            &kind,
            &self.by,
            &self.now_ms,
            &none,
            &nothing,
            &false,
            &status,
            &oid,
            &before,
            &text,
        ];
        DISCUSSION_EVENT.insert(self.conn, &values)?;
        self.row.set("events", position + 1)?;
        let status = status.map_or_else(|| self.now("status"), Ok)?;
        let happened = match kind {
            EventKind::Comment if position == 0 => Happened::DiscussionOpened { num, status },
            EventKind::Comment => Happened::Commented { num, status, position },
            EventKind::Title | EventKind::Status => Happened::DiscussionChanged { num, status },
            // The ref that moved is told of.
            EventKind::Commit => return Ok(position),
        };
        self.tell_webhooks(happened)?;
        Ok(position)
    }

    fn tell_webhooks(&self, happened: Happened) -> Result<(), DbError> {
        let repo = self.row.get("repo_id")?;
        webhooks::tell(self.conn, self.now_ms, repo, webhooks::Domain::Discussion, || happened)
    }

    fn key(&self) -> rusqlite::Result<(RepoId, DiscussionNum)> {
        Ok((self.row.get("repo_id")?, self.row.get("num")?))
    }

    /// As it was set last.
    fn now<T: rusqlite::types::FromSql>(&self, column: &str) -> rusqlite::Result<T> {
        self.row.get_new(column)
    }

    fn write(&mut self) -> Result<(), DbError> {
        Ok(self.row.write(self.conn)?)
    }
}

/// The repo lives, and who may do what in it is as it was.
fn check_repo(conn: &Connection, repo: RepoId, acl_version: i64) -> Result<(), DiscussionError> {
    let row = REPO.record(conn, "id = ?1 AND state = 0", [repo])?.ok_or(DiscussionError::RepoGone)?;
    match row.get::<i64>("acl_version")? == acl_version {
        true => Ok(()),
        false => Err(DiscussionError::Moved),
    }
}

/// A ref of that number may be there without a pull request: in a mirror, or after a rebuild.
fn next_num(conn: &Connection, repo: RepoId) -> rusqlite::Result<DiscussionNum> {
    let sql = "SELECT coalesce(max(num), 0) + 1 FROM discussion WHERE repo_id = ?1";
    let mut num: DiscussionNum = conn.prepare_cached(sql)?.query_row([repo], |row| row.get(0))?;
    let mut taken = conn.prepare_cached("SELECT 1 FROM ref WHERE repo_id = ?1 AND name = ?2")?;
    while taken.exists(params![repo, pull_ref(num)])? {
        num += 1;
    }
    Ok(num)
}

/// With its first comment.
fn insert(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    num: DiscussionNum,
    new: &NewDiscussion,
    status: DiscussionStatus,
    target: Option<&str>,
) -> Result<(), DiscussionError> {
    let none = None::<Oid>;
    let values: [&dyn ToSql; 13] =
        [&repo, &num, &status, &new.title, &new.author, &now_ms, &0, &0, &0, &target, &none, &none, &none];
    DISCUSSION.insert(conn, &values)?;
    open(conn, now_ms, repo, num, Some(new.author))?.ok_or(DiscussionError::Gone)?.comment(&new.text)?;
    Ok(())
}

fn open(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    num: DiscussionNum,
    by: Option<UserId>,
) -> Result<Option<Open<'_>>, DbError> {
    let row = DISCUSSION.record(conn, "repo_id = ?1 AND num = ?2", params![repo, num])?;
    Ok(row.map(|row| Open { conn, now_ms, by, row }))
}

/// The ref edits of `change`, with those of the pull requests that it opens, and their numbers.
pub(super) fn with_new_pulls(
    conn: &Connection,
    change: &mut Change,
    pulls: &[PullEdit],
) -> Result<Vec<DiscussionNum>, DbError> {
    let mut nums: Vec<DiscussionNum> = Vec::new();
    for edit in pulls {
        if let PullEdit::Open(NewPull { tip, .. }) = edit {
            let num = match nums.last() {
                None => next_num(conn, change.repo)?,
                Some(last) => last + 1,
            };
            nums.push(num);
            let name = pull_ref(num);
            change.refs.push(RefEdit { name, expected: Expected::Absent, new: *tip, peeled: None });
        }
    }
    Ok(nums)
}

/// Whether the pull requests are as the change takes them to be.
pub(super) fn check_pulls(
    conn: &Connection,
    change: &Change,
    pulls: &[PullEdit],
) -> Result<(), super::ApplyError> {
    for edit in pulls {
        let (num, head) = match edit {
            PullEdit::Open(_) => continue,
            PullEdit::Commits { num, .. } => (num, None),
            PullEdit::Merge { num, merged, .. } => (num, Some(merged.head)),
        };
        let sql = "SELECT status, target IS NOT NULL FROM discussion WHERE repo_id = ?1 AND num = ?2";
        let found: Option<(DiscussionStatus, bool)> = conn
            .prepare_cached(sql)?
            .query_row(params![change.repo, num], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let fits = match (found, head) {
            (Some((status, true)), None) => status.is_open(),
            (Some((status, true)), Some(head)) => {
                let sql = "SELECT oid FROM ref WHERE repo_id = ?1 AND name = ?2";
                let at: Option<Oid> = conn
                    .prepare_cached(sql)?
                    .query_row(params![change.repo, pull_ref(*num)], |row| row.get(0))
                    .optional()?;
                status == DiscussionStatus::Open && at == Some(head)
            }
            _ => false,
        };
        if !fits {
            return Err(Conflict::PullMoved.into());
        }
    }
    Ok(())
}

/// Tells of a change that was made. `nums` are those of [`with_new_pulls`].
pub(super) fn tell_pulls(
    conn: &Connection,
    now_ms: i64,
    change: &Change,
    outcomes: &[RefOutcome],
    pulls: &[PullEdit],
    nums: &[DiscussionNum],
) -> Result<(), DbError> {
    let moved = |name: &str| {
        let edits = change.refs.iter().zip(outcomes);
        edits.into_iter().any(|(edit, outcome)| {
            edit.name == name && matches!(outcome, RefOutcome::Moved { old } if *old != edit.new)
        })
    };
    let (repo, mut nums) = (change.repo, nums.iter());
    for edit in pulls {
        match edit {
            PullEdit::Open(NewPull { discussion, status, target, commits, .. }) => {
                let num =
                    *nums.next().ok_or_else(|| DbError::Corrupt("a pull request lacks a number".into()))?;
                if moved(&pull_ref(num)) {
                    insert(conn, now_ms, repo, num, discussion, *status, Some(target)).map_err(unexpected)?;
                    let mut open = at(conn, now_ms, repo, num, Some(discussion.author))?;
                    open.commits(commits)?;
                }
            }
            PullEdit::Commits { num, commits } if moved(&pull_ref(*num)) => {
                at(conn, now_ms, repo, *num, change.actor)?.commits(commits)?;
            }
            PullEdit::Commits { .. } => {}
            PullEdit::Merge { num, merged, comment } => {
                let mut open = at(conn, now_ms, repo, *num, change.actor)?;
                if let Some(text) = comment {
                    // Without room for it, the merge counts.
                    match open.comment(text) {
                        Ok(_) | Err(DiscussionError::Full) => {}
                        Err(error) => return Err(unexpected(error)),
                    }
                }
                let status = DiscussionStatus::Merged;
                open.tell(EventKind::Status, Some(status), None, None, "").map_err(unexpected)?;
                open.row.set("status", status)?;
                open.row.set("merged", merged.commit)?;
                open.row.set("merged_base", merged.base)?;
                open.row.set("merged_head", merged.head)?;
                open.write()?;
            }
        }
    }
    Ok(())
}

/// One that [`check_pulls`] has seen, or that was just made.
fn at(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    num: DiscussionNum,
    by: Option<UserId>,
) -> Result<Open<'_>, DbError> {
    open(conn, now_ms, repo, num, by)?
        .ok_or_else(|| DbError::Corrupt(format!("there is no discussion {num}")))
}

fn unexpected(error: DiscussionError) -> DbError {
    match error {
        DiscussionError::Db(error) => error,
        other => DbError::Corrupt(other.to_string()),
    }
}

/// All that a repo's discussions are made of.
pub(super) fn forget(conn: &Connection, repo: RepoId) -> rusqlite::Result<()> {
    for table in ["discussion_edit", "discussion_event", "discussion"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE repo_id = ?1"))?.execute([repo])?;
    }
    Ok(())
}

fn by_num(conn: &Connection, repo: RepoId, num: DiscussionNum) -> Result<Option<Discussion>, DbError> {
    let sql = concat!(discussion_sql!(), "WHERE d.repo_id = ?1 AND d.num = ?2");
    Ok(conn.prepare_cached(sql)?.query_row(params![repo, num], discussion).optional()?)
}

fn discussion(row: &Row<'_>) -> rusqlite::Result<Discussion> {
    let target: Option<String> = row.get(8)?;
    let (merged, head): (Option<Oid>, Option<Oid>) = (row.get(9)?, row.get(11)?);
    let base: Option<Oid> = row.get(10)?;
    let merged = merged.zip(head).map(|(commit, head)| Merged { commit, base, head });
    Ok(Discussion {
        repo: row.get(0)?,
        num: row.get(1)?,
        status: row.get(2)?,
        title: row.get(3)?,
        author: row.get(4)?,
        author_name: row.get(5)?,
        created_ms: row.get(6)?,
        comments: row.get(7)?,
        pull: target.map(|target| Pull { target, merged }),
    })
}

struct EventRow {
    event: DiscussionEvent,
    edits: i64,
}

impl EventRow {
    /// With what a comment said before.
    fn into_event(
        self,
        conn: &Connection,
        repo: RepoId,
        num: DiscussionNum,
    ) -> Result<DiscussionEvent, DbError> {
        let EventRow { mut event, edits } = self;
        if let Said::Comment(comment) = &mut event.what
            && edits > 0
        {
            let sql =
                "SELECT at_ms, text FROM discussion_edit WHERE repo_id = ?1 AND num = ?2 AND position = ?3
                       ORDER BY edit";
            comment.history = all(conn, sql, params![repo, num, event.position], |row| {
                Ok(Version { at_ms: row.get(0)?, text: row.get(1)? })
            })?;
        }
        Ok(event)
    }
}

fn event_at(
    conn: &Connection,
    repo: RepoId,
    num: DiscussionNum,
    position: i64,
) -> Result<Option<DiscussionEvent>, DbError> {
    let sql = concat!(event_sql!(), "WHERE e.repo_id = ?1 AND e.num = ?2 AND e.position = ?3");
    let row = conn.prepare_cached(sql)?.query_row(params![repo, num, position], event_row).optional()?;
    row.map(|row| row.into_event(conn, repo, num)).transpose()
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let text: String = row.get(11)?;
    let what = match row.get(1)? {
        EventKind::Comment => {
            Said::Comment(Comment { text, hidden: row.get(7)?, edited_ms: row.get(5)?, history: Vec::new() })
        }
        EventKind::Status => Said::Status(row.get(8)?),
        EventKind::Title => Said::Title { from: row.get(10)?, to: text },
        EventKind::Commit => Said::Commit { oid: row.get(9)?, subject: text },
    };
    let event = DiscussionEvent {
        position: row.get(0)?,
        author: row.get(2)?,
        author_name: row.get(3)?,
        at_ms: row.get(4)?,
        what,
    };
    Ok(EventRow { event, edits: row.get(6)? })
}
