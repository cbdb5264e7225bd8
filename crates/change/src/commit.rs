//! A commit that is made here, of single changes of files: what clients send over HTTP instead of a push.
//!
//! The same promises as for a push, by the same means: large objects first, then bytes, then one change. Who names the
//! commit they know is told when the branch has moved; for everybody else the changes are made again on the new tip.

use std::sync::Arc;
use std::time::Duration;

use auth::{AuthError, Authorized, Propose, ReauthorizeError};
use database::{
    ApplyError, Change, Conflict, DbError, DiscussionNum, DiscussionStatus, Expected, HeadEdit, Lock,
    NewCommitEvent, NewDiscussion, NewPull, Oid, PullEdit, RefEdit, RefOutcome, RefRejection, Sha256, fault,
};
use repository::attributes::Attributes;
use repository::edit::{self, Action, Description, Edit, EditError, Made};
use repository::pointer;
use repository::revision::{self, RevisionError};
use repository::{ReadError, Snapshot, tree};

use crate::pulls::{self, PullRef};
use crate::store::{Moments, StoreError};
use crate::{Changes, needs, policy};

/// What is to be committed. `edits` that put LFS pointers need their objects in the repository.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// Full name, such as `refs/heads/main`. It must be there, unless the repository is empty and it is the default one. Or
    /// the ref of a pull request, which its author may commit to, too.
    pub branch: String,
    /// The tip that the client knows, or the first digits of its id. What a proposal begins with may be any commit.
    pub parent: Option<String>,
    /// Leaves the branch where it is, and opens a pull request for it.
    pub proposal: Option<Proposal>,
    pub edits: Vec<Edit>,
    pub author_name: String,
    pub author_email: String,
    pub message: String,
}

/// What the pull request says that a commit opens.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub title: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The tip of the branch now.
    pub commit: Oid,
    /// False if there was nothing to change.
    pub moved: bool,
    /// The pull request that it opened.
    pub opened: Option<DiscussionNum>,
}

/// Nothing was changed. The texts are for the one who sent the commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("access to the repository was revoked while the commit was being made")]
    Revoked,
    /// The branch, or the pull request, is not one that the bearer may move.
    #[error("{0}")]
    Forbidden(String),
    #[error("there is no branch '{0}'")]
    NoBranch(String),
    #[error("there is no commit '{0}'")]
    NoParent(String),
    #[error("there is nothing to propose: the files are like this already")]
    Nothing,
    /// The words that clients know.
    #[error("The branch was updated since you opened this page. Please refresh and try again.")]
    Stale { tip: Oid },
    #[error(transparent)]
    Edit(EditError),
    #[error("'{path}' has {bytes} bytes, more than the {max} allowed outside of Git LFS")]
    TooLarge { path: String, bytes: u64, max: u64 },
    #[error("{0}")]
    Locked(String),
    /// One line each.
    #[error("LFS pointer pointed to a file that does not exist: {}", .0.join("; "))]
    ObjectsMissing(Vec<String>),
    #[error("large files of this commit are still being verified; try again in a moment")]
    Verifying,
    #[error("{0}")]
    Ref(RefRejection),
    #[error("the branch is being changed too often; try again")]
    Contended,
    #[error("the server's disk is full")]
    Full,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Changes of rights and collections that come between; each is rare.
const ATTEMPTS_MAX: u32 = 8;
/// How long a commit waits for large objects to be read back. Clients try again by themselves.
const VERIFYING_MAX: Duration = Duration::from_secs(20);
/// Names of files in one error.
const NAMED_MAX: usize = 10;
/// So many files that no rule of `.gitattributes` sends to LFS get a rule each; of more, there is one per extension.
const RULES_BY_PATH_MAX: usize = 256;

impl Changes {
    /// Runs to its end even if the caller goes away.
    pub async fn commit(
        &self,
        access: Authorized<Propose>,
        commit: NewCommit,
    ) -> Result<Committed, CommitError> {
        let changes = self.clone();
        let task = tokio::spawn(async move { changes.commit_to_end(access, commit).await });
        task.await.map_err(CommitError::internal)?
    }

