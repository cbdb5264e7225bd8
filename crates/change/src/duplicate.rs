//! A repository made of another one, and large objects shared between two. No large object is copied: the links are made
//! anew, and point at the same bytes. Neither is a stored pack that has nothing but what the copied refs reach: it is live
//! in both repositories then, and its blob is deleted when the last one drops it.

use std::sync::Arc;
use std::time::Duration;

use auth::{AuthError, Authorized, Read, ReauthorizeError, Write};
use database::{
    Change, Copied, CopyError, DbError, Expected, HeadEdit, NewPack, ObjectCopies, PackContent, PackKind,
    Quota, RefEdit, RefOutcome, RefRow, RepoId, Sha256, fault,
};
use repository::compact::{self, Closure, CompactError};
use repository::snapshot::SnapshotError;
use repository::{Pack, Snapshot};
use tokio::time::Instant;

use crate::store::{Moments, StoreError, Stored};
use crate::{Changes, needs};

/// Nothing was changed. The texts are for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum DuplicateError {
    /// Also if it may no longer be read by the one who asked.
    #[error("the source is gone")]
    SourceGone,
    #[error("access to the repository was revoked")]
    Revoked,
    #[error("large files of the source are still being verified; try again in a moment")]
    Verifying,
    #[error("the source lacks the large file {0}")]
    Missing(Sha256),
    #[error(
        "the namespace has used {used} of {quota} bytes; delete large files, or ask the administrator for more"
    )]
    OverQuota { used: u64, quota: u64 },
    #[error("the repositories are being changed too often; try again")]
    Contended,
    #[error("the server's disk is full")]
    Full,
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why one object was not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyFailure {
    #[error("the source repository does not have it")]
    Missing,
    #[error("it was removed from the source repository")]
    Lost,
    #[error("it is still being verified; try again in a moment")]
    Verifying,
}

const ATTEMPTS_MAX: u32 = 8;
/// How long is waited for proofs of large objects.
const VERIFYING_MAX: Duration = Duration::from_secs(20);

impl Changes {
    /// Fills `to`, which was made for it, with the branches and tags of `source`: packs that are together exactly what
    /// they reach, and links to the large objects in it. Who may read the source, and whether the packs that are shared
    /// are still live there, is asked again in the transaction.
    pub async fn duplicate(
        &self,
        source: Authorized<Read>,
        to: Authorized<Write>,
        quota: Quota,
    ) -> Result<(), DuplicateError> {
        let mut proven = false;
        for _ in 0..ATTEMPTS_MAX {
            let (source, to) = (self.still_read(&source)?, self.still_written(&to)?);
            let snapshot = self.0.repositories.snapshot(source.repo()).map_err(DuplicateError::snapshot)?;
            let shown = Arc::new(visible(&snapshot));
            if shown.refs().is_empty() {
                return Ok(());
            }
            let (disk, base) = (self.0.disk.clone(), Arc::clone(&shown));
            let made = self.compute(move || {
                let context = compact::Context { temp_file: &|| disk.temp_file(), keepgoing: &|| true };
                let made = compact::closure(&base, &compact::Options::default(), &context)?;
                let objects = objects_in(&made)?;
                Ok::<_, CompactError>((made, objects))
            });
            let (made, needed) = made.await.map_err(DuplicateError::internal)?;
            let objects: Vec<Sha256> = needed.iter().map(|(sha256, _)| *sha256).collect();
            if !proven {
                self.await_proofs(&source, &objects).await?;
                proven = true;
            }
            let (packs_added, stored) = self.packs_of(made, source.repo_id(), &to).await?;
            let edits = shown.refs().iter().map(|row| RefEdit {
                name: row.name.clone(),
                expected: Expected::Absent,
                new: row.oid,
                peeled: row.peeled,
            });
            // Again, since a large pack takes its time.
            let (source, to) = (self.still_read(&source)?, self.still_written(&to)?);
            let copies = copies(&source, &to, objects, quota);
            let change = Change {
                repo: to.repo_id(),
                acl_version: Some(to.acl_version()),
                gc_epoch: to.repo().gc_epoch,
                refs: edits.collect(),
                refs_max: self.0.limits.refs_max,
                atomic: true,
                packs_added,
                packs_superseded: Vec::new(),
                superseded_until_ms: 0,
                generation: None,
                head_ref: Some(HeadEdit::Set(shown.repo().head_ref.clone())),
                links_required: Vec::new(),
                links_dropped: Vec::new(),
                locks_version: None,
                collects: false,
                actor: to.actor(),
                message: "duplicate".to_owned(),
            };
            let incomplete = to.repo().lfs_incomplete;
            match self.0.database.apply_copy(copies, incomplete, change).await {
                Ok(applied) => {
                    match applied.refs.iter().all(|outcome| matches!(outcome, RefOutcome::Moved { .. })) {
                        true => {
                            stored.into_iter().for_each(Stored::keep);
                            return Ok(());
                        }
                        // Somebody was faster than the one who made it.
                        false => return Err(DuplicateError::Contended),
                    }
                }
                Err(CopyError::Object { copied: Copied::Unverified, .. }) => proven = false,
                Err(error) => retried(error)?,
            }
        }
        Err(DuplicateError::Contended)
    }

