//! What happens to repositories, told in the transaction in which it does: one row, and one for each webhook that is told.
//! Nothing is written of what nobody watches.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::super::checksum::WEBHOOK_EVENT;
use super::super::{DbError, all, next_id};
use super::{deliveries, live};
use crate::{
    DiscussionNum, DiscussionStatus, EventSort, Happened, Oid, RefMoved, Repo, RepoId, RepoPath,
    WebhookEvent, WebhookEventId, WebhookId,
};

thread_local! {
    /// A transaction of the writer's thread queued something. Set also if that is undone: then somebody looks in vain.
    static QUEUED: Cell<bool> = const { Cell::new(false) };
}

pub(in super::super) fn take_queued() -> bool {
    QUEUED.take()
}

pub(super) fn set_queued() {
    QUEUED.set(true);
}

/// See [`crate::WebhookDomains`]; the codes are its bits.
#[derive(Clone, Copy)]
pub(in super::super) enum Domain {
    Repo = 1,
    Discussion = 2,
}

/// Tells whoever watches this live repo, or all of its namespace.
pub(in super::super) fn tell(
    conn: &Connection,
    now_ms: i64,
    repo: RepoId,
    domain: Domain,
    happened: impl FnOnce() -> Happened,
) -> Result<(), DbError> {
    let told = watchers(conn, repo, domain)?;
    if told.is_empty() {
        return Ok(());
    }
    let repo = live(conn, repo)?.ok_or_else(|| DbError::Corrupt("a repo that is gone changed".to_owned()))?;
    queue(conn, now_ms, &repo, &told, &happened())
}

/// As [`tell`]: `before` has another name now, and those who watch either namespace are told.
pub(in super::super) fn tell_moved(
    conn: &Connection,
    now_ms: i64,
    before: &Repo,
    watched_before: Vec<WebhookId>,
    to: &RepoPath,
) -> Result<(), DbError> {
    let mut told = watchers(conn, before.id, Domain::Repo)?;
    told.extend(watched_before);
    told.sort_unstable();
    told.dedup();
    if told.is_empty() {
        return Ok(());
    }
    let happened = Happened::Moved { to: to.clone(), owner: owner(conn, &to.namespace.folded())? };
    queue(conn, now_ms, before, &told, &happened)
}

/// The enabled webhooks that are told of such an event of a repo, in order. One lookup as long as nothing is watched.
pub(in super::super) fn watchers(
    conn: &Connection,
    repo: RepoId,
    domain: Domain,
) -> Result<Vec<WebhookId>, DbError> {
    if !conn.prepare_cached("SELECT 1 FROM webhook_watch LIMIT 1")?.exists([])? {
        return Ok(Vec::new());
    }
    let sql = "SELECT h.id FROM webhook h WHERE h.state = 0 AND (h.domains & ?2) <> 0 AND h.id IN (
                   SELECT w.webhook_id FROM webhook_watch w WHERE w.kind = 2 AND w.target = ?1
                   UNION ALL SELECT w.webhook_id FROM repo r JOIN account a ON a.folded = lower(r.namespace)
                   JOIN webhook_watch w ON w.kind = 0 AND w.target = a.id WHERE r.id = ?1
                   UNION ALL SELECT w.webhook_id FROM repo r JOIN org o ON o.folded = lower(r.namespace)
                   JOIN webhook_watch w ON w.kind = 1 AND w.target = o.id WHERE r.id = ?1)
               ORDER BY h.id";
    all(conn, sql, params![repo, domain as i64], |row| row.get(0))
}

/// `repo` as it is told of; its head is read now.
fn queue(
    conn: &Connection,
    now_ms: i64,
    repo: &Repo,
    told: &[WebhookId],
    happened: &Happened,
) -> Result<(), DbError> {
    let sql = "SELECT oid FROM ref WHERE repo_id = ?1 AND name = ?2";
    let head: Option<Oid> =
        conn.prepare_cached(sql)?.query_row(params![repo.id, repo.head_ref], |row| row.get(0)).optional()?;
    let id = WebhookEventId(next_id(conn, "webhook_event")?);
    let owner = owner(conn, &repo.path.namespace.folded())?;
    let parts = Parts::of(happened);
    let (namespace, name) = (repo.path.namespace.as_str(), repo.path.name());
    let row: [&dyn ToSql; 22] = [
        &id,
        &repo.id,
        &now_ms,
        &parts.sort,
        &repo.path.kind,
        &namespace,
        &name,
        &repo.visibility,
        &repo.gating,
        &owner,
        &head,
        &parts.moved.map(|(to, _)| to.namespace.as_str()),
        &parts.moved.map(|(to, _)| to.name()),
        &parts.moved.map(|(_, owner)| owner),
        &parts.refs,
        &parts.refs_more,
        &parts.visibility,
        &parts.gating,
        &parts.discussions_disabled,
        &parts.num,
        &parts.status,
        &parts.position,
    ];
    WEBHOOK_EVENT.insert(conn, &row)?;
    for webhook in told {
        deliveries::queue(conn, now_ms, *webhook, id)?;
    }
    set_queued();
    Ok(())
}

