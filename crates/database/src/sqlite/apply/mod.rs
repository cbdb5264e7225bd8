//! Applying a [`Change`] in one transaction: first every check, then the writes.

mod refs;

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::checksum::{PACK, REF, REF_LOG, REPO, Record};
use super::objects::{self, links};
use super::{ApplyError, Database, DbError, discussions, locks, maintenance, packs, webhooks, writer::Sort};
use crate::{
    Applied, BlobState, Change, Conflict, DiscussionNum, Happened, HeadEdit, NewPack, Oid, PackContent,
    PackId, PullEdit, RefMoved, RepoId, WEBHOOK_REFS_MAX,
};
use refs::Plan;

impl Database {
    /// Runs `change` and returns when it is durable.
    pub async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        self.apply_with_pulls(change, Vec::new()).await.map(|(applied, _)| applied)
    }

    /// As [`Database::apply`], and what it does to pull requests. The numbers are those of the ones that it opens, whose refs
    /// have their outcomes behind those of the change; there is none if these are refused.
    pub async fn apply_with_pulls(
        &self,
        change: Change,
        pulls: Vec<PullEdit>,
    ) -> Result<(Applied, Vec<DiscussionNum>), ApplyError> {
        let (clock, moved) = (self.clock().clone(), self.0.moved.clone());
        let work = move |conn: &Connection| {
            let (repo, moves) = (change.repo, !change.refs.is_empty() || change.head_ref.is_some());
            let applied = apply(conn, clock.now_ms(), change, &pulls)?;
            if moves {
                moved.mark(repo);
            }
            Ok(applied)
        };
        self.0.writer.run(Sort::Apply, work).await
    }
}

pub(super) fn apply(
    conn: &Connection,
    now_ms: i64,
    mut change: Change,
    pulls: &[PullEdit],
) -> Result<(Applied, Vec<DiscussionNum>), ApplyError> {
    let opened = discussions::with_new_pulls(conn, &mut change, pulls)?;
    let change = &change;
    let target = Target::read(conn, change)?.ok_or(Conflict::RepoGone)?;
    target.check_versions(change)?;
    check_added(conn, change)?;
    check_objects(conn, change)?;
    let leaving = Leaving::find(conn, change)?;
    discussions::check_pulls(conn, change, pulls)?;
    let plan = refs::plan(conn, change, target.refs_count)?;

    let refused = !change.refs.is_empty() && plan.accepted == 0;
    let changes = changes_anything(change, &target, &plan) || !pulls.is_empty();
    if refused || !changes {
        return Ok((Applied { generation: target.generation, refs: plan.outcomes }, opened));
    }
    let generation = target.generation + 1;
    write_refs(conn, now_ms, change, &plan, generation)?;
    leaving.condemn(conn, change)?;
    drop_links(conn, change)?;
    add_packs(conn, change, generation)?;
    discussions::tell_pulls(conn, now_ms, change, &plan.outcomes, pulls, &opened)?;
    let head_ref = target.head_after(conn, change)?;
    target.update(conn, now_ms, change, &plan, &leaving, &head_ref)?;
    if !plan.moves.is_empty() {
        webhooks::tell(conn, now_ms, change.repo, webhooks::Domain::Repo, || content(change, &plan))?;
    }
    Ok((Applied { generation, refs: plan.outcomes }, opened))
}

/// What webhooks are told of the refs that moved.
fn content(change: &Change, plan: &Plan) -> Happened {
    let moved = plan.moves.iter().take(WEBHOOK_REFS_MAX).map(|step| {
        let edit = &change.refs[step.edit];
        RefMoved { name: edit.name.clone(), old: step.old, new: edit.new }
    });
    Happened::Content {
        refs: moved.collect(),
        more: plan.moves.len().saturating_sub(WEBHOOK_REFS_MAX) as u64,
    }
}

fn changes_anything(change: &Change, target: &Target, plan: &Plan) -> bool {
    !plan.moves.is_empty()
        || !change.packs_added.is_empty()
        || !change.packs_superseded.is_empty()
        || !change.links_dropped.is_empty()
        || change.collects
        || matches!(&change.head_ref, Some(HeadEdit::Set(head)) if *head != target.head_ref)
}

