//! A push: policy, index, connectivity, durability, one change, report.

use std::collections::HashMap;

use auth::{AuthError, Authorized, Propose, ReauthorizeError};
use bytes::Bytes;
use database::{
    ApplyError, Change, Conflict, Expected, HeadEdit, Lock, NewPack, Oid, PackKind, PullEdit, RefEdit,
    RefOutcome, fault, pull_of_ref,
};
use git_protocol::receive_pack::{Commands, Report, Update};
use repository::pointer::Pointer;
use repository::{Kind, Snapshot, ingest, tree, walk};
use tokio::time::Instant;

use crate::needs::{self, OBJECTS_MISSING};
use crate::policy::{self, Pusher};
use crate::pulls::{self, PullRef};
use crate::store::{Moments, Stored};
use crate::{Changes, CheckCard, Limits};

/// Nothing was changed, and it was not the pusher's doing (that is in the [`Report`]).
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The repository, or the right to write to it, went away while the push was running.
    #[error("access to the repository was revoked while the push was running")]
    Revoked,
    #[error("the server's disk is full")]
    Full,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PushError {
    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> PushError {
        PushError::Internal(Box::new(error))
    }
}

impl From<database::DbError> for PushError {
    fn from(error: database::DbError) -> PushError {
        match error {
            database::DbError::Full => PushError::Full,
            other => PushError::internal(other),
        }
    }
}

/// How often a push starts over because a collection or a change of rights came between; each is rare.
const ATTEMPTS_MAX: u32 = 4;

impl Changes {
    /// Runs a push to its end even if the caller goes away. `pack` is the complete body behind the commands, in
    /// memory or a mapped staging file; `None` if every command deletes.
    ///
    /// What the pusher did wrong is in the report, ref by ref, in the words git users know.
    pub async fn push(
        &self,
        access: Authorized<Propose>,
        commands: Commands,
        pack: Option<Bytes>,
    ) -> Result<Report, PushError> {
        let changes = self.clone();
        let task = tokio::spawn(async move { changes.push_to_end(access, commands, pack).await });
        task.await.map_err(PushError::internal)?
    }

    async fn push_to_end(
        &self,
        access: Authorized<Propose>,
        commands: Commands,
        pack: Option<Bytes>,
    ) -> Result<Report, PushError> {
        let commands = std::sync::Arc::new(commands);
        // One for all attempts: the body lies in staging meanwhile.
        let deadline = self.0.objects.require_deadline();
        for _ in 0..ATTEMPTS_MAX {
            let access = self.still(&access)?;
            match self.attempt(access, &commands, pack.clone(), deadline).await? {
                Attempt::Done(report) => return Ok(report),
                Attempt::Again => {}
            }
        }
        let reason = "the repository is being changed too often, please push again";
        let refs = commands.updates.iter().map(|update| (update.name.clone(), Err(reason.to_owned())));
        Ok(Report { unpack: Ok(()), refs: refs.collect(), messages: Vec::new() })
    }

