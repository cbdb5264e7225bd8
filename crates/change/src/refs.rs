//! Branches and tags made and deleted one at a time, as clients do over HTTP.

use auth::{Authorized, Write};
use database::{
    ApplyError, Change, Conflict, DbError, Expected, NewPack, Oid, PackKind, RefEdit, RefOutcome,
    RefRejection, fault,
};
use git_protocol::receive_pack::is_well_formed;
use repository::Kind;
use repository::edit::{self, Description, EditError};

use crate::store::{Moments, StoreError, Stored};
use crate::{Changes, policy};

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

const ATTEMPTS_MAX: u32 = 4;

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
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let existing = snapshot.find_ref(&name).map(|row| row.oid);
            let expected = match existing {
                None => Expected::Absent,
                Some(_) if !overwrite => return Err(RefError::Exists(name)),
                Some(oid) => Expected::At(oid),
            };
            let (new, pack) = match start {
                Start::Commit(commit) => (commit, None),
                Start::Nothing => {
                    let (description, disk) = (description.clone(), self.0.disk.clone());
                    let base = std::sync::Arc::clone(&snapshot);
                    let made = self
                        .compute(move || {
                            edit::commit(&base, None, Vec::new(), &description, || disk.temp_file())
                        })
                        .await?;
                    let made = made.expect("because a commit of nothing differs from no commit");
                    (made.commit, Some((made.objects, made.blob)))
                }
            };
            let edit = RefEdit { name: name.clone(), expected, new, peeled: None };
            if self.move_ref(&access, &snapshot, edit, pack, "branch").await? {
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
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            if snapshot.find_ref(&name).is_some() {
                return Err(RefError::Exists(name));
            }
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
            if self.move_ref(&access, &snapshot, edit, pack, "tag").await? {
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
            let snapshot = self.0.repositories.snapshot(access.repo()).map_err(RefError::internal)?;
            let Some(row) = snapshot.find_ref(&name) else { return Err(RefError::Missing(name)) };
            let expected = Expected::At(row.oid);
            let edit = RefEdit { name: name.clone(), expected, new: Oid::NULL, peeled: None };
            if self.move_ref(&access, &snapshot, edit, None, "delete").await? {
                return Ok(());
            }
        }
        Err(RefError::Contended)
    }

    /// False if something came between.
    async fn move_ref(
        &self,
        access: &Authorized<Write>,
        snapshot: &repository::Snapshot,
        edit: RefEdit,
        pack: Option<(u64, repository::pack::Blob)>,
        message: &str,
    ) -> Result<bool, RefError> {
        if let Some(kind) = snapshot.kind(&edit.new)
            && kind != Kind::Commit
        {
            return Err(RefError::Invalid(edit.new.to_string()));
        }
        let (packs_added, stored) = match pack {
            None => (Vec::new(), None),
            Some(pack) => {
                let (pack, stored) = self.store_made(access, pack).await?;
                (vec![pack], Some(stored))
            }
        };
        let created = (edit.expected == Expected::Absent).then_some(edit.name.as_str());
        let head_ref = policy::head_after(snapshot, created.into_iter()).map(database::HeadEdit::IfUnborn);
        let change = Change {
            repo: access.repo_id(),
            acl_version: Some(access.acl_version()),
            gc_epoch: snapshot.repo().gc_epoch,
            refs: vec![edit],
            refs_max: self.0.limits.refs_max,
            atomic: true,
            packs_added,
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref,
            links_required: Vec::new(),
            links_dropped: Vec::new(),
            locks_version: None,
            collects: false,
            actor: access.actor(),
            message: message.to_owned(),
        };
        match self.0.database.apply(change).await {
            Ok(applied) => match applied.refs.into_iter().next() {
                Some(RefOutcome::Moved { .. }) => {
                    if let Some(stored) = stored {
                        stored.keep();
                    }
                    Ok(true)
                }
                Some(RefOutcome::Rejected(RefRejection::Moved { .. })) | None => Ok(false),
                Some(RefOutcome::Rejected(other)) => Err(RefError::Refused(other.to_string())),
            },
            // Rights are decided anew by the next request.
            Err(ApplyError::Conflict(Conflict::RepoGone | Conflict::AclMoved)) => Err(RefError::Revoked),
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

/// The full name of a ref, if it may be one.
fn full(folder: &str, name: &str) -> Result<String, RefError> {
    match is_well_formed(name) && name.len() <= NAME_BYTES_MAX && !name.starts_with('-') {
        true => Ok(format!("{folder}{name}")),
        false => Err(RefError::Invalid(name.chars().take(100).collect())),
    }
}

const NAME_BYTES_MAX: usize = 244;

impl RefError {
    fn internal(error: impl std::error::Error + Send + Sync + 'static) -> RefError {
        RefError::Internal(Box::new(error))
    }
}

impl From<EditError> for RefError {
    fn from(error: EditError) -> RefError {
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
