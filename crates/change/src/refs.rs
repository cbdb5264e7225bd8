//! Branches and tags made and deleted one at a time, as clients do over HTTP.

use auth::{AuthError, Authorized, ReauthorizeError, Write};
use database::{
    ApplyError, Change, Conflict, DbError, Expected, NewPack, Oid, PackKind, RefEdit, RefOutcome,
    RefRejection, fault,
};
use git_protocol::receive_pack::is_well_formed;
use repository::edit::{self, Description, EditError};
use repository::{Kind, ReadError, Snapshot};

use crate::store::{Moments, StoreError, Stored};
use crate::{Changes, needs, policy};

/// What a branch begins with, or a tag names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Commit(Oid),
    /// A commit of no files, which has no history.
    Nothing,
}

/// Nothing was changed. The texts are those that clients know.
#[derive(Debug, thiserror::Error)]
pub enum RefError {
    #[error("Invalid reference for a branch or tag: {0}")]
    Invalid(String),
    #[error("Reference {0} already exists")]
    Exists(String),
    #[error("there is no {0}")]
    Missing(String),
    #[error("Cannot delete {0}: it is the default branch")]
    Default(String),
    #[error("{0}")]
    Locked(String),
    #[error("{0}")]
    Refused(String),
    #[error("access to the repository was revoked")]
    Revoked,
    #[error("the repository is being changed too often; try again")]
    Contended,
    #[error("the server's disk is full")]
    Full,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) const ATTEMPTS_MAX: u32 = 8;

impl Changes {
    /// `name` without `refs/heads/`. With `overwrite` a branch that is there is moved.
    pub async fn create_branch(
        &self,
        access: Authorized<Write>,
        name: &str,
        start: Start,
        description: Description,
        overwrite: bool,
    ) -> Result<Oid, RefError> {
        let name = full("refs/heads/", name)?;
        for _ in 0..ATTEMPTS_MAX {
            // What came between may have changed the row, too.
            let access = self.still_may(&access)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let existing = snapshot.find_ref(&name).map(|row| row.oid);
            let expected = match existing {
                None => Expected::Absent,
                Some(_) if !overwrite => return Err(RefError::Exists(name)),
                Some(oid) => Expected::At(oid),
            };
            // Before the look at the paths: a lock taken later has another version.
            let (locks_version, locks) = self.0.database.locks_of_others(access.repo_id(), access.actor())?;
            let (new, made) = match start {
                Start::Commit(commit) => {
                    is_commit(&snapshot, commit)?;
                    (commit, None)
                }
                Start::Nothing => {
                    let (description, disk) = (description.clone(), self.0.disk.clone());
                    let base = std::sync::Arc::clone(&snapshot);
                    let made = self
                        .compute(move || {
                            edit::commit(&base, None, Vec::new(), &description, || disk.temp_file())
                        })
                        .await?;
                    let made = made.expect("because a commit of nothing differs from no commit");
                    (made.commit, Some(made))
                }
            };
            if !locks.is_empty() {
                let overlay = made.as_ref().map(|made| std::sync::Arc::new(made.overlay(&snapshot)));
                let overlay = overlay.unwrap_or_else(|| std::sync::Arc::clone(&snapshot));
                let locked = move || {
                    Ok::<_, ReadError>(needs::locked_by(&needs::locked(&overlay, existing, new, &locks)?))
                };
                let locked = self.compute(locked).await?;
                if !locked.is_empty() {
                    return Err(RefError::Locked(locked));
                }
            }
            let edit = RefEdit { name: name.clone(), expected, new, peeled: None };
            let pack = made.map(|made| (made.objects, made.blob));
            if self.move_ref(&access, &snapshot, edit, pack, Some(locks_version), "branch").await? {
                return Ok(new);
            }
        }
        Err(RefError::Contended)
    }

    /// A tag with a message is an object of its own.
    pub async fn create_tag(
        &self,
        access: Authorized<Write>,
        name: &str,
        commit: Oid,
        description: Description,
    ) -> Result<(), RefError> {
        let name = full("refs/tags/", name)?;
        for _ in 0..ATTEMPTS_MAX {
            // What came between may have changed the row, too.
            let access = self.still_may(&access)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            if snapshot.find_ref(&name).is_some() {
                return Err(RefError::Exists(name));
            }
            is_commit(&snapshot, commit)?;
            let (new, peeled, pack) = match description.message.trim() {
                "" => (commit, None, None),
                _ => {
                    let short = name.trim_start_matches("refs/tags/").to_owned();
                    let (description, disk) = (description.clone(), self.0.disk.clone());
                    let made = self
                        .compute(move || edit::tag(commit, &short, &description, || disk.temp_file()))
                        .await?;
                    (made.tag, Some(commit), Some((1, made.blob)))
                }
            };
            let edit = RefEdit { name: name.clone(), expected: Expected::Absent, new, peeled };
            if self.move_ref(&access, &snapshot, edit, pack, None, "tag").await? {
                return Ok(());
            }
        }
        Err(RefError::Contended)
    }

    pub async fn delete_branch(&self, access: Authorized<Write>, name: &str) -> Result<(), RefError> {
        self.delete_ref(access, full("refs/heads/", name)?).await
    }

    pub async fn delete_tag(&self, access: Authorized<Write>, name: &str) -> Result<(), RefError> {
        self.delete_ref(access, full("refs/tags/", name)?).await
    }

