//! What runs in the background: compaction of repositories that rest, the sweep of dead packs, the manifest journal.

use database::{ApplyError, Change, Conflict, PackId, PackKind, Repo, RepoId, Sha256, fault};
use repository::{Snapshot, compact};
use serde::{Deserialize, Serialize};

use crate::Changes;
use crate::manifest::ManifestError;
use crate::store::{Moments, StoreError, Stored};

/// Repositories, packs or manifests taken on in one round; the rest waits for the next.
const ROUND: u32 = 64;
/// Deletions between two rows that record them.
const SWEEP_BATCH: u32 = 256;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MaintainReport {
    /// Repositories whose packs were replaced by fewer.
    pub compacted: u64,
    /// Repositories that could not be looked after; the log says why.
    #[serde(default)]
    pub failed: u64,
    /// Packs whose bytes were deleted.
    pub swept: u64,
    /// Large objects whose bytes were deleted, and uploads that came to nothing.
    #[serde(default)]
    pub large: lfs::SweepReport,
    /// Manifests written, of repositories and of buckets.
    pub manifests: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error(transparent)]
    Snapshot(#[from] repository::snapshot::SnapshotError),
    #[error("compaction: {0}")]
    Compact(#[from] compact::CompactError),
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<ManifestError> for MaintainError {
    fn from(error: ManifestError) -> MaintainError {
        match error {
            ManifestError::Io(error) => MaintainError::Io(error),
            ManifestError::Database(error) => MaintainError::Database(error),
            ManifestError::Json(error) => MaintainError::Json(error),
        }
    }
}

impl From<StoreError> for MaintainError {
    fn from(error: StoreError) -> MaintainError {
        match error {
            StoreError::Io(error) => MaintainError::Io(error),
            StoreError::Database(error) => MaintainError::Database(error),
        }
    }
}

impl std::fmt::Display for MaintainReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let MaintainReport { compacted, failed, swept, large, manifests } = self;
        let lfs::SweepReport { uploads, objects, xet_files, xorbs, left } = large;
        write!(
            f,
            "compacted {compacted} repositories, deleted {swept} packs, {objects} large objects and {uploads} \
             unfinished uploads, wrote {manifests} manifests"
        )?;
        if xet_files + xorbs > 0 {
            write!(f, "; forgot {xet_files} files in xorbs, deleted {xorbs} xorbs")?;
        }
        if *left > 0 {
            write!(f, "; {left} large objects could not be deleted yet, see the log")?;
        }
        if *failed > 0 { write!(f, "; {failed} repositories failed, see the log") } else { Ok(()) }
    }
}

impl Changes {
    /// One round of everything that is due; with `now`, of everything, rested or not.
    pub async fn maintain(&self, now: bool) -> Result<MaintainReport, MaintainError> {
        let report = self.maintain_packs(now).await;
        // Whatever came of that. It asks the bucket, which may be slow: a collection does not wait for it.
        let large = self.sweep_large().await;
        Ok(MaintainReport { large: large?, ..report? })
    }

    async fn maintain_packs(&self, now: bool) -> Result<MaintainReport, MaintainError> {
        let _one_at_a_time = self.0.maintaining.lock().await;
        let mut report = MaintainReport::default();
        let due = match now {
            true => self.0.database.maintenance_pending(u32::MAX)?,
            false => self.0.database.maintenance_due(ROUND)?,
        };
        for repo in due {
            match self.maintain_repo(repo).await {
                Ok(compacted) => report.compacted += u64::from(compacted),
                // One broken repository must not keep the others from being looked after. It is tried again when it
                // changes.
                Err(error) => {
                    tracing::error!(repo = repo.0, %error, "compaction failed; run `granary fsck`");
                    self.0.database.maintenance_done(repo, i64::MAX).await?;
                    report.failed += 1;
                }
            }
        }
        // The sweep does not keep the manifests from being written.
        let swept = self.sweep_locked().await;
        let manifests = self.write_manifests(u32::MAX, now).await;
        report.manifests = self.write_buckets(u32::MAX, now).await?;
        report.manifests += manifests?;
        report.swept = swept?;
        Ok(report)
    }

    /// Compacts one repository if that makes its packs better, and says whether it did.
    async fn maintain_repo(&self, id: RepoId) -> Result<bool, MaintainError> {
        let Some(repo) = self.0.database.repo(id)? else { return Ok(false) };
        let snapshot = self.0.repositories.snapshot(&repo)?;
        let generation = snapshot.generation();
        let policy = compact::Policy::default();
        // With so many packs it was not waited for a rest.
        let trigger = match snapshot.packs().len() >= policy.packs_max {
            true => compact::Trigger::Busy,
            false => compact::Trigger::Idle,
        };
        let changes = self.clone();
        let compacted =
            self.compute_behind(move || changes.compact_blocking(&snapshot, trigger, &policy)).await?;
        let applied = match compacted {
            None => false,
            Some(compacted) => {
                let origin = Origin::compaction(self, &repo, generation);
                self.replace_packs(&repo, compacted, origin).await?
            }
        };
        // After a busy time the repository is looked at once more when it rests.
        let seen = generation + i64::from(applied && trigger == compact::Trigger::Idle);
        self.0.database.maintenance_done(id, seen).await?;
        Ok(applied)
    }

