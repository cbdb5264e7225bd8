//! Webhooks: what they are and watch (here), what happens (`events`), and what is sent to them (`deliveries`).

mod deliveries;
mod events;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{Record, WEBHOOK, WEBHOOK_WATCH};
use super::repos;
use super::{Database, DbError, WebhookError, all, next_id};
use crate::{
    Namespace, NewWebhook, OrgId, Repo, RepoId, RepoState, UserId, WEBHOOK_WATCHERS_MAX, WEBHOOKS_MAX, Watch,
    Watched, Webhook, WebhookEdit, WebhookId, WebhookState,
};

pub(super) use events::{Domain, take_queued, tell, tell_moved, watchers};

macro_rules! webhook_sql {
    () => {
        "SELECT h.id, h.account_id, h.url, h.secret, h.domains, h.state, h.created_ms FROM webhook h "
    };
}

impl Database {
    /// Enabled from the start.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Webhook, WebhookError> {
        self.write(move |conn, now_ms| {
            let sql = "SELECT count(*) FROM webhook WHERE account_id = ?1";
            let count: i64 = conn.prepare_cached(sql)?.query_row([new.owner], |row| row.get(0))?;
            if count >= WEBHOOKS_MAX {
                return Err(WebhookError::TooMany { max: WEBHOOKS_MAX });
            }
            let id = WebhookId(next_id(conn, "webhook")?);
            let NewWebhook { owner, url, secret, domains, watched } = &new;
            let (state, none) = (WebhookState::Enabled, None::<i64>);
            let row: [&dyn rusqlite::ToSql; 11] =
                [&id, owner, url, secret, domains, &state, &now_ms, &0, &none, &0, &0];
            WEBHOOK.insert(conn, &row)?;
            set_watched(conn, id, watched)?;
            by_id(conn, id)?.ok_or(WebhookError::Gone)
        })
        .await
    }

    /// Of one user, oldest first.
    pub fn webhooks(&self, owner: UserId) -> Result<Vec<Webhook>, DbError> {
        let sql = concat!(webhook_sql!(), "WHERE h.account_id = ?1 ORDER BY h.id");
        self.read(|conn| all(conn, sql, [owner], webhook))
    }

    pub fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, DbError> {
        self.read(|conn| by_id(conn, id))
    }

    /// What it watches, in the order it was given.
    pub fn watched(&self, id: WebhookId) -> Result<Vec<Watched>, DbError> {
        let sql = "SELECT kind, target FROM webhook_watch WHERE webhook_id = ?1 ORDER BY position";
        self.0.readers.snapshot(|conn| {
            let rows: Vec<(i64, i64)> = all(conn, sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let named = rows.into_iter().map(|(kind, target)| watched(conn, kind, target));
            named.filter_map(Result::transpose).collect()
        })
    }

    /// Whoever changes where deliveries go wants the next one now.
    pub async fn edit_webhook(&self, id: WebhookId, edit: WebhookEdit) -> Result<Webhook, WebhookError> {
        self.write(move |conn, now_ms| {
            let mut row = record(conn, id)?.ok_or(WebhookError::Gone)?;
            if let Some(url) = &edit.url {
                row.set("url", url)?;
                try_now(&mut row, now_ms)?;
            }
            if let Some(secret) = &edit.secret {
                row.set("secret", Some(secret).filter(|secret| !secret.is_empty()))?;
            }
            if let Some(domains) = edit.domains {
                row.set("domains", domains)?;
            }
            row.write(conn)?;
            if let Some(watched) = &edit.watched {
                conn.prepare_cached("DELETE FROM webhook_watch WHERE webhook_id = ?1")?.execute([id])?;
                set_watched(conn, id, watched)?;
            }
            events::set_queued();
            by_id(conn, id)?.ok_or(WebhookError::Gone)
        })
        .await
    }

    /// A disabled one is told nothing, and what waits for it is dropped. Enabled, its failures are forgotten.
    pub async fn enable_webhook(&self, id: WebhookId, enabled: bool) -> Result<Webhook, WebhookError> {
        self.write(move |conn, now_ms| {
            let mut row = record(conn, id)?.ok_or(WebhookError::Gone)?;
            match enabled {
                true => {
                    row.set("state", WebhookState::Enabled)?;
                    row.set("given_up", 0)?;
                    try_now(&mut row, now_ms)?;
                    events::set_queued();
                }
                false => deliveries::stop(conn, now_ms, &mut row, WebhookState::Disabled)?,
            }
            row.write(conn)?;
            by_id(conn, id)?.ok_or(WebhookError::Gone)
        })
        .await
    }

    /// With all that waits for it, and its log. False if there is none.
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<bool, DbError> {
        self.write(move |conn, _| {
            deliveries::forget(conn, id)?;
            conn.prepare_cached("DELETE FROM webhook_watch WHERE webhook_id = ?1")?.execute([id])?;
            Ok(conn.prepare_cached("DELETE FROM webhook WHERE id = ?1")?.execute([id])? > 0)
        })
        .await
    }
}

