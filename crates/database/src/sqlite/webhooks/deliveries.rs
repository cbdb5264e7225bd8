//! What is on its way to webhooks. Each webhook gets its events one at a time, in order; what waits is counted in the
//! webhook's row, which also says when the first of it is due.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::super::checksum::{Record, WEBHOOK, WEBHOOK_DELIVERY};
use super::super::{Database, DbError, WebhookError, all, next_id};
use super::events::{self, event, event_columns};
use super::{record, webhook};
use crate::{
    Attempt, Delivery, DeliveryId, DeliveryState, Sending, Then, UserId, WEBHOOK_LOG_MAX,
    WEBHOOK_WAITING_MAX, WebhookEventId, WebhookId, WebhookState,
};

impl Database {
    /// Waits until deliveries are queued, or one that waited is due at once: by a commit since the last call.
    pub async fn webhooks_queued(&self) {
        self.0.queued.notified().await;
    }

    /// Webhooks whose next delivery is due, and whose they are; the one that waits longest first.
    pub fn webhooks_due(&self, limit: u32) -> Result<Vec<(WebhookId, UserId)>, DbError> {
        let sql = "SELECT id, account_id FROM webhook WHERE due_ms <= ?1 ORDER BY due_ms, id LIMIT ?2";
        self.read(|conn| {
            all(conn, sql, params![self.clock().now_ms(), limit], |row| Ok((row.get(0)?, row.get(1)?)))
        })
    }

    /// `None` if nothing waits for it.
    pub fn next_delivery(&self, id: WebhookId) -> Result<Option<Sending>, DbError> {
        let sql = concat!(
            "SELECT h.id, h.account_id, h.url, h.secret, h.domains, h.state, h.created_ms, d.key, d.queued_ms, d.attempts,
                    h.failures, h.given_up, ",
            event_columns!(),
            " FROM webhook h JOIN webhook_delivery d ON d.webhook_id = h.id AND d.state = 0
              JOIN webhook_event e ON e.id = d.event_id WHERE h.id = ?1 AND h.state = 0 ORDER BY d.id LIMIT 1"
        );
        let sending = |row: &Row<'_>| {
            Ok(Sending {
                webhook: webhook(row)?,
                delivery: row.get(7)?,
                queued_ms: row.get(8)?,
                attempts: row.get(9)?,
                failures: row.get(10)?,
                given_up: row.get(11)?,
                event: event(row, 12)?,
            })
        };
        self.read(|conn| Ok(conn.prepare_cached(sql)?.query_row([id], sending).optional()?))
    }

    /// Nothing is left to say of a delivery that is gone. One that was dropped meanwhile says so, unless it has arrived; what
    /// became of it tells how the target is all the same.
    pub async fn end_attempt(&self, attempt: Attempt) -> Result<(), DbError> {
        self.write(move |conn, now_ms| {
            let Some(mut row) = WEBHOOK_DELIVERY.record(conn, "key = ?1", [attempt.delivery])? else {
                return Ok(());
            };
            let waited = row.get::<DeliveryState>("state")? == DeliveryState::Waiting;
            let id: WebhookId = row.get("webhook_id")?;
            let mut hook =
                record(conn, id)?.ok_or_else(|| DbError::Corrupt("a delivery to no webhook".to_owned()))?;
            let (state, due_ms) = follow(&mut hook, attempt.then, now_ms)?;
            if waited && (state.is_some() || attempt.then == Then::Forget) {
                took(&mut hook, 1, due_ms)?;
            } else if hook.get::<i64>("waiting")? > 0 {
                hook.set("due_ms", due_ms)?;
            }
            if attempt.then == Then::Forget {
                hook.write(conn)?;
                return drop_all(conn, vec![(row.get("id")?, row.get("event_id")?)]).map(drop);
            }
            if waited || attempt.then == Then::Delivered {
                tell_attempt(&mut row, &attempt, state, now_ms)?;
                row.write(conn)?;
            }
            let enabled = hook.get::<WebhookState>("state")? == WebhookState::Enabled;
            if enabled && matches!(attempt.then, Then::GiveUp { suspends: true, .. }) {
                stop(conn, now_ms, &mut hook, WebhookState::Suspended)?;
            }
            hook.write(conn)?;
            trim(conn, id)
        })
        .await
    }

    /// Those that wait and those that ended, the latest first, behind `before`.
    pub fn deliveries(
        &self,
        id: WebhookId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, DbError> {
        let sql = concat!(
            "SELECT d.key, d.state, d.queued_ms, d.attempts, d.tried_ms, d.status, d.error,
                    CASE WHEN d.state = 0 AND d.id = (SELECT min(id) FROM webhook_delivery
                    WHERE webhook_id = ?1 AND state = 0) THEN h.due_ms END, ",
            event_columns!(),
            " FROM webhook_delivery d JOIN webhook_event e ON e.id = d.event_id JOIN webhook h ON h.id = d.webhook_id
              WHERE d.webhook_id = ?1 AND d.id < ?2 ORDER BY d.id DESC LIMIT ?3"
        );
        let delivery = |row: &Row<'_>| {
            Ok(Delivery {
                id: row.get(0)?,
                state: row.get(1)?,
                queued_ms: row.get(2)?,
                attempts: row.get(3)?,
                tried_ms: row.get(4)?,
                status: row.get(5)?,
                error: row.get(6)?,
                due_ms: row.get(7)?,
                event: event(row, 8)?,
            })
        };
        self.0.readers.snapshot(|conn| {
            let place = "SELECT id FROM webhook_delivery WHERE key = ?1 AND webhook_id = ?2";
            let before: i64 = match before {
                None => i64::MAX,
                Some(key) => {
                    let found = conn
                        .prepare_cached(place)?
                        .query_row(params![key, id], |row| row.get(0))
                        .optional()?;
                    found.unwrap_or(0)
                }
            };
            all(conn, sql, params![id, before, limit], delivery)
        })
    }

    /// The same event once more, behind all that waits, under a name of its own.
    pub async fn replay(&self, id: WebhookId, delivery: DeliveryId) -> Result<DeliveryId, WebhookError> {
        self.write(move |conn, now_ms| {
            let hook = record(conn, id)?.ok_or(WebhookError::Gone)?;
            if hook.get::<WebhookState>("state")? != WebhookState::Enabled {
                return Err(WebhookError::Disabled);
            }
            let sql = "SELECT event_id FROM webhook_delivery WHERE key = ?1 AND webhook_id = ?2";
            let event: Option<WebhookEventId> =
                conn.prepare_cached(sql)?.query_row(params![delivery, id], |row| row.get(0)).optional()?;
            let queued = queue(conn, now_ms, id, event.ok_or(WebhookError::NoDelivery)?)?;
            events::set_queued();
            queued.ok_or(WebhookError::Disabled)
        })
        .await
    }

    /// Forgets at most `limit` deliveries that ended before `before_ms`. Says how many it were.
    pub async fn sweep_deliveries(&self, before_ms: i64, limit: u32) -> Result<usize, DbError> {
        let sql = "SELECT id, event_id FROM webhook_delivery WHERE state <> 0 AND ended_ms < ?1 LIMIT ?2";
        // Most of the time there are none, and then nothing is written.
        let found = move |conn: &Connection| all(conn, sql, params![before_ms, limit], ids);
        if self.read(found)?.is_empty() {
            return Ok(0);
        }
        self.write(move |conn, _| drop_all(conn, found(conn)?)).await
    }
}

