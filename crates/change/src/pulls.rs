//! Pull requests, as far as refs are concerned: whose ref may be moved, what its move says, opening and merging.

use std::sync::Arc;

use auth::{AuthError, Authorized, Propose, ReauthorizeError, Right, Write};
use database::{
    ApplyError, Change, Conflict, DbError, DiscussionNum, DiscussionStatus, Expected, Merged, NewCommitEvent,
    NewDiscussion, NewPull, Oid, PackKind, PullEdit, RefEdit, RefOutcome, RefRejection, fault, pull_of_ref,
    pull_ref,
};
use repository::edit::{self, Conflicts, Description, EditError};
use repository::{Kind, ReadError, Snapshot, log, tree, walk};

use crate::push::broken_card;
use crate::store::{Moments, StoreError};
use crate::{Changes, CommitError, needs};

/// Nothing was changed. The texts are for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("there is no pull request {0}")]
    Missing(DiscussionNum),
    #[error("{}", why_not_merged(*.num, *.status))]
    Status { num: DiscussionNum, status: DiscussionStatus },
    #[error("there is no branch '{0}' to merge into")]
    NoTarget(String),
    #[error("'{0}' has no commits yet that changes could be proposed to; push to it first")]
    Unborn(String),
    #[error("it cannot be merged, since these files were changed on both sides: {}; merge the branch into {} and push that", listed(.conflicts), pull_ref(*.num))]
    Conflicts { num: DiscussionNum, conflicts: Conflicts },
    #[error("{0}")]
    Card(String),
    #[error("{0}")]
    Locked(String),
    /// One line each.
    #[error("LFS pointer pointed to a file that does not exist: {}", .0.join("; "))]
    ObjectsMissing(Vec<String>),
    #[error("{0}")]
    Ref(RefRejection),
    #[error("{0}")]
    Edit(EditError),
    #[error("access to the repository was revoked")]
    Revoked,
    #[error("the repository is being changed too often; try again")]
    Contended,
    #[error("the server's disk is full")]
    Full,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The ref of a pull request that may move.
#[derive(Clone, Debug)]
pub(crate) struct PullRef {
    pub num: DiscussionNum,
    /// Full name of the branch that it is for.
    pub target: String,
}

const ATTEMPTS_MAX: u32 = 16;
/// Commits of one move that are told of, the newest.
const COMMITS_TOLD_MAX: usize = 250;
/// To tell of them; of a longer history only the tip is told.
const COMMITS_WALKED_MAX: usize = 100_000;
const SUBJECT_CHARS_MAX: usize = 300;
/// Names in one message.
const NAMED_MAX: usize = 10;

impl Changes {
    /// The pull request whose ref is called so, if the bearer may move it; else the reason, for a pusher. `None` for names of
    /// other refs.
    pub(crate) fn pull_to_move<A: Right>(
        &self,
        access: &Authorized<A>,
        name: &str,
    ) -> Result<Option<Result<PullRef, String>>, DbError> {
        let Some(num) = pull_of_ref(name) else { return Ok(None) };
        let (repo, database) = (access.repo_id(), &self.0.database);
        if !access.may_write() && database.discussions_disabled(repo)? {
            return Ok(Some(Err("discussions are disabled for this repository".to_owned())));
        }
        Ok(Some(match database.discussion(repo, num)? {
            Some(discussion) => match discussion.pull {
                None => Err(format!("{num} is a discussion, not a pull request")),
                Some(_) if !access.may_change_of(discussion.author) => {
                    Err("this pull request is not yours".to_owned())
                }
                Some(_) if !discussion.status.is_open() => {
                    Err(format!("this pull request is {}", discussion.status.name()))
                }
                Some(pull) => Ok(PullRef { num, target: pull.target }),
            },
            None => Err("no such pull request; open one through the hub first".to_owned()),
        }))
    }

    /// Opens a draft whose ref begins where the default branch is.
    pub async fn open_pull(
        &self,
        access: &Authorized<Propose>,
        title: String,
        text: String,
    ) -> Result<DiscussionNum, PullError> {
        for _ in 0..ATTEMPTS_MAX {
            let access = still(access, &self.0.database)?;
            let author = access.actor().ok_or(PullError::Revoked)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(PullError::internal)?;
            let target = access.repo().head_ref.clone();
            let Some(tip) = snapshot.find_ref(&target).map(|row| row.oid) else {
                return Err(PullError::Unborn(short(&target).to_owned()));
            };
            let discussion = NewDiscussion { title: title.clone(), text: text.clone(), author };
            let (status, commits) = (DiscussionStatus::Draft, Vec::new());
            let open = PullEdit::Open(NewPull { discussion, status, target, tip, commits });
            let change = self.change_of(&access, &snapshot, "pull request");
            match self.0.database.apply_with_pulls(change, vec![open]).await {
                Ok((applied, opened)) => match (applied.refs.into_iter().next(), opened.first()) {
                    (Some(RefOutcome::Moved { .. }), Some(num)) => return Ok(*num),
                    (Some(RefOutcome::Rejected(reason)), _) => return Err(PullError::Ref(reason)),
                    _ => {}
                },
                Err(ApplyError::Conflict(Conflict::RepoGone)) => return Err(PullError::Revoked),
                Err(ApplyError::Conflict(_)) => {}
                Err(ApplyError::Db(error)) => return Err(error.into()),
            }
        }
        Err(PullError::Contended)
    }