    /// The right as it is now. A body takes hours to arrive and minutes to index; a token can be revoked meanwhile.
    fn still(&self, access: &Authorized<Propose>) -> Result<Authorized<Propose>, PushError> {
        access.reauthorize(&self.0.database).map_err(|error| match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
                PushError::Revoked
            }
        })
    }

    async fn attempt(
        &self,
        access: Authorized<Propose>,
        commands: &std::sync::Arc<Commands>,
        pack: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Attempt, PushError> {
        let pusher = Pusher { write: access.may_write(), admin: access.is_admin() };
        let repo = access.repo().clone();
        let snapshot = self.0.repositories.snapshot(&repo).map_err(PushError::internal)?;
        // Before the look at the paths: a lock taken later has another version.
        let (locks_version, locks) = self.0.database.locks_of_others(repo.id, access.actor())?;
        let lost = self.lost_pointers(&snapshot)?;
        let pulls = self.pulls_to_move(&access, commands)?;
        let (limits, disk, check_card) = (self.0.limits.clone(), self.0.disk.clone(), self.0.check_card);
        let (commands, for_work) = (std::sync::Arc::clone(commands), std::sync::Arc::clone(commands));
        let base = std::sync::Arc::clone(&snapshot);
        let prepared = self
            .compute(move || {
                let held = Held { version: locks_version, locks: &locks, lost: &lost, check_card };
                let asked = Asked { pusher, commands: &for_work, pulls: &pulls };
                prepare(&base, asked, pack, held, &limits, &|| disk.temp_file())
            })
            .await;
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(Refused::Unpack(message)) => {
                return Ok(Attempt::Done(Report::unpack_failed(&commands, message)));
            }
            Err(Refused::Internal(error)) => return Err(PushError::Internal(error)),
        };
        fault::point(fault::Point::PushIndexed);
        self.refuse_without_objects(&access, &snapshot, &mut prepared, deadline).await?;
        if prepared.edits.is_empty() || (commands.capabilities.atomic && prepared.any_refused()) {
            return Ok(Attempt::Done(prepared.report(&commands, &[])));
        }
        self.publish(access, &commands, prepared).await
    }

    /// By their refs, those that the commands name.
    fn pulls_to_move(&self, access: &Authorized<Propose>, commands: &Commands) -> Result<Pulls, PushError> {
        let mut pulls = Pulls::new();
        for update in &commands.updates {
            if let Some(pull) = self.pull_to_move(access, &update.name)? {
                pulls.insert(update.name.clone(), pull);
            }
        }
        Ok(pulls)
    }

    /// Of a push that lacks large objects only the deletions are left, and its messages say which.
    async fn refuse_without_objects(
        &self,
        access: &Authorized<Propose>,
        snapshot: &std::sync::Arc<Snapshot>,
        prepared: &mut Prepared,
        deadline: Instant,
    ) -> Result<(), PushError> {
        let unmet = self.unmet(access.repo(), &prepared.objects, deadline).await?;
        if !unmet.is_empty() {
            // A repository that was deleted meanwhile has lost its links too.
            self.still(access)?;
        }
        let Some(ingested) = prepared.ingested.take_if(|_| !unmet.is_empty()) else { return Ok(()) };
        let (base, pointers) = (std::sync::Arc::clone(snapshot), std::mem::take(&mut prepared.pointers));
        let lines = self
            .compute(move || {
                let blobs = needs::blobs_to_name(&unmet, &pointers);
                let paths = walk::paths_in_pack(ingested.pack(), &ingested.overlay(&base), &blobs);
                needs::describe(&unmet, &pointers, &paths)
            })
            .await;
        prepared.messages.extend(lines);
        prepared.messages.push("upload them with 'git lfs push --all REMOTE', then push again".to_owned());
        prepared.objects.clear();
        let (deletions, moves) = prepared.edits.drain(..).partition(|(_, edit)| edit.new.is_null());
        prepared.edits = deletions;
        let moves: Vec<(usize, RefEdit)> = moves;
        prepared.refused.extend(moves.into_iter().map(|(index, _)| (index, Err(OBJECTS_MISSING.to_owned()))));
        prepared.head_ref = None;
        Ok(())
    }

    /// From here on the order is: staged row, bytes durable, one transaction, report.
    async fn publish(
        &self,
        access: Authorized<Propose>,
        commands: &Commands,
        mut prepared: Prepared,
    ) -> Result<Attempt, PushError> {
        let (packs, stored) = self.store_pack(access.repo(), &mut prepared).await?;
        let now = self.still(&access)?;
        if now.acl_version() != access.acl_version() {
            // Who may move what was decided for other rights.
            return Ok(Attempt::Again);
        }
        let edits: Vec<RefEdit> = prepared.edits.iter().map(|(_, edit)| edit.clone()).collect();
        let change = Change {
            repo: access.repo().id,
            acl_version: Some(access.acl_version()),
            gc_epoch: prepared.gc_epoch,
            refs: edits,
            refs_max: self.0.limits.refs_max,
            atomic: commands.capabilities.atomic,
            packs_added: packs,
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref: prepared.head_ref.clone(),
            links_required: match access.repo().lfs_incomplete {
                true => Vec::new(),
                false => std::mem::take(&mut prepared.objects),
            },
            links_dropped: Vec::new(),
            locks_version: prepared.locks_version,
            collects: false,
            actor: access.actor(),
            message: log_message(commands),
        };
        match self.0.database.apply_with_pulls(change, prepared.told()).await {
            Ok((applied, _)) => {
                let moved = applied.refs.iter().any(|outcome| matches!(outcome, RefOutcome::Moved { .. }));
                if let Some(stored) = stored
                    && moved
                {
                    stored.keep();
                }
                Ok(Attempt::Done(prepared.report(commands, &applied.refs)))
            }
            // A collection may have dropped what the connectivity check relied on; rights may have changed. Start
            // over from a fresh snapshot: both are rare, and starting over cannot be wrong.
            Err(ApplyError::Conflict(
                Conflict::GcMoved
                | Conflict::AclMoved
                | Conflict::PacksMoved
                | Conflict::GenerationMoved
                | Conflict::LinksMoved
                | Conflict::LocksMoved
                | Conflict::PullMoved,
            )) => Ok(Attempt::Again),
            Err(ApplyError::Conflict(Conflict::RepoGone)) => Err(PushError::Revoked),
            Err(ApplyError::Db(error)) => Err(error.into()),
        }
    }

    async fn store_pack(
        &self,
        repo: &database::Repo,
        prepared: &mut Prepared,
    ) -> Result<(Vec<NewPack>, Option<Stored>), PushError> {
        let Some(ingested) = prepared.ingested.take().filter(|ingested| ingested.objects() > 0) else {
            return Ok((Vec::new(), None));
        };
        let (objects, blob) = (ingested.objects(), ingested.blob);
        let moments =
            Moments { staged: Some(fault::Point::PushStaged), durable: fault::Point::PushPackDurable };
        let (pack, stored) = self
            .store(repo, PackKind::Receive, objects, blob, moments)
            .await
            .map_err(|error| error.into_push())?;
        Ok((vec![pack], Some(stored)))
    }
}

