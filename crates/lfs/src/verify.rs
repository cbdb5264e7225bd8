//! `POST …/verify`: the client says that the bytes are in the bucket.
//!
//! The bucket's word counts only for what the probe saw it enforce. Otherwise the object is claimed: its uploader may
//! go on, and the read-back decides before anybody else sees it.

use auth::transfer::{Grant, Operation};
use auth::{Authorized, Propose};
use database::{BackingId, Claim, Proof, Sha256};
use storage::{Bucket, Capabilities, Head};

use crate::publish::{Arrival, Known, Landed};
use crate::read_back::{Outcome, Spare, wait};
use crate::{Objects, ReceiveError};

/// Claims of others that an upload waits for.
const CLAIMS_BEFORE: usize = 3;

impl Objects {
    /// `claimed` is what the client says the object is. Told twice, it succeeds twice. Answers in time, as
    /// [`Objects::landed_soon`] says, however slow the bucket.
    pub async fn verify(
        &self,
        access: Authorized<Propose>,
        grant: &Grant,
        claimed: (Sha256, u64),
    ) -> Result<(), ReceiveError> {
        if grant.operation != Operation::Verify {
            return Err(ReceiveError::Grant);
        }
        if claimed != (grant.sha256, grant.size) {
            return Err(ReceiveError::OtherObject { sha256: claimed.0, size: claimed.1 });
        }
        let arrival = Arrival::of(&access, grant)?;
        let objects = self.clone();
        self.landed_soon(&arrival, async move {
            match objects.known(&arrival)? {
                Known::Here => return Ok(()),
                Known::Claimed(backing) => return objects.await_proof(&arrival, backing).await,
                Known::Not => {}
            }
            match objects.check_open(&arrival) {
                // Told a second time, the client must not lose sight of the reason.
                Err(ReceiveError::Closed) if objects.is_corrupt(&arrival)? => {
                    return Err(ReceiveError::Corrupt { sha256: arrival.sha256 });
                }
                open => open.map(drop)?,
            }
            match objects.0.store.bucket() {
                Some(bucket) => objects.take_from_bucket(bucket, &arrival, &access, Way::Whole).await,
                // On disk the PUT itself publishes.
                None => Err(ReceiveError::NotUploaded { sha256: arrival.sha256 }),
            }
        })
        .await
    }

    /// Publishes what the client put into the bucket, as certain as the bucket makes it.
    pub(crate) async fn take_from_bucket(
        &self,
        bucket: &Bucket,
        arrival: &Arrival,
        access: &Authorized<Propose>,
        way: Way,
    ) -> Result<(), ReceiveError> {
        for _ in 0..CLAIMS_BEFORE {
            match self.place_from_bucket(bucket, arrival, Some(access), way).await? {
                Landed::Here => return Ok(()),
                Landed::Claimed(backing) => return self.await_proof(arrival, backing).await,
                // If those are not the object, these may be: they are not given up before that is known, and their client
                // need not bring them once more because that takes a while.
                Landed::Behind(other) => {
                    if wait(self.read_back(other), self.0.config.verify_wait).await == Outcome::Unfinished {
                        let copy = Spare { arrival: *arrival, access: access.clone(), way };
                        match self.wait_behind(other.backing, copy) {
                            Ok(()) => return Ok(()),
                            // It ended just now, or too many wait: those that remain are told so.
                            Err(_) => continue,
                        }
                    }
                }
            }
        }
        Err(ReceiveError::Busy)
    }

    /// `access` is asked again whether it still counts.
    pub(crate) async fn place_from_bucket(
        &self,
        bucket: &Bucket,
        arrival: &Arrival,
        access: Option<&Authorized<Propose>>,
        way: Way,
    ) -> Result<Landed, ReceiveError> {
        self.await_possessed(arrival).await?;
        let _turn = self.0.turns.take(arrival.upload, arrival.sha256).await;
        let head = bucket.head(&arrival.key()).await?;
        let head = head.ok_or(ReceiveError::NotUploaded { sha256: arrival.sha256 })?;
        let proof = proof(&bucket.capabilities(), &head, arrival, way)?;
        self.publish(arrival, proof, access).await
    }

