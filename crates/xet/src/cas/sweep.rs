//! What nobody needs: files whose backings are gone, or that buckets let go of, xorbs that no file names and no client remembers.

use database::fault::{self, Point};
use database::{DbError, RepoId, Xorb, XorbId, xorb_draft_key};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Cas;
use super::keys::millis;

/// Rows taken up between two that record what was done.
const BATCH: u32 = 64;
/// Rows looked at in one go.
const LOOKED: u32 = 4096;
/// A body takes no longer than this to arrive.
pub(super) const STAGED_MS: i64 = 24 * 3_600_000;
/// Whoever began to read a file of a bucket has found all of its parts by then.
const LEFT_MS: i64 = 2 * 3_600_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XetSweepReport {
    /// Backings that were forgotten, with their files.
    pub files: u64,
    /// Xorbs that will be deleted after the grace.
    pub condemned: u64,
    /// Xorbs whose bytes were deleted.
    pub deleted: u64,
    /// Left for the next time, since the store did not do it; the log says why.
    pub left: u64,
}

impl Cas {
    /// One bounded round. Whoever reads what is condemned (a backup) keeps this away.
    pub async fn sweep(&self) -> Result<XetSweepReport, DbError> {
        let _one_at_a_time = self.0.sweeping.lock().await;
        let ends = Instant::now() + self.0.config.sweep_wait;
        let (mut report, database) = (XetSweepReport::default(), &self.0.database);
        loop {
            let dropped = database.drop_xet_backings(BATCH).await?;
            report.files += dropped as u64;
            if dropped < BATCH as usize || Instant::now() >= ends {
                break;
            }
        }
        let now_ms = database.clock().now_ms();
        while Instant::now() < ends && database.sweep_buckets(now_ms - STAGED_MS, now_ms - LEFT_MS).await? {}
        for id in database.xorbs_staged(now_ms - STAGED_MS, LOOKED)? {
            if !self.flies(id) {
                database.give_up_xorb(id).await?;
            }
        }
        let config = &self.0.config;
        let (seen_before_ms, not_before_ms) = (now_ms - millis(config.lease), now_ms + millis(config.grace));
        let mut after = Some(XorbId(0));
        while let Some(id) = after.filter(|_| Instant::now() < ends) {
            let (condemned, last) = database.condemn_xorbs(id, LOOKED, seen_before_ms, not_before_ms).await?;
            report.condemned += condemned as u64;
            after = last;
        }
        self.delete_due(&mut report, ends).await?;
        self.sweep_grants(&mut report, now_ms - STAGED_MS, ends).await?;
        Ok(report)
    }

    /// What no object of the repository needs any more, and nobody else's either, is not kept for clients that remember it,
    /// unless they were told of it since `seen_before_ms`: the next sweep deletes it, and clients are made to forget. How
    /// many xorbs.
    pub async fn purge(&self, repo: RepoId, seen_before_ms: i64) -> Result<u64, DbError> {
        let database = &self.0.database;
        while database.drop_xet_backings(BATCH).await? == BATCH as usize {}
        let (mut condemned, mut after) = (0, Some(XorbId(0)));
        while let Some(id) = after {
            let (more, last) = database.release_xorbs(repo, id, LOOKED, seen_before_ms).await?;
            condemned += more as u64;
            after = last;
        }
        if condemned > 0 {
            super::begin_epoch(database).await?;
        }
        Ok(condemned)
    }

    async fn delete_due(&self, report: &mut XetSweepReport, ends: Instant) -> Result<(), DbError> {
        loop {
            let due = self.0.database.xorbs_due(BATCH)?;
            let count = due.len();
            let mut deleted = Vec::new();
            for xorb in due {
                match self.delete(&xorb).await {
                    Ok(()) => deleted.push(xorb.id),
                    Err(error) => {
                        let key = xorb.storage_key();
                        tracing::warn!(key, %error, "a xorb that nobody needs could not be deleted; it is tried again");
                        break;
                    }
                }
            }
            let left = count - deleted.len();
            report.deleted += deleted.len() as u64;
            report.left += left as u64;
            if !deleted.is_empty() {
                fault::point(Point::XetKeyDeleted);
                self.0.database.xorbs_deleted(deleted).await?;
            }
            if left > 0 || count < BATCH as usize || Instant::now() >= ends {
                return Ok(());
            }
        }
    }

    /// What clients put into the bucket, or never did, by addresses that are dead.
    async fn sweep_grants(
        &self,
        report: &mut XetSweepReport,
        before_ms: i64,
        ends: Instant,
    ) -> Result<(), DbError> {
        loop {
            let expired = self.0.database.xorb_grants_expired(before_ms, BATCH)?;
            let count = expired.len();
            let mut swept = Vec::new();
            for id in expired {
                let key = xorb_draft_key(id);
                match self.0.store.delete(&key, 0).await {
                    Ok(()) => swept.push(id),
                    Err(error) => {
                        tracing::warn!(key, %error, "a xorb that was not taken could not be deleted; it is tried again");
                        break;
                    }
                }
            }
            let left = count - swept.len();
            report.left += left as u64;
            self.0.database.xorb_grants_swept(swept).await?;
            if left > 0 || count < BATCH as usize || Instant::now() >= ends {
                return Ok(());
            }
        }
    }

    async fn delete(&self, xorb: &Xorb) -> Result<(), storage::StoreError> {
        // Of what never became live the size is not known, but that it is a xorb.
        let size = xorb.stored_bytes.max(u64::from(self.0.config.xorb.serialized_bytes));
        self.0.store.delete(&xorb.storage_key(), size).await?;
        self.0.store.delete(&xorb.index_key(), 0).await
    }
}