/// What an apply needs of the repo's row, and writes back in one update.
struct Target {
    row: Record,
    head_ref: String,
    generation: i64,
    gc_epoch: i64,
    acl_version: i64,
    refs_count: i64,
}

impl Target {
    fn read(conn: &Connection, change: &Change) -> Result<Option<Target>, DbError> {
        let Some(row) = REPO.record(conn, "id = ?1 AND state = 0", [change.repo])? else { return Ok(None) };
        Ok(Some(Target {
            head_ref: row.get("head_ref")?,
            generation: row.get("generation")?,
            gc_epoch: row.get("gc_epoch")?,
            acl_version: row.get("acl_version")?,
            refs_count: row.get("refs_count")?,
            row,
        }))
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

    /// Where `HEAD` points, now that the refs are written.
    fn head_after(&self, conn: &Connection, change: &Change) -> Result<String, DbError> {
        let exists = |name: &String| {
            let sql = "SELECT 1 FROM ref WHERE repo_id = ?1 AND name = ?2";
            conn.prepare_cached(sql)?.exists(params![change.repo, name])
        };
        Ok(match &change.head_ref {
            Some(HeadEdit::Set(head)) => head.clone(),
            Some(HeadEdit::IfUnborn(head)) if !exists(&self.head_ref)? && exists(head)? => head.clone(),
            _ => self.head_ref.clone(),
        })
    }

    /// The last thing done with the row.
    fn update(
        mut self,
        conn: &Connection,
        now_ms: i64,
        change: &Change,
        plan: &Plan,
        leaving: &Leaving,
        head_ref: &str,
    ) -> Result<(), DbError> {
        let row = &mut self.row;
        let added: i64 = change.packs_added.iter().map(bytes).sum();
        let packs_bytes = row.get::<i64>("packs_bytes")? + added - leaving.bytes;
        let packs_count =
            row.get::<i64>("packs_count")? + change.packs_added.len() as i64 - leaving.packs.len() as i64;
        let maint_due_ms = match row.get("maint_due_ms")? {
            due if change.packs_added.is_empty() => due,
            // What is rewritten is shared no more: that waits until the repo changes.
            due if change.packs_added.iter().any(is_shared) => due,
            // It is about to be looked at; moving that would let a busy repo run away from it.
            Some(due) if due <= now_ms => Some(due),
            _ if packs_count >= maintenance::PACKS_MAX => Some(now_ms),
            _ => Some(now_ms + maintenance::REST_MS),
        };
        row.set("head_ref", head_ref)?;
        row.set("generation", self.generation + 1)?;
        row.set("gc_epoch", self.gc_epoch + i64::from(change.collects))?;
        row.set("refs_count", self.refs_count + plan.created)?;
        row.set("packs_count", packs_count)?;
        row.set("packs_bytes", packs_bytes)?;
        row.set("maint_due_ms", maint_due_ms)?;
        // Its manifest is behind now. Written only if it turns, as an index is over it; see schema.sql.
        row.set("pending", true)?;
        Ok(row.write(conn)?)
    }
}

/// Every stored pack has its staged row, or is live where it comes from.
fn check_added(conn: &Connection, change: &Change) -> Result<(), ApplyError> {
    for pack in &change.packs_added {
        let may_come = match pack.content {
            PackContent::Inline(_) => true,
            PackContent::Stored { .. } => {
                let sql = "SELECT 1 FROM pack WHERE repo_id = ?1 AND state = 0 AND id = ?2";
                conn.prepare_cached(sql)?.exists(params![change.repo, pack.id])?
            }
            PackContent::Shared { from, .. } => {
                packs::can_be_shared(conn, from, change.repo, pack, bytes(pack))?
            }
        };
        if !may_come {
            return Err(Conflict::PacksMoved.into());
        }
    }
    Ok(())
}

/// The large objects that the change needs are here, and nobody locked a file since its paths were compared.
fn check_objects(conn: &Connection, change: &Change) -> Result<(), ApplyError> {
    if let Some(seen) = change.locks_version
        && locks::version(conn, change.repo)? != seen
    {
        return Err(Conflict::LocksMoved.into());
    }
    for (sha256, size) in &change.links_required {
        let link = links::find(conn, change.repo, sha256)?;
        if !link.is_some_and(|link| link.is_usable() && link.size == *size) {
            return Err(Conflict::LinksMoved.into());
        }
    }
    Ok(())
}

fn drop_links(conn: &Connection, change: &Change) -> Result<(), DbError> {
    let mut bytes = 0;
    for (sha256, linked_ms) in &change.links_dropped {
        // Whoever uploaded it again meanwhile was told that it is here.
        let link = links::find(conn, change.repo, sha256)?;
        if link.is_some_and(|link| link.linked_ms == *linked_ms) {
            bytes += links::drop_link(conn, change.repo, sha256, change.superseded_until_ms)?;
        }
    }
    Ok(objects::add_bytes(conn, change.repo, -bytes)?)
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
            // Readers of the old list hold the bytes of inline packs already. After a compaction nothing is lost with
            // them, and pages are freed instead of rewritten; what a collection drops is kept for its time.
            let sql = "DELETE FROM pack WHERE repo_id = ?1 AND state = 1 AND id = ?2 AND inline IS NOT NULL";
            if !change.collects && conn.prepare_cached(sql)?.execute(params![change.repo, id])? == 1 {
                continue;
            }
            let live = "repo_id = ?1 AND state = 1 AND id = ?2";
            PACK.change(conn, live, params![change.repo, id], |row| {
                packs::condemn(row, change.superseded_until_ms)
            })?;
        }
        Ok(())
    }
}

