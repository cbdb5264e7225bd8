//! Files whose xorbs are stored and of which no row knows: when rows are made anew.

use std::collections::HashMap;

use auth::{Authorized, Propose, Right};
use database::{
    Bucket, DbError, HolderId, ProvenXorb, PublishError, Quota, RepoId, Sha256, UploadId, XetHash, Xorb,
    XorbId, XorbPlaced,
};
use storage::StoreError;

use super::errors::ReadError;
use super::{Cas, CheckedShard, CommitError, ShardRefused};
use crate::shard::{Term, Writer};
use crate::{Hash, Index};

/// What a file is made of, told without rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub hash: Hash,
    /// Of each term the xorb, its first chunk, and the one behind the last.
    pub terms: Vec<(Hash, u32, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Shard(#[from] ShardRefused),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Cas {
    /// Of the files that `repo` has by their SHA-256, as far as it was told of them since `since_ms`.
    pub fn recipes(&self, repo: RepoId, since_ms: i64) -> Result<Vec<(Sha256, Recipe)>, DbError> {
        let database = &self.0.database;
        let mut hashes: HashMap<XorbId, Hash> = HashMap::new();
        let mut recipes = Vec::new();
        for (sha256, file) in database.xet_files_since(repo, since_ms)? {
            let new: Vec<XorbId> =
                file.terms.iter().map(|term| term.xorb).filter(|id| !hashes.contains_key(id)).collect();
            let found = database.xorbs(&new)?;
            hashes.extend(found.into_iter().flatten().map(|xorb| (xorb.id, Hash::from(xorb.hash))));
            let term = |term: &database::XetTerm| {
                hashes.get(&term.xorb).map(|hash| (*hash, term.chunk_start, term.chunk_end))
            };
            // One that lacks a xorb cannot be made again; fsck tells of it.
            if let Some(terms) = file.terms.iter().map(term).collect() {
                recipes.push((sha256, Recipe { hash: file.hash.into(), terms }));
            }
        }
        Ok(recipes)
    }

    /// Looks in the store for the xorbs of a file, proves their bytes and makes it one of the repository's. Its SHA-256 is
    /// for later, as after an upload. False if not all of it is there. While no server uses the store.
    pub async fn adopt(
        &self,
        access: &Authorized<Propose>,
        sha256: Sha256,
        recipe: &Recipe,
    ) -> Result<bool, AdoptError> {
        let holder = access.repo_id().into();
        let Some(checked) = self.adopt_file(holder, recipe, Some(sha256)).await? else { return Ok(false) };
        self.commit_shard(access.clone(), Quota::Exempt, checked.objects()?).await?;
        Ok(true)
    }

    /// As [`Cas::adopt`]: the bucket may put it at paths from now on.
    pub async fn adopt_into_bucket<A: Right>(
        &self,
        access: &Authorized<A, Bucket>,
        recipe: &Recipe,
    ) -> Result<bool, AdoptError> {
        let holder = access.bucket().id.into();
        let Some(checked) = self.adopt_file(holder, recipe, None).await? else { return Ok(false) };
        self.commit_to_bucket(access.clone(), Quota::Exempt, checked).await?;
        Ok(true)
    }

    /// Proves that the file is what its recipe says. `None` if not all of it is there.
    async fn adopt_file(
        &self,
        holder: HolderId,
        recipe: &Recipe,
        sha256: Option<Sha256>,
    ) -> Result<Option<CheckedShard>, AdoptError> {
        let mut xorbs: HashMap<Hash, Xorb> = HashMap::new();
        let (mut terms, mut verification) = (Vec::new(), Vec::new());
        for &(xorb_hash, chunk_start, chunk_end) in &recipe.terms {
            let xorb = match xorbs.get(&xorb_hash) {
                Some(xorb) => *xorb,
                None => match self.adopt_xorb(holder, xorb_hash.into()).await? {
                    Some(xorb) => *xorbs.entry(xorb_hash).or_insert(xorb),
                    None => return Ok(None),
                },
            };
            let index = self.index(&xorb).await?;
            let chunks = chunk_start..chunk_end;
            let (Ok(raw), Ok(hash)) = (index.raw_range(chunks.clone()), index.range_hash(chunks)) else {
                return Ok(None);
            };
            terms.push(Term { xorb_hash, raw_bytes: raw.end - raw.start, chunk_start, chunk_end });
            verification.push(hash);
        }
        let mut shard = Writer::default();
        shard.push_file(&recipe.hash, &terms, Some(&verification), sha256.map(|sha256| sha256.0));
        Ok(Some(self.check_shard(shard.finish().into(), |_| {}).await?))
    }

    /// The live xorb of that hash, or one that becomes so.
    async fn adopt_xorb(&self, holder: HolderId, hash: XetHash) -> Result<Option<Xorb>, AdoptError> {
        if let Some(xorb) = self.0.database.xorb(&hash)? {
            return Ok(Some(xorb));
        }
        let hex = hash.to_string();
        for key in self.0.store.keys_under(&format!("xorbs/{}/{hex}/", &hex[..2])).await? {
            let Some(upload) = key.rsplit('/').next().and_then(|name| name.parse::<UploadId>().ok()) else {
                continue;
            };
            let Some(index) = self.proven(hash, upload).await? else { continue };
            let proven = ProvenXorb {
                id: self.0.database.stage_stored_xorb(hash, upload).await?,
                chunks: index.chunks(),
                raw_bytes: u64::from(index.raw_len()),
                stored_bytes: u64::from(index.serialized_len()),
                dedup_keys: index.dedup_keys(),
            };
            let placed = self.0.database.publish_xorb(holder, proven).await?;
            return Ok(Some(match placed {
                XorbPlaced::Live(xorb) | XorbPlaced::Duplicate(xorb) => xorb,
            }));
        }
        Ok(None)
    }

    /// What lies under the keys of `upload`, if it is that xorb, and has its index beside it.
    async fn proven(&self, hash: XetHash, upload: UploadId) -> Result<Option<Index>, AdoptError> {
        let none = Xorb { id: XorbId(0), hash, upload, chunks: 0, raw_bytes: 0, stored_bytes: 0 };
        let Some(stored_bytes) = self.0.store.size_bytes(&none.storage_key()).await? else { return Ok(None) };
        let Ok(index) = self.read_xorb(&Xorb { stored_bytes, ..none }).await? else { return Ok(None) };
        let raw_bytes = u64::from(index.raw_len());
        let beside = Xorb { chunks: index.chunks(), raw_bytes, stored_bytes, ..none };
        match self.read_index(&beside).await {
            Ok(beside) => Ok((beside == index).then_some(index)),
            Err(ReadError::Store(error @ StoreError::Unavailable(_))) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}
