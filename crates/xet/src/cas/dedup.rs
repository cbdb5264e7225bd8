//! Whether somebody has a chunk that a client is about to upload.

use auth::{Authorized, Read, Right, Subject};
use database::{HolderId, Xorb};

use super::keys::millis;
use super::{Cas, DedupError, DedupScope, KeysError, blocking};
use crate::Hash;
use crate::shard::DedupAnswer;

/// Xorbs with the same chunk that are looked at.
const XORBS_MAX: u32 = 16;
/// Repositories, and buckets, that have one of them, of which the client may read one.
const HOLDERS_MAX: u32 = 64;

impl Cas {
    /// The xorb that has this chunk and those beside it, as a shard whose hashes are keyed; `None`: upload it. Only what the
    /// holder of `access` may read is named.
    pub async fn dedup<A: Right, S: Subject>(
        &self,
        access: &Authorized<A, S>,
        chunk: &Hash,
    ) -> Result<Option<Vec<u8>>, DedupError> {
        let Some((xorb, holder)) = self.holder(access, chunk).await? else { return Ok(None) };
        let config = &self.0.config;
        let xorbs = self.0.database.xorbs_beside(holder, xorb.id, config.dedup_xorbs_max)?;
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

    /// A xorb that really has the chunk, and the holder by which the client may know of it.
    async fn holder<A: Right, S: Subject>(
        &self,
        access: &Authorized<A, S>,
        chunk: &Hash,
    ) -> Result<Option<(Xorb, HolderId)>, DedupError> {
        for xorb in self.0.database.xorbs_with_chunk(&chunk.dedup_key(), XORBS_MAX)? {
            let Some(holder) = self.readable_holder(access, &xorb)? else { continue };
            let index = self.index(&xorb).await?;
            let mut chunks = index.iter(0..index.chunks()).map_err(|_| super::errors::ReadError::Term)?;
            if chunks.any(|known| known.hash == *chunk) {
                return Ok(Some((xorb, holder)));
            }
        }
        Ok(None)
    }

    fn readable_holder<A: Right, S: Subject>(
        &self,
        access: &Authorized<A, S>,
        xorb: &Xorb,
    ) -> Result<Option<HolderId>, DedupError> {
        let database = &self.0.database;
        if database.has_xorb(access.holder_id(), xorb.id)? {
            return Ok(Some(access.holder_id()));
        }
        if self.0.config.dedup_scope == DedupScope::Repo {
            return Ok(None);
        }
        for id in database.holders_of_xorb(xorb.id, HOLDERS_MAX)? {
            let may_read = match id {
                HolderId::Repo(id) => {
                    database.repo(id)?.is_some_and(|repo| access.elsewhere::<Read, _>(repo).is_ok())
                }
                HolderId::Bucket(id) => {
                    database.bucket(id)?.is_some_and(|bucket| access.elsewhere::<Read, _>(bucket).is_ok())
                }
            };
            if may_read {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}