enum Attempt {
    Done(Report),
    Again,
}

/// A push that passed every check that needs no transaction.
struct Prepared {
    gc_epoch: i64,
    /// Index into the commands, and the edit.
    edits: Vec<(usize, RefEdit)>,
    /// Commands that were refused, and why; commands that have nothing to do.
    refused: Vec<(usize, Result<(), String>)>,
    head_ref: Option<HeadEdit>,
    ingested: Option<ingest::Ingested>,
    /// The LFS pointers of the pack, and those that were here and are used anew.
    pointers: Vec<Pointer>,
    /// Large objects that they need.
    objects: Vec<(database::Sha256, u64)>,
    /// Of the locks that the paths were compared with; `None` if no branch moves.
    locks_version: Option<i64>,
    /// Index into the commands, and what the pull request whose ref it moves is told.
    pulls: Vec<(usize, PullEdit)>,
    /// For the pusher.
    messages: Vec<String>,
}

/// What is asked for, and by whom.
struct Asked<'a> {
    pusher: Pusher,
    commands: &'a Commands,
    pulls: &'a Pulls,
}

/// By the names of their refs: those that may be moved, and why others may not.
type Pulls = HashMap<String, Result<PullRef, String>>;

/// What stands in the way: locks that others hold, pointers whose objects are gone, cards that say nonsense.
struct Held<'a> {
    version: i64,
    locks: &'a [Lock],
    lost: &'a [Pointer],
    check_card: CheckCard,
}