    fn compact_blocking(
        &self,
        snapshot: &Snapshot,
        trigger: compact::Trigger,
        policy: &compact::Policy,
    ) -> Result<Option<compact::Compacted>, compact::CompactError> {
        let Some(plan) = compact::plan(snapshot, trigger, policy) else { return Ok(None) };
        let disk = &self.0.disk;
        let context = compact::Context { temp_file: &|| disk.temp_file(), keepgoing: &|| true };
        compact::compact(snapshot, &plan, &compact::Options::default(), &context).map(Some)
    }

    /// Makes `compacted` durable and puts it in the place of what it replaces. False if the repository changed so
    /// that this would be wrong; nothing is lost then, the new packs are swept.
    pub(crate) async fn replace_packs(
        &self,
        repo: &Repo,
        compacted: compact::Compacted,
        origin: Origin,
    ) -> Result<bool, MaintainError> {
        let mut guards: Vec<Stored> = Vec::new();
        let mut packs = Vec::new();
        for new in compacted.packs {
            let moments = Moments { staged: None, durable: origin.durable };
            let (mut pack, guard) =
                self.store(repo, origin.kind, u64::from(new.objects), new.blob, moments).await?;
            pack.closure = new.closure;
            packs.push(pack);
            guards.push(guard);
        }
        let mut change = origin.change(repo, packs, compacted.superseded);
        let mut result = self.0.database.apply(change.clone()).await;
        if matches!(result, Err(ApplyError::Conflict(Conflict::GenerationMoved))) && !origin.collects {
            // Refs moved meanwhile. The packs still hold what they held, but no longer prove to be the closure.
            change.generation = None;
            change.packs_added.iter_mut().for_each(|pack| pack.closure = false);
            result = self.0.database.apply(change).await;
        }
        match result {
            Ok(_) => {
                guards.into_iter().for_each(Stored::keep);
                fault::point(origin.applied);
                Ok(true)
            }
            Err(ApplyError::Conflict(_)) => Ok(false),
            Err(ApplyError::Db(error)) => Err(error.into()),
        }
    }

    /// Deletes the packs and large objects whose time has come; says how many packs.
    pub async fn sweep(&self) -> Result<u64, MaintainError> {
        self.sweep_large().await?;
        let _one_at_a_time = self.0.maintaining.lock().await;
        self.sweep_locked().await
    }

    /// Clears away unfinished uploads and deletes the large objects whose time has come. While a backup runs no object is
    /// deleted; the next round will do.
    async fn sweep_large(&self) -> Result<lfs::SweepReport, MaintainError> {
        let failed = |lfs::SweepError::Db(error)| MaintainError::from(error);
        let mut report = self.0.objects.sweep_uploads().await.map_err(failed)?;
        if let Ok(_no_backup) = self.0.sweeping.try_write() {
            self.0.objects.sweep_objects(&mut report).await.map_err(failed)?;
        }
        Ok(report)
    }

    async fn sweep_locked(&self) -> Result<u64, MaintainError> {
        // While a backup runs nothing is deleted; the next round will do.
        let Ok(_no_backup) = self.0.sweeping.try_write() else { return Ok(0) };
        let mut swept = 0;
        loop {
            let due: Vec<PackId> = self.0.database.packs_due(self.0.limits.staged_ms, SWEEP_BATCH).await?;
            if due.is_empty() {
                return Ok(swept);
            }
            let (disk, ids) = (self.0.disk.clone(), due.clone());
            self.compute_behind(move || ids.iter().try_for_each(|id| disk.delete(&id.storage_key()))).await?;
            fault::point(fault::Point::SweepDeleted);
            swept += due.len() as u64;
            self.0.database.packs_deleted(due).await?;
        }
    }
}

/// Why packs are being replaced.
pub(crate) struct Origin {
    kind: PackKind,
    collects: bool,
    pub(crate) links_dropped: Vec<(Sha256, i64)>,
    gc_epoch: i64,
    generation: i64,
    superseded_until_ms: i64,
    durable: fault::Point,
    applied: fault::Point,
}

impl Origin {
    fn compaction(changes: &Changes, repo: &Repo, generation: i64) -> Origin {
        Origin {
            kind: PackKind::Compact,
            collects: false,
            links_dropped: Vec::new(),
            gc_epoch: repo.gc_epoch,
            generation,
            superseded_until_ms: changes.0.database.clock().now_ms() + changes.0.limits.superseded_ms,
            durable: fault::Point::CompactPackDurable,
            applied: fault::Point::CompactApplied,
        }
    }

    pub(crate) fn collection(repo: &Repo, generation: i64, superseded_until_ms: i64) -> Origin {
        Origin {
            kind: PackKind::Gc,
            collects: true,
            links_dropped: Vec::new(),
            gc_epoch: repo.gc_epoch,
            generation,
            superseded_until_ms,
            durable: fault::Point::GcPackDurable,
            applied: fault::Point::GcApplied,
        }
    }

    fn change(
        &self,
        repo: &Repo,
        packs_added: Vec<database::NewPack>,
        packs_superseded: Vec<PackId>,
    ) -> Change {
        Change {
            repo: repo.id,
            acl_version: None,
            gc_epoch: self.gc_epoch,
            refs: Vec::new(),
            refs_max: u64::MAX,
            atomic: true,
            packs_added,
            packs_superseded,
            superseded_until_ms: self.superseded_until_ms,
            generation: Some(self.generation),
            head_ref: None,
            links_required: Vec::new(),
            links_dropped: self.links_dropped.clone(),
            locks_version: None,
            collects: self.collects,
            actor: None,
            message: String::new(),
        }
    }
}