    async fn delete_ref(&self, access: Authorized<Write>, name: String) -> Result<(), RefError> {
        if access.repo().head_ref == name {
            return Err(RefError::Default(name));
        }
        for _ in 0..ATTEMPTS_MAX {
            // What came between may have changed the row, too.
            let access = self.still_may(&access)?;
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let Some(row) = snapshot.find_ref(&name) else { return Err(RefError::Missing(name)) };
            let expected = Expected::At(row.oid);
            let edit = RefEdit { name: name.clone(), expected, new: Oid::NULL, peeled: None };
            if self.move_ref(&access, &snapshot, edit, None, None, "delete").await? {
                return Ok(());
            }
        }
        Err(RefError::Contended)
    }

    pub(crate) fn still_may(&self, access: &Authorized<Write>) -> Result<Authorized<Write>, RefError> {
        access.reauthorize(&self.0.database).map_err(|error| match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
                RefError::Revoked
            }
        })
    }

    /// False if something came between.
    pub(crate) async fn move_ref(
        &self,
        access: &Authorized<Write>,
        snapshot: &Snapshot,
        edit: RefEdit,
        pack: Option<(u64, repository::pack::Blob)>,
        locks_version: Option<i64>,
        message: &str,
    ) -> Result<bool, RefError> {
        self.move_refs(access, snapshot, vec![edit], pack, locks_version, message).await
    }

    /// All or none; false if something came between.
    pub(crate) async fn move_refs(
        &self,
        access: &Authorized<Write>,
        snapshot: &Snapshot,
        edits: Vec<RefEdit>,
        pack: Option<(u64, repository::pack::Blob)>,
        locks_version: Option<i64>,
        message: &str,
    ) -> Result<bool, RefError> {
        let (packs_added, stored) = match pack {
            None => (Vec::new(), None),
            Some(pack) => {
                let (pack, stored) = self.store_made(access, pack).await?;
                (vec![pack], Some(stored))
            }
        };
        let created = edits.iter().filter(|edit| edit.expected == Expected::Absent);
        let created = created.map(|edit| edit.name.as_str());
        let head_ref = policy::head_after(snapshot, created).map(database::HeadEdit::IfUnborn);
        let change = Change {
            repo: access.repo_id(),
            acl_version: Some(access.acl_version()),
            gc_epoch: snapshot.repo().gc_epoch,
            refs: edits,
            refs_max: self.0.limits.refs_max,
            atomic: true,
            packs_added,
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref,
            links_required: Vec::new(),
            links_dropped: Vec::new(),
            locks_version,
            collects: false,
            actor: access.actor(),
            message: message.to_owned(),
        };
        match self.0.database.apply(change).await {
            Ok(applied) => {
                let rejected = applied.refs.into_iter().filter_map(|outcome| match outcome {
                    RefOutcome::Moved { .. } => None,
                    RefOutcome::Rejected(rejection) => Some(rejection),
                });
                // Of those that fail together, the one that is the reason.
                let rejected: Vec<_> = rejected.collect();
                let reason = rejected.iter().find(|rejection| **rejection != RefRejection::Atomic);
                match reason.or(rejected.first()) {
                    None => {
                        if let Some(stored) = stored {
                            stored.keep();
                        }
                        Ok(true)
                    }
                    Some(RefRejection::Moved { .. }) => Ok(false),
                    Some(other) => Err(RefError::Refused(other.to_string())),
                }
            }
            Err(ApplyError::Conflict(Conflict::RepoGone)) => Err(RefError::Revoked),
            Err(ApplyError::Conflict(_)) => Ok(false),
            Err(ApplyError::Db(error)) => Err(error.into()),
        }
    }

    async fn store_made(
        &self,
        access: &Authorized<Write>,
        (objects, blob): (u64, repository::pack::Blob),
    ) -> Result<(NewPack, Stored), RefError> {
        let moments = Moments { staged: None, durable: fault::Point::CommitDurable };
        Ok(self.store(access.repo(), PackKind::Api, objects, blob, moments).await?)
    }
}

/// What was there when the caller looked may have been collected since.
pub(crate) fn is_commit(snapshot: &Snapshot, oid: Oid) -> Result<(), RefError> {
    match snapshot.kind(&oid) {
        Some(Kind::Commit) => Ok(()),
        Some(_) => Err(RefError::Invalid(oid.to_string())),
        None => Err(RefError::Missing(oid.to_string())),
    }
}

/// The full name of a ref, if it may be one.
pub(crate) fn full(folder: &str, name: &str) -> Result<String, RefError> {
    let name = name.strip_prefix(folder).unwrap_or(name);
    // Whoever asks for these means something else.
    let is_taken = name == "HEAD" || name.parse::<Oid>().is_ok() || name.starts_with("refs/");
    match is_well_formed(name) && name.len() <= NAME_BYTES_MAX && !name.starts_with('-') && !is_taken {
        true => Ok(format!("{folder}{name}")),
        false => Err(RefError::Invalid(name.chars().take(100).collect())),
    }
}

const NAME_BYTES_MAX: usize = 244;

impl RefError {
    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> RefError {
        RefError::Internal(Box::new(error))
    }
}

impl From<EditError> for RefError {
    fn from(error: EditError) -> RefError {
        RefError::internal(error)
    }
}

impl From<ReadError> for RefError {
    fn from(error: ReadError) -> RefError {
        RefError::internal(error)
    }
}

impl From<DbError> for RefError {
    fn from(error: DbError) -> RefError {
        match error {
            DbError::Full => RefError::Full,
            other => RefError::internal(other),
        }
    }
}

impl From<StoreError> for RefError {
    fn from(error: StoreError) -> RefError {
        match error {
            StoreError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => RefError::Full,
            StoreError::Io(error) => RefError::internal(error),
            StoreError::Database(error) => error.into(),
        }
    }
}