/// Makes one more wait for a webhook; `None` if it is not enabled. If there are too many, the oldest is dropped, though it
/// may be under way.
pub(super) fn queue(
    conn: &Connection,
    now_ms: i64,
    id: WebhookId,
    event: WebhookEventId,
) -> Result<Option<DeliveryId>, DbError> {
    let Some(mut hook) = WEBHOOK.record(conn, "id = ?1 AND state = 0", [id])? else { return Ok(None) };
    let (place, key) = (next_id(conn, "webhook_delivery")?, DeliveryId(ulid::Ulid::new()));
    let (state, none) = (DeliveryState::Waiting, None::<i64>);
    let row: [&dyn ToSql; 11] =
        [&place, &key, &id, &event, &state, &now_ms, &0, &none, &none, &none, &None::<String>];
    WEBHOOK_DELIVERY.insert(conn, &row)?;
    let mut waiting = hook.get::<i64>("waiting")? + 1;
    if waiting > WEBHOOK_WAITING_MAX {
        let dropped = end_waiting(conn, now_ms, id, "too many events waited for this webhook", 1)?;
        waiting -= i64::try_from(dropped).unwrap_or(0);
        // Not before the event has this delivery too, as it may have no other then.
        trim(conn, id)?;
    }
    hook.set("waiting", waiting)?;
    if hook.get::<Option<i64>>("due_ms")?.is_none() {
        hook.set("due_ms", now_ms)?;
    }
    hook.write(conn)?;
    Ok(Some(key))
}

