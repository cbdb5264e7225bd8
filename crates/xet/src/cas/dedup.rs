//! Whether somebody has a chunk that a client is about to upload.

use auth::{Authorized, Read, Right};
use database::{RepoId, Xorb};

use super::keys::millis;
use super::{Cas, DedupError, DedupScope, KeysError, blocking};
use crate::Hash;
use crate::shard::DedupAnswer;

/// Xorbs with the same chunk that are looked at.
const XORBS_MAX: u32 = 16;
/// Repositories that have one of them, of which the client may read one.
const REPOS_MAX: u32 = 64;

impl Cas {
    /// The xorb that has this chunk and those beside it, as a shard whose hashes are keyed; `None`: upload it. Only what the
    /// holder of `access` may read is named.
    pub async fn dedup<A: Right>(
        &self,
        access: &Authorized<A>,
        chunk: &Hash,
    ) -> Result<Option<Vec<u8>>, DedupError> {
        let Some((xorb, repo)) = self.holder(access, chunk).await? else { return Ok(None) };
        let config = &self.0.config;
        let xorbs = self.0.database.xorbs_beside(repo, xorb.id, config.dedup_xorbs_max)?;
        // Before it is told: it is kept from now on for as long as clients remember.
        self.0.database.see_xorbs(xorbs.iter().map(|xorb| xorb.id).collect()).await?;
        let key = *self.keys().await?.first().ok_or(KeysError::Corrupt)?;
        let indexes = self.indexes(&xorbs).await?;
        let created_ms = self.0.database.clock().now_ms();
        let lifetime = config.dedup_lifetime.min(config.lease / 2);
        let seconds = |ms: i64| u64::try_from(ms.div_euclid(1000)).unwrap_or(0);
        let (created, expires) = (seconds(created_ms), seconds(created_ms + millis(lifetime)));
        // Each chunk's hash is hashed.
        let answer = blocking(move || {
            let mut answer = DedupAnswer::new(key.dedup());
            indexes.iter().for_each(|index| answer.push_xorb(index));
            answer.finish(created, expires)
        });
        Ok(Some(answer.await))
    }

    /// A xorb that really has the chunk, and the repository by which the client may know of it.
    async fn holder<A: Right>(
        &self,
        access: &Authorized<A>,
        chunk: &Hash,
    ) -> Result<Option<(Xorb, RepoId)>, DedupError> {
        for xorb in self.0.database.xorbs_with_chunk(&chunk.dedup_key(), XORBS_MAX)? {
            let Some(repo) = self.readable_holder(access, &xorb)? else { continue };
            let index = self.index(&xorb).await?;
            let mut chunks = index.iter(0..index.chunks()).map_err(|_| super::errors::ReadError::Term)?;
            if chunks.any(|known| known.hash == *chunk) {
                return Ok(Some((xorb, repo)));
            }
        }
        Ok(None)
    }

    fn readable_holder<A: Right>(
        &self,
        access: &Authorized<A>,
        xorb: &Xorb,
    ) -> Result<Option<RepoId>, DedupError> {
        let database = &self.0.database;
        if database.has_xorb(access.repo_id(), xorb.id)? {
            return Ok(Some(access.repo_id()));
        }
        if self.0.config.dedup_scope == DedupScope::Repo {
            return Ok(None);
        }
        for id in database.repos_of_xorb(xorb.id, REPOS_MAX)? {
            let repo = database.repo(id)?;
            if repo.is_some_and(|repo| access.elsewhere::<Read>(repo).is_ok()) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
