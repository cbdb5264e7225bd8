//! Proof that nothing is lost: rows agree with each other and with bytes, every byte hashes to its name, every edge
//! leads somewhere.

use std::collections::HashMap;

use database::{BlobState, BucketId, DbError, LinkState, Oid, Repo, RepoId, RepoState, Sha256};
use repository::{Snapshot, walk};
use serde::{Deserialize, Serialize};

use crate::{Changes, large};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FsckReport {
    pub repos: u64,
    pub packs: u64,
    pub objects: u64,
    /// Large objects (LFS) that are stored whole, read and hashed.
    #[serde(default)]
    pub large: u64,
    /// Xorbs read and hashed, and files made of them.
    #[serde(default)]
    pub xorbs: u64,
    #[serde(default)]
    pub xet_files: u64,
    /// One sentence each; empty means sound.
    pub findings: Vec<String>,
    /// What is missing because somebody wanted it so.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
}

impl std::fmt::Display for FsckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let verdict = match self.findings.len() {
            0 => "no problems".to_owned(),
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        write!(
            f,
            "checked {} repositories, {} packs, {} objects, {} whole large objects, {} files in {} xorbs: {verdict}",
            self.repos, self.packs, self.objects, self.large, self.xet_files, self.xorbs
        )
    }
}

