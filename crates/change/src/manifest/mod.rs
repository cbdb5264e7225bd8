//! The manifest journal: refs and pack lists written beside the packs, so that git data can be rebuilt from the
//! stored bytes alone when the rows are lost.
//!
//! One file per repository and state, `manifests/<repo id>/<generation>.<acl version>`. A base says everything, a delta
//! what changed since the file it names; inline packs are embedded where they first appear, and so is what large files
//! in xorbs are made of. A base replaces all files before it. Buckets have theirs, in [`buckets`].

mod buckets;
mod format;
mod rebuild;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use database::{PackId, RepoId, SnapshotRows, fault};
use parking_lot::Mutex;

use crate::Changes;
pub(crate) use buckets::BucketJournal;
use format::{DELETED, RefEntry, base, delta, directory, file_name, read_chain, sealed};
pub use rebuild::{RebuildError, RebuildReport, rebuild};

/// A chain is rewritten as a base once its deltas are larger than its base plus this, in bytes.
const CHAIN_SLACK: u64 = 64 * 1024;
/// Chains remembered between writes; a forgotten one starts with a new base.
const CHAINS_MAX: usize = 10_000;
/// A busy repository's manifest is written this often, in milliseconds, and a bucket's at most.
const PAUSE_MS: i64 = 5_000;
/// A link bears the time at which its transaction began, and may be read this much later at most; told twice, it does no
/// harm.
const LINKED_SLACK_MS: i64 = 60_000;

/// What is remembered of a repository's chain, so that the next file can be a delta.
#[derive(Clone, Debug)]
struct Chain {
    generation: i64,
    /// The last file.
    file: String,
    packs: HashSet<PackId>,
    /// When the rows were read that it tells of.
    read_ms: i64,
    base_bytes: u64,
    delta_bytes: u64,
}

/// The chains of this process.
#[derive(Default)]
pub(crate) struct Journal(Mutex<HashMap<RepoId, Chain>>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] database::DbError),
    #[error("manifest: {0}")]
    Json(#[from] serde_json::Error),
}

impl Changes {
    /// Writes the manifests that are behind, those of busy repositories only now and then unless `now`. Returns how
    /// many.
    pub(crate) async fn write_manifests(&self, limit: u32, now: bool) -> Result<u64, ManifestError> {
        let due = self.0.database.manifests_due(limit)?;
        let mut written = 0;
        for repo in due {
            if !now && self.is_pausing(repo) {
                continue;
            }
            let changes = self.clone();
            match self.compute_behind(move || changes.write_manifest(repo)).await {
                Ok(Some((generation, acl_version))) => {
                    fault::point(fault::Point::ManifestWritten);
                    self.0.database.manifest_written(repo, generation, acl_version).await?;
                    written += 1;
                }
                Ok(None) => {}
                // It is tried again in the next round; the others have theirs.
                Err(error) => tracing::error!(repo = repo.0, %error, "a manifest cannot be written"),
            }
        }
        Ok(written)
    }

    fn is_pausing(&self, repo: RepoId) -> bool {
        let now_ms = self.0.database.clock().now_ms();
        let chains = self.0.journal.0.lock();
        chains.get(&repo).is_some_and(|chain| (0..PAUSE_MS).contains(&(now_ms - chain.read_ms)))
    }

    /// Called once `repo` is deleted: a rebuild must not bring it back.
    pub(crate) async fn bury_manifest(&self, repo: RepoId) -> Result<(), ManifestError> {
        let changes = self.clone();
        self.compute_behind(move || {
            let disk = &changes.0.disk;
            match disk.publish(disk.temp_file()?, &format!("{}/{DELETED}", directory(repo))) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            changes.forget_manifest(repo);
            changes.drop_manifests_but(repo, DELETED)
        })
        .await
    }

    /// The next manifest of `repo` says everything, and what the ones before it embed goes.
    pub(crate) fn forget_manifest(&self, repo: RepoId) {
        self.0.journal.0.lock().remove(&repo);
    }

