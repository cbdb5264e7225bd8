//! What a push needs: every LFS pointer it brings has its object here.

use std::time::Duration;

use database::{Claim, DbError, Link, LinkState, Proof, RepoId, Sha256};
use tokio::time::Instant;

use crate::Objects;
use crate::read_back::wait;

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

/// Links asked for in one statement.
const LOOKUP: usize = 4096;

impl Objects {
    /// Which of `pointers` have no usable object of their size in `repo`. Waits for read-backs under way. Empty objects
    /// are never stored, so pointers of size 0 need none.
    pub async fn require(&self, repo: RepoId, pointers: &[(Sha256, u64)]) -> Result<Vec<Unmet>, DbError> {
        let deadline = Instant::now() + self.0.config.require_wait;
        let mut unmet = Vec::new();
        let mut claimed = Vec::new();
        for pointers in pointers.chunks(LOOKUP) {
            for (pointer, link) in self.lookup(repo, pointers)? {
                match (judge(pointer, link.as_ref()), link) {
                    (Some(Why::Unverified), Some(link)) => {
                        claimed.push((pointer, self.claim_of(repo, &link)))
                    }
                    (Some(why), _) => unmet.push(Unmet { sha256: pointer.0, size: pointer.1, why }),
                    (None, _) => {}
                }
            }
        }
        let mut waited_for = Vec::with_capacity(claimed.len());
        for (pointer, claim) in claimed {
            if let Some(claim) = claim {
                let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                wait(self.read_back(claim), left).await;
            }
            waited_for.push(pointer);
        }
        for pointers in waited_for.chunks(LOOKUP) {
            for (pointer, link) in self.lookup(repo, pointers)? {
                let why = judge(pointer, link.as_ref());
                unmet.extend(why.map(|why| Unmet { sha256: pointer.0, size: pointer.1, why }));
            }
        }
        Ok(unmet)
    }

    fn lookup(
        &self,
        repo: RepoId,
        pointers: &[(Sha256, u64)],
    ) -> Result<Vec<(Pointer, Option<Link>)>, DbError> {
        let needed: Vec<_> = pointers.iter().copied().filter(|(_, size)| *size > 0).collect();
        let ids: Vec<_> = needed.iter().map(|(sha256, _)| *sha256).collect();
        Ok(needed.into_iter().zip(self.0.database.links(repo, &ids)?).collect())
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
