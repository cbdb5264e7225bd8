//! The proof of bytes that went past the hub: they are read from the bucket and hashed.
//!
//! What is claimed is in rows, so a restart resumes it ([`Objects::resume_claims`]); what is being read is known here,
//! so that a push can wait for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use database::{BackingId, Claim, DbError, Sha256, object_key};
use storage::StoreError;
use tokio::sync::{Semaphore, watch};

use crate::Objects;
use crate::counters::count;

/// How a read-back ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Verified,
    /// `actual` is what the bytes are, if there are any.
    Corrupt {
        actual: Option<Sha256>,
    },
    /// The bucket could not be read, or it takes longer than the wait. It is tried again.
    Unfinished,
}

pub(crate) struct ReadBacks {
    running: Mutex<HashMap<BackingId, watch::Receiver<Option<Outcome>>>>,
    large: Semaphore,
    /// So that a small object does not wait for two huge ones.
    small: Semaphore,
}

impl Default for ReadBacks {
    fn default() -> ReadBacks {
        ReadBacks {
            running: Mutex::default(),
            large: Semaphore::new(AT_ONCE),
            small: Semaphore::new(AT_ONCE),
        }
    }
}

const AT_ONCE: usize = 2;
const SMALL: u64 = 64 << 20;
/// Between the tries while the bucket is away. After the last one the claim waits for the next sweep.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(180),
];
/// Claims taken up in one go.
const RESUMED: u32 = 1000;

/// Waits for the end of a read-back.
pub(crate) async fn wait(mut ended: watch::Receiver<Option<Outcome>>, at_most: Duration) -> Outcome {
    let outcome = tokio::time::timeout(at_most, ended.wait_for(Option::is_some)).await;
    match outcome {
        Ok(Ok(outcome)) => outcome.unwrap_or(Outcome::Unfinished),
        // The time is over, or the task ended abnormally.
        Err(_) | Ok(Err(_)) => Outcome::Unfinished,
    }
}

impl Objects {
    /// Starts the read-backs of all claims in the rows that are not under way. At start, and with each sweep.
    pub async fn resume_claims(&self) -> Result<u64, DbError> {
        let mut resumed = 0;
        let mut after = BackingId(0);
        loop {
            let claims = self.0.database.claims(after, RESUMED)?;
            let Some(last) = claims.last() else { return Ok(resumed) };
            after = last.backing;
            for claim in claims {
                resumed += 1;
                self.read_back(claim);
            }
        }
    }

    /// Starts the read-back of `claim`, or joins the one under way.
    pub(crate) fn read_back(&self, claim: Claim) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.0.read_backs.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = running.get(&claim.backing) {
            return ended.clone();
        }
        let (end, ended) = watch::channel(None);
        running.insert(claim.backing, ended.clone());
        drop(running);
        let entry = Entry { objects: self.clone(), backing: claim.backing };
        tokio::spawn(async move {
            let outcome = entry.objects.prove(&claim).await.unwrap_or_else(|error| {
                tracing::error!(backing = claim.backing.0, %error, "the end of a read-back was not recorded");
                Outcome::Unfinished
            });
            drop(entry);
            end.send_replace(Some(outcome));
        });
        ended
    }

    /// Reads, with pauses while the bucket is away, and records what was found.
    async fn prove(&self, claim: &Claim) -> Result<Outcome, DbError> {
        let key = object_key(&claim.sha256, claim.upload);
        let mut pauses = PAUSES.iter();
        let found = loop {
            match self.hash(&key, claim.size).await {
                Ok(found) => break Some(found),
                Err(StoreError::NotFound) => break None,
                Err(error) => {
                    let Some(pause) = pauses.next() else {
                        tracing::warn!(key, %error, "an object could not be read back; it is tried again later");
                        return Ok(Outcome::Unfinished);
                    };
                    tracing::info!(key, %error, ?pause, "an object could not be read back");
                    tokio::time::sleep(*pause).await;
                }
            }
        };
        if found == Some((claim.sha256, claim.size)) {
            self.0.database.object_verified(claim.backing).await?;
            count(&self.0.counters.objects_published, 1);
            return Ok(Outcome::Verified);
        }
        if !self.0.database.object_corrupt(claim.backing).await? {
            // Nobody needs it any more, so its bytes may well be gone.
            return Ok(Outcome::Unfinished);
        }
        let actual = found.map(|(sha256, _)| sha256);
        tracing::warn!(
            key,
            repo = claim.repo.0,
            by = claim.by.map(|user| user.0),
            actual = actual.map(|sha256| sha256.to_string()),
            "the bytes uploaded are not those announced"
        );
        count(&self.0.counters.objects_corrupt, 1);
        Ok(Outcome::Corrupt { actual })
    }

    /// Under a permit, which is not held during a pause.
    async fn hash(&self, key: &str, size: u64) -> Result<(Sha256, u64), StoreError> {
        let lane = match size <= SMALL {
            true => &self.0.read_backs.small,
            false => &self.0.read_backs.large,
        };
        let _permit = lane.acquire().await.expect("because it is never closed");
        let found = self.0.store.sha256(key).await?;
        count(&self.0.counters.read_back_bytes, found.1);
        Ok(found)
    }
}

/// A read-back under way; dropped, it is not.
struct Entry {
    objects: Objects,
    backing: BackingId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let running = &self.objects.0.read_backs.running;
        running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.backing);
    }
}