enum Refused {
    /// The pack is bad: every ref fails with it.
    Unpack(String),
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

fn prepare(
    snapshot: &Snapshot,
    Asked { pusher, commands, pulls }: Asked<'_>,
    pack: Option<Bytes>,
    held: Held<'_>,
    limits: &Limits,
    temp_file: &dyn Fn() -> std::io::Result<storage::TempFile>,
) -> Result<Prepared, Refused> {
    let verdicts: Vec<Result<(), String>> = commands
        .updates
        .iter()
        .map(|update| {
            update.problem.map_or(Ok(()), |problem| Err(problem.to_string()))?;
            let asked = policy::Update { name: &update.name, new: update.new, pull: pulls.get(&update.name) };
            policy::check(pusher, snapshot, asked, limits)
        })
        .collect();
    let mut prepared = Prepared {
        gc_epoch: snapshot.repo().gc_epoch,
        edits: Vec::new(),
        refused: Vec::new(),
        head_ref: None,
        ingested: None,
        pointers: Vec::new(),
        objects: Vec::new(),
        locks_version: None,
        pulls: Vec::new(),
        messages: Vec::new(),
    };
    let wanted = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
    if wanted == 0 || (commands.capabilities.atomic && wanted < verdicts.len()) {
        // Nothing can move: the pack need not be looked at.
        prepared.refused = verdicts.into_iter().enumerate().filter(|(_, verdict)| verdict.is_err()).collect();
        return Ok(prepared);
    }
    let mut ingest_limits = limits.ingest.clone();
    if let Some(bytes) = snapshot.repo().blob_bytes_max {
        ingest_limits.blob_bytes = bytes;
    }
    let ingested = match pack {
        Some(pack) => Some(receive(pack, snapshot, commands, &ingest_limits, temp_file)?),
        None => None,
    };
    let objects = Objects { snapshot, ingested: ingested.as_ref() };
    for (index, (update, verdict)) in commands.updates.iter().zip(verdicts).enumerate() {
        match verdict.and_then(|()| edit(&objects, update)) {
            Ok(Some(edit)) => prepared.edits.push((index, edit)),
            Ok(None) => prepared.refused.push((index, Ok(()))),
            Err(reason) => prepared.refused.push((index, Err(reason))),
        }
    }
    prepared.refuse_locked(snapshot, ingested.as_ref(), &held);
    prepared.refuse_cards(snapshot, ingested.as_ref(), held.check_card);
    let created = prepared.edits.iter().filter(|(_, edit)| edit.expected == Expected::Absent);
    prepared.head_ref =
        policy::head_after(snapshot, created.map(|(_, edit)| edit.name.as_str())).map(HeadEdit::IfUnborn);
    prepared.pointers = ingested.as_ref().map(|ingested| ingested.pointers.clone()).unwrap_or_default();
    prepared.need_lost(snapshot, ingested.as_ref(), held.lost);
    prepared.tell_pulls(snapshot, ingested.as_ref(), pulls);
    prepared.objects = needs::objects_of(&prepared.pointers);
    prepared.ingested = ingested;
    Ok(prepared)
}

fn receive(
    pack: Bytes,
    snapshot: &Snapshot,
    commands: &Commands,
    limits: &ingest::Limits,
    temp_file: &dyn Fn() -> std::io::Result<storage::TempFile>,
) -> Result<ingest::Ingested, Refused> {
    ingest::ingest(pack, snapshot, limits, temp_file, &|| true).map_err(|error| match error {
        ingest::IngestError::Io(_) | ingest::IngestError::Base(_) | ingest::IngestError::Written(_) => {
            Refused::Internal(Box::new(error))
        }
        ingest::IngestError::Missing { .. } if !commands.shallow.is_empty() => {
            Refused::Unpack("shallow update not allowed".to_owned())
        }
        error => Refused::Unpack(error.to_string()),
    })
}

/// What a new tip may point at: the pushed pack, or the repository as it was.
struct Objects<'a> {
    snapshot: &'a Snapshot,
    ingested: Option<&'a ingest::Ingested>,
}

impl Objects<'_> {
    fn kind(&self, oid: &Oid) -> Option<Kind> {
        self.ingested.and_then(|ingested| ingested.kind_of(oid)).or_else(|| self.snapshot.kind(oid))
    }

    fn peel(&self, oid: &Oid) -> Result<Oid, String> {
        let peeled = match self.ingested {
            Some(ingested) if ingested.kind_of(oid).is_some() => ingested.peel(self.snapshot, oid),
            _ => self.snapshot.peel(oid),
        };
        peeled.map_err(|_| format!("cannot read tag {oid}"))
    }
}

/// The edit for one command; `None` if there is nothing to do.
fn edit(objects: &Objects<'_>, update: &Update) -> Result<Option<RefEdit>, String> {
    let current = objects.snapshot.find_ref(&update.name).map(|existing| existing.oid);
    if update.new.is_null() && current.is_none() {
        // git answers a deletion of what is not there with a warning, not an error.
        return Ok(None);
    }
    let expected = if update.old.is_null() { Expected::Absent } else { Expected::At(update.old) };
    let edit = |peeled| RefEdit { name: update.name.clone(), expected, new: update.new, peeled };
    if update.new.is_null() {
        return Ok(Some(edit(None)));
    }
    let kind = objects.kind(&update.new).ok_or_else(|| "missing necessary objects".to_owned())?;
    let takes_commits = update.name.starts_with("refs/heads/") || pull_of_ref(&update.name).is_some();
    if takes_commits && kind != Kind::Commit {
        return Err(format!("trying to write non-commit object {} to branch '{}'", update.new, update.name));
    }
    let peeled = if kind == Kind::Tag { Some(objects.peel(&update.new)?) } else { None };
    Ok(Some(edit(peeled)))
}

