//! The last step of every way in: one row says that the bytes under a key are an object of a repository.

use std::future::Future;

use auth::transfer::Grant;
use auth::{Authorized, Propose, ReauthorizeError};
use database::{
    BackingId, Claim, LinkState, Proof, Publish, PublishError, Published, RepoId, Sha256, UploadId, UserId,
    fault, object_key,
};

use crate::counters::count;
use crate::{Objects, ReceiveError};

/// An object that was announced by an upload, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) repo: RepoId,
    pub(crate) by: Option<UserId>,
    pub(crate) upload: UploadId,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

impl Arrival {
    /// What `grant` is about, if it is about the repository that `access` was given for.
    pub(crate) fn of(access: &Authorized<Propose>, grant: &Grant) -> Result<Arrival, ReceiveError> {
        let upload = grant.upload.filter(|_| grant.repo == access.repo_id()).ok_or(ReceiveError::Grant)?;
        let Grant { repo, sha256, size, .. } = *grant;
        Ok(Arrival { repo, by: access.actor(), upload, sha256, size })
    }

    pub(crate) fn key(&self) -> String {
        object_key(&self.sha256, self.upload)
    }
}

/// What a repository says of an object before it arrives (again).
pub(crate) enum Known {
    /// Linked and verified: nothing is left to do. What is in xorbs and not verified yet may prove to be something else:
    /// then these bytes would be missed.
    Here,
    /// These very bytes are linked, and being read back.
    Claimed(BackingId),
    /// Or not so that these bytes would not be needed.
    Not,
}

const TRIES: usize = 3;

/// What became of the bytes.
pub(crate) enum Landed {
    /// The repository has the object.
    Here,
    /// It will, once they are read back.
    Claimed(BackingId),
    /// Other bytes, which somebody else claims to be the object, are to be read back first.
    Behind(Claim),
}

impl Objects {
    pub(crate) fn known(&self, arrival: &Arrival) -> Result<Known, ReceiveError> {
        let Some(link) = self.0.database.link(arrival.repo, &arrival.sha256)? else { return Ok(Known::Not) };
        Ok(match (link.state, &link.backing) {
            (LinkState::Live, Some(backing)) if backing.proof == Proof::Verified => Known::Here,
            (LinkState::Live, Some(backing)) if backing.upload == arrival.upload => {
                Known::Claimed(backing.id)
            }
            _ => Known::Not,
        })
    }

    /// What was uploaded turned out to be something else.
    pub(crate) fn is_corrupt(&self, arrival: &Arrival) -> Result<bool, ReceiveError> {
        let link = self.0.database.link(arrival.repo, &arrival.sha256)?;
        Ok(link.is_some_and(|link| link.state == LinkState::Corrupt))
    }

    /// Refuses what was never announced, or is swept. Gives the time at which it expires.
    pub(crate) fn check_open(&self, arrival: &Arrival) -> Result<i64, ReceiveError> {
        let upload = self.0.database.upload(arrival.upload)?.ok_or(ReceiveError::Closed)?;
        match upload.repo == arrival.repo && upload.objects.contains(&(arrival.sha256, arrival.size)) {
            true => Ok(upload.expires_ms),
            false => Err(ReceiveError::Closed),
        }
    }

    /// The row. The bytes are durable under the arrival's key and have `proof`.
    pub(crate) async fn publish(
        &self,
        arrival: &Arrival,
        proof: Proof,
        access: Option<&Authorized<Propose>>,
    ) -> Result<Landed, ReceiveError> {
        if let Some(access) = access {
            self.still_allowed(access)?;
        }
        for _ in 0..TRIES {
            if let Some(landed) = self.try_publish(arrival, proof).await? {
                return Ok(landed);
            }
        }
        Err(ReceiveError::Busy)
    }

    /// `None` if the link by which the bytes are not needed went away in this very moment.
    async fn try_publish(&self, arrival: &Arrival, proof: Proof) -> Result<Option<Landed>, ReceiveError> {
        let Arrival { repo, by, upload, sha256, size } = *arrival;
        let publish = Publish { upload, repo, sha256, size, proof, by };
        let published = match self.0.database.publish_object(publish).await {
            // Told twice at once, and the first time it is proven already.
            Err(PublishError::UploadGone) if matches!(self.known(arrival)?, Known::Here) => {
                return Ok(Some(Landed::Here));
            }
            other => other?,
        };
        fault::point(match proof {
            Proof::Claimed => fault::Point::LfsClaimed,
            Proof::Possessed | Proof::Verified => fault::Point::LfsObjectPublished,
        });
        match published {
            Published::Linked(backing) if proof == Proof::Claimed => Ok(Some(Landed::Claimed(backing))),
            Published::Linked(_) => {
                count(&self.0.counters.objects_published, 1);
                Ok(Some(Landed::Here))
            }
            Published::Duplicate => {
                let Some(link) = self.0.database.link(repo, &sha256)? else { return Ok(None) };
                if let Some(claim) = self.claim_of(repo, &link) {
                    return Ok(Some(Landed::Behind(claim)));
                }
                let Some(backing) = link.backing.filter(|_| link.is_usable()) else { return Ok(None) };
                // Nothing but this repository's link could name the key, and it names another.
                if backing.upload != upload {
                    self.delete_litter(arrival).await;
                }
                Ok(Some(Landed::Here))
            }
        }
    }

    /// A token may have been revoked while the bytes arrived, or a role taken away.
    fn still_allowed(&self, access: &Authorized<Propose>) -> Result<(), ReceiveError> {
        let now = access.reauthorize(&self.0.database)?;
        match now.granted() >= access.granted() {
            true => Ok(()),
            false => Err(ReauthorizeError::Denied(auth::Denied::Forbidden).into()),
        }
    }

    /// Deletes a copy that is not needed, at once. If that fails, the sweep of its upload does it.
    async fn delete_litter(&self, arrival: &Arrival) {
        if let Err(error) = self.0.store.delete(&arrival.key(), arrival.size).await {
            tracing::info!(key = arrival.key(), %error, "a second copy is deleted later");
        }
    }
}

/// Runs `work` to its end whether or not the client stays.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// Runs blocking `work` off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
