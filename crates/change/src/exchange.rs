//! Import of a git repository on the server's disk, and export as one that any git can open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use database::{
    ApplyError, Change, Expected, HeadEdit, PackKind, RefEdit, RefOutcome, RefRow, Repo, UserId, fault,
};
use repository::{Snapshot, bare, ingest, walk};
use serde::{Deserialize, Serialize};
use storage::{map_file, sync_directory};

use crate::store::{Moments, StoreError};
use crate::{Changes, large, needs};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportReport {
    pub refs: u64,
    pub objects: u64,
    /// Size of the pack that was taken in.
    pub bytes: u64,
    /// Large objects (LFS) that were taken in, and their bytes.
    #[serde(default)]
    pub large: u64,
    #[serde(default)]
    pub large_bytes: u64,
    /// Large objects that pointers name and the repository does not have, which may be so: how many, and the first few.
    #[serde(default)]
    pub large_missing: u64,
    #[serde(default)]
    pub large_missing_named: String,
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
    #[error("LFS objects are missing in {directory}:\n{}", lines.join("\n"))]
    Large { directory: PathBuf, lines: Vec<String> },
    #[error("LFS object: {0}")]
    TakeIn(#[from] lfs::ReceiveError),
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
    /// Large objects (LFS) that were written, and their bytes.
    #[serde(default)]
    pub large: u64,
    #[serde(default)]
    pub large_bytes: u64,
    /// Large objects that the repository points at and does not have.
    #[serde(default)]
    pub large_missing: Vec<String>,
    /// Large objects whose bytes are not what they are called, which were left out.
    #[serde(default)]
    pub large_damaged: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{0}")]
    Write(#[from] bare::ExportError),
    #[error("LFS objects: {0}")]
    Large(#[from] storage::StoreError),
    #[error(transparent)]
    Snapshot(#[from] repository::snapshot::SnapshotError),
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.large_missing > 0 {
            let (count, named) = (self.large_missing, &self.large_missing_named);
            writeln!(f, "{count} LFS objects were not there and are left out: {named}")?;
        }
        write!(f, "imported {} refs, {} objects, {} bytes", self.refs, self.objects, self.bytes)?;
        and_large(f, self.large, self.large_bytes)
    }
}

impl std::fmt::Display for ExportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for missing in &self.large_missing {
            writeln!(f, "LFS object {missing} is missing")?;
        }
        for damaged in &self.large_damaged {
            writeln!(f, "LFS object {damaged} is left out: its bytes are others; run `granary fsck`")?;
        }
        write!(f, "exported {} refs, {} objects to {}", self.refs, self.objects, self.directory.display())?;
        and_large(f, self.large, self.large_bytes)
    }
}

fn and_large(f: &mut std::fmt::Formatter<'_>, objects: u64, bytes: u64) -> std::fmt::Result {
    if objects == 0 { Ok(()) } else { write!(f, ", and {objects} LFS objects, {bytes} bytes") }
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
    ingested: ingest::Ingested,
    /// Where the source keeps its large objects.
    large: PathBuf,
    report: ImportReport,
}

impl Changes {
    /// Takes every ref of the git repository at `directory` (bare or not) and everything they reach, large objects (LFS)
    /// too: all of it or nothing. The same checks as for a push; refs that the hub owns come along, since an
    /// administrator does this.
    pub async fn import(
        &self,
        repo: &Repo,
        directory: PathBuf,
        actor: Option<UserId>,
    ) -> Result<ImportReport, ImportError> {
        // As it is now: `repo` may have been read before an import that has just ended.
        let repo = &self.0.database.repo(repo.id)?.ok_or(repository::snapshot::SnapshotError::Gone)?;
        let snapshot = self.0.repositories.snapshot(repo)?;
        let (changes, gc_epoch, base) = (self.clone(), snapshot.repo().gc_epoch, Arc::clone(&snapshot));
        let mut taken = self.compute(move || changes.take(&base, &directory)).await?;
        fault::point(fault::Point::PushIndexed);
        let links_required = self.take_objects(repo, &snapshot, &mut taken, actor).await?;
        let mut packs = Vec::new();
        let mut stored = None;
        let objects = taken.ingested.objects();
        let blob = taken.ingested.blob;
        if objects > 0 {
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
            links_required,
            links_dropped: Vec::new(),
            locks_version: None,
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

    /// The large objects that the new pointers need: those that are not here come from the source. Gives what the change
    /// is to require.
    async fn take_objects(
        &self,
        repo: &Repo,
        snapshot: &Arc<Snapshot>,
        taken: &mut Taken,
        actor: Option<UserId>,
    ) -> Result<Vec<(database::Sha256, u64)>, ImportError> {
        let needed = needs::objects_of(&taken.ingested.pointers);
        let unmet = self.0.objects.require(repo.id, &needed).await?;
        let count = self.take_large(repo, actor, &unmet, &taken.large).await?;
        (taken.report.large, taken.report.large_bytes) = (count.objects, count.bytes);
        let unmet = self.0.objects.require(repo.id, &needed).await?;
        if repo.lfs_incomplete {
            let missing: Vec<_> = unmet.iter().map(|unmet| unmet.sha256).collect();
            taken.report.large_missing = missing.len() as u64;
            taken.report.large_missing_named = large::listed(&missing);
            return Ok(Vec::new());
        }
        if unmet.is_empty() {
            return Ok(needed);
        }
        let (pack, pointers) =
            (Arc::clone(taken.ingested.pack()), std::mem::take(&mut taken.ingested.pointers));
        let overlay = taken.ingested.overlay(snapshot);
        let lines = self
            .compute(move || {
                let blobs = needs::blobs_to_name(&unmet, &pointers);
                let paths = walk::paths_in_pack(&pack, &overlay, &blobs);
                needs::describe(&unmet, &pointers, &paths)
            })
            .await;
        Err(ImportError::Large { directory: taken.large.clone(), lines })
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
        let (refs, objects, bytes) = (edits.len() as u64, ingested.objects(), written.bytes);
        let report = ImportReport {
            refs,
            objects,
            bytes,
            large: 0,
            large_bytes: 0,
            large_missing: 0,
            large_missing_named: String::new(),
        };
        Ok(Taken {
            edits,
            head_ref: head
                .filter(|head| head.starts_with("refs/heads/"))
                .map(|head| HeadEdit::Set(head.to_owned())),
            ingested,
            large: source.large_objects().to_owned(),
            report,
        })
    }

    /// Writes `repo` as a bare git repository, with its large objects as git-lfs keeps them, into `directory`, which must
    /// not exist or be empty.
    pub async fn export(&self, repo: &Repo, directory: PathBuf) -> Result<ExportReport, ExportError> {
        let snapshot = self.0.repositories.snapshot(repo)?;
        let staging = stage(&directory)?;
        let (for_work, to) = (Arc::clone(&snapshot), staging.path().join(STAGED));
        let exported = self.compute_behind(move || bare::export(&for_work, &to, &|| true)).await?;
        let staged = staging.path().join(STAGED);
        // Nothing is deleted under it.
        let no_sweep = self.0.sweeping.read().await;
        let large::Written { count: large, missing, damaged } =
            self.write_large(&snapshot, &staged.join("lfs/objects")).await?;
        drop(no_sweep);
        put_in_place(&staged, &directory)?;
        Ok(ExportReport {
            directory,
            refs: snapshot.refs().len() as u64,
            objects: u64::from(exported.objects),
            large: large.objects,
            large_bytes: large.bytes,
            large_missing: missing.iter().map(ToString::to_string).collect(),
            large_damaged: damaged.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Name of the repository in its staging directory.
const STAGED: &str = "export";

/// Where `directory` is made before it gets its name: all of it or nothing.
fn stage(directory: &Path) -> Result<tempfile::TempDir, bare::ExportError> {
    let at = |source| bare::ExportError::Io { path: directory.to_owned(), source };
    // Told again at the end, but that may be hours away.
    let occupied = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
        entries => entries.map_err(at)?.next().is_some(),
    };
    if occupied {
        return Err(bare::ExportError::Occupied(directory.to_owned()));
    }
    let parent = parent(directory);
    std::fs::create_dir_all(parent).map_err(at)?;
    tempfile::Builder::new().prefix(".export-").tempdir_in(parent).map_err(at)
}

fn put_in_place(staged: &Path, directory: &Path) -> Result<(), bare::ExportError> {
    match std::fs::rename(staged, directory).and_then(|()| sync_directory(parent(directory))) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory) =>
        {
            Err(bare::ExportError::Occupied(directory.to_owned()))
        }
        Err(source) => Err(bare::ExportError::Io { path: directory.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn moves(snapshot: &Snapshot, row: &RefRow) -> bool {
    row.name.starts_with("refs/") && snapshot.find_ref(&row.name).is_none_or(|current| current.oid != row.oid)
}
