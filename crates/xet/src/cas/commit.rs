//! Proven files become files of a repository, or of a bucket.

use auth::{Authorized, Propose, Right};
use database::fault::{self, Point};
use database::{
    BackingId, Bucket, BucketRegistration, NewXetObject, Proof, Quota, Sha256, XetHash, XetRegistration,
};

use super::{Cas, CheckedObjects, CheckedShard, CommitError, detached};
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
        checked: CheckedObjects,
    ) -> Result<Vec<RegisteredFile>, CommitError> {
        let cas = self.clone();
        detached(async move {
            access.reauthorize(&cas.0.database)?;
            let CheckedObjects { objects, xorbs } = checked;
            let named = |object: &NewXetObject| (object.file.hash, object.sha256, object.file.size);
            let named: Vec<(XetHash, Sha256, u64)> = objects.iter().map(named).collect();
            let (repo, by) = (access.repo_id(), access.actor());
            let registration = XetRegistration { repo, by, quota, xorbs, objects };
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

    /// As [`Cas::commit_shard`]: a bucket may put them at paths from now on. True if it had all of them.
    pub async fn commit_to_bucket<A: Right>(
        &self,
        access: Authorized<A, Bucket>,
        quota: Quota,
        checked: CheckedShard,
    ) -> Result<bool, CommitError> {
        let cas = self.clone();
        detached(async move {
            let access = access.reauthorize(&cas.0.database)?;
            let CheckedShard { files, xorbs } = checked;
            let files = files.into_iter().map(|checked| checked.file).collect();
            let registration = BucketRegistration { bucket: access.bucket().id, quota, xorbs, files };
            let were_here = cas.0.database.register_in_bucket(registration).await?;
            fault::point(Point::XetShardCommitted);
            Ok(were_here.into_iter().all(|was_here| was_here))
        })
        .await
    }
}