pub(crate) const CARD: &str = "README.md";
/// Of larger ones nothing is read.
const CARD_BYTES_MAX: u64 = 4 << 20;

/// What is wrong with the card of a commit, unless it was in `known` before.
pub(crate) fn broken_card(
    known: Option<&Snapshot>,
    overlay: &Snapshot,
    commit: Oid,
    check: CheckCard,
) -> Result<Option<String>, repository::ReadError> {
    let card = tree::find(overlay, overlay.commit(&commit)?.tree, CARD)?.filter(tree::Found::is_blob);
    let is_known = |oid: &Oid| known.is_some_and(|known| known.contains(oid));
    let Some(card) = card.filter(|card| !is_known(&card.oid)) else { return Ok(None) };
    if overlay.size(&card.oid).is_none_or(|size| size > CARD_BYTES_MAX) {
        return Ok(None);
    }
    let mut content = Vec::new();
    overlay.read_as(&card.oid, Kind::Blob, &mut content)?;
    Ok(check(&content, overlay.repo().path.kind).err())
}

impl Prepared {
    /// Branches whose new card cannot be understood stay, except in mirrors: those have what others have.
    fn refuse_cards(&mut self, snapshot: &Snapshot, ingested: Option<&ingest::Ingested>, check: CheckCard) {
        let Some(ingested) = ingested.filter(|_| !snapshot.repo().mirror) else { return };
        let overlay = ingested.overlay(snapshot);
        for (index, edit) in std::mem::take(&mut self.edits) {
            let is_branch = edit.name.starts_with("refs/heads/");
            // What was here before was let in.
            let problem = match is_branch && ingested.kind_of(&edit.new).is_some() {
                true => broken_card(Some(snapshot), &overlay, edit.new, check),
                false => Ok(None),
            };
            match problem {
                Ok(None) => self.edits.push((index, edit)),
                Ok(Some(problem)) => {
                    self.messages.push(format!("{}: {problem}", edit.name));
                    self.refused.push((index, Err("invalid metadata in README.md".to_owned())));
                }
                Err(error) => {
                    self.refused.push((index, Err(format!("its README.md cannot be read: {error}"))))
                }
            }
        }
    }

    /// Branches that would change what somebody else has locked stay.
    fn refuse_locked(&mut self, snapshot: &Snapshot, ingested: Option<&ingest::Ingested>, held: &Held<'_>) {
        let moves_branch = |edit: &RefEdit| edit.name.starts_with("refs/heads/") && !edit.new.is_null();
        if !self.edits.iter().any(|(_, edit)| moves_branch(edit)) {
            return;
        }
        self.locks_version = Some(held.version);
        if held.locks.is_empty() {
            return;
        }
        let overlay = ingested.map(|ingested| ingested.overlay(snapshot));
        let overlay = overlay.as_ref().unwrap_or(snapshot);
        let (mut kept, mut told) = (Vec::new(), Vec::new());
        for (index, edit) in std::mem::take(&mut self.edits) {
            if !moves_branch(&edit) {
                kept.push((index, edit));
                continue;
            }
            // Where the change will find the ref, or it will not move: not where the snapshot has it.
            let old = match edit.expected {
                Expected::Absent => None,
                Expected::At(old) => Some(old),
                Expected::Any => snapshot.find_ref(&edit.name).map(|existing| existing.oid),
            };
            if old.is_some_and(|old| !overlay.contains(&old)) {
                self.refused.push((index, Err(STALE.to_owned())));
                continue;
            }
            let locked = needs::locked(overlay, old, edit.new, held.locks);
            match locked {
                Ok(locks) if locks.is_empty() => kept.push((index, edit)),
                Ok(locks) => {
                    let line = |lock: &&Lock| {
                        format!("{}: {} is locked by {}", edit.name, lock.path, lock.owner_name)
                    };
                    told.extend(locks.iter().map(line));
                    self.refused.push((index, Err(needs::locked_by(&locks))));
                }
                Err(error) => {
                    let reason = format!("cannot be compared with the locked files: {error}");
                    self.refused.push((index, Err(reason)));
                }
            }
        }
        if !told.is_empty() {
            let more = told.len().saturating_sub(LOCKS_TOLD_MAX);
            told.truncate(LOCKS_TOLD_MAX);
            self.messages.append(&mut told);
            if more > 0 {
                self.messages.push(format!("… and {more} more locked files"));
            }
            let how = "ask who holds the lock to run 'git lfs unlock', or an administrator to use --force";
            self.messages.push(how.to_owned());
        }
        self.edits = kept;
    }