    /// The packs of the closure as a change of `to` adds them; what was built is durable then.
    async fn packs_of(
        &self,
        made: Closure,
        from: RepoId,
        to: &Authorized<Write>,
    ) -> Result<(Vec<NewPack>, Option<Stored>), DuplicateError> {
        let alone = made.shared.len() + usize::from(made.rest.is_some()) == 1;
        let mut packs: Vec<NewPack> = made.shared.iter().map(|pack| shared(pack, from, alone)).collect();
        let Some(rest) = made.rest else { return Ok((packs, None)) };
        let moments = Moments { staged: None, durable: fault::Point::CommitDurable };
        let objects = u64::from(rest.objects);
        let (mut pack, stored) =
            self.store(to.repo(), PackKind::Receive, objects, rest.blob, moments).await?;
        pack.closure = alone;
        packs.push(pack);
        Ok((packs, Some(stored)))
    }

    /// Links objects of `source` in another repository, which files may then point at. One by one: why not, where one
    /// could not be.
    pub async fn share_objects(
        &self,
        source: Authorized<Read>,
        to: Authorized<Write>,
        objects: Vec<Sha256>,
        quota: Quota,
    ) -> Result<Vec<Result<(), CopyFailure>>, DuplicateError> {
        let deadline = Instant::now() + VERIFYING_MAX;
        self.0.objects.await_verified(source.repo_id(), &objects, deadline).await?;
        for _ in 0..ATTEMPTS_MAX {
            let (source, to) = (self.still_read(&source)?, self.still_written(&to)?);
            let copies = copies(&source, &to, objects.clone(), quota);
            match self.0.database.copy_objects(copies).await {
                Ok(copied) => {
                    let outcome = |copied| match copied {
                        Copied::Linked(_) => Ok(()),
                        Copied::Missing => Err(CopyFailure::Missing),
                        Copied::Lost => Err(CopyFailure::Lost),
                        Copied::Unverified => Err(CopyFailure::Verifying),
                    };
                    return Ok(copied.into_iter().map(outcome).collect());
                }
                Err(error) => retried(error)?,
            }
        }
        Err(DuplicateError::Contended)
    }

    async fn await_proofs(
        &self,
        source: &Authorized<Read>,
        objects: &[Sha256],
    ) -> Result<(), DuplicateError> {
        let deadline = Instant::now() + VERIFYING_MAX;
        let open = self.0.objects.await_verified(source.repo_id(), objects, deadline).await?;
        if open.is_empty() { Ok(()) } else { Err(DuplicateError::Verifying) }
    }

