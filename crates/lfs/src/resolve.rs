//! A large file by its place in a repository: the one who asks needs no batch.

use auth::transfer::lifetime;
use auth::{Authorized, Read};
use database::Sha256;

use crate::counters::count;
use crate::download::readable;
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
            false => self.key_of(access, sha256, size).map(drop),
        }
    }

    fn key_of(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
    ) -> Result<Option<String>, OpenError> {
        let link = self.database().link(access.repo_id(), &sha256)?;
        let link = readable(link.as_ref(), access.actor())?;
        match link.size == size {
            true => Ok(link.storage_key()),
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
            return Ok(Resolved::Here(self.object(sha256, 0, None)));
        }
        let key = self.key_of(access, sha256, size)?;
        match (self.store().bucket(), &key) {
            (Some(bucket), Some(key)) => {
                let signer = bucket.signer().await?;
                // That of temporary credentials ends with them.
                let lifetime = lifetime(size).min(signer.lifetime_max());
                count(&self.counters().presigned_download, 1);
                Ok(Resolved::Elsewhere(signer.get_as(key, disposition, lifetime)))
            }
            _ => Ok(Resolved::Here(self.object(sha256, size, key))),
        }
    }
}