fn add_packs(conn: &Connection, change: &Change, generation: i64) -> Result<(), DbError> {
    for pack in &change.packs_added {
        match &pack.content {
            PackContent::Inline(blob) => insert_live(conn, change.repo, pack, generation, Some(blob))?,
            PackContent::Shared { from, .. } => {
                insert_live(conn, change.repo, pack, generation, None)?;
                packs::share(conn, pack.id, [*from, change.repo])?;
            }
            PackContent::Stored { .. } => {
                let staged = "repo_id = ?1 AND state = 0 AND id = ?2";
                PACK.change(conn, staged, params![change.repo, pack.id], |row| {
                    row.set("state", BlobState::Live)?;
                    row.set("kind", pack.kind)?;
                    row.set("objects", pack.objects)?;
                    row.set("bytes", bytes(pack))?;
                    row.set("closure", pack.closure)?;
                    row.set("added_generation", generation)?;
                    row.set("staged_ms", None::<i64>)
                })?;
            }
        }
    }
    Ok(())
}

fn insert_live(
    conn: &Connection,
    repo: RepoId,
    pack: &NewPack,
    generation: i64,
    inline: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let (state, none) = (BlobState::Live, None::<i64>);
    let NewPack { id, kind, objects, closure, .. } = pack;
    let values: [&dyn ToSql; 11] =
        [&repo, id, &state, kind, objects, &bytes(pack), closure, &generation, &none, &none, &inline];
    PACK.insert(conn, &values)
}

fn is_shared(pack: &NewPack) -> bool {
    matches!(pack.content, PackContent::Shared { .. })
}

fn bytes(pack: &NewPack) -> i64 {
    match &pack.content {
        PackContent::Inline(blob) => blob.len() as i64,
        PackContent::Stored { bytes } | PackContent::Shared { bytes, .. } => {
            i64::try_from(*bytes).unwrap_or(i64::MAX)
        }
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
        let position = position as i64;
        let values: [&dyn ToSql; 9] = [
            &change.repo,
            &generation,
            &position,
            &edit.name,
            &step.old,
            &edit.new,
            &change.actor,
            &now_ms,
            &change.message,
        ];
        REF_LOG.insert(conn, &values)?;
    }
    Ok(())
}

fn write_ref(conn: &Connection, change: &Change, edit: &crate::RefEdit, old: Oid) -> Result<(), DbError> {
    if edit.new.is_null() {
        let sql = "DELETE FROM ref WHERE repo_id = ?1 AND name = ?2";
        conn.prepare_cached(sql)?.execute(params![change.repo, edit.name])?;
        return Ok(());
    }
    let values: [&dyn ToSql; 4] = [&change.repo, &edit.name, &edit.new, &edit.peeled];
    if old.is_null() {
        REF.insert(conn, &values)?;
    } else {
        REF.replace(conn, &values)?;
    }
    Ok(())
}
