//! Large objects in a bucket, by the S3 protocol.
//!
//! `client` makes the SDK's client and maps its errors, `write` and `read` pass bytes through this process, `multipart`
//! drives uploads whose parts a client sends to the bucket itself. `signer` makes the URLs for that (by
//! `presign` and `sigv4`), `probe` finds out what the bucket enforces (by `plain` requests to such URLs; `capabilities`
//! are its answers), `config` and `credentials` say where the bucket is and who we are there.

mod capabilities;
mod client;
mod config;
mod credentials;
mod multipart;
mod plain;
mod presign;
mod probe;
mod read;
mod signer;
mod sigv4;
mod write;

use std::sync::{Arc, PoisonError, RwLock};

use aws_credential_types::provider::SharedCredentialsProvider;
use database::Sha256;
use tokio::sync::Semaphore;

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
    /// One permit for each part that is held in memory.
    buffers: Arc<Semaphore>,
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

    /// What is known of the bucket: nothing, until it was probed or told.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_capabilities(&self, capabilities: Capabilities) {
        *self.0.capabilities.write().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }
}