    /// Adds those pointers of `lost` that the push uses where they were not: their objects must be uploaded again. What
    /// cannot be compared is left to those who read it.
    fn need_lost(&mut self, snapshot: &Snapshot, ingested: Option<&ingest::Ingested>, lost: &[Pointer]) {
        let Some(ingested) = ingested.filter(|_| !lost.is_empty()) else { return };
        let overlay = ingested.overlay(snapshot);
        for (_, edit) in self.edits.iter().filter(|(_, edit)| !edit.new.is_null()) {
            let old = match edit.expected {
                Expected::At(old) => overlay.peel(&old).ok(),
                Expected::Absent | Expected::Any => None,
            };
            let used = needs::used_again(&overlay, old, edit.peeled.unwrap_or(edit.new), lost);
            let used = used.unwrap_or_default();
            self.pointers.extend(lost.iter().filter(|pointer| used.contains(&pointer.blob)));
        }
    }

    /// What is to be said of commits where pull requests move.
    fn tell_pulls(&mut self, snapshot: &Snapshot, ingested: Option<&ingest::Ingested>, pulls: &Pulls) {
        if pulls.is_empty() {
            return;
        }
        let overlay = ingested.map(|ingested| ingested.overlay(snapshot));
        let overlay = overlay.as_ref().unwrap_or(snapshot);
        for (index, edit) in &self.edits {
            if let Some(Ok(pull)) = pulls.get(&edit.name)
                && !edit.new.is_null()
            {
                let old = match edit.expected {
                    Expected::At(old) => Some(old),
                    Expected::Absent | Expected::Any => None,
                };
                let commits = pulls::commits_of_move(overlay, pull, old, edit.new);
                self.pulls.push((*index, PullEdit::Commits { num: pull.num, commits }));
            }
        }
    }

    /// Of those that are still to move.
    fn told(&self) -> Vec<PullEdit> {
        let moves = |index: &usize| self.edits.iter().any(|(edit, _)| edit == index);
        let told = self.pulls.iter().filter(|(index, _)| moves(index));
        told.map(|(_, edit)| edit.clone()).collect()
    }

    fn any_refused(&self) -> bool {
        self.refused.iter().any(|(_, verdict)| verdict.is_err())
    }

    /// One status per command, in the order of the commands. `outcomes` belong to the edits; none were applied if
    /// it is empty.
    fn report(&self, commands: &Commands, outcomes: &[RefOutcome]) -> Report {
        let mut statuses: Vec<Result<(), String>> =
            vec![Err("atomic push failed".to_owned()); commands.updates.len()];
        for (index, verdict) in &self.refused {
            statuses[*index].clone_from(verdict);
        }
        for ((index, _), outcome) in self.edits.iter().zip(outcomes) {
            statuses[*index] = match outcome {
                RefOutcome::Moved { .. } => Ok(()),
                RefOutcome::Rejected(reason) => Err(rejection(reason)),
            };
        }
        let refs = commands.updates.iter().zip(statuses);
        let refs = refs.map(|(update, result)| (update.name.clone(), result.map(|()| None)));
        Report { unpack: Ok(()), refs: refs.collect(), messages: self.messages.clone() }
    }
}

/// Locked files that a pusher is told of.
const LOCKS_TOLD_MAX: usize = 20;

const STALE: &str = "failed to update ref: it was changed meanwhile, fetch first";

/// git's words for a lost race; the rest speaks for itself.
fn rejection(reason: &database::RefRejection) -> String {
    match reason {
        database::RefRejection::Moved { .. } => STALE.to_owned(),
        other => other.to_string(),
    }
}

/// What the ref log keeps of a push: its options follow, one per line.
fn log_message(commands: &Commands) -> String {
    let options = commands.push_options.iter().map(String::as_str);
    std::iter::once("push").chain(options).collect::<Vec<_>>().join("\n")
}
