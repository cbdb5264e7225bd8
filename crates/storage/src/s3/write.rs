//! Uploads that pass through this process: small ones in one request, others in parts, each held until the bucket has
//! it. All uploads share the memory for parts.

use std::io;
use std::time::Duration;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::MetadataDirective;
use bytes::Bytes;
use database::Sha256;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::Bucket;
use super::client::{as_checksum, body, store_error};
use super::config::encode_path;
use super::part::{FREE, Part, blocking};
use crate::StoreError;
use crate::objects::Hasher;

/// A bucket takes up to 10,000; parts grow so that an object needs no more than this.
const PARTS_MAX: u64 = 9_000;
const MIB: u64 = 1024 * 1024;
/// No bucket takes a smaller part, other than the last; what is not larger is uploaded in one request.
pub(super) const PART_MIN: u64 = 5 * MIB;
/// For a look at what interrupted uploads left: it is a courtesy, and the client waits.
const TIDY_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct S3Writer {
    bucket: Bucket,
    key: String,
    size: u64,
    written: u64,
    part_size: u64,
    part: Part,
    sent: Sent,
}

enum Sent {
    Nothing,
    /// One part is on its way.
    Sending(JoinHandle<Result<Box<Parts>, StoreError>>),
    Failed,
}

/// An upload in parts. Aborted when dropped before it was completed.
struct Parts {
    bucket: Bucket,
    key: String,
    /// The bucket's id. `None`: not begun, completed, or given up.
    upload: Option<String>,
    done: Vec<(u32, String)>,
    hasher: Hasher,
}

pub(crate) struct S3Complete {
    bucket: Bucket,
    key: String,
    size: u64,
    sha256: Sha256,
    content: Content,
}

enum Content {
    Whole(Bytes, Option<OwnedSemaphorePermit>),
    Parts(Box<Parts>),
}

impl Bucket {
    pub(crate) fn writer(&self, key: &str, size: u64) -> S3Writer {
        S3Writer {
            bucket: self.clone(),
            key: key.to_owned(),
            size,
            written: 0,
            part_size: part_size(self.0.config.part_size, size),
            part: Part::default(),
            sent: Sent::Nothing,
        }
    }
}

/// At least `least`, and enough for an object of `size` bytes.
fn part_size(least: u64, size: u64) -> u64 {
    size.div_ceil(PARTS_MAX).next_multiple_of(MIB).max(least).max(PART_MIN)
}

impl S3Writer {
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(StoreError::TooLong { size: self.size });
        }
        while !bytes.is_empty() {
            if self.part.len() == self.part_size {
                self.send_part().await?;
            }
            let space = self.part_size - self.part.len();
            let taken = bytes.split_to(bytes.len().min(usize::try_from(space).unwrap_or(usize::MAX)));
            let (len, expected) = (taken.len() as u64, self.size - self.written + self.part.len());
            self.part.push(taken, expected.min(self.part_size), &self.bucket).await?;
            self.written += len;
        }
        Ok(())
    }

    pub(crate) async fn finish(mut self) -> Result<S3Complete, StoreError> {
        let (sha256, content) = if matches!(self.sent, Sent::Nothing) {
            let (bytes, permit) = std::mem::take(&mut self.part).finish().await?;
            let sha256 = match bytes.len() <= FREE {
                true => Hasher::of(&bytes),
                false => {
                    let bytes = bytes.clone();
                    blocking(move || Ok(Hasher::of(&bytes))).await?
                }
            };
            (sha256, Content::Whole(bytes, permit))
        } else {
            if self.part.len() > 0 {
                self.send_part().await?;
            }
            let parts = self.settle().await?;
            (parts.hasher.clone().finish(), Content::Parts(parts))
        };
        let S3Writer { bucket, key, written, .. } = self;
        Ok(S3Complete { bucket, key, size: written, sha256, content })
    }

    /// Sends what came in as the next part, once the one before has arrived.
    async fn send_part(&mut self) -> Result<(), StoreError> {
        let mut parts = self.settle().await?;
        let part = std::mem::take(&mut self.part);
        self.sent = Sent::Sending(tokio::spawn(async move {
            let (bytes, permit) = part.finish().await?;
            parts.send(bytes).await?;
            drop(permit);
            Ok(parts)
        }));
        Ok(())
    }

    /// The parts, once none is on its way. Leaves `Failed` behind. May be dropped and called again.
    async fn settle(&mut self) -> Result<Box<Parts>, StoreError> {
        if let Sent::Sending(job) = &mut self.sent {
            let done = job.await.map_err(|panic| StoreError::Io(io::Error::other(panic)));
            self.sent = Sent::Failed;
            return done?;
        }
        match std::mem::replace(&mut self.sent, Sent::Failed) {
            Sent::Nothing => Ok(Box::new(Parts {
                bucket: self.bucket.clone(),
                key: self.key.clone(),
                upload: None,
                done: Vec::new(),
                hasher: Hasher::new(),
            })),
            Sent::Sending(_) | Sent::Failed => Err(StoreError::unavailable("an earlier part did not arrive")),
        }
    }
}

