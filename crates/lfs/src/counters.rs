//! What happened, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the start of the process. Bytes that go between client and bucket are not seen and not counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Object bytes received.
    pub bytes_in: AtomicU64,
    /// Object bytes asked for from the hub itself.
    pub bytes_out: AtomicU64,
    /// Bytes read from storage to prove them.
    pub read_back_bytes: AtomicU64,
    /// Objects that became readable in a repository.
    pub objects_published: AtomicU64,
    /// Objects whose bytes proved to be others.
    pub objects_corrupt: AtomicU64,
    /// Files in xorbs that were stored as one object besides.
    pub wholes_made: AtomicU64,
    /// Presigned URLs handed out, by operation.
    pub presigned_download: AtomicU64,
    pub presigned_upload: AtomicU64,
    pub presigned_part: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
