//! What nobody needs is deleted: uploads that were never finished, backings that no repository links.
//!
//! Both are known by rows, so a crash or a bucket that is away loses nothing: it is all still due the next time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use database::{BackingId, DbError, Upload, fault, object_key};
use serde::{Deserialize, Serialize};
use storage::{Bucket, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Objects;

/// Rows taken up between two that record what was done.
const BATCH: u32 = 256;
/// Batches in one call; the rest waits for the next.
const BATCHES: usize = 16;
/// Deletions at once.
const AT_ONCE: usize = 8;
/// A copy that is made and not known to be takes no longer than this.
const STAGED_MS: i64 = 24 * 3_600_000;
/// An address that was handed out for a copy lives no longer.
const READ_MS: i64 = 7 * 24 * 3_600_000;
/// Failures in a row by which a store is known to be at fault, and not one key.
const FAILURES: u32 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Uploads that expired unfinished and were cleared away.
    pub uploads: u64,
    /// Objects whose bytes were deleted.
    pub objects: u64,
    /// Files in xorbs that were forgotten.
    #[serde(default)]
    pub xet_files: u64,
    /// Xorbs whose bytes were deleted.
    #[serde(default)]
    pub xorbs: u64,
    /// Left for the next time, since the store did not do it; the log says why.
    pub left: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Objects {
    /// One bounded round of both.
    pub async fn sweep(&self) -> Result<SweepReport, SweepError> {
        let mut report = self.sweep_uploads().await?;
        self.sweep_objects(&mut report).await?;
        Ok(report)
    }

    /// Clears away uploads that expired unfinished. What lies there is no object, so this needs no quiet; and it may take
    /// long, as it asks the bucket about each.
    pub async fn sweep_uploads(&self) -> Result<SweepReport, SweepError> {
        let _one_at_a_time = self.0.sweeping.lock().await;
        let mut report = SweepReport::default();
        self.0.assemblies.forget_expired(self.now_ms()).await;
        let round = Round::new(self.0.config.sweep_wait);
        for _ in 0..BATCHES {
            let expired = self.0.database.uploads_expired(BATCH).await?;
            let count = expired.len();
            for upload in expired {
                // They are closed now, so what is under way will find that out and fail; then comes their turn.
                let cleared = !self.0.flights.any_of(upload.id) && self.clear(&upload, &round).await?;
                if !cleared {
                    report.left += 1;
                    continue;
                }
                self.0.database.upload_swept(upload.id).await?;
                report.uploads += 1;
            }
            // What is left would come again at once.
            if count < BATCH as usize || report.left > 0 {
                break;
            }
        }
        Ok(report)
    }

    /// Deletes objects that no repository links, and takes up claims again that are still to be read back. Whoever reads
    /// what is condemned (a backup) keeps this away.
    pub async fn sweep_objects(&self, report: &mut SweepReport) -> Result<(), SweepError> {
        let _one_at_a_time = self.0.sweeping.lock().await;
        let round = Round::new(self.0.config.sweep_wait);
        self.sweep_backings(report, &round).await?;
        self.sweep_wholes(report, &round).await?;
        let xet = self.0.xet.sweep().await?;
        report.xet_files += xet.files;
        report.xorbs += xet.deleted;
        report.left += xet.left;
        self.resume_claims().await?;
        Ok(())
    }

    /// Deletes what an upload left and no backing names. False if the store did not do it all, or the round is over.
    async fn clear(&self, upload: &Upload, round: &Round) -> Result<bool, DbError> {
        if round.is_over() {
            return Ok(false);
        }
        if let Some(bucket) = self.0.store.bucket()
            && !self.end_multiparts(bucket, upload, round).await?
        {
            return Ok(false);
        }
        let keys = upload.objects.iter().map(|(sha256, size)| ((), object_key(sha256, upload.id), *size));
        let deleted = self.delete_all(keys.collect(), round).await.len();
        Ok(deleted == upload.objects.len())
    }

    /// Ends the uploads in parts of `upload` that are recorded; whatever else is left under a key goes when that is
    /// deleted, if the bucket can say what there is. False if not all are ended.
    async fn end_multiparts(&self, bucket: &Bucket, upload: &Upload, round: &Round) -> Result<bool, DbError> {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut ending = JoinSet::new();
        for (sha256, id) in self.0.database.multiparts(upload.id)? {
            let (bucket, permits, round) = (bucket.clone(), Arc::clone(&permits), round.clone());
            let key = object_key(&sha256, upload.id);
            ending.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return false };
                if round.failed() {
                    return false;
                }
                let Err(error) = bucket.abort_multipart(&key, &id).await else { return round.succeeded() };
                tracing::warn!(key, %error, "an upload in parts could not be ended; it is tried again");
                round.fail(&error);
                false
            });
        }
        Ok(ending.join_all().await.into_iter().all(|ended| ended))
    }

    async fn sweep_backings(&self, report: &mut SweepReport, round: &Round) -> Result<(), SweepError> {
        for _ in 0..BATCHES {
            let due = self.0.database.backings_due(BATCH).await?;
            let count = due.len();
            let deleted: Vec<BackingId> = self.delete_all(due, round).await;
            report.objects += deleted.len() as u64;
            let left = count - deleted.len();
            report.left += left as u64;
            if !deleted.is_empty() {
                fault::point(fault::Point::LfsKeyDeleted);
                self.0.database.backings_deleted(deleted).await?;
            }
            if left > 0 || count < BATCH as usize || round.is_over() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Copies of files in xorbs that nobody needs, or that were never finished.
    async fn sweep_wholes(&self, report: &mut SweepReport, round: &Round) -> Result<(), SweepError> {
        let (database, now_ms) = (&self.0.database, self.now_ms());
        if self.0.config.whole_after == 0 {
            database.condemn_wholes(now_ms.saturating_add(READ_MS)).await?;
        }
        for (upload, backing) in database.wholes_staged(now_ms - STAGED_MS, BATCH)? {
            if !self.0.wholes.is_made(backing) {
                database.give_up_whole(upload).await?;
            }
        }
        for _ in 0..BATCHES {
            let due = database.wholes_due(BATCH)?;
            let count = due.len();
            let deleted = self.delete_all(due, round).await;
            let left = count - deleted.len();
            report.left += left as u64;
            database.wholes_deleted(deleted).await?;
            if left > 0 || count < BATCH as usize || round.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the bytes under each key, of which so many are expected, and gives what stood beside those keys that are gone.
    async fn delete_all<T: Send + 'static>(&self, keys: Vec<(T, String, u64)>, round: &Round) -> Vec<T> {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut deleting = JoinSet::new();
        for (of, key, size) in keys {
            let (store, permits, round) = (self.0.store.clone(), Arc::clone(&permits), round.clone());
            deleting.spawn(async move {
                let _permit = permits.acquire().await.ok()?;
                if round.failed() {
                    return None;
                }
                match store.delete(&key, size).await {
                    Ok(()) => round.succeeded().then_some(of),
                    Err(error) => {
                        round.fail(&error);
                        log_left(&key, &error);
                        None
                    }
                }
            });
        }
        deleting.join_all().await.into_iter().flatten().collect()
    }
}

/// Bounds the time of one round; what is begun is done, so that each gets somewhere. It is over at once when the store is
/// away, or fails again and again: what else is due would fail, too, each after a time of its own. One key that cannot be
/// deleted keeps none of the others.
#[derive(Clone)]
struct Round {
    ends: Instant,
    failures: Arc<AtomicU32>,
}

impl Round {
    fn new(takes: Duration) -> Round {
        Round { ends: Instant::now() + takes, failures: Arc::default() }
    }

    fn fail(&self, error: &StoreError) {
        let weight = if matches!(error, StoreError::Unavailable(_)) { FAILURES } else { 1 };
        self.failures.fetch_add(weight, Ordering::Relaxed);
    }

    fn succeeded(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        true
    }

    fn failed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES
    }

    fn is_over(&self) -> bool {
        self.failed() || Instant::now() >= self.ends
    }
}

fn log_left(key: &str, error: &StoreError) {
    tracing::warn!(key, %error, "bytes that nobody needs could not be deleted; it is tried again");
}