impl FsckReport {
    /// A damaged row is what is looked for, no reason to keep silent about the others: it becomes a finding, and
    /// what was to be read is `None`.
    fn readable<T>(
        &mut self,
        what: impl std::fmt::Display,
        result: Result<T, FsckError>,
    ) -> Result<Option<T>, FsckError> {
        match result {
            Err(FsckError::Database(error @ DbError::Corrupt(_))) => {
                self.findings.push(format!("{what}: {error}"));
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// Repositories are listed in pages, so that memory does not grow with their number.
const PAGE: u32 = 500;

impl Changes {
    /// Checks everything, or one repository. Reads every byte of every live pack, large object and xorb.
    pub async fn fsck(&self, only: Option<&Repo>) -> Result<FsckReport, FsckError> {
        let (changes, repo, only) = (self.clone(), only.map(|repo| repo.id), only.cloned());
        let _no_sweep = self.0.sweeping.read().await;
        let mut report = self.compute_behind(move || changes.fsck_blocking(only)).await?;
        let (objects, findings) = (&self.0.objects, &mut report.findings);
        let note = |finding: lfs::Finding| findings.push(finding.to_string());
        let checked = match repo {
            None => objects.check_objects(true, note).await,
            Some(repo) => objects.check_objects_of(repo, true, note).await,
        };
        let checked = report.readable("large objects", checked.map_err(FsckError::from))?;
        report.large = checked.map_or(0, |checked| checked.objects);
        let (xet, findings) = (self.0.objects.xet(), &mut report.findings);
        let note = |finding: xet::XetFinding| findings.push(finding.to_string());
        let checked = match repo {
            None => xet.check(true, note).await,
            Some(repo) => xet.check_of(repo, true, note).await,
        };
        let checked = report.readable("files in xorbs", checked.map_err(FsckError::from))?;
        (report.xorbs, report.xet_files) = checked.map_or((0, 0), |checked| (checked.xorbs, checked.files));
        Ok(report)
    }

    fn fsck_blocking(&self, only: Option<Repo>) -> Result<FsckReport, FsckError> {
        let mut report = FsckReport::default();
        if let Some(repo) = only {
            self.fsck_repo(repo.id, &mut report)?;
            return Ok(report);
        }
        report.findings.extend(self.0.database.check()?);
        let checked = self.fsck_blobs(&mut report);
        report.readable("packs", checked)?;
        let mut after = RepoId(i64::MIN);
        loop {
            let page = self.0.database.repo_ids(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = *last;
            for id in page {
                self.fsck_repo(id, &mut report)?;
            }
        }
        let checked = self.fsck_buckets(&mut report);
        report.readable("the journals of buckets", checked)?;
        Ok(report)
    }

    /// Each bucket has a journal that can be read, unless none was written yet.
    fn fsck_buckets(&self, report: &mut FsckReport) -> Result<(), FsckError> {
        let mut after = BucketId(i64::MIN);
        loop {
            let page = self.0.database.buckets_journaled(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for bucket in &page {
                if let Some(finding) = self.check_bucket(bucket)? {
                    report.findings.push(format!(
                        "bucket {}: {finding}; `granary maintain --now` after a change of it writes it anew",
                        bucket.path
                    ));
                }
            }
        }
    }

    /// Every stored pack a row calls live is there, with the size its row says.
    fn fsck_blobs(&self, report: &mut FsckReport) -> Result<(), FsckError> {
        for (pack, state, bytes) in self.0.database.packs()? {
            if state != BlobState::Live {
                continue;
            }
            match self.0.disk.size_bytes(&pack.storage_key())? {
                Some(actual) if actual == bytes => {}
                Some(actual) => report
                    .findings
                    .push(format!("pack {pack:?}: {actual} bytes stored, its row says {bytes}")),
                None => {
                    report.findings.push(format!("pack {pack:?}: its row says live, its bytes are missing"))
                }
            }
        }
        Ok(())
    }

    fn fsck_repo(&self, id: RepoId, report: &mut FsckReport) -> Result<(), FsckError> {
        let read = self.0.database.repo(id).map_err(FsckError::from);
        // It may be gone since it was listed; a deleted one has no content to check.
        let Some(Some(repo)) = report.readable(format_args!("repository {}", id.0), read)? else {
            return Ok(());
        };
        if repo.state == RepoState::Deleted {
            return Ok(());
        }
        report.repos += 1;
        let snapshot = match self.0.repositories.snapshot(&repo) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                report.findings.push(format!("{}: cannot be opened: {error}", repo.path));
                return Ok(());
            }
        };
        // After the snapshot, so that every move it shows is in it.
        let log = self.0.database.ref_log(id, i64::MIN).map_err(FsckError::from);
        let log = report.readable(format_args!("{}: its ref log", repo.path), log)?;
        let mut note = |finding: String| report.findings.push(format!("{}: {finding}", repo.path));
        for finding in log.iter().flat_map(|log| refs(&snapshot, log)) {
            note(finding);
        }
        for pack in snapshot.packs() {
            for finding in pack.verify(Some(&snapshot)) {
                note(format!("pack {:?}: {finding}", pack.id()));
            }
            report.packs += 1;
            report.objects += u64::from(pack.objects());
        }
        self.check_pointers(&snapshot, report)?;
        if let Some(finding) = self.check_manifests(repo.id) {
            report.findings.push(format!(
                "{}: {finding}; `granary maintain --now` after a push writes it anew",
                repo.path
            ));
        }
        let tips: Vec<Oid> = snapshot.refs().iter().map(|row| row.oid).collect();
        if let Err(error) = walk::closure(&snapshot, &tips) {
            report
                .findings
                .push(format!("{}: not everything that its refs need is there: {error}", repo.path));
        }
        Ok(())
    }
}

/// Large objects looked up at a time.
const LOOKUP: usize = 4096;

impl Changes {
    /// Every LFS pointer that a live pack lists has its object, unless that was removed on purpose or the repository may
    /// lack objects.
    fn check_pointers(&self, snapshot: &Snapshot, report: &mut FsckReport) -> Result<(), FsckError> {
        let repo = snapshot.repo();
        let pointers = large::pointed_at(snapshot);
        let (mut lacking, mut removed) = (Vec::new(), Vec::new());
        for pointers in pointers.chunks(LOOKUP) {
            let ids: Vec<_> = pointers.iter().map(|(sha256, ..)| *sha256).collect();
            let links = self.0.database.links(repo.id, &ids).map_err(FsckError::from);
            let what = format_args!("{}: its large objects", repo.path);
            let Some(links) = report.readable(what, links)? else { return Ok(()) };
            for (&(sha256, size, blob), link) in pointers.iter().zip(links) {
                match link {
                    Some(link) if link.is_usable() && link.size == size => {}
                    Some(link) if link.state == LinkState::Removed => removed.push((sha256, blob)),
                    _ => lacking.push((sha256, blob)),
                }
            }
        }
        if let Some(text) = missing(snapshot, &lacking) {
            let text = format!("{}: {text}", repo.path);
            let list = if repo.lfs_incomplete { &mut report.warnings } else { &mut report.findings };
            list.push(text);
        }
        if let Some(text) = missing(snapshot, &removed) {
            report.warnings.push(format!("{}: {text} (removed)", repo.path));
        }
        Ok(())
    }
}

/// A sentence that names the file of the first object.
fn missing(snapshot: &Snapshot, objects: &[(Sha256, Oid)]) -> Option<String> {
    let (_, first) = objects.first()?;
    let paths = walk::paths_at_tips(snapshot, &[*first]);
    let path = paths.get(first).map_or_else(|| format!("blob {first}"), Clone::clone);
    let ids: Vec<Sha256> = objects.iter().map(|(sha256, _)| *sha256).collect();
    let (count, listed) = (objects.len(), large::listed(&ids));
    Some(format!("{count} LFS objects are not here, that of {path} first: {listed}"))
}

/// Refs against the log that made them, and against their objects.
fn refs(snapshot: &Snapshot, log: &[database::RefLogRow]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut logged: HashMap<&str, (i64, Oid)> = HashMap::new();
    for row in log {
        let latest = logged.entry(&row.name).or_insert((row.generation, row.new));
        if row.generation > latest.0 {
            *latest = (row.generation, row.new);
        }
        if row.generation > snapshot.generation() {
            // Pushed after the snapshot was taken.
            logged.remove(row.name.as_str());
        }
    }
    for row in snapshot.refs() {
        match logged.remove(row.name.as_str()) {
            Some((_, oid)) if oid == row.oid => {}
            Some((generation, oid)) => {
                findings.push(format!(
                    "{} is at {}, its log says {oid} since generation {generation}",
                    row.name, row.oid
                ));
            }
            None => findings.push(format!("{} is at {}, but no log line made it", row.name, row.oid)),
        }
        match snapshot.peel(&row.oid) {
            Ok(peeled) if row.peeled == (peeled != row.oid).then_some(peeled) => {}
            Ok(peeled) => findings.push(format!("{} peels to {peeled}, its row says otherwise", row.name)),
            Err(error) => findings.push(format!("{}: {error}", row.name)),
        }
    }
    for (name, (generation, oid)) in logged {
        if !oid.is_null() {
            findings.push(format!("{name} is missing; its log says {oid} since generation {generation}"));
        }
    }
    findings
}
