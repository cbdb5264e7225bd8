//! A large file by its place in a repository: the one who asks needs no batch.

use auth::transfer::lifetime;
use auth::{Authorized, Read};
use database::{DbError, Link, Sha256, XetFileId};

use crate::counters::count;
use crate::download::{Stored, readable};
use crate::wire::batch::is_empty_object;
use crate::{Object, Objects, OpenError};

/// Where the bytes are.
pub enum Resolved {
    Here(Object),
    /// In the bucket, at an address that authenticates itself.
    Elsewhere(String),
}

impl Objects {
    /// Whether [`Objects::resolve`] would find it.
    pub fn is_readable(&self, access: &Authorized<Read>, sha256: Sha256, size: u64) -> Result<(), OpenError> {
        match is_empty_object(&sha256) {
            true => Ok(()),
            false => self.stored(access, sha256, size).map(drop),
        }
    }

    /// By which clients name what is stored in xorbs: `None` of anything else, and of what may not be read.
    pub fn xet_hash(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
    ) -> Result<Option<xet::Hash>, DbError> {
        Ok(self.xet_hashes(access, &[(sha256, size)])?.pop().flatten())
    }

    /// As [`Objects::xet_hash`], of many; in their order.
    pub fn xet_hashes(
        &self,
        access: &Authorized<Read>,
        of: &[(Sha256, u64)],
    ) -> Result<Vec<Option<xet::Hash>>, DbError> {
        let ids: Vec<Sha256> = of.iter().map(|(sha256, _)| *sha256).collect();
        let links = self.database().links(access.repo_id(), &ids)?;
        let files: Vec<Option<XetFileId>> = links
            .iter()
            .zip(of)
            .map(|(link, (_, size))| link.as_ref().filter(|link| link.size == *size).and_then(Link::xet))
            .collect();
        let named: Vec<XetFileId> = files.iter().copied().flatten().collect();
        let mut hashes = match named.is_empty() {
            true => Vec::new(),
            false => self.database().xet_hashes(&named)?,
        }
        .into_iter();
        Ok(files.iter().map(|file| file.and_then(|_| hashes.next().flatten()).map(Into::into)).collect())
    }

    fn stored(&self, access: &Authorized<Read>, sha256: Sha256, size: u64) -> Result<Stored, OpenError> {
        let link = self.database().link(access.repo_id(), &sha256)?;
        let link = readable(link.as_ref(), access.actor())?;
        match link.size == size {
            true => Ok(Stored::of(link)),
            false => Err(OpenError::NotFound),
        }
    }

    /// `size` is what the pointer says; `disposition` is what a bucket says of how to save it.
    pub async fn resolve(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
        disposition: &str,
    ) -> Result<Resolved, OpenError> {
        if is_empty_object(&sha256) {
            return Ok(Resolved::Here(self.object(sha256, 0, Stored::Nowhere)));
        }
        let stored = self.stored(access, sha256, size)?;
        match (self.store().bucket(), &stored) {
            (Some(bucket), Stored::Whole(key)) => {
                let signer = bucket.signer().await?;
                // That of temporary credentials ends with them.
                let lifetime = lifetime(size).min(signer.lifetime_max());
                count(&self.counters().presigned_download, 1);
                Ok(Resolved::Elsewhere(signer.get_as(key, disposition, lifetime)))
            }
            _ => Ok(Resolved::Here(self.object(sha256, size, stored))),
        }
    }
}
