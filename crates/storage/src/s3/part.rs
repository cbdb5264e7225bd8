//! One part of an upload as it comes in: in a buffer, if there is one to spare, otherwise in a file. So an upload waits
//! for its own client and for the bucket, never for other uploads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Bucket;
use super::spool::SpoolFile;
use crate::StoreError;

/// Held besides buffers and files: so much of each upload is bounded by their number.
pub(super) const FREE: usize = 64 * 1024;
/// A buffer that is not full by then goes to somebody else. (An upload that stands still altogether ends when the
/// connection's own deadline is over.)
const FILL_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Part {
    /// What is not in a file.
    bytes: BytesMut,
    /// Bytes in the file.
    filed: u64,
    held: Held,
}

enum Held {
    Little,
    Buffer { permit: OwnedSemaphorePermit, until: Instant },
    File(SpoolFile),
}

impl Default for Part {
    fn default() -> Part {
        Part { bytes: BytesMut::new(), filed: 0, held: Held::Little }
    }
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        self.filed + self.bytes.len() as u64
    }

    /// Takes more of a part that may have `size` bytes in the end.
    pub(super) async fn push(&mut self, bytes: Bytes, size: u64, bucket: &Bucket) -> Result<(), StoreError> {
        let is_little = self.bytes.len() + bytes.len() <= FREE;
        match &self.held {
            Held::Little if !is_little => match bucket.buffer(size) {
                Some(permit) => {
                    self.bytes
                        .reserve(usize::try_from(size).unwrap_or_default().saturating_sub(self.bytes.len()));
                    self.held = Held::Buffer { permit, until: Instant::now() + FILL_WITHIN };
                }
                None => return self.file(bytes, size, bucket).await,
            },
            Held::Buffer { until, .. } if *until <= Instant::now() => {
                return self.file(bytes, size, bucket).await;
            }
            Held::File(_) if !is_little => return self.file(bytes, size, bucket).await,
            Held::Little | Held::Buffer { .. } | Held::File(_) => {}
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// Puts all there is into a file, and gives back the buffer.
    async fn file(&mut self, last: Bytes, size: u64, bucket: &Bucket) -> Result<(), StoreError> {
        let pieces = [std::mem::take(&mut self.bytes).freeze(), last];
        let (offset, len) = (self.filed, pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        let given = match std::mem::replace(&mut self.held, Held::Little) {
            Held::File(file) => Some(file),
            Held::Little | Held::Buffer { .. } => None,
        };
        let bucket = bucket.clone();
        let file = blocking(move || {
            let file = given.map_or_else(|| bucket.spool().file(size), Ok)?;
            file.write_at(&pieces, offset)?;
            Ok(file)
        })
        .await?;
        (self.held, self.filed) = (Held::File(file), offset + len);
        Ok(())
    }

    /// All bytes, and what is to be held as long as they are.
    pub(super) async fn finish(self) -> Result<(Bytes, Option<OwnedSemaphorePermit>), StoreError> {
        let Part { bytes, filed, held } = self;
        let bytes = bytes.freeze();
        match held {
            Held::Little => Ok((bytes, None)),
            Held::Buffer { permit, .. } => Ok((bytes, Some(permit))),
            Held::File(file) => {
                let mapped = blocking(move || {
                    file.write_at(&[bytes], filed)?;
                    file.into_bytes()
                });
                Ok((mapped.await?, None))
            }
        }
    }
}

impl Bucket {
    /// The right to hold a part of `size` bytes in memory, if there is one to spare.
    fn buffer(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let fits = size <= self.0.config.part_size;
        if fits { Arc::clone(&self.0.buffers).try_acquire_owned().ok() } else { None }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| StoreError::Io(io::Error::other(panic)))?
}