/// What the log says of it.
fn tell_attempt(
    row: &mut Record,
    attempt: &Attempt,
    state: Option<DeliveryState>,
    now_ms: i64,
) -> rusqlite::Result<()> {
    if attempt.then != Then::Gone {
        row.set("attempts", row.get::<i64>("attempts")? + 1)?;
        row.set("tried_ms", now_ms)?;
        row.set("status", attempt.status)?;
    }
    row.set("error", &attempt.error)?;
    if let Some(state) = state {
        row.set("state", state)?;
        row.set("ended_ms", now_ms)?;
    }
    Ok(())
}

/// What an attempt means for its webhook: what becomes of the delivery, if it ends, and when the next one is due.
fn follow(hook: &mut Record, then: Then, now_ms: i64) -> rusqlite::Result<(Option<DeliveryState>, i64)> {
    Ok(match then {
        Then::Delivered => {
            hook.set("failures", 0)?;
            hook.set("given_up", 0)?;
            (Some(DeliveryState::Delivered), now_ms)
        }
        Then::Again { due_ms } => {
            hook.set("failures", hook.get::<i64>("failures")? + 1)?;
            (None, due_ms)
        }
        Then::GiveUp { next_ms, .. } => {
            hook.set("failures", hook.get::<i64>("failures")? + 1)?;
            hook.set("given_up", hook.get::<i64>("given_up")? + 1)?;
            (Some(DeliveryState::GivenUp), next_ms)
        }
        Then::Gone => (Some(DeliveryState::Gone), now_ms),
        Then::Forget => (None, now_ms),
    })
}

/// So many wait no more; of the others the first is due then.
fn took(hook: &mut Record, ended: i64, due_ms: i64) -> rusqlite::Result<()> {
    let waiting = hook.get_new::<i64>("waiting")? - ended;
    hook.set("waiting", waiting)?;
    hook.set("due_ms", (waiting > 0).then_some(due_ms))
}

/// Turns it off. What waits for it is dropped.
pub(super) fn stop(
    conn: &Connection,
    now_ms: i64,
    hook: &mut Record,
    state: WebhookState,
) -> Result<(), DbError> {
    let id = hook.get("id")?;
    hook.set("state", state)?;
    let ended = end_waiting(conn, now_ms, id, "the webhook was disabled", WEBHOOK_WAITING_MAX)?;
    took(hook, i64::try_from(ended).unwrap_or(0), now_ms)?;
    trim(conn, id)
}

/// Drops the oldest that wait, at most `limit`.
fn end_waiting(
    conn: &Connection,
    now_ms: i64,
    id: WebhookId,
    why: &str,
    limit: i64,
) -> Result<usize, DbError> {
    let waiting = "webhook_id = ?1 AND state = 0 ORDER BY id LIMIT ?2";
    Ok(WEBHOOK_DELIVERY.change(conn, waiting, params![id, limit], |row| {
        row.set("state", DeliveryState::Dropped)?;
        row.set("ended_ms", now_ms)?;
        row.set("error", why)
    })?)
}

/// Of those that ended the latest stay.
fn trim(conn: &Connection, id: WebhookId) -> Result<(), DbError> {
    let sql = "SELECT id, event_id FROM webhook_delivery WHERE webhook_id = ?1 AND state <> 0
               ORDER BY id DESC LIMIT ?2 OFFSET ?3";
    let beyond = params![id, WEBHOOK_WAITING_MAX + WEBHOOK_LOG_MAX, WEBHOOK_LOG_MAX];
    drop_all(conn, all(conn, sql, beyond, ids)?).map(drop)
}

/// Whatever state they are in; the webhook goes, too.
pub(super) fn forget(conn: &Connection, id: WebhookId) -> Result<(), DbError> {
    let sql = "SELECT id, event_id FROM webhook_delivery WHERE webhook_id = ?1";
    drop_all(conn, all(conn, sql, [id], ids)?).map(drop)
}

fn ids(row: &Row<'_>) -> rusqlite::Result<(i64, WebhookEventId)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// An event goes with the last of its deliveries.
fn drop_all(conn: &Connection, deliveries: Vec<(i64, WebhookEventId)>) -> Result<usize, DbError> {
    for (id, event) in &deliveries {
        conn.prepare_cached("DELETE FROM webhook_delivery WHERE id = ?1")?.execute([id])?;
        let last = "DELETE FROM webhook_event WHERE id = ?1
                    AND NOT EXISTS (SELECT 1 FROM webhook_delivery WHERE event_id = ?1)";
        conn.prepare_cached(last)?.execute([event])?;
    }
    Ok(deliveries.len())
}
