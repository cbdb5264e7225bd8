//! Garbage collection: what neither a ref nor the recent ref log reaches is dropped.
//!
//! Large objects go with the pointers that need them: a repository's link is dropped in the transaction that drops the
//! last pack with such a pointer, or later.
//!
//! There is no clock on objects. Roots are the refs and every old and new value in the ref log younger than the
//! retention; what they reach is kept, and a push that relied on something else finds the epoch moved and starts over.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use database::{Link, Oid, PackId, Repo, RepoId, RepoState, Sha256, XetFileId, XetGarbage};
use repository::compact;
use repository::pointer::Pointer;
use serde::{Deserialize, Serialize};

use crate::maintain::{MaintainError, Origin};
use crate::{Changes, large};

#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// All repositories if `None`.
    pub repo: Option<Repo>,
    /// Only say what would be dropped.
    pub dry_run: bool,
    /// Keep nothing for the sake of the ref log, delete replaced packs at once, and forget cached answers.
    pub purge: bool,
    /// Of a purge: large objects that came a while ago at most, and that no push has named yet, are left to the push or
    /// commit that is under way. So are xorbs.
    pub spares_uploads: bool,
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
    /// Large objects (LFS) that no pack points at any more, and their bytes.
    #[serde(default)]
    pub large_dropped: u64,
    #[serde(default)]
    pub large_bytes_dropped: u64,
    /// Of these, files in xorbs that nothing needs any more, and the xorbs that only they needed, with their bytes.
    #[serde(default)]
    pub xet_files: u64,
    #[serde(default)]
    pub xorbs: u64,
    #[serde(default)]
    pub xorb_bytes: u64,
    /// Of a purge: repositories that have a pack which was dropped here, as one was made of the other; its bytes stay
    /// until they drop it too.
    #[serde(default)]
    pub shared_with: Vec<String>,
    /// With how many links that were dropped, or would be.
    #[serde(skip)]
    xet: BTreeMap<XetFileId, u64>,
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
            "looked at {} repositories, {verb} {} objects, {} bytes, and {} large objects, {} bytes",
            self.repos,
            self.objects_dropped,
            self.bytes_dropped,
            self.large_dropped,
            self.large_bytes_dropped
        )?;
        if self.xet_files > 0 {
            let GcReport { xet_files, xorbs, xorb_bytes, .. } = self;
            write!(
                f,
                "; {xet_files} of these are files in xorbs, for which alone {xorbs} xorbs were stored, {xorb_bytes} bytes"
            )?;
        }
        for repo in &self.shared_with {
            write!(f, "\n{repo} has packs that were dropped here: their bytes stay until it drops them too")?;
        }
        Ok(())
    }
}

impl GcReport {
    /// Of a link whose object was removed or never proven there is nothing left to free.
    fn count_large(&mut self, links: &[Link]) {
        let stored = links.iter().filter(|link| link.backing.is_some());
        for link in stored {
            self.large_dropped += 1;
            self.large_bytes_dropped += link.size;
            if let Some(file) = link.xet() {
                *self.xet.entry(file).or_default() += 1;
            }
        }
    }
}

/// Links that a collection leaves though nothing needs them: those made since then, but for what pushes have named.
struct Spared {
    since_ms: i64,
    but: HashSet<Sha256>,
}