    async fn commit_to_end(
        &self,
        access: Authorized<Propose>,
        commit: NewCommit,
    ) -> Result<Committed, CommitError> {
        self.await_objects(&access, &commit.edits).await?;
        let commit = Arc::new(commit);
        let _turn = self.0.turns.wait(access.repo_id()).await;
        for _ in 0..ATTEMPTS_MAX {
            let still = self.still_commits(&access)?;
            if let Some(committed) = self.commit_attempt(still, &commit).await? {
                return Ok(committed);
            }
            // What came between may be that one of them turned out to be another.
            self.await_objects(&access, &commit.edits).await?;
        }
        Err(CommitError::Contended)
    }

    /// Where [`Changes::commit`] would begin, as things are; refuses a branch or parent that it would refuse. To be asked by
    /// whoever has much to prepare before.
    pub fn foresee_commit(
        &self,
        access: &Authorized<Propose>,
        snapshot: &Snapshot,
        branch: &str,
        parent: Option<&str>,
        proposes: bool,
    ) -> Result<Option<Oid>, CommitError> {
        if proposes {
            return start_of_proposal(snapshot, branch, parent).map(Some);
        }
        self.pull_committed_to(access, branch)?;
        tip_for(snapshot, branch, parent)
    }

    /// The pull request that a commit to this ref is one of. Refused unless the bearer may move the ref.
    fn pull_committed_to(
        &self,
        access: &Authorized<Propose>,
        branch: &str,
    ) -> Result<Option<PullRef>, CommitError> {
        match self.pull_to_move(access, branch)? {
            Some(Ok(pull)) => Ok(Some(pull)),
            Some(Err(reason)) => Err(CommitError::Forbidden(reason)),
            None if access.may_write() => Ok(None),
            None => Err(CommitError::Forbidden(
                "you may read this repository but not write to it; open a pull request instead".to_owned(),
            )),
        }
    }

    /// Before the turn is taken, since it may take a while.
    async fn await_objects(&self, access: &Authorized<Propose>, edits: &[Edit]) -> Result<(), CommitError> {
        let pointers: Vec<_> = edits.iter().filter_map(pointer_of).collect();
        let mut needed: Vec<_> =
            pointers.iter().map(|(_, object)| *object).filter(|(_, size)| *size > 0).collect();
        needed.sort_unstable();
        needed.dedup();
        let deadline = tokio::time::Instant::now() + VERIFYING_MAX;
        let unmet = self.unmet(access.repo(), &needed, deadline).await?;
        if unmet.is_empty() {
            return Ok(());
        }
        // A repository that was deleted meanwhile has lost its links too.
        self.still_commits(access)?;
        if unmet.iter().all(|unmet| unmet.why == lfs::Why::Unverified) {
            return Err(CommitError::Verifying);
        }
        let mut lines: Vec<String> = unmet
            .iter()
            .take(NAMED_MAX)
            .map(|unmet| {
                let named = pointers.iter().find(|(_, object)| *object == (unmet.sha256, unmet.size));
                let path = named.map_or("", |(path, _)| path);
                format!("{path}: {} {}", unmet.sha256, unmet.why)
            })
            .collect();
        if unmet.len() > NAMED_MAX {
            lines.push(format!("and {} more", unmet.len() - NAMED_MAX));
        }
        Err(CommitError::ObjectsMissing(lines))
    }

