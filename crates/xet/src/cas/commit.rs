//! Proven files become files of a repository.

use auth::{Authorized, Propose};
use database::fault::{self, Point};
use database::{BackingId, Proof, Quota, Sha256, XetHash, XetRegistration};

use super::{Cas, CheckedShard, CommitError, detached};
use crate::Hash;

/// A file that the repository has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisteredFile {
    pub hash: Hash,
    pub sha256: Sha256,
    pub size: u64,
    pub backing: BackingId,
    pub proof: Proof,
    /// It had it before, by these chunks or other bytes.
    pub was_here: bool,
}

impl Cas {
    /// All files of a shard, or none. Runs to its end even if this is dropped. Done again, it succeeds again.
    pub async fn commit_shard(
        &self,
        access: Authorized<Propose>,
        quota: Quota,
        checked: CheckedShard,
    ) -> Result<Vec<RegisteredFile>, CommitError> {
        let cas = self.clone();
        detached(async move {
            access.reauthorize(&cas.0.database)?;
            let CheckedShard { files, xorbs } = checked;
            let named: Vec<(XetHash, Sha256, u64)> =
                files.iter().map(|file| (file.hash, file.sha256, file.size)).collect();
            let (repo, by) = (access.repo_id(), access.actor());
            let registration = XetRegistration { repo, by, quota, xorbs, files };
            let registered = cas.0.database.register_xet(registration).await?;
            fault::point(Point::XetShardCommitted);
            let files =
                named.into_iter().zip(registered).map(|((hash, sha256, size), file)| RegisteredFile {
                    hash: hash.into(),
                    sha256,
                    size,
                    backing: file.backing,
                    proof: file.proof,
                    was_here: file.was_here,
                });
            Ok(files.collect())
        })
        .await
    }
}