    /// A copy that waited behind a claim which is decided now.
    pub(crate) async fn take_copy(&self, copy: Spare) {
        let Spare { arrival, access, way } = copy;
        let Some(bucket) = self.0.store.bucket() else { return };
        let placed = match self.place_from_bucket(bucket, &arrival, Some(&access), way).await {
            Ok(Landed::Here) => Ok(()),
            Ok(Landed::Claimed(backing)) => {
                self.read_back(claim(&arrival, backing));
                Ok(())
            }
            Ok(Landed::Behind(other)) => {
                self.read_back(other);
                self.wait_behind(other.backing, Spare { arrival, access, way })
            }
            Err(error) => Err(error),
        };
        if let Err(error) = placed {
            tracing::warn!(key = arrival.key(), %error, "a copy of an object is not taken in the place of another");
        }
    }

    /// Waits for the read-back, but not for long: what takes longer is waited for by the push that needs it.
    pub(crate) async fn await_proof(
        &self,
        arrival: &Arrival,
        backing: BackingId,
    ) -> Result<(), ReceiveError> {
        let sha256 = arrival.sha256;
        match wait(self.read_back(claim(arrival, backing)), self.0.config.verify_wait).await {
            Outcome::Verified | Outcome::Unfinished => Ok(()),
            Outcome::Corrupt { actual: Some(actual) } => {
                Err(ReceiveError::WrongBytes { expected: sha256, actual })
            }
            Outcome::Corrupt { actual: None } => Err(ReceiveError::NotUploaded { sha256 }),
        }
    }
}

fn claim(arrival: &Arrival, backing: BackingId) -> Claim {
    let Arrival { repo, by, upload, sha256, size } = *arrival;
    Claim { backing, repo, sha256, size, upload, by }
}

/// How bytes came into the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By one PUT to a URL that was bound to its content.
    Whole,
    /// Nothing bound these to the object, and a checksum of the checksums of parts may look like one of all bytes.
    Parts,
}

fn proof(can: &Capabilities, head: &Head, arrival: &Arrival, way: Way) -> Result<Proof, ReceiveError> {
    if head.size != arrival.size {
        return Err(ReceiveError::WrongSize { stored: head.size, size: arrival.size });
    }
    let enforces = way == Way::Whole && can.head_checksum && (can.signed_checksum || can.query_checksum);
    match head.sha256.filter(|_| enforces) {
        None => Ok(Proof::Claimed),
        Some(actual) if actual == arrival.sha256 => Ok(Proof::Verified),
        Some(actual) => Err(ReceiveError::WrongBytes { expected: arrival.sha256, actual }),
    }
}

#[cfg(test)]
mod tests {
    use database::{RepoId, UploadId};

    use super::*;

    #[test]
    fn the_word_of_a_bucket_counts_for_what_it_enforces() {
        let sha256 = Sha256([7; 32]);
        let arrival = Arrival { repo: RepoId(1), by: None, upload: UploadId::new(), sha256, size: 5 };
        let enforcing =
            Capabilities { signed_checksum: true, head_checksum: true, ..Capabilities::default() };
        let showing = Capabilities { head_checksum: true, ..Capabilities::default() };
        let head = Head { size: 5, sha256: Some(sha256) };
        assert_eq!(proof(&enforcing, &head, &arrival, Way::Whole).unwrap(), Proof::Verified);
        assert_eq!(proof(&showing, &head, &arrival, Way::Whole).unwrap(), Proof::Claimed);
        assert_eq!(
            proof(&enforcing, &Head { sha256: None, ..head }, &arrival, Way::Whole).unwrap(),
            Proof::Claimed
        );
        assert_eq!(proof(&enforcing, &head, &arrival, Way::Parts).unwrap(), Proof::Claimed);
        let other = Head { sha256: Some(Sha256([8; 32])), ..head };
        assert!(matches!(
            proof(&enforcing, &other, &arrival, Way::Whole),
            Err(ReceiveError::WrongBytes { .. })
        ));
        assert_eq!(
            proof(&showing, &other, &arrival, Way::Whole).unwrap(),
            Proof::Claimed,
            "the read-back decides"
        );
        for size in [4, 6] {
            let error = proof(&enforcing, &Head { size, ..head }, &arrival, Way::Whole).unwrap_err();
            assert!(matches!(error, ReceiveError::WrongSize { stored, size: 5 } if stored == size));
        }
    }
}
