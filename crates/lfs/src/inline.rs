//! Objects that came inside of something else, a commit over HTTP say: the hub has their bytes already.

use auth::{Authorized, Propose};
use aws_lc_rs::digest;
use bytes::Bytes;
use database::{NewUpload, Quota, Sha256, UploadId};

use crate::publish::{Arrival, Known, detached};
use crate::wire::batch::is_empty_object;
use crate::{Objects, ReceiveError};

/// Written at a time.
const PIECE: usize = 256 * 1024;
/// More than it takes.
const EXPIRES_MS: i64 = 48 * 3600 * 1000;

/// Of bytes in memory, or of a mapped file. Blocking: 0.7 ms a megabyte.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = digest::digest(&digest::SHA256, bytes);
    Sha256(digest.as_ref().try_into().expect("because SHA-256 has 32 bytes"))
}

impl Objects {
    /// Makes `content` the object `sha256` of the repository, which it is. `quota` is that of namespaces that have none of
    /// their own.
    pub async fn take_inline(
        &self,
        access: &Authorized<Propose>,
        sha256: Sha256,
        content: Bytes,
        quota: Option<u64>,
    ) -> Result<(), ReceiveError> {
        let size = content.len() as u64;
        if is_empty_object(&sha256) {
            return Ok(());
        }
        let (repo, by) = (access.repo_id(), access.actor());
        let arrival = Arrival { repo, by, upload: UploadId::new(), sha256, size };
        if let Known::Here = self.known(&arrival)? {
            return Ok(());
        }
        let expires_ms = self.now_ms() + EXPIRES_MS;
        let (objects, quota) = (vec![(sha256, size)], Quota::Default(quota));
        let new = NewUpload { id: arrival.upload, repo, by, objects, expires_ms, quota };
        let begun = self.database().begin_upload(new).await?;
        if !begun.admitted.iter().all(|admitted| *admitted) {
            let quota = begun.quota.unwrap_or(u64::MAX);
            return Err(ReceiveError::OverQuota { used: begun.used, quota });
        }
        let objects = self.clone();
        detached(async move {
            let _flight = objects.0.flights.begin(arrival.upload, sha256).ok_or(ReceiveError::Busy)?;
            let mut writer = objects.0.store.writer(&arrival.key(), size).await?;
            let mut rest = content;
            while !rest.is_empty() {
                writer.write(rest.split_to(rest.len().min(PIECE))).await?;
            }
            objects.land(&arrival, writer, None).await
        })
        .await
    }
}