/// Nobody watches a repo that is gone.
pub(super) fn forget_repo(conn: &Connection, repo: RepoId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM webhook_watch WHERE kind = ?1 AND target = ?2")?
        .execute(params![REPO, repo])?;
    Ok(())
}

/// The codes of `webhook_watch.kind`.
const USER: i64 = 0;
const ORG: i64 = 1;
const REPO: i64 = 2;

fn set_watched(conn: &Connection, id: WebhookId, watched: &[Watch]) -> Result<(), WebhookError> {
    let mut seen = Vec::new();
    for watch in watched {
        if seen.contains(watch) {
            continue;
        }
        let (kind, target, there) = match watch {
            Watch::User(user) => (USER, user.0, "SELECT 1 FROM account WHERE id = ?1"),
            Watch::Org(OrgId(org)) => (ORG, *org, "SELECT 1 FROM org WHERE id = ?1"),
            Watch::Repo(repo) => (REPO, repo.0, "SELECT 1 FROM repo WHERE id = ?1 AND state = 0"),
        };
        if !conn.prepare_cached(there)?.exists([target])? {
            return Err(WebhookError::NoTarget);
        }
        let sql = "SELECT count(*) FROM webhook_watch WHERE kind = ?1 AND target = ?2";
        let others: i64 = conn.prepare_cached(sql)?.query_row([kind, target], |row| row.get(0))?;
        if others >= WEBHOOK_WATCHERS_MAX {
            return Err(WebhookError::Crowded { max: WEBHOOK_WATCHERS_MAX });
        }
        let position = i64::try_from(seen.len()).unwrap_or(i64::MAX);
        WEBHOOK_WATCH.insert(conn, &[&kind, &target, &id, &position])?;
        seen.push(*watch);
    }
    Ok(())
}

fn watched(conn: &Connection, kind: i64, target: i64) -> Result<Option<Watched>, DbError> {
    let name = |sql: &str| -> Result<Option<Namespace>, DbError> {
        let name = |row: &Row<'_>| row.get(0).map(Namespace::from_row);
        Ok(conn.prepare_cached(sql)?.query_row([target], name).optional()?)
    };
    Ok(match kind {
        USER => name("SELECT name FROM account WHERE id = ?1")?.map(Watched::User),
        ORG => name("SELECT name FROM org WHERE id = ?1")?.map(Watched::Org),
        REPO => live(conn, RepoId(target))?.map(|repo| Watched::Repo(Box::new(repo))),
        other => return Err(DbError::Corrupt(format!("nothing of kind {other} is watched"))),
    })
}

fn live(conn: &Connection, id: RepoId) -> Result<Option<Repo>, DbError> {
    Ok(repos::by_id(conn, id)?.filter(|repo| repo.state == RepoState::Live))
}

fn record(conn: &Connection, id: WebhookId) -> rusqlite::Result<Option<Record>> {
    WEBHOOK.record(conn, "id = ?1", [id])
}

/// What waits, if anything does, waits no longer.
fn try_now(row: &mut Record, now_ms: i64) -> rusqlite::Result<()> {
    row.set("failures", 0)?;
    if row.get::<i64>("waiting")? > 0 {
        row.set("due_ms", now_ms)?;
    }
    Ok(())
}

fn by_id(conn: &Connection, id: WebhookId) -> Result<Option<Webhook>, DbError> {
    let sql = concat!(webhook_sql!(), "WHERE h.id = ?1");
    Ok(conn.prepare_cached(sql)?.query_row([id], webhook).optional()?)
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    Ok(Webhook {
        id: row.get(0)?,
        owner: row.get(1)?,
        url: row.get(2)?,
        secret: row.get(3)?,
        domains: row.get(4)?,
        state: row.get(5)?,
        created_ms: row.get(6)?,
    })
}
