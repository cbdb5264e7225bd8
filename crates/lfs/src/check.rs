//! Every stored object is there, whole, and what it is called.

use std::fmt;

use database::{Backing, BackingId, DbError, Link, Proof, RepoId, Sha256, UploadId, object_key};
use serde::{Deserialize, Serialize};
use storage::StoreError;

use crate::Objects;

const PAGE: u32 = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub objects: u64,
    pub bytes: u64,
    pub findings: u64,
}

/// Something is wrong with a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub sha256: Sha256,
    pub key: String,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("its bytes are gone")]
    Missing,
    #[error("it has {actual} bytes, not {expected}")]
    Size { expected: u64, actual: u64 },
    #[error("its bytes have SHA-256 {actual}")]
    Bytes { actual: Sha256 },
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {} ({})", self.sha256, self.problem, self.key)
    }
}

impl Objects {
    /// Looks at every live backing that is stored whole; with `rehash`, reads all its bytes. What is claimed only has yet to be read back, so
    /// only its presence is looked at.
    pub async fn check_objects(
        &self,
        rehash: bool,
        mut report: impl FnMut(Finding),
    ) -> Result<CheckReport, DbError> {
        let mut counts = CheckReport::default();
        let mut after = BackingId(0);
        loop {
            let page = self.0.database.backings(after, PAGE)?;
            let Some((last, ..)) = page.last() else { break };
            after = *last;
            for (id, sha256, size, upload, proof) in page {
                let backing = Backing { id, upload, proof, xet: None, whole: None };
                self.check_object(sha256, size, backing, rehash, &mut counts, &mut report).await;
            }
        }
        let mut after = BackingId(0);
        loop {
            let page = self.0.database.wholes_after(after, PAGE)?;
            let Some((last, ..)) = page.last() else { return Ok(counts) };
            after = *last;
            for (id, sha256, size, upload) in page {
                self.check_copy(id, sha256, size, upload, rehash, &mut counts, &mut report).await;
            }
        }
    }

    /// As [`Objects::check_objects`], of what `repo` links.
    pub async fn check_objects_of(
        &self,
        repo: RepoId,
        rehash: bool,
        mut report: impl FnMut(Finding),
    ) -> Result<CheckReport, DbError> {
        let mut counts = CheckReport::default();
        let mut after = None;
        loop {
            let page = self.0.database.links_after(repo, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(counts) };
            after = Some(last.sha256);
            for link in page {
                if let Some((backing, copy)) = link.backing.and_then(|of| Some((of.id, of.whole?))) {
                    let Link { sha256, size, .. } = link;
                    self.check_copy(backing, sha256, size, copy, rehash, &mut counts, &mut report).await;
                }
                // What is in xorbs is looked at with those.
                if let Some(backing) = link.backing.filter(|backing| backing.xet.is_none()) {
                    let Link { sha256, size, .. } = link;
                    self.check_object(sha256, size, backing, rehash, &mut counts, &mut report).await;
                }
            }
        }
    }

    async fn check_object(
        &self,
        sha256: Sha256,
        size: u64,
        backing: Backing,
        rehash: bool,
        counts: &mut CheckReport,
        report: &mut impl FnMut(Finding),
    ) {
        let key = object_key(&sha256, backing.upload);
        let rehash = rehash && backing.proof != Proof::Claimed;
        let problem = self.problem_of(&key, sha256, size, rehash).await;
        counts.objects += 1;
        counts.bytes += size;
        if let Some(problem) = problem.filter(|_| self.is_live(backing.id)) {
            counts.findings += 1;
            report(Finding { sha256, key, problem });
        }
    }

    /// All bytes of a file in xorbs.
    #[expect(clippy::too_many_arguments, reason = "a row as it is, and two to report to")]
    async fn check_copy(
        &self,
        backing: BackingId,
        sha256: Sha256,
        size: u64,
        upload: UploadId,
        rehash: bool,
        counts: &mut CheckReport,
        report: &mut impl FnMut(Finding),
    ) {
        let key = object_key(&sha256, upload);
        let problem = self.problem_of(&key, sha256, size, rehash).await;
        counts.objects += 1;
        counts.bytes += size;
        let is_live = || {
            let found = self.0.database.wholes_after(BackingId(backing.0 - 1), 1);
            found.map_or(true, |found| found.first().is_some_and(|(.., live)| *live == upload))
        };
        if let Some(problem) = problem.filter(|_| is_live()) {
            counts.findings += 1;
            report(Finding { sha256, key, problem });
        }
    }

    async fn problem_of(&self, key: &str, sha256: Sha256, size: u64, rehash: bool) -> Option<Problem> {
        let found = match rehash {
            true => self.0.store.sha256(key).await.map(|(actual, bytes)| (actual, Some(bytes))),
            false => self.0.store.size_bytes(key).await.map(|bytes| (sha256, bytes)),
        };
        match found {
            Err(StoreError::NotFound) | Ok((_, None)) => Some(Problem::Missing),
            Err(error) => Some(Problem::Unreadable(error.to_string())),
            Ok((_, Some(actual))) if actual != size => Some(Problem::Size { expected: size, actual }),
            Ok((actual, _)) if actual != sha256 => Some(Problem::Bytes { actual }),
            Ok(_) => None,
        }
    }

    /// It may have been collected since it was listed.
    fn is_live(&self, id: BackingId) -> bool {
        let found = self.0.database.backings(BackingId(id.0 - 1), 1);
        // If that cannot be told, it is better told of.
        found.map_or(true, |found| found.first().is_some_and(|(first, ..)| *first == id))
    }
}
