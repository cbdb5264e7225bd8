//! Large objects in a bucket, by the S3 protocol.
//!
//! `client` makes the SDK's client and maps its errors, `write` (by `part` and `spool`) and `read` pass bytes through this
//! process, `multipart` drives uploads whose parts a client sends to the bucket itself. `signer` makes the URLs for that (by
//! `presign` and `sigv4`), `probe` finds out what the bucket enforces (by `plain` requests to such URLs; `capabilities`
//! are its answers), `config` and `credentials` say where the bucket is and who we are there.

mod capabilities;
mod client;
mod config;
mod credentials;
mod multipart;
mod part;
mod plain;
mod presign;
mod probe;
mod read;
mod signer;
mod sigv4;
mod spool;
mod write;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aws_credential_types::provider::SharedCredentialsProvider;
use database::Sha256;
use tokio::sync::Semaphore;

use crate::objects::Identity;
use crate::{Disk, StoreError};
use spool::Spool;

pub use capabilities::Capabilities;
pub use config::{S3Config, S3ConfigError, S3Credentials};
pub use signer::{Binding, SignedPut, Signer};

pub(crate) use read::S3Reader;
pub(crate) use write::{S3Complete, S3Writer};

/// A bucket, or the part of one under a prefix. Cheap to clone.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    config: S3Config,
    client: aws_sdk_s3::Client,
    credentials: SharedCredentialsProvider,
    capabilities: RwLock<Capabilities>,
    identity: Identity,
    /// One permit for each part that is held in memory.
    buffers: Arc<Semaphore>,
    /// For the other parts.
    spool: OnceLock<Spool>,
}

/// What the bucket says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    /// Of all bytes together, as enforced when they were stored. `None` if the bucket knows none, or only one of parts.
    pub sha256: Option<Sha256>,
}

impl Bucket {
    pub fn config(&self) -> &S3Config {
        &self.0.config
    }

    /// Parts for which there is no memory go through files on `disk`, of which `keep_free` bytes stay free. Said once,
    /// before the first upload; otherwise they go through the system's temporary files.
    pub fn spool_in(&self, disk: Disk, keep_free: u64) {
        let _ = self.0.spool.set(Spool::new(disk, keep_free));
    }

    fn spool(&self) -> &Spool {
        self.0.spool.get_or_init(Spool::default)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// See [`crate::ObjectStore::confirm`].
    pub(crate) async fn confirm(&self) -> Result<(), StoreError> {
        self.0.identity.confirm(self).await
    }

    /// What is known of the bucket: nothing, until it was probed or told.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_capabilities(&self, capabilities: Capabilities) {
        *self.0.capabilities.write().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }
}
