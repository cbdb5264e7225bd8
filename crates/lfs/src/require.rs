//! What a push needs: every LFS pointer it brings has its object here.

use std::sync::Arc;
use std::time::Duration;

use database::{Awaited, Claim, DbError, Link, LinkState, Proof, RepoId, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::publish::{Arrival, blocking};
use crate::read_back::{Outcome, wait};
use crate::verify::Way;
use crate::{Objects, ReceiveError};

/// A pointer that a ref must not move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet {
    pub sha256: Sha256,
    /// By the pointer.
    pub size: u64,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("was not uploaded to this repository")]
    Missing,
    #[error("has {0} bytes, not as many as the pointer says")]
    Size(u64),
    #[error("was removed from this repository")]
    Removed,
    #[error("was uploaded with other bytes")]
    Corrupt,
    #[error("is still being verified; try again later")]
    Unverified,
}

/// Object and size.
type Pointer = (Sha256, u64);

/// Links asked for in one statement, and waited for together.
const LOOKUP: usize = 4096;
/// Requests to the bucket.
const AT_ONCE: usize = 16;
/// When a claim proves wrong, another copy may be claimed in its place.
const ROUNDS: usize = 4;

enum UnderWay {
    ReadBack(watch::Receiver<Option<Outcome>>),
    Landing(watch::Receiver<()>),
}

impl UnderWay {
    async fn wait(self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self {
            UnderWay::ReadBack(ended) => drop(wait(ended, left).await),
            UnderWay::Landing(mut ended) => drop(tokio::time::timeout(left, ended.changed()).await),
        }
    }
}

impl Objects {
    /// Which of `pointers` have no usable object of their size in `repo`. Waits for what is under way. Empty objects are
    /// never stored, so pointers of size 0 need none.
    pub async fn require(&self, repo: RepoId, pointers: &[(Sha256, u64)]) -> Result<Vec<Unmet>, DbError> {
        self.require_by(repo, pointers, self.require_deadline()).await
    }

    /// When a push that begins now no longer waits.
    pub fn require_deadline(&self) -> Instant {
        Instant::now() + self.0.config.require_wait
    }

    /// As [`Objects::require`], for a push that began earlier and has waited before.
    pub async fn require_by(
        &self,
        repo: RepoId,
        pointers: &[(Sha256, u64)],
        deadline: Instant,
    ) -> Result<Vec<Unmet>, DbError> {
        let mut unmet = self.wait_for(repo, pointers, deadline).await?;
        let is_missing = |unmet: &Unmet| unmet.why == Why::Missing;
        let missing: Vec<Pointer> =
            unmet.iter().filter(|unmet| is_missing(unmet)).map(|unmet| (unmet.sha256, unmet.size)).collect();
        if self.take_untold(repo, &missing, deadline).await? {
            unmet.retain(|unmet| !is_missing(unmet));
            unmet.extend(self.wait_for(repo, &missing, deadline).await?);
        }
        Ok(unmet)
    }

    async fn wait_for(
        &self,
        repo: RepoId,
        pointers: &[Pointer],
        deadline: Instant,
    ) -> Result<Vec<Unmet>, DbError> {
        let mut unmet = Vec::new();
        let mut open: Vec<_> = pointers.iter().copied().filter(|(_, size)| *size > 0).collect();
        for round in 0..ROUNDS {
            let waits = round == 0 || (round + 1 < ROUNDS && Instant::now() < deadline);
            let mut waited_for = Vec::new();
            for pointers in open.chunks(LOOKUP) {
                let mut started = Vec::new();
                for (pointer, link) in self.lookup(repo, pointers)? {
                    let Some(why) = judge(pointer, link.as_ref()) else { continue };
                    match self.under_way(repo, pointer, link.as_ref()).filter(|_| waits) {
                        Some(under_way) => {
                            started.push(under_way);
                            waited_for.push(pointer);
                        }
                        None => unmet.push(Unmet { sha256: pointer.0, size: pointer.1, why }),
                    }
                }
                for under_way in started {
                    under_way.wait(deadline).await;
                }
            }
            if waited_for.is_empty() {
                break;
            }
            open = waited_for;
        }
        Ok(unmet)
    }

