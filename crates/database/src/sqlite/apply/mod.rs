//! Applying a [`Change`] in one transaction: first every check, then the writes.

mod refs;

use rusqlite::{Connection, OptionalExtension, params};

use super::{ApplyError, Database, DbError, maintenance, writer::Sort};
use crate::{Applied, Change, Conflict, NewPack, Oid, PackContent, PackId};
use refs::Plan;

impl Database {
    /// Runs `change` and returns when it is durable.
    pub async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        let clock = self.clock().clone();
        self.0.writer.run(Sort::Apply, move |conn| apply(conn, clock.now_ms(), &change)).await
    }
}

fn apply(conn: &Connection, now_ms: i64, change: &Change) -> Result<Applied, ApplyError> {
    let target = Target::read(conn, change)?.ok_or(Conflict::RepoGone)?;
    target.check_versions(change)?;
    check_staged(conn, change)?;
    let leaving = Leaving::find(conn, change)?;
    let plan = refs::plan(conn, change, target.refs_count)?;

    let refused = !change.refs.is_empty() && plan.accepted == 0;
    if refused || !changes_anything(change, &target, &plan) {
        return Ok(Applied { generation: target.generation, refs: plan.outcomes });
    }
    let generation = target.generation + 1;
    write_refs(conn, now_ms, change, &plan, generation)?;
    leaving.condemn(conn, change)?;
    add_packs(conn, change, generation)?;
    target.update(conn, now_ms, change, &plan, &leaving)?;
    Ok(Applied { generation, refs: plan.outcomes })
}

fn changes_anything(change: &Change, target: &Target, plan: &Plan) -> bool {
    !plan.moves.is_empty()
        || !change.packs_added.is_empty()
        || !change.packs_superseded.is_empty()
        || change.collects
        || change.head_ref.as_ref().is_some_and(|head| *head != target.head_ref)
}

/// What an apply needs of the repo's row, and writes back in one update.
struct Target {
    head_ref: String,
    generation: i64,
    gc_epoch: i64,
    acl_version: i64,
    refs_count: i64,
    packs_count: i64,
    packs_bytes: i64,
    maint_due_ms: Option<i64>,
    pending: bool,
}

impl Target {
    fn read(conn: &Connection, change: &Change) -> Result<Option<Target>, DbError> {
        let sql = "SELECT head_ref, generation, gc_epoch, acl_version, refs_count, packs_count, packs_bytes,
                          maint_due_ms, pending
                   FROM repo WHERE id = ?1 AND state = 0";
        let row = conn.prepare_cached(sql)?.query_row([change.repo], |row| {
            Ok(Target {
                head_ref: row.get(0)?,
                generation: row.get(1)?,
                gc_epoch: row.get(2)?,
                acl_version: row.get(3)?,
                refs_count: row.get(4)?,
                packs_count: row.get(5)?,
                packs_bytes: row.get(6)?,
                maint_due_ms: row.get(7)?,
                pending: row.get(8)?,
            })
        });
        Ok(row.optional()?)
    }

    fn check_versions(&self, change: &Change) -> Result<(), Conflict> {
        if change.acl_version.is_some_and(|seen| seen != self.acl_version) {
            return Err(Conflict::AclMoved);
        }
        if change.gc_epoch != self.gc_epoch {
            return Err(Conflict::GcMoved);
        }
        if change.generation.is_some_and(|seen| seen != self.generation) {
            return Err(Conflict::GenerationMoved);
        }
        Ok(())
    }

    fn update(
        &self,
        conn: &Connection,
        now_ms: i64,
        change: &Change,
        plan: &Plan,
        leaving: &Leaving,
    ) -> Result<(), DbError> {
        let added: i64 = change.packs_added.iter().map(bytes).sum();
        let packs_count = self.packs_count + change.packs_added.len() as i64 - leaving.packs.len() as i64;
        let maint_due_ms = match self.maint_due_ms {
            due if change.packs_added.is_empty() => due,
            // It is about to be looked at; moving that would let a busy repo run away from it.
            Some(due) if due <= now_ms => Some(due),
            _ if packs_count >= maintenance::PACKS_MAX => Some(now_ms),
            _ => Some(now_ms + maintenance::REST_MS),
        };
        // Naming `pending` would write its index even if it stays; see schema.sql.
        let sql = match self.pending {
            true => {
                "UPDATE repo SET head_ref = ?2, generation = ?3, gc_epoch = ?4, refs_count = ?5, packs_count = ?6,
                                 packs_bytes = ?7, maint_due_ms = ?8
                 WHERE id = ?1"
            }
            false => {
                "UPDATE repo SET head_ref = ?2, generation = ?3, gc_epoch = ?4, refs_count = ?5, packs_count = ?6,
                                 packs_bytes = ?7, maint_due_ms = ?8, pending = 1
                 WHERE id = ?1"
            }
        };
        conn.prepare_cached(sql)?.execute(params![
            change.repo,
            change.head_ref.as_ref().unwrap_or(&self.head_ref),
            self.generation + 1,
            self.gc_epoch + i64::from(change.collects),
            self.refs_count + plan.created,
            packs_count,
            self.packs_bytes + added - leaving.bytes,
            maint_due_ms,
        ])?;
        Ok(())
    }
}

