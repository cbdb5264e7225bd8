//! One file of a revision, to be sent.

use auth::{Authorized, Read};
use bytes::Bytes;
use database::{Oid, Sha256};
use lfs::Resolved;
use repository::tree::Found;

use crate::at::At;
use crate::{Hub, HubError};

/// A file as clients are told of it.
#[derive(Clone, Debug)]
pub struct File {
    pub size: u64,
    /// The id of the blob, or the SHA-256 of a large file.
    pub etag: String,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Blob(Oid),
    Large(Sha256),
}

impl At {
    /// What stands at `path`; of a large file the file itself, not its pointer.
    pub fn file(&self, path: &str) -> Result<File, HubError> {
        let (oid, blob_size) = self.blob_at(path)?;
        Ok(match self.snapshot.pointer(&oid) {
            Some(target) => {
                let sha256 = Sha256(target.sha256);
                File { size: target.size, etag: sha256.to_string(), content: Content::Large(sha256) }
            }
            None => File { size: blob_size, etag: oid.to_string(), content: Content::Blob(oid) },
        })
    }

    /// What git has there: of a large file the pointer.
    pub fn raw(&self, path: &str) -> Result<File, HubError> {
        let (oid, size) = self.blob_at(path)?;
        Ok(File { size, etag: oid.to_string(), content: Content::Blob(oid) })
    }

    fn blob_at(&self, path: &str) -> Result<(Oid, u64), HubError> {
        let found = self.find(path)?.filter(Found::is_blob).ok_or_else(|| self.no_entry(path))?;
        let size = self.snapshot.size(&found.oid).ok_or_else(|| self.no_entry(path))?;
        Ok((found.oid, size))
    }

    pub fn blob_bytes(&self, oid: &Oid) -> Result<Bytes, HubError> {
        Ok(self.blob(oid)?.into())
    }
}

impl Hub {
    /// Whether [`Hub::large`] would give it.
    pub fn large_is_there(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
    ) -> Result<(), HubError> {
        Ok(self.0.objects.is_readable(access, sha256, size)?)
    }

    /// A large file: its bytes, or where they are to be had.
    pub async fn large(
        &self,
        access: &Authorized<Read>,
        sha256: Sha256,
        size: u64,
        disposition: &str,
    ) -> Result<Resolved, HubError> {
        Ok(self.0.objects.resolve(access, sha256, size, disposition).await?)
    }
}