    fn still_read(&self, access: &Authorized<Read>) -> Result<Authorized<Read>, DuplicateError> {
        access.reauthorize(&self.0.database).map_err(|error| match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
                DuplicateError::SourceGone
            }
        })
    }

    fn still_written(&self, access: &Authorized<Write>) -> Result<Authorized<Write>, DuplicateError> {
        access.reauthorize(&self.0.database).map_err(|error| match error {
            ReauthorizeError::Db(error) | ReauthorizeError::Credential(AuthError::Db(error)) => error.into(),
            ReauthorizeError::RepoGone | ReauthorizeError::Credential(_) | ReauthorizeError::Denied(_) => {
                DuplicateError::Revoked
            }
        })
    }
}

/// With the branches and tags alone: proposals and what jobs made of it stay behind.
fn visible(snapshot: &Snapshot) -> Snapshot {
    let is_shown = |row: &&RefRow| row.name.starts_with("refs/heads/") || row.name.starts_with("refs/tags/");
    let refs = snapshot.refs().iter().filter(is_shown).cloned().collect();
    snapshot.with_refs(refs)
}

/// The large objects that pointers in these packs name, with their sizes.
fn objects_in(made: &Closure) -> Result<Vec<(Sha256, u64)>, CompactError> {
    let mut pointers: Vec<_> = made.shared.iter().flat_map(|pack| pack.pointers()).collect();
    if let Some(rest) = &made.rest {
        let bytes = rest.blob.bytes()?;
        let pack = Pack::from_blob(database::PackId::new(), PackKind::Receive, true, 1, bytes)
            .map_err(std::io::Error::other)?;
        pointers.extend(pack.pointers());
    }
    Ok(needs::objects_of(&pointers))
}

/// `closure`: it is all there is.
fn shared(pack: &Pack, from: RepoId, closure: bool) -> NewPack {
    let content = PackContent::Shared { from, bytes: pack.blob().len() as u64 };
    NewPack { id: pack.id(), kind: pack.kind(), objects: u64::from(pack.objects()), closure, content }
}

fn copies(
    source: &Authorized<Read>,
    to: &Authorized<Write>,
    objects: Vec<Sha256>,
    quota: Quota,
) -> ObjectCopies {
    ObjectCopies {
        from: source.repo_id(),
        from_acl_version: source.acl_version(),
        to: to.repo_id(),
        to_acl_version: to.acl_version(),
        objects,
        quota,
        by: to.actor(),
    }
}

/// Nothing, if it may go well the next time.
fn retried(error: CopyError) -> Result<(), DuplicateError> {
    match error {
        // Decided anew: the next attempt begins with that.
        CopyError::SourceMoved | CopyError::TargetMoved | CopyError::Conflict(_) => Ok(()),
        CopyError::Object { copied: Copied::Unverified, .. } => Err(DuplicateError::Verifying),
        CopyError::Object { sha256, .. } => Err(DuplicateError::Missing(sha256)),
        CopyError::OverQuota { used, quota } => Err(DuplicateError::OverQuota { used, quota }),
        CopyError::Db(error) => Err(error.into()),
    }
}

impl DuplicateError {
    fn internal(error: impl std::error::Error + Send + Sync + 'static) -> DuplicateError {
        DuplicateError::Internal(Box::new(error))
    }

    fn snapshot(error: SnapshotError) -> DuplicateError {
        match error {
            SnapshotError::Gone => DuplicateError::SourceGone,
            other => DuplicateError::internal(other),
        }
    }
}

impl From<DbError> for DuplicateError {
    fn from(error: DbError) -> DuplicateError {
        match error {
            DbError::Full => DuplicateError::Full,
            other => DuplicateError::internal(other),
        }
    }
}

impl From<StoreError> for DuplicateError {
    fn from(error: StoreError) -> DuplicateError {
        match error {
            StoreError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => DuplicateError::Full,
            StoreError::Io(error) => DuplicateError::internal(error),
            StoreError::Database(error) => error.into(),
        }
    }
}
