//! Import of a git repository on the server's disk, and export as one that any git can open.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use database::{
    ApplyError, Change, Expected, HeadEdit, PackKind, RefEdit, RefOutcome, RefRow, Repo, UserId, fault,
};
use repository::pack::Blob;
use repository::{Snapshot, bare, ingest};
use serde::{Deserialize, Serialize};
use storage::map_file;

use crate::Changes;
use crate::store::{Moments, StoreError};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportReport {
    pub refs: u64,
    pub objects: u64,
    /// Size of the pack that was taken in.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{0}")]
    Open(#[from] bare::SourceError),
    #[error("{0}")]
    Read(#[from] bare::ImportError),
    #[error("refused: {0}")]
    Refused(#[from] ingest::IngestError),
    #[error("ref {name}: {reason}")]
    Ref { name: String, reason: String },
    #[error("the repository was changed while the import ran, please run it again")]
    Conflict,
    #[error("storage: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error(transparent)]
    Snapshot(#[from] repository::snapshot::SnapshotError),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExportReport {
    pub directory: PathBuf,
    pub refs: u64,
    pub objects: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{0}")]
    Write(#[from] bare::ExportError),
    #[error(transparent)]
    Snapshot(#[from] repository::snapshot::SnapshotError),
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "imported {} refs, {} objects, {} bytes", self.refs, self.objects, self.bytes)
    }
}

impl std::fmt::Display for ExportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exported {} refs, {} objects to {}", self.refs, self.objects, self.directory.display())
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        match error {
            StoreError::Io(error) => ImportError::Io(error),
            StoreError::Database(error) => ImportError::Database(error),
        }
    }
}

/// An import that is checked and complete, but not yet durable.
struct Taken {
    edits: Vec<RefEdit>,
    head_ref: Option<HeadEdit>,
    pack: Option<(Blob, u64)>,
    report: ImportReport,
}

impl Changes {
    /// Takes every ref of the git repository at `directory` (bare or not) and everything they reach: all of it or
    /// nothing. The same checks as for a push; refs that the hub owns come along, since an administrator does this.
    pub async fn import(
        &self,
        repo: &Repo,
        directory: PathBuf,
        actor: Option<UserId>,
    ) -> Result<ImportReport, ImportError> {
        let snapshot = self.0.repositories.snapshot(repo)?;
        let (changes, gc_epoch) = (self.clone(), snapshot.repo().gc_epoch);
        let taken = self.compute(move || changes.take(&snapshot, &directory)).await?;
        fault::point(fault::Point::PushIndexed);
        let mut packs = Vec::new();
        let mut stored = None;
        if let Some((blob, objects)) = taken.pack {
            let moments =
                Moments { staged: Some(fault::Point::PushStaged), durable: fault::Point::PushPackDurable };
            let (pack, guard) = self.store(repo, PackKind::Receive, objects, blob, moments).await?;
            packs.push(pack);
            stored = Some(guard);
        }
        if taken.edits.is_empty() {
            return Ok(taken.report);
        }
        let change = Change {
            repo: repo.id,
            acl_version: None,
            gc_epoch,
            refs: taken.edits.clone(),
            refs_max: self.0.limits.refs_max,
            atomic: true,
            packs_added: packs,
            packs_superseded: Vec::new(),
            superseded_until_ms: 0,
            generation: None,
            head_ref: taken.head_ref,
            collects: false,
            actor,
            message: "import".to_owned(),
        };
        let applied = match self.0.database.apply(change).await {
            Ok(applied) => applied,
            Err(ApplyError::Conflict(_)) => return Err(ImportError::Conflict),
            Err(ApplyError::Db(error)) => return Err(error.into()),
        };
        for (edit, outcome) in taken.edits.iter().zip(&applied.refs) {
            if let RefOutcome::Rejected(reason) = outcome
                && *reason != database::RefRejection::Atomic
            {
                return Err(ImportError::Ref { name: edit.name.clone(), reason: reason.to_string() });
            }
        }
        if let Some(stored) = stored {
            stored.keep();
        }
        Ok(taken.report)
    }

    fn take(&self, snapshot: &Snapshot, directory: &Path) -> Result<Taken, ImportError> {
        let mut limits = self.0.limits.ingest.clone();
        if let Some(bytes) = snapshot.repo().blob_bytes_max {
            limits.blob_bytes = bytes;
        }
        let source = bare::Source::open(directory, limits.object_bytes)?;
        let wanted: Vec<&RefRow> = source.refs().iter().filter(|row| moves(snapshot, row)).collect();
        let file = self.0.disk.temp_file()?;
        let written = source.write_pack(file.as_file(), &|| true)?;
        let pack: Bytes = map_file(file.as_file())?;
        let disk = &self.0.disk;
        let ingested = ingest::ingest(pack, snapshot, &limits, || disk.temp_file(), &|| true)?;
        let edits = wanted.iter().map(|row| RefEdit {
            name: row.name.clone(),
            expected: snapshot
                .find_ref(&row.name)
                .map_or(Expected::Absent, |current| Expected::At(current.oid)),
            new: row.oid,
            peeled: row.peeled,
        });
        let edits: Vec<RefEdit> = edits.collect();
        let head = source.head().filter(|head| source.refs().iter().any(|row| row.name == *head));
        let report =
            ImportReport { refs: edits.len() as u64, objects: ingested.objects(), bytes: written.bytes };
        let objects = ingested.objects();
        Ok(Taken {
            edits,
            head_ref: head
                .filter(|head| head.starts_with("refs/heads/"))
                .map(|head| HeadEdit::Set(head.to_owned())),
            pack: (objects > 0).then_some((ingested.blob, objects)),
            report,
        })
    }

    /// Writes `repo` as a bare git repository into `directory`, which must not exist or be empty.
    pub async fn export(&self, repo: &Repo, directory: PathBuf) -> Result<ExportReport, ExportError> {
        let snapshot = self.0.repositories.snapshot(repo)?;
        let report = self
            .compute_behind(move || {
                let exported = bare::export(&snapshot, &directory, &|| true)?;
                let refs = snapshot.refs().len() as u64;
                Ok::<_, ExportError>(ExportReport { directory, refs, objects: u64::from(exported.objects) })
            })
            .await?;
        Ok(report)
    }
}

fn moves(snapshot: &Snapshot, row: &RefRow) -> bool {
    row.name.starts_with("refs/") && snapshot.find_ref(&row.name).is_none_or(|current| current.oid != row.oid)
}
