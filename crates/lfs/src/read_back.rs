//! The proof of bytes that went past the hub: they are read from the bucket and hashed.
//!
//! What is claimed is in rows, so a restart resumes it ([`Objects::resume_claims`]); what is being read is known here,
//! so that a push can wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use auth::{Authorized, Propose};
use database::{BackingId, Claim, DbError, Proof, Sha256, object_key};
use storage::StoreError;
use tokio::sync::watch;

use crate::counters::count;
use crate::lane::Lane;
use crate::publish::Arrival;
use crate::verify::Way;
use crate::{Objects, ReceiveError};

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
    running: Mutex<HashMap<BackingId, Running>>,
    large: Lane,
    /// So that a small object does not wait for two huge ones.
    small: Lane,
    /// Of what is in xorbs.
    pub(crate) xorbs: Mutex<HashSet<BackingId>>,
}

struct Running {
    ended: watch::Receiver<Option<Outcome>>,
    /// Other copies of the object: one takes the place of this one if it proves wrong.
    behind: Vec<Spare>,
}

/// Bytes that somebody put into the bucket while others were claimed to be the same object.
pub(crate) struct Spare {
    pub(crate) arrival: Arrival,
    pub(crate) access: Authorized<Propose>,
    pub(crate) way: Way,
}

impl Default for ReadBacks {
    fn default() -> ReadBacks {
        ReadBacks {
            running: Mutex::default(),
            large: Lane::new(AT_ONCE),
            small: Lane::new(AT_ONCE),
            xorbs: Mutex::default(),
        }
    }
}

const AT_ONCE: usize = 2;
const SMALL: u64 = 64 << 20;
/// Copies that wait behind one claim.
const BEHIND_MAX: usize = 16;
/// Between the record that bytes are gone and their deletion, should they be there after all: as long as a collection
/// keeps what it drops.
const GONE_GRACE_MS: i64 = 14 * 24 * 3600 * 1000;
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
            let Some(last) = claims.last() else { break };
            after = last.backing;
            for claim in claims {
                resumed += 1;
                self.read_back(claim);
            }
        }
        Ok(resumed + self.resume_possessed()?)
    }

    /// Starts the read-back of `claim`, or joins the one under way.
    pub(crate) fn read_back(&self, claim: Claim) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.0.read_backs.running();
        if let Some(running) = running.get(&claim.backing) {
            return running.ended.clone();
        }
        let (end, ended) = watch::channel(None);
        running.insert(claim.backing, Running { ended: ended.clone(), behind: Vec::new() });
        drop(running);
        let mut entry = Entry { objects: self.clone(), backing: claim.backing, ended: false };
        tokio::spawn(async move {
            let outcome = entry.objects.prove(&claim).await.unwrap_or_else(|error| {
                tracing::error!(backing = claim.backing.0, %error, "the end of a read-back was not recorded");
                Outcome::Unfinished
            });
            entry.end(outcome).await;
            end.send_replace(Some(outcome));
        });
        ended
    }

    /// Has `copy` looked at again when the read-back of `claim` ends. `Busy` if that is not under way, or has too many
    /// behind it.
    pub(crate) fn wait_behind(&self, claim: BackingId, copy: Spare) -> Result<(), ReceiveError> {
        let mut running = self.0.read_backs.running();
        let running = running.get_mut(&claim).filter(|running| running.behind.len() < BEHIND_MAX);
        running.ok_or(ReceiveError::Busy)?.behind.push(copy);
        Ok(())
    }

    /// Reads, with pauses while the bucket is away, and records what was found.
    async fn prove(&self, claim: &Claim) -> Result<Outcome, DbError> {
        let key = object_key(&claim.sha256, claim.upload);
        let mut pauses = self.0.config.read_back_pauses.iter();
        let found = loop {
            let error = match self.hash(&key, claim).await? {
                Hashed::Found(found) => break Some(found),
                Hashed::Ended(outcome) => return Ok(outcome),
                Hashed::Failed(error) => error,
            };
            let Some(pause) = pauses.next() else {
                // An empty mount point and the wrong bucket have nothing either.
                if matches!(error, StoreError::NotFound) && self.0.store.confirm().await.is_ok() {
                    break None;
                }
                tracing::warn!(key, %error, "an object could not be read back; it is tried again later");
                return Ok(Outcome::Unfinished);
            };
            tracing::info!(key, %error, ?pause, "an object could not be read back");
            tokio::time::sleep(*pause).await;
        };
        if found == Some((claim.sha256, claim.size)) {
            self.0.database.object_verified(claim.backing).await?;
            count(&self.0.counters.objects_published, 1);
            return Ok(Outcome::Verified);
        }
        let grace_ms = if found.is_none() { GONE_GRACE_MS } else { 0 };
        if !self.0.database.object_corrupt(claim.backing, grace_ms).await? {
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

    /// Under a permit, which is not held during a pause. What the rows say by then counts: the claim may be as old as the
    /// start of a push that waited for others before it.
    async fn hash(&self, key: &str, claim: &Claim) -> Result<Hashed, DbError> {
        let _turn = self.0.read_backs.lane(claim.size).take(claim.by, claim.size).await;
        match self.0.database.backing_proof(claim.backing)? {
            Some(Proof::Claimed) => {}
            Some(Proof::Possessed | Proof::Verified) => return Ok(Hashed::Ended(Outcome::Verified)),
            None => return Ok(Hashed::Ended(Outcome::Unfinished)),
        }
        Ok(match self.0.store.sha256(key).await {
            Ok(found) => {
                count(&self.0.counters.read_back_bytes, found.1);
                Hashed::Found(found)
            }
            Err(error) => Hashed::Failed(error),
        })
    }
}

enum Hashed {
    Found((Sha256, u64)),
    /// There is nothing to prove (any more).
    Ended(Outcome),
    Failed(StoreError),
}

impl ReadBacks {
    /// For an object of so many bytes.
    pub(crate) fn lane(&self, size: u64) -> &Lane {
        if size <= SMALL { &self.small } else { &self.large }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<BackingId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read-back under way; dropped, it is not.
struct Entry {
    objects: Objects,
    backing: BackingId,
    ended: bool,
}

impl Entry {
    /// Looks at the copies that waited, before anybody is told: who waited for the claim then finds what took its place.
    async fn end(&mut self, outcome: Outcome) {
        loop {
            let behind = {
                let mut running = self.objects.0.read_backs.running();
                let behind =
                    running.get_mut(&self.backing).map(|running| std::mem::take(&mut running.behind));
                match behind.filter(|behind| !behind.is_empty() && outcome != Outcome::Unfinished) {
                    Some(behind) => behind,
                    None => {
                        // In the same breath, so that none comes too late. Undecided, each is kept until its upload
                        // expires, and the push that needs it says what to do.
                        running.remove(&self.backing);
                        self.ended = true;
                        return;
                    }
                }
            };
            for copy in behind {
                self.objects.take_copy(copy).await;
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.objects.0.read_backs.running().remove(&self.backing);
        }
    }
}