    /// Merges an open pull request into its branch, by a commit that says its title. Runs to its end even if the caller goes
    /// away. When the branch moves meanwhile, the merge is made anew.
    pub async fn merge_pull(
        &self,
        access: Authorized<Write>,
        num: DiscussionNum,
        description: Description,
        comment: Option<String>,
    ) -> Result<Merged, PullError> {
        let changes = self.clone();
        let merge = Merge { num, description, comment };
        let task = tokio::spawn(async move { changes.merge_to_end(access, merge).await });
        task.await.map_err(PullError::internal)?
    }

    async fn merge_to_end(&self, access: Authorized<Write>, merge: Merge) -> Result<Merged, PullError> {
        let _turn = self.0.turns.wait(access.repo_id()).await;
        for _ in 0..ATTEMPTS_MAX {
            let access = still(&access, &self.0.database)?;
            if let Some(merged) = self.merge_attempt(access, &merge).await? {
                return Ok(merged);
            }
        }
        Err(PullError::Contended)
    }

    /// `None` if something came between.
    async fn merge_attempt(
        &self,
        access: Authorized<Write>,
        merge: &Merge,
    ) -> Result<Option<Merged>, PullError> {
        let (repo, num) = (access.repo().clone(), merge.num);
        let discussion = self.0.database.discussion(repo.id, num)?.ok_or(PullError::Missing(num))?;
        let pull = discussion.pull.ok_or(PullError::Missing(num))?;
        if discussion.status != DiscussionStatus::Open {
            return Err(PullError::Status { num, status: discussion.status });
        }
        let snapshot = self.0.repositories.snapshot(&repo).map_err(PullError::internal)?;
        let tip_of = |name: &str| snapshot.find_ref(name).map(|row| row.oid);
        let tip = tip_of(&pull.target).ok_or_else(|| PullError::NoTarget(short(&pull.target).to_owned()))?;
        let head = tip_of(&pull_ref(num)).ok_or(PullError::Missing(num))?;
        // Before the look at the paths: a lock taken later has another version.
        let (locks_version, locks) = self.0.database.locks_of_others(repo.id, access.actor())?;
        let lost = self.lost_pointers(&snapshot)?;
        let mut description = merge.description.clone();
        description.message = format!("{} (#{num})", discussion.title);
        let (base, disk, check_card) = (Arc::clone(&snapshot), self.0.disk.clone(), self.0.check_card);
        let (found, made) = self
            .compute(move || {
                let found = walk::merge_base(&base, &tip, &head, &walk::WalkLimits::default())
                    .map_err(PullError::internal)?;
                if found == Some(head) {
                    // It is in there already.
                    return Ok((found, None));
                }
                let made = edit::merge(&base, found, [tip, head], &description, || disk.temp_file())?;
                let made = made.map_err(|conflicts| PullError::Conflicts { num, conflicts })?;
                let overlay = made.overlay(&base);
                let card = tree::find(&base, base.commit(&tip)?.tree, crate::push::CARD)?;
                if tree::find(&overlay, made.tree, crate::push::CARD)? != card
                    && let Some(problem) = broken_card(None, &overlay, made.commit, check_card)?
                {
                    return Err(PullError::Card(problem));
                }
                let locked = needs::locked(&overlay, Some(tip), made.commit, &locks)?;
                if !locked.is_empty() {
                    return Err(PullError::Locked(needs::locked_by(&locked)));
                }
                let used = needs::used_again(&overlay, Some(tip), made.commit, &lost)?;
                if !used.is_empty() {
                    let named = lost.iter().filter(|pointer| used.contains(&pointer.blob)).take(NAMED_MAX);
                    let named = named.map(|pointer| database::Sha256(pointer.sha256).to_string());
                    return Err(PullError::ObjectsMissing(named.collect()));
                }
                Ok::<_, PullError>((found, Some(made)))
            })
            .await?;
        let (new, pack) = match made {
            Some(made) => (made.commit, Some((made.objects, made.blob))),
            None => (tip, None),
        };
        let (mut packs_added, mut kept) = (Vec::new(), None);
        if let Some((objects, blob)) = pack {
            let moments = Moments { staged: None, durable: fault::Point::MergeDurable };
            let (pack, stored) = self.store(&repo, PackKind::Api, objects, blob, moments).await?;
            packs_added.push(pack);
            kept = Some(stored);
        }
        if still(&access, &self.0.database)?.acl_version() != access.acl_version() {
            return Ok(None);
        }
        let merged = Merged { commit: new, base: found, head };
        let edit = RefEdit { name: pull.target, expected: Expected::At(tip), new, peeled: None };
        let mut change = self.change_of(&access, &snapshot, "merge");
        (change.refs, change.packs_added, change.locks_version) =
            (vec![edit], packs_added, Some(locks_version));
        let told = PullEdit::Merge { num, merged, comment: merge.comment.clone() };
        match self.0.database.apply_with_pulls(change, vec![told]).await {
            Ok((applied, _)) => match applied.refs.into_iter().next() {
                Some(RefOutcome::Moved { .. }) => {
                    if let Some(stored) = kept {
                        stored.keep();
                    }
                    Ok(Some(merged))
                }
                Some(RefOutcome::Rejected(RefRejection::Moved { .. })) | None => Ok(None),
                Some(RefOutcome::Rejected(other)) => Err(PullError::Ref(other)),
            },
            Err(ApplyError::Conflict(Conflict::RepoGone)) => Err(PullError::Revoked),
            Err(ApplyError::Conflict(_)) => Ok(None),
            Err(ApplyError::Db(error)) => Err(error.into()),
        }
    }