    fn drop_manifests_but(&self, repo: RepoId, kept: &str) -> Result<(), ManifestError> {
        let directory = directory(repo);
        let names = self.0.disk.names_in(&directory)?;
        let mut others = names.iter().filter(|name| *name != kept);
        others.try_for_each(|name| Ok(self.0.disk.delete(&format!("{directory}/{name}"))?))
    }

    fn write_manifest(&self, repo: RepoId) -> Result<Option<(i64, i64)>, ManifestError> {
        let read_ms = self.0.database.clock().now_ms();
        let Some(rows) = self.0.database.snapshot(repo)? else { return Ok(None) };
        let generation = rows.repo.generation;
        let known = self.0.journal.0.lock().get(&repo).cloned();
        let continued = known.filter(|chain| {
            chain.generation < generation && chain.delta_bytes <= chain.base_bytes + CHAIN_SLACK
        });
        let of_org = self.0.database.org(rows.repo.path.namespace.as_str())?.is_some();
        let mut manifest = match &continued {
            Some(chain) => {
                let refs = self.edits_since(repo, chain.generation, &rows)?;
                delta(&rows, of_org, &chain.file, &chain.packs, refs)
            }
            None => base(&rows, of_org),
        };
        // A ref moves after the links that it needs were made.
        let since_ms = continued.as_ref().map_or(i64::MIN, |chain| chain.read_ms - LINKED_SLACK_MS);
        let recipes = self.0.objects.xet().recipes(repo, since_ms)?;
        manifest.files = recipes.iter().map(|(sha256, recipe)| (sha256.to_string(), recipe.into())).collect();
        let bytes = sealed(&manifest)?;
        let name = file_name(&rows.repo);
        let mut file = self.0.disk.temp_file()?;
        file.write_all(&bytes)?;
        match self.0.disk.publish(file, &format!("{}/{name}", directory(repo))) {
            // A crash came between these bytes and their row. They say the same, but perhaps as a delta, which needs the
            // files before it. The next one is a base.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.forget_manifest(repo);
                return Ok(Some((generation, rows.repo.acl_version)));
            }
            other => other?,
        }
        if continued.is_none() {
            self.drop_manifests_but(repo, &name)?;
        }
        let packs = rows.packs.iter().map(|pack| pack.id).collect();
        let bytes = bytes.len() as u64;
        let (base_bytes, delta_bytes) = match continued {
            Some(chain) => (chain.base_bytes, chain.delta_bytes + bytes),
            None => (bytes, 0),
        };
        self.remember(repo, Chain { generation, file: name, packs, read_ms, base_bytes, delta_bytes });
        Ok(Some((generation, rows.repo.acl_version)))
    }

    /// Where the refs that moved since `since` stand now.
    fn edits_since(
        &self,
        repo: RepoId,
        since: i64,
        rows: &SnapshotRows,
    ) -> Result<BTreeMap<String, Option<RefEntry>>, ManifestError> {
        let log = self.0.database.ref_log_after(repo, since)?;
        let now = |name: &str| {
            let found = rows.refs.binary_search_by(|row| row.name.as_str().cmp(name));
            found.ok().map(|index| RefEntry::from(&rows.refs[index]))
        };
        Ok(log.into_iter().map(|row| (row.name.clone(), now(&row.name))).collect())
    }

    fn remember(&self, repo: RepoId, chain: Chain) {
        let mut chains = self.0.journal.0.lock();
        if chains.len() >= CHAINS_MAX && !chains.contains_key(&repo) {
            chains.clear();
        }
        chains.insert(repo, chain);
    }

    /// What is wrong with the manifests of `repo`, for fsck: each must be readable and lead to a base. A chain that is
    /// damaged is not continued: the next manifest is a base and replaces it.
    pub(crate) fn check_manifests(&self, repo: RepoId) -> Option<String> {
        let finding = read_chain(&self.0.disk.path(&directory(repo))).err();
        if finding.is_some() {
            self.forget_manifest(repo);
        }
        finding
    }
}
