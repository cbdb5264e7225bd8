//! Garbage collection: what neither a ref nor the recent ref log reaches is dropped.
//!
//! There is no clock on objects. Roots are the refs and every old and new value in the ref log younger than the
//! retention; what they reach is kept, and a push that relied on something else finds the epoch moved and starts over.

use std::collections::BTreeSet;

use database::{Oid, Repo, RepoId, RepoState};
use repository::compact;
use serde::{Deserialize, Serialize};

use crate::Changes;
use crate::maintain::{MaintainError, Origin};

#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// All repositories if `None`.
    pub repo: Option<Repo>,
    /// Only say what would be dropped.
    pub dry_run: bool,
    /// Keep nothing for the sake of the ref log, delete replaced packs at once, and forget cached answers.
    pub purge: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GcReport {
    pub dry_run: bool,
    /// Repositories looked at.
    pub repos: u64,
    /// Repositories that changed while they were collected; they are left as they are.
    pub skipped: Vec<String>,
    /// Repositories that could not be collected, and why.
    #[serde(default)]
    pub failed: Vec<String>,
    pub objects_dropped: u64,
    /// What the dropped objects occupied in packs.
    pub bytes_dropped: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum GcError {
    #[error("{repo}: {source}")]
    Repo { repo: String, source: MaintainError },
    #[error("{0} is being changed too often, try again")]
    Busy(String),
    #[error(transparent)]
    Database(#[from] database::DbError),
}

impl std::fmt::Display for GcReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for repo in &self.skipped {
            writeln!(f, "{repo}: changed while it was collected, run again")?;
        }
        for failure in &self.failed {
            writeln!(f, "{failure}")?;
        }
        let verb = if self.dry_run { "would drop" } else { "dropped" };
        write!(
            f,
            "looked at {} repositories, {verb} {} objects, {} bytes",
            self.repos, self.objects_dropped, self.bytes_dropped
        )
    }
}

const PAGE: u32 = 500;
/// A repository that is pushed to all the time is left for later after this many attempts.
const ATTEMPTS_MAX: u32 = 5;

impl Changes {
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport, GcError> {
        let mut report = GcReport { dry_run: options.dry_run, ..GcReport::default() };
        if let Some(repo) = &options.repo {
            self.gc_repo(repo, &options, &mut report).await?;
        } else {
            let mut after = RepoId(0);
            loop {
                let page = self.0.database.repo_ids(after, PAGE)?;
                for id in &page {
                    let Some(repo) = self.0.database.repo(*id)?.filter(|repo| repo.state == RepoState::Live)
                    else {
                        continue;
                    };
                    // A broken repository must not keep the others from being collected.
                    if let Err(error) = self.gc_repo(&repo, &options, &mut report).await {
                        tracing::error!(repo = %repo.path, %error, "garbage collection failed; run `granary fsck`");
                        report.failed.push(error.to_string());
                    }
                }
                let Some(last) = page.last() else { break };
                after = *last;
            }
        }
        if options.purge && !options.dry_run {
            self.sweep().await.map_err(|source| GcError::Repo { repo: "sweep".to_owned(), source })?;
        }
        Ok(report)
    }

    async fn gc_repo(&self, repo: &Repo, options: &GcOptions, report: &mut GcReport) -> Result<(), GcError> {
        let _one_at_a_time = self.0.maintaining.lock().await;
        report.repos += 1;
        for _ in 0..ATTEMPTS_MAX {
            match self.collect(repo, options, report).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(source) => return Err(GcError::Repo { repo: repo.path.to_string(), source }),
            }
        }
        report.skipped.push(repo.path.to_string());
        Ok(())
    }

    /// False if the repository changed meanwhile.
    async fn collect(
        &self,
        repo: &Repo,
        options: &GcOptions,
        report: &mut GcReport,
    ) -> Result<bool, MaintainError> {
        let Some(repo) = self.0.database.repo(repo.id)? else { return Ok(true) };
        let snapshot = self.0.repositories.snapshot(&repo)?;
        let now_ms = self.0.database.clock().now_ms();
        let retention_ms = if options.purge { 0 } else { self.0.limits.gc_retention_ms };
        let roots = self.logged_roots(&repo, options.purge, now_ms - retention_ms)?;
        let generation = snapshot.generation();
        let (changes, dry_run) = (self.clone(), options.dry_run);
        let (compacted, garbage) = self
            .compute_behind(move || {
                let disk = &changes.0.disk;
                let context = compact::Context { temp_file: &|| disk.temp_file(), keepgoing: &|| true };
                if dry_run || compact::garbage(&snapshot, &roots)?.objects == 0 {
                    return compact::garbage(&snapshot, &roots).map(|garbage| (None, garbage));
                }
                compact::collect(&snapshot, &roots, &compact::Options::default(), &context)
                    .map(|(compacted, garbage)| (Some(compacted), garbage))
            })
            .await?;
        if options.purge && !options.dry_run {
            // Manifests embed small packs.
            self.forget_manifest(repo.id);
        }
        if let Some(compacted) = compacted {
            let origin = Origin::collection(&repo, generation, now_ms + retention_ms);
            if !self.replace_packs(&repo, compacted, origin).await? {
                return Ok(false);
            }
        }
        report.objects_dropped += garbage.objects;
        report.bytes_dropped += garbage.bytes;
        Ok(true)
    }

    /// Every value a ref had within the retention.
    fn logged_roots(&self, repo: &Repo, purge: bool, since_ms: i64) -> Result<Vec<Oid>, MaintainError> {
        if purge {
            return Ok(Vec::new());
        }
        let log = self.0.database.ref_log(repo.id, since_ms)?;
        let roots: BTreeSet<Oid> =
            log.iter().flat_map(|row| [row.old, row.new]).filter(|oid| !oid.is_null()).collect();
        Ok(roots.into_iter().collect())
    }
}