/// Every stored pack has its staged row.
fn check_staged(conn: &Connection, change: &Change) -> Result<(), ApplyError> {
    for pack in &change.packs_added {
        if matches!(pack.content, PackContent::Stored { .. }) {
            let sql = "SELECT 1 FROM pack WHERE repo_id = ?1 AND state = 0 AND id = ?2";
            if !conn.prepare_cached(sql)?.exists(params![change.repo, pack.id])? {
                return Err(Conflict::PacksMoved.into());
            }
        }
    }
    Ok(())
}

/// The superseded packs, each once.
struct Leaving {
    packs: Vec<PackId>,
    bytes: i64,
}

impl Leaving {
    fn find(conn: &Connection, change: &Change) -> Result<Leaving, ApplyError> {
        let mut packs = change.packs_superseded.clone();
        packs.sort_unstable();
        packs.dedup();
        let mut bytes = 0;
        for id in &packs {
            let sql = "SELECT bytes FROM pack WHERE repo_id = ?1 AND state = 1 AND id = ?2";
            let found: Option<i64> =
                conn.prepare_cached(sql)?.query_row(params![change.repo, id], |row| row.get(0)).optional()?;
            bytes += found.ok_or(Conflict::PacksMoved)?;
        }
        Ok(Leaving { packs, bytes })
    }

    fn condemn(&self, conn: &Connection, change: &Change) -> Result<(), DbError> {
        for id in &self.packs {
            let sql =
                "UPDATE pack SET state = 2, not_before_ms = ?3 WHERE repo_id = ?1 AND state = 1 AND id = ?2";
            conn.prepare_cached(sql)?.execute(params![change.repo, id, change.superseded_until_ms])?;
        }
        Ok(())
    }
}

fn add_packs(conn: &Connection, change: &Change, generation: i64) -> Result<(), DbError> {
    for pack in &change.packs_added {
        match &pack.content {
            PackContent::Inline(blob) => {
                let sql = "INSERT INTO pack (repo_id, id, state, kind, objects, bytes, closure, added_generation, inline)
                           VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)";
                conn.prepare_cached(sql)?.execute(params![
                    change.repo,
                    pack.id,
                    pack.kind,
                    pack.objects,
                    bytes(pack),
                    pack.closure,
                    generation,
                    &blob[..],
                ])?;
            }
            PackContent::Stored { .. } => {
                let sql = "UPDATE pack SET state = 1, staged_ms = NULL, kind = ?3, objects = ?4, bytes = ?5,
                                           closure = ?6, added_generation = ?7
                           WHERE repo_id = ?1 AND state = 0 AND id = ?2";
                conn.prepare_cached(sql)?.execute(params![
                    change.repo,
                    pack.id,
                    pack.kind,
                    pack.objects,
                    bytes(pack),
                    pack.closure,
                    generation,
                ])?;
            }
        }
    }
    Ok(())
}

fn bytes(pack: &NewPack) -> i64 {
    match &pack.content {
        PackContent::Inline(blob) => blob.len() as i64,
        PackContent::Stored { bytes } => i64::try_from(*bytes).unwrap_or(i64::MAX),
    }
}

fn write_refs(
    conn: &Connection,
    now_ms: i64,
    change: &Change,
    plan: &Plan,
    generation: i64,
) -> Result<(), DbError> {
    for (position, step) in plan.moves.iter().enumerate() {
        let edit = &change.refs[step.edit];
        write_ref(conn, change, edit, step.old)?;
        let sql = "INSERT INTO ref_log (repo_id, generation, position, name, old, new, actor, at_ms, message)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        conn.prepare_cached(sql)?.execute(params![
            change.repo,
            generation,
            position,
            edit.name,
            step.old,
            edit.new,
            change.actor,
            now_ms,
            change.message,
        ])?;
    }
    Ok(())
}

fn write_ref(conn: &Connection, change: &Change, edit: &crate::RefEdit, old: Oid) -> Result<(), DbError> {
    if edit.new.is_null() {
        let sql = "DELETE FROM ref WHERE repo_id = ?1 AND name = ?2";
        conn.prepare_cached(sql)?.execute(params![change.repo, edit.name])?;
    } else if old.is_null() {
        let sql = "INSERT INTO ref (repo_id, name, oid, peeled) VALUES (?1, ?2, ?3, ?4)";
        conn.prepare_cached(sql)?.execute(params![change.repo, edit.name, edit.new, edit.peeled])?;
    } else {
        let sql = "UPDATE ref SET oid = ?3, peeled = ?4 WHERE repo_id = ?1 AND name = ?2";
        conn.prepare_cached(sql)?.execute(params![change.repo, edit.name, edit.new, edit.peeled])?;
    }
    Ok(())
}