    fn still_commits(&self, access: &Authorized<Propose>) -> Result<Authorized<Propose>, CommitError> {
        access.reauthorize(&self.0.database).map_err(|error| match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
                CommitError::Revoked
            }
        })
    }

    /// `None` if something came between.
    async fn commit_attempt(
        &self,
        access: Authorized<Propose>,
        commit: &Arc<NewCommit>,
    ) -> Result<Option<Committed>, CommitError> {
        let repo = access.repo().clone();
        let snapshot = self.0.repositories.snapshot(&repo).map_err(CommitError::internal)?;
        let parent = commit.parent.as_deref();
        let (pull, tip) = match commit.proposal {
            Some(_) => (None, Some(start_of_proposal(&snapshot, &commit.branch, parent)?)),
            None => {
                let pull = self.pull_committed_to(&access, &commit.branch)?;
                (pull, tip_for(&snapshot, &commit.branch, parent)?)
            }
        };
        // What is proposed is held up by a lock when it is merged.
        let moves_branch = commit.proposal.is_none() && pull.is_none();
        // Before the look at the paths: a lock taken later has another version.
        let (locks_version, locks) = self.0.database.locks_of_others(repo.id, access.actor())?;
        let seconds = self.0.database.clock().now_ms() / 1000;
        let blob_bytes_max = repo.blob_bytes_max.unwrap_or(self.0.limits.ingest.blob_bytes);
        let (base, new, disk) = (Arc::clone(&snapshot), Arc::clone(commit), self.0.disk.clone());
        let prepare = Prepare { tip, seconds, blob_bytes_max };
        let made = self
            .compute(move || {
                let made = prepare.make(&base, &new, || disk.temp_file())?;
                let made_for = made.as_ref().filter(|_| moves_branch);
                let locked = made_for.map(|made| refuse_locked(&base, tip, made, &locks));
                locked.transpose()?;
                Ok::<_, CommitError>(made)
            })
            .await?;
        let (made, tip) = match (made, tip) {
            (Some(made), tip) => (made, tip),
            (None, Some(_)) if commit.proposal.is_some() => return Err(CommitError::Nothing),
            (None, Some(tip)) => return Ok(Some(Committed { commit: tip, moved: false, opened: None })),
            (None, None) => return Err(CommitError::NoBranch(commit.branch.clone())),
        };
        let locks_version = moves_branch.then_some(locks_version);
        self.publish_commit(access, commit, &snapshot, Place { tip, pull, locks_version }, made).await
    }

    async fn publish_commit(
        &self,
        access: Authorized<Propose>,
        commit: &NewCommit,
        snapshot: &Snapshot,
        Place { tip, pull, locks_version }: Place,
        made: Made,
    ) -> Result<Option<Committed>, CommitError> {
        let moments = Moments { staged: None, durable: fault::Point::CommitDurable };
        let kind = database::PackKind::Api;
        let (pack, stored) = self.store(access.repo(), kind, made.objects, made.blob, moments).await?;
        let acl_version = access.acl_version();
        if self.still_commits(&access)?.acl_version() != acl_version {
            return Ok(None);
        }
        let expected = tip.map_or(Expected::Absent, Expected::At);
        let edit = RefEdit { name: commit.branch.clone(), expected, new: made.commit, peeled: None };
        let created = tip.is_none().then_some(commit.branch.as_str());
        let commits = vec![NewCommitEvent { oid: made.commit, subject: pulls::subject(&commit.message) }];
        let (refs, told) = match (&commit.proposal, pull) {
            (Some(Proposal { title, text }), _) => {
                let author = access.actor().ok_or(CommitError::Revoked)?;
                let discussion = NewDiscussion { title: title.clone(), text: text.clone(), author };
                let (status, target, tip) = (DiscussionStatus::Open, commit.branch.clone(), made.commit);
                (vec![], vec![PullEdit::Open(NewPull { discussion, status, target, tip, commits })])
            }
            (None, Some(pull)) => (vec![edit], vec![PullEdit::Commits { num: pull.num, commits }]),
            (None, None) => (vec![edit], vec![]),
        };
        let links_required = match access.repo().lfs_incomplete {
            true => Vec::new(),
            false => needs::objects_of(&made.pointers),
        };
        let change = Change {
            repo: access.repo_id(),
            acl_version: Some(acl_version),
            gc_epoch: snapshot.repo().gc_epoch,
            refs,
            refs_max: self.0.limits.refs_max,
            atomic: true,
            packs_added: vec![pack],
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref: policy::head_after(snapshot, created.into_iter()).map(HeadEdit::IfUnborn),
            links_required,
            links_dropped: Vec::new(),
            locks_version,
            collects: false,
            actor: access.actor(),
            message: "commit".to_owned(),
        };
        match self.0.database.apply_with_pulls(change, told).await {
            Ok((applied, opened)) => match applied.refs.into_iter().next() {
                Some(RefOutcome::Moved { .. }) => {
                    stored.keep();
                    let opened = opened.into_iter().next();
                    Ok(Some(Committed { commit: made.commit, moved: true, opened }))
                }
                Some(RefOutcome::Rejected(RefRejection::Moved { actual, .. })) if commit.parent.is_some() => {
                    Err(CommitError::Stale { tip: actual })
                }
                Some(RefOutcome::Rejected(RefRejection::Moved { .. })) | None => Ok(None),
                Some(RefOutcome::Rejected(other)) => Err(CommitError::Ref(other)),
            },
            Err(ApplyError::Conflict(Conflict::RepoGone)) => Err(CommitError::Revoked),
            Err(ApplyError::Conflict(_)) => Ok(None),
            Err(ApplyError::Db(error)) => Err(error.into()),
        }
    }
}