    /// Takes what clients put into the bucket and told nobody of, as `@huggingface/hub` does: what is there is looked at
    /// as if they had. False if nothing was found.
    async fn take_untold(
        &self,
        repo: RepoId,
        missing: &[Pointer],
        deadline: Instant,
    ) -> Result<bool, DbError> {
        let Some(bucket) = self.0.store.bucket().filter(|_| !missing.is_empty()) else { return Ok(false) };
        let (database, missing) = (self.0.database.clone(), missing.to_vec());
        let awaited = blocking(move || database.uploads_awaiting(repo, &missing)).await?;
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut taking = JoinSet::new();
        for Awaited { upload, by, sha256, size } in awaited {
            let (objects, bucket, permits) = (self.clone(), bucket.clone(), Arc::clone(&permits));
            taking.spawn(async move {
                let Ok(_permit) = permits.acquire().await else { return Ok(false) };
                let arrival = Arrival { repo, by, upload, sha256, size };
                let placed = objects.place_from_bucket(&bucket, &arrival, None, Way::Whole).await;
                if let Err(error) = &placed {
                    tracing::debug!(%sha256, %error, "an announced object is not to be had");
                }
                match placed {
                    Err(ReceiveError::Store(error)) => Err(error),
                    placed => Ok(placed.is_ok()),
                }
            });
        }
        let mut found = false;
        // What is not looked at by then counts as missing, and is looked at again by the next push. A bucket that fails once
        // would fail for each, after a time of its own.
        while let Ok(Some(Ok(placed))) = tokio::time::timeout_at(deadline, taking.join_next()).await {
            match placed {
                Ok(placed) => found |= placed,
                Err(error) => {
                    tracing::warn!(%error, "whether announced objects are in the bucket cannot be told");
                    break;
                }
            }
        }
        Ok(found)
    }

    /// What may yet meet the pointer. Its read-back is started.
    fn under_way(&self, repo: RepoId, pointer: Pointer, link: Option<&Link>) -> Option<UnderWay> {
        let claim = link.filter(|link| link.size == pointer.1).and_then(|link| self.claim_of(repo, link));
        match claim {
            Some(claim) => Some(UnderWay::ReadBack(self.read_back(claim))),
            None => self.0.landings.of(repo, pointer.0).map(UnderWay::Landing),
        }
    }

    fn lookup(
        &self,
        repo: RepoId,
        pointers: &[(Sha256, u64)],
    ) -> Result<Vec<(Pointer, Option<Link>)>, DbError> {
        let ids: Vec<_> = pointers.iter().map(|(sha256, _)| *sha256).collect();
        Ok(pointers.iter().copied().zip(self.0.database.links(repo, &ids)?).collect())
    }

    pub(crate) fn claim_of(&self, repo: RepoId, link: &Link) -> Option<Claim> {
        let backing = link.backing.as_ref().filter(|backing| backing.proof == Proof::Claimed)?;
        let (sha256, size, by) = (link.sha256, link.size, link.by);
        Some(Claim { backing: backing.id, repo, sha256, size, upload: backing.upload, by })
    }
}

/// Why `pointer` is not met by `link`; `None` if it is.
fn judge((_, size): Pointer, link: Option<&Link>) -> Option<Why> {
    let Some(link) = link else { return Some(Why::Missing) };
    match link.state {
        LinkState::Removed => Some(Why::Removed),
        LinkState::Corrupt => Some(Why::Corrupt),
        LinkState::Live if link.size != size => Some(Why::Size(link.size)),
        LinkState::Live if link.is_usable() => None,
        LinkState::Live => Some(Why::Unverified),
    }
}
