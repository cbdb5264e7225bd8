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
    /// `size` is what the pointer says.
    pub async fn resolve(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
    ) -> Result<Resolved, OpenError> {
        if is_empty_object(&sha256) {
            return Ok(Resolved::Here(self.object(sha256, 0, None)));
        }
        let link = self.database().link(access.repo_id(), &sha256)?;
        let link = readable(link.as_ref(), access.actor())?;
        if link.size != size {
            return Err(OpenError::NotFound);
        }
        let key = link.storage_key();
        match (self.store().bucket(), &key) {
            (Some(bucket), Some(key)) => {
                let signer = bucket.signer().await?;
                // That of temporary credentials ends with them.
                let lifetime = lifetime(size).min(signer.lifetime_max());
                count(&self.counters().presigned_download, 1);
                Ok(Resolved::Elsewhere(signer.get(key, lifetime)))
            }
            _ => Ok(Resolved::Here(self.object(sha256, size, key))),
        }
    }
}