/// Where the branch is, if that is where the client knows it to be.
fn tip_for(snapshot: &Snapshot, branch: &str, parent: Option<&str>) -> Result<Option<Oid>, CommitError> {
    let tip = snapshot.find_ref(branch).map(|row| row.oid);
    let is_first = snapshot.refs().is_empty() && branch == snapshot.repo().head_ref;
    match (tip, parent) {
        (None, None) if is_first => Ok(None),
        (None, _) => Err(CommitError::NoBranch(branch.to_owned())),
        (Some(tip), Some(parent)) if !tip.to_string().starts_with(&parent.to_ascii_lowercase()) => {
            Err(CommitError::Stale { tip })
        }
        (tip, _) => Ok(tip),
    }
}

/// The commit that a proposal for the branch begins with.
fn start_of_proposal(snapshot: &Snapshot, branch: &str, parent: Option<&str>) -> Result<Oid, CommitError> {
    let tip = snapshot.find_ref(branch).map(|row| row.oid);
    let tip = tip.ok_or_else(|| CommitError::NoBranch(branch.to_owned()))?;
    let Some(parent) = parent else { return Ok(tip) };
    match revision::resolve(snapshot, parent) {
        Ok(found) => Ok(found.commit),
        Err(RevisionError::Read(error)) => Err(error.into()),
        Err(RevisionError::NotFound | RevisionError::Ambiguous) => {
            Err(CommitError::NoParent(parent.to_owned()))
        }
    }
}

/// Where a commit goes.
struct Place {
    tip: Option<Oid>,
    pull: Option<PullRef>,
    locks_version: Option<i64>,
}

/// What is made off the async threads.
struct Prepare {
    tip: Option<Oid>,
    seconds: i64,
    blob_bytes_max: u64,
}

impl Prepare {
    fn make(
        &self,
        s: &Snapshot,
        commit: &NewCommit,
        out: impl FnOnce() -> std::io::Result<storage::TempFile>,
    ) -> Result<Option<Made>, CommitError> {
        for Edit { path, action } in &commit.edits {
            if let Action::Put(content) = action
                && content.len() as u64 > self.blob_bytes_max
            {
                let (path, bytes) = (path.clone(), content.len() as u64);
                return Err(CommitError::TooLarge { path, bytes, max: self.blob_bytes_max });
            }
        }
        let mut edits = commit.edits.clone();
        let base = self.tip.map(|tip| s.commit(&tip)).transpose()?.map(|commit| commit.tree);
        edits.extend(rules_for(s, base, &edits)?);
        let description = Description {
            author_name: commit.author_name.clone(),
            author_email: commit.author_email.clone(),
            seconds: self.seconds,
            message: commit.message.clone(),
        };
        Ok(edit::commit(s, self.tip, edits, &description, out)?)
    }
}

/// Path and object of an edit that puts a pointer.
fn pointer_of(edit: &Edit) -> Option<(&str, (Sha256, u64))> {
    let Action::Put(content) = &edit.action else { return None };
    let target = pointer::parse(content)?;
    Some((&edit.path, (Sha256(target.sha256), target.size)))
}

const ATTRIBUTES: &str = ".gitattributes";