impl S3Complete {
    pub(crate) fn sha256(&self) -> Sha256 {
        self.sha256
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn publish(self) -> Result<(), StoreError> {
        let S3Complete { bucket, key, size, sha256, content } = self;
        let is_of_parts = matches!(content, Content::Parts(_));
        match content {
            Content::Whole(bytes, _permit) => bucket.put(&key, bytes, &sha256).await?,
            Content::Parts(mut parts) => {
                let upload = parts.upload.as_deref().unwrap_or_default();
                bucket.complete_multipart(&key, upload, &parts.done).await?;
                parts.upload = None;
            }
        }
        // Not every server that says it has an object has all of it.
        match bucket.head_object(&key).await? {
            Some(head) if head.size == size => {}
            Some(head) => {
                return Err(StoreError::unavailable(format!("it kept {} of {size} bytes", head.size)));
            }
            None => return Err(StoreError::unavailable("it took an object that it then does not have")),
        }
        if is_of_parts {
            tidy(&bucket, &key).await;
        }
        Ok(())
    }
}

/// A try before this one may have been cut off, by a crash too, and have left parts that nothing else knows of. Deleting
/// the object tries it again.
async fn tidy(bucket: &Bucket, key: &str) {
    match tokio::time::timeout(TIDY_WITHIN, bucket.end_multiparts(key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(key, %error, "interrupted uploads in parts could not be ended"),
        Err(_) => {
            tracing::warn!(key, "the bucket does not say in time which uploads in parts were interrupted")
        }
    }
}

impl Bucket {
    pub(super) async fn put(&self, key: &str, bytes: Bytes, sha256: &Sha256) -> Result<(), StoreError> {
        let settings = self.upload_timeouts(bytes.len() as u64);
        let mut request = self.0.client.put_object().bucket(&self.0.config.bucket).key(self.object_name(key));
        if self.capabilities().signed_checksum {
            request = request.checksum_sha256(as_checksum(sha256));
        }
        let request = request.body(body(bytes)).customize().config_override(settings);
        let request = request.interceptor(PayloadHash(sha256.to_string()));
        Box::pin(request.send()).await.map_err(store_error)?;
        Ok(())
    }
}

impl Bucket {
    /// Copies the `size` bytes under `from` to `to`, within the bucket and without what their uploader said of them.
    /// `NotFound` if there are none.
    pub async fn copy(&self, from: &str, to: &str, size: u64) -> Result<(), StoreError> {
        self.confirm().await?;
        let mut source = String::new();
        encode_path(&format!("{}/{}", self.0.config.bucket, self.object_name(from)), &mut source);
        let request = self.0.client.copy_object().bucket(&self.0.config.bucket).key(self.object_name(to));
        let request = request.copy_source(source).metadata_directive(MetadataDirective::Replace);
        let request = request.content_type("application/octet-stream").customize();
        let copied = Box::pin(request.config_override(self.upload_timeouts(size)).send()).await;
        copied.map_err(store_error).map(drop)
    }
}

impl Parts {
    async fn send(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let (mut hasher, hashed) = (self.hasher.clone(), bytes.clone());
        let (hasher, sha256) = blocking(move || {
            hasher.update(&hashed);
            Ok((hasher, Hasher::of(&hashed)))
        })
        .await?;
        self.hasher = hasher;
        if self.upload.is_none() {
            self.upload = Some(self.bucket.begin_parts(&self.key).await?);
        }
        let number = self.done.len() as u32 + 1;
        let settings = self.bucket.upload_timeouts(bytes.len() as u64);
        let request = self.bucket.0.client.upload_part().bucket(&self.bucket.0.config.bucket);
        let request = request.key(self.bucket.object_name(&self.key)).set_upload_id(self.upload.clone());
        let request = request.part_number(number.cast_signed()).body(body(bytes)).customize();
        let request = request.config_override(settings).interceptor(PayloadHash(sha256.to_string()));
        let sent = Box::pin(request.send()).await.map_err(store_error)?;
        let etag = sent.e_tag.ok_or_else(|| StoreError::unavailable("an answer without ETag"))?;
        self.done.push((number, etag));
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            let (bucket, key) = (self.bucket.clone(), std::mem::take(&mut self.key));
            runtime.spawn(async move {
                if let Err(error) = bucket.abort_multipart(&key, &upload).await {
                    tracing::warn!(%key, %upload, %error, "an upload in parts could not be aborted");
                }
            });
        }
    }
}

/// The SHA-256 of a body, signed with its request, so that the bucket takes nothing else. The SDK would compute it
/// itself, on the async threads.
#[derive(Debug)]
struct PayloadHash(String);

impl Intercept for PayloadHash {
    fn name(&self) -> &'static str {
        "PayloadHash"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        settings.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.0.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_object() {
        let least = 16 * MIB;
        assert_eq!(part_size(least, 0), least);
        assert_eq!(part_size(least, 9_000 * least), least);
        assert_eq!(part_size(least, 9_000 * least + 1), least + MIB);
        let five_tib = 5 * MIB * MIB;
        assert!(five_tib.div_ceil(part_size(least, five_tib)) <= PARTS_MAX);
        assert_eq!(part_size(1, 1), PART_MIN);
    }
}