/// The id of the user or the organisation of this folded name.
fn owner(conn: &Connection, folded: &str) -> Result<i64, DbError> {
    let sql = "SELECT id FROM account WHERE folded = ?1 UNION ALL SELECT id FROM org WHERE folded = ?1";
    let id = conn.prepare_cached(sql)?.query_row([folded], |row| row.get(0)).optional()?;
    id.ok_or_else(|| DbError::Corrupt(format!("the namespace {folded} belongs to nobody")))
}

/// The columns that say what happened.
struct Parts<'h> {
    sort: EventSort,
    moved: Option<(&'h RepoPath, i64)>,
    refs: Option<String>,
    refs_more: u64,
    visibility: Option<crate::Visibility>,
    gating: Option<crate::Gating>,
    discussions_disabled: Option<bool>,
    num: Option<DiscussionNum>,
    status: Option<DiscussionStatus>,
    position: Option<i64>,
}

impl Parts<'_> {
    fn of(happened: &Happened) -> Parts<'_> {
        let none = |sort| Parts {
            sort,
            moved: None,
            refs: None,
            refs_more: 0,
            visibility: None,
            gating: None,
            discussions_disabled: None,
            num: None,
            status: None,
            position: None,
        };
        let said = |sort, num, status, position| Parts {
            num: Some(num),
            status: Some(status),
            position,
            ..none(sort)
        };
        match *happened {
            Happened::Created => none(EventSort::Created),
            Happened::Deleted => none(EventSort::Deleted),
            Happened::Moved { ref to, owner } => Parts { moved: Some((to, owner)), ..none(EventSort::Moved) },
            Happened::Content { ref refs, more } => {
                let line = |moved: &RefMoved| format!("{} {} {}\n", moved.old, moved.new, moved.name);
                let refs = Some(refs.iter().map(line).collect());
                Parts { refs, refs_more: more, ..none(EventSort::Content) }
            }
            Happened::Config { visibility, gating, discussions_disabled } => {
                Parts { visibility, gating, discussions_disabled, ..none(EventSort::Config) }
            }
            Happened::DiscussionOpened { num, status } => {
                said(EventSort::DiscussionOpened, num, status, None)
            }
            Happened::DiscussionChanged { num, status } => {
                said(EventSort::DiscussionChanged, num, status, None)
            }
            Happened::Commented { num, status, position } => {
                said(EventSort::Commented, num, status, Some(position))
            }
            Happened::CommentChanged { num, status, position } => {
                said(EventSort::CommentChanged, num, status, Some(position))
            }
        }
    }
}

/// For [`event`], which reads them from any column on.
macro_rules! event_columns {
    () => {
        "e.id, e.repo_id, e.at_ms, e.sort, e.kind, e.namespace, e.name, e.visibility, e.gating, e.owner, e.head,
         e.moved_namespace, e.moved_name, e.moved_owner, e.refs, e.refs_more, e.set_visibility, e.set_gating,
         e.set_discussions_disabled, e.num, e.status, e.position"
    };
}
pub(super) use event_columns;

pub(super) fn event(row: &Row<'_>, first: usize) -> rusqlite::Result<WebhookEvent> {
    let kind = row.get(first + 4)?;
    let (num, status) = (|| row.get(first + 19), || row.get(first + 20));
    let happened = match row.get(first + 3)? {
        EventSort::Created => Happened::Created,
        EventSort::Deleted => Happened::Deleted,
        EventSort::Moved => Happened::Moved {
            to: RepoPath::from_row(kind, row.get(first + 11)?, row.get(first + 12)?),
            owner: row.get(first + 13)?,
        },
        EventSort::Content => {
            let lines: String = row.get(first + 14)?;
            Happened::Content {
                refs: lines.lines().filter_map(ref_moved).collect(),
                more: row.get(first + 15)?,
            }
        }
        EventSort::Config => Happened::Config {
            visibility: row.get(first + 16)?,
            gating: row.get(first + 17)?,
            discussions_disabled: row.get(first + 18)?,
        },
        EventSort::DiscussionOpened => Happened::DiscussionOpened { num: num()?, status: status()? },
        EventSort::DiscussionChanged => Happened::DiscussionChanged { num: num()?, status: status()? },
        EventSort::Commented => {
            Happened::Commented { num: num()?, status: status()?, position: row.get(first + 21)? }
        }
        EventSort::CommentChanged => {
            Happened::CommentChanged { num: num()?, status: status()?, position: row.get(first + 21)? }
        }
    };
    Ok(WebhookEvent {
        id: row.get(first)?,
        repo: row.get(first + 1)?,
        at_ms: row.get(first + 2)?,
        path: RepoPath::from_row(kind, row.get(first + 5)?, row.get(first + 6)?),
        visibility: row.get(first + 7)?,
        gating: row.get(first + 8)?,
        owner: row.get(first + 9)?,
        head: row.get(first + 10)?,
        happened,
    })
}

fn ref_moved(line: &str) -> Option<RefMoved> {
    let mut parts = line.splitn(3, ' ');
    let (old, new, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some(RefMoved { name: name.to_owned(), old: old.parse().ok()?, new: new.parse().ok()? })
}