/// The edit of `.gitattributes` that pointers need which no rule sends to LFS: a client that clones would not know them.
fn rules_for(s: &Snapshot, base: Option<Oid>, edits: &[Edit]) -> Result<Option<Edit>, CommitError> {
    let mut attributes = Attributes::new(s, base);
    let mut root = None;
    for Edit { path, action } in edits {
        let folder = match path.rsplit_once('/') {
            Some((folder, ATTRIBUTES)) => folder,
            None if path == ATTRIBUTES => "",
            _ => continue,
        };
        let content = match action {
            Action::Put(content) => content.clone(),
            _ => bytes::Bytes::new(),
        };
        attributes.set(folder, &content)?;
        if folder.is_empty() {
            root = Some(content);
        }
    }
    let mut without = Vec::new();
    for (path, _) in edits.iter().filter_map(pointer_of) {
        if !attributes.is_lfs(path)? {
            without.push(path);
        }
    }
    if without.is_empty() {
        return Ok(None);
    }
    let mut content = match root {
        Some(content) => content.to_vec(),
        None => base.map(|base| file(s, base, ATTRIBUTES)).transpose()?.flatten().unwrap_or_default(),
    };
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    // A file of a folder may have the last word, and say no: then it is no use to say it again.
    let there: std::collections::HashSet<&[u8]> = content.split(|&byte| byte == b'\n').collect();
    let lines = patterns(&without)
        .into_iter()
        .map(|pattern| format!("{pattern} filter=lfs diff=lfs merge=lfs -text"));
    let lines: Vec<String> = lines.filter(|line| !there.contains(line.as_bytes())).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    for line in lines {
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
    }
    if content.len() as u64 > repository::attributes::FILE_BYTES_MAX {
        return Err(CommitError::Edit(EditError::Attributes));
    }
    Ok(Some(Edit { path: ATTRIBUTES.to_owned(), action: Action::Put(content.into()) }))
}

/// Of these files and as few others as can be.
fn patterns(paths: &[&str]) -> Vec<String> {
    let mut patterns: Vec<String> = match paths.len() <= RULES_BY_PATH_MAX {
        true => paths.iter().map(|path| literal(path)).collect(),
        false => paths.iter().map(|path| by_extension(path)).collect(),
    };
    patterns.sort_unstable();
    patterns.dedup();
    patterns
}

fn by_extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => {
            format!("*.{}", escaped(extension))
        }
        _ => literal(path),
    }
}

/// A pattern that means this file alone.
fn literal(path: &str) -> String {
    // Without a slash a pattern would mean the name in every folder.
    let slash = if path.contains('/') { "" } else { "/" };
    format!("{slash}{}", escaped(path))
}

fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // As `git lfs track` writes them.
            ' ' => pattern.push_str("[[:space:]]"),
            '*' | '?' | '[' | ']' | '\\' => pattern.extend(['\\', c]),
            _ => pattern.push(c),
        }
    }
    pattern
}

fn file(s: &Snapshot, root: Oid, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(found) = tree::find(s, root, path)?.filter(tree::Found::is_blob) else { return Ok(None) };
    let mut content = Vec::new();
    s.read_as(&found.oid, repository::Kind::Blob, &mut content)?;
    Ok(Some(content))
}

fn refuse_locked(s: &Snapshot, tip: Option<Oid>, made: &Made, locks: &[Lock]) -> Result<(), CommitError> {
    let locked = needs::locked(&made.overlay(s), tip, made.commit, locks)?;
    match locked.is_empty() {
        true => Ok(()),
        false => Err(CommitError::Locked(needs::locked_by(&locked))),
    }
}

impl CommitError {
    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> CommitError {
        CommitError::Internal(Box::new(error))
    }
}

impl From<EditError> for CommitError {
    fn from(error: EditError) -> CommitError {
        match error {
            EditError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => CommitError::Full,
            EditError::Io(_) | EditError::Read(_) | EditError::Written(_) => CommitError::internal(error),
            other => CommitError::Edit(other),
        }
    }
}

impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> CommitError {
        CommitError::internal(error)
    }
}

impl From<DbError> for CommitError {
    fn from(error: DbError) -> CommitError {
        match error {
            DbError::Full => CommitError::Full,
            other => CommitError::internal(other),
        }
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> CommitError {
        match error {
            StoreError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => CommitError::Full,
            StoreError::Io(error) => CommitError::internal(error),
            StoreError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_one_file() {
        assert_eq!(patterns(&["a b.bin", "d/[x]*.bin"]), ["/a[[:space:]]b.bin", "d/\\[x\\]\\*.bin"]);
        let many: Vec<String> = (0..300).map(|n| format!("d/{n}.bin")).chain(["d/none".to_owned()]).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(patterns(&many), ["*.bin", "d/none"]);
    }
}