const PAGE: u32 = 500;
/// Repositories named in a report that share packs with purged ones.
const SHARERS_MAX: usize = 100;
/// Links read at a time.
const LINKS: u32 = 10_000;
/// Links dropped in one transaction, for which every push waits.
const LINKS_DROPPED: usize = 2_000;
/// How long an upload that is spared may go before its push.
const UPLOAD_MS: i64 = 24 * 3600 * 1000;
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
        self.count_xet(&mut report)?;
        if options.purge && !options.dry_run {
            if let Some(repo) = &options.repo {
                let seen_before_ms = match options.spares_uploads {
                    true => self.0.database.clock().now_ms() - UPLOAD_MS,
                    false => i64::MAX,
                };
                self.0.objects.xet().purge(repo.id, seen_before_ms).await?;
            }
            self.sweep().await.map_err(|source| GcError::Repo { repo: "sweep".to_owned(), source })?;
        }
        Ok(report)
    }

    /// What was in xorbs can be shared chunk by chunk, so it is counted when all is known.
    fn count_xet(&self, report: &mut GcReport) -> Result<(), GcError> {
        let going = |links: u64| if report.dry_run { links } else { 0 };
        let files: Vec<_> = report.xet.iter().map(|(file, links)| (*file, going(*links))).collect();
        let XetGarbage { files, xorbs, stored_bytes } = self.0.database.xet_garbage(&files)?;
        (report.xet_files, report.xorbs, report.xorb_bytes) = (files, xorbs, stored_bytes);
        Ok(())
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
        let spared = options.spares_uploads.then(|| Spared {
            since_ms: now_ms - UPLOAD_MS,
            but: large::pointed_at(&snapshot).into_iter().map(|(sha256, ..)| sha256).collect(),
        });
        let (changes, dry_run) = (self.clone(), options.dry_run);
        let (compacted, garbage, pointers) = self
            .compute_behind(move || {
                let disk = &changes.0.disk;
                let context = compact::Context { temp_file: &|| disk.temp_file(), keepgoing: &|| true };
                let (garbage, pointers) = compact::garbage(&snapshot, &roots)?;
                if dry_run || garbage.objects == 0 {
                    return Ok((None, garbage, pointers));
                }
                compact::collect(&snapshot, &roots, &compact::Options::default(), &context)
                    .map(|(compacted, garbage)| (Some(compacted), garbage, pointers))
            })
            .await?;
        if options.purge && !options.dry_run {
            // Manifests embed small packs.
            self.forget_manifest(repo.id);
        }
        let mut unneeded = self.unneeded_links(&repo, &pointers, now_ms - retention_ms)?;
        if let Some(spared) = spared {
            unneeded.retain(|link| link.linked_ms < spared.since_ms || spared.but.contains(&link.sha256));
        }
        let later = match options.dry_run {
            true => Vec::new(),
            false => unneeded.split_off(unneeded.len().min(LINKS_DROPPED)),
        };
        let until_ms = now_ms + retention_ms;
        if !options.dry_run && (compacted.is_some() || !unneeded.is_empty()) {
            let mut origin = Origin::collection(&repo, generation, until_ms);
            origin.links_dropped = unneeded.iter().map(|link| (link.sha256, link.linked_ms)).collect();
            let compacted = compacted.unwrap_or_default();
            let dropped = compacted.superseded.clone();
            if !self.replace_packs(&repo, compacted, origin).await? {
                return Ok(false);
            }
            if options.purge {
                self.tell_sharers(&repo, &dropped, report)?;
            }
        }
        report.objects_dropped += garbage.objects;
        report.bytes_dropped += garbage.bytes;
        report.count_large(&unneeded);
        self.drop_later(&repo, &later, until_ms, report).await
    }

    /// Which repositories keep bytes that a purge of `repo` was to delete.
    fn tell_sharers(
        &self,
        repo: &Repo,
        dropped: &[PackId],
        report: &mut GcReport,
    ) -> Result<(), MaintainError> {
        let room = SHARERS_MAX.saturating_sub(report.shared_with.len());
        for id in self.0.database.packs_shared_with(repo.id, dropped, room)? {
            let other = self.0.database.repo(id)?.map(|other| other.path.to_string());
            report.shared_with.extend(other.filter(|path| !report.shared_with.contains(path)));
        }
        Ok(())
    }

    /// Drops more links, a few in each transaction, so that no push waits for all of them. The packs that needed them
    /// are gone, and a push that needs one anew wins: its pack is seen here, or it finds the link gone. False if there
    /// is no end of such pushes.
    async fn drop_later(
        &self,
        repo: &Repo,
        links: &[Link],
        until_ms: i64,
        report: &mut GcReport,
    ) -> Result<bool, MaintainError> {
        for links in links.chunks(LINKS_DROPPED) {
            let mut dropped = false;
            for _ in 0..ATTEMPTS_MAX {
                let Some(repo) = self.0.database.repo(repo.id)? else { return Ok(true) };
                let snapshot = self.0.repositories.snapshot(&repo)?;
                let needed: HashSet<Sha256> =
                    large::pointed_at(&snapshot).into_iter().map(|(sha256, ..)| sha256).collect();
                let unneeded = links.iter().filter(|link| !needed.contains(&link.sha256)).cloned();
                let unneeded: Vec<Link> = unneeded.collect();
                let mut origin = Origin::collection(&repo, snapshot.generation(), until_ms);
                origin.links_dropped = unneeded.iter().map(|link| (link.sha256, link.linked_ms)).collect();
                if self.replace_packs(&repo, compact::Compacted::default(), origin).await? {
                    report.count_large(&unneeded);
                    dropped = true;
                    break;
                }
            }
            if !dropped {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Links that no LFS pointer needs which stays, and that were made before `before_ms`: an object is uploaded before
    /// the push that needs it.
    fn unneeded_links(
        &self,
        repo: &Repo,
        pointers: &[Pointer],
        before_ms: i64,
    ) -> Result<Vec<Link>, MaintainError> {
        let needed: HashSet<Sha256> = pointers.iter().map(|pointer| Sha256(pointer.sha256)).collect();
        let mut unneeded = Vec::new();
        let mut after = None;
        loop {
            let page = self.0.database.links_after(repo.id, after, LINKS)?;
            let Some(last) = page.last() else { return Ok(unneeded) };
            after = Some(last.sha256);
            let old = page.into_iter().filter(|link| link.linked_ms <= before_ms);
            unneeded.extend(old.filter(|link| !needed.contains(&link.sha256)));
        }
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