    /// One that does nothing yet.
    fn change_of<A: Right>(&self, access: &Authorized<A>, snapshot: &Snapshot, message: &str) -> Change {
        Change {
            repo: access.repo_id(),
            acl_version: Some(access.acl_version()),
            gc_epoch: snapshot.repo().gc_epoch,
            refs: Vec::new(),
            refs_max: self.0.limits.refs_max,
            atomic: true,
            packs_added: Vec::new(),
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref: None,
            links_required: Vec::new(),
            links_dropped: Vec::new(),
            locks_version: None,
            collects: false,
            actor: access.actor(),
            message: message.to_owned(),
        }
    }
}

struct Merge {
    num: DiscussionNum,
    description: Description,
    comment: Option<String>,
}

/// What a move of the ref from `old` to `new` brings, oldest first. `overlay` has the new objects.
pub(crate) fn commits_of_move(
    overlay: &Snapshot,
    pull: &PullRef,
    old: Option<Oid>,
    new: Oid,
) -> Vec<NewCommitEvent> {
    let target = overlay.find_ref(&pull.target).map(|row| row.oid);
    let is_commit = |oid: &Oid| overlay.kind(oid) == Some(Kind::Commit);
    let known: Vec<Oid> = old.into_iter().chain(target).filter(is_commit).collect();
    let limits = walk::WalkLimits { commits_max: COMMITS_WALKED_MAX };
    // What cannot be told apart is told as one.
    let commits = walk::new_commits(overlay, &new, &known, &limits).unwrap_or_else(|_| vec![new]);
    let newest = commits.len().saturating_sub(COMMITS_TOLD_MAX);
    commits[newest..].iter().map(|oid| commit_event(overlay, *oid)).collect()
}

fn commit_event(overlay: &Snapshot, oid: Oid) -> NewCommitEvent {
    let subject = log::entry(overlay, &oid).map(|entry| subject(entry.title())).unwrap_or_default();
    NewCommitEvent { oid, subject }
}

/// The first line of a message, not longer than a line.
pub(crate) fn subject(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().chars().take(SUBJECT_CHARS_MAX).collect()
}

fn still<A: Right>(
    access: &Authorized<A>,
    database: &database::Database,
) -> Result<Authorized<A>, PullError> {
    access.reauthorize(database).map_err(|error| match error {
        ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
        ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
            PullError::Revoked
        }
    })
}

fn short(branch: &str) -> &str {
    branch.strip_prefix("refs/heads/").unwrap_or(branch)
}

fn why_not_merged(num: DiscussionNum, status: DiscussionStatus) -> String {
    match status {
        DiscussionStatus::Draft => {
            format!("pull request {num} is a draft; open it first ('hf discussions reopen' or status 'open')")
        }
        other => format!("pull request {num} is {} already", other.name()),
    }
}

fn listed(conflicts: &Conflicts) -> String {
    let named = conflicts.paths.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match conflicts.paths.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl PullError {
    fn internal(error: impl std::error::Error + Send + Sync + 'static) -> PullError {
        PullError::Internal(Box::new(error))
    }
}

impl From<DbError> for PullError {
    fn from(error: DbError) -> PullError {
        match error {
            DbError::Full => PullError::Full,
            other => PullError::internal(other),
        }
    }
}

impl From<ReadError> for PullError {
    fn from(error: ReadError) -> PullError {
        PullError::internal(error)
    }
}

impl From<EditError> for PullError {
    fn from(error: EditError) -> PullError {
        match CommitError::from(error) {
            CommitError::Edit(error) => PullError::Edit(error),
            CommitError::Full => PullError::Full,
            other => PullError::internal(other),
        }
    }
}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> PullError {
        match error {
            StoreError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => PullError::Full,
            StoreError::Io(error) => PullError::internal(error),
            StoreError::Database(error) => error.into(),
        }
    }
}
