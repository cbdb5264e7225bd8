//! What nobody needs is deleted: uploads that were never finished, backings that no repository links.
//!
//! Both are known by rows, so a crash or a bucket that is away loses nothing: it is all still due the next time.

use std::collections::HashMap;
use std::sync::Arc;

use database::{BackingId, DbError, Upload, fault, object_key};
use serde::{Deserialize, Serialize};
use storage::{Bucket, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Objects;

/// Rows taken up between two that record what was done.
const BATCH: u32 = 256;
/// Batches in one call; the rest waits for the next.
const BATCHES: usize = 16;
/// Deletions at once.
const AT_ONCE: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Uploads that expired unfinished and were cleared away.
    pub uploads: u64,
    /// Objects whose bytes were deleted.
    pub objects: u64,
    /// Left for the next time, since the store did not do it; the log says why.
    pub left: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Objects {
    /// One bounded round.
    pub async fn sweep(&self) -> Result<SweepReport, SweepError> {
        let mut report = SweepReport::default();
        self.0.assemblies.forget_expired(self.now_ms());
        self.sweep_uploads(&mut report).await?;
        self.sweep_backings(&mut report).await?;
        self.resume_claims().await?;
        Ok(report)
    }

    async fn sweep_uploads(&self, report: &mut SweepReport) -> Result<(), SweepError> {
        for _ in 0..BATCHES {
            let expired = self.0.database.uploads_expired(BATCH).await?;
            let count = expired.len();
            for upload in expired {
                // They are closed now, so what is under way will find that out and fail; then comes their turn.
                let cleared = !self.0.flights.any_of(upload.id) && self.clear(&upload).await?;
                if !cleared {
                    report.left += 1;
                    continue;
                }
                self.0.database.upload_swept(upload.id).await?;
                report.uploads += 1;
            }
            // What is left would come again at once.
            if count < BATCH as usize || report.left > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes what an upload left and no backing names. False if the store did not do it all.
    async fn clear(&self, upload: &Upload) -> Result<bool, DbError> {
        if let Some(bucket) = self.0.store.bucket() {
            let mut recorded: HashMap<_, _> = self.0.database.multiparts(upload.id)?.into_iter().collect();
            for (sha256, _) in &upload.objects {
                let key = object_key(sha256, upload.id);
                if let Err(error) = end_multiparts(bucket, &key, recorded.remove(sha256)).await {
                    tracing::warn!(upload = %upload.id, %error, "an upload in parts could not be ended");
                    return Ok(false);
                }
            }
        }
        let keys = upload.objects.iter().map(|(sha256, _)| ((), object_key(sha256, upload.id)));
        Ok(self.delete_all(keys.collect()).await.len() == upload.objects.len())
    }

    async fn sweep_backings(&self, report: &mut SweepReport) -> Result<(), SweepError> {
        for _ in 0..BATCHES {
            let due = self.0.database.backings_due(BATCH).await?;
            let count = due.len();
            let deleted: Vec<BackingId> = self.delete_all(due).await;
            report.objects += deleted.len() as u64;
            let left = count - deleted.len();
            report.left += left as u64;
            if !deleted.is_empty() {
                fault::point(fault::Point::LfsKeyDeleted);
                self.0.database.backings_deleted(deleted).await?;
            }
            if left > 0 || count < BATCH as usize {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes the bytes under each key and gives what stood beside those keys that are gone.
    async fn delete_all<T: Send + 'static>(&self, keys: Vec<(T, String)>) -> Vec<T> {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut deleting = JoinSet::new();
        for (of, key) in keys {
            let (store, permits) = (self.0.store.clone(), Arc::clone(&permits));
            deleting.spawn(async move {
                // Closed once the store did not do it: the others need not try.
                let _permit = permits.acquire().await.ok()?;
                match store.delete(&key).await {
                    Ok(()) => Some(of),
                    Err(error) => {
                        permits.close();
                        log_left(&key, &error);
                        None
                    }
                }
            });
        }
        deleting.join_all().await.into_iter().flatten().collect()
    }
}

/// The recorded one, and what passed through this process, of which there is no record.
async fn end_multiparts(bucket: &Bucket, key: &str, recorded: Option<String>) -> Result<(), StoreError> {
    let found = bucket.multiparts(key).await?;
    for id in recorded.into_iter().chain(found) {
        bucket.abort_multipart(key, &id).await?;
    }
    Ok(())
}

fn log_left(key: &str, error: &StoreError) {
    tracing::warn!(key, %error, "bytes that nobody needs could not be deleted; it is tried again");
}
