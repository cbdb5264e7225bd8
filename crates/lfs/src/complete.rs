//! `POST …/complete`: all parts of an object are there.

use std::sync::Arc;

use auth::transfer::{Grant, Operation};
use auth::{Authorized, Propose};
use database::{Proof, fault};
use storage::{Bucket, StoreError, TempFile};

use crate::parts::{Assembly, check_numbers};
use crate::publish::{Arrival, Known, blocking, detached};
use crate::receive::taken;
use crate::verify::Way;
use crate::{Objects, ReceiveError};

impl Objects {
    /// `parts` are number and entity tag of each, by number. Told twice, it succeeds twice.
    /// Of a bucket, which may take minutes to put parts together, it answers in time, as [`Objects::landed_soon`] says: what
    /// it put together is found in it even after a crash. Parts on the disk would be gone then, so that is waited for.
    pub async fn complete(
        &self,
        access: Authorized<Propose>,
        grant: &Grant,
        parts: Vec<(u32, String)>,
    ) -> Result<(), ReceiveError> {
        if grant.operation != Operation::Complete {
            return Err(ReceiveError::Grant);
        }
        let arrival = Arrival::of(&access, grant)?;
        let (objects, multipart) = (self.clone(), grant.multipart.clone());
        let completing = async move {
            match objects.known(&arrival)? {
                Known::Here => return Ok(()),
                Known::Claimed(backing) => return objects.await_proof(&arrival, backing).await,
                Known::Not => {}
            }
            match (objects.0.store.bucket(), multipart) {
                (Some(bucket), Some(id)) => {
                    objects.complete_in_bucket(bucket, &arrival, &access, &id, &parts).await
                }
                (None, None) => objects.complete_on_disk(&arrival, &access, &parts).await,
                // The engine was changed since the link was handed out.
                (Some(_), None) | (None, Some(_)) => Err(ReceiveError::Closed),
            }
        };
        match self.0.store.bucket() {
            Some(_) => self.landed_soon(&arrival, completing).await,
            None => detached(completing).await,
        }
    }

    async fn complete_in_bucket(
        &self,
        bucket: &Bucket,
        arrival: &Arrival,
        access: &Authorized<Propose>,
        id: &str,
        parts: &[(u32, String)],
    ) -> Result<(), ReceiveError> {
        // Keeps the sweep away, in this order. If another completion is under way, that does it.
        let _flight = self.0.flights.begin(arrival.upload, arrival.sha256);
        self.check_open(arrival)?;
        let key = arrival.key();
        match bucket.list_parts(&key, id).await {
            Ok(stored) => {
                check_stored(parts, &stored, arrival.size)?;
                match bucket.complete_multipart(&key, id, parts).await {
                    // Ended by the bucket in this very moment: the key says how.
                    Ok(()) | Err(StoreError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // Completed before, or ended by the bucket: the key says which.
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        fault::point(fault::Point::LfsMultipartCompleted);
        self.take_from_bucket(bucket, arrival, access, Way::Parts).await
    }

    async fn complete_on_disk(
        &self,
        arrival: &Arrival,
        access: &Authorized<Propose>,
        parts: &[(u32, String)],
    ) -> Result<(), ReceiveError> {
        let assembly = self.0.assemblies.get(arrival);
        let _one = match &assembly {
            Some(assembly) => Some(assembly.completing.lock().await),
            None => None,
        };
        // By another completion, in this very moment.
        if let Known::Here = self.known(arrival)? {
            return Ok(());
        }
        self.check_open(arrival)?;
        let Some(assembly) = &assembly else {
            return Err(ReceiveError::PartsForgotten { sha256: arrival.sha256 });
        };
        let numbers: Vec<_> = parts.iter().map(|(number, _)| *number).collect();
        assembly.check_complete(&numbers)?;
        let _flight = self.0.flights.begin(arrival.upload, arrival.sha256).ok_or(ReceiveError::Busy)?;
        let staged = assembly.take()?;
        let landed = self.land_parts(arrival, access, assembly, staged).await;
        // Whatever came of it, its parts are used up.
        self.0.assemblies.forget(arrival);
        landed
    }

    async fn land_parts(
        &self,
        arrival: &Arrival,
        access: &Authorized<Propose>,
        assembly: &Arc<Assembly>,
        staged: TempFile,
    ) -> Result<(), ReceiveError> {
        let Some(disk) = self.0.store.local().cloned() else { return Err(ReceiveError::Closed) };
        let actual = assembly.sha256().await.map_err(StoreError::from)?;
        if actual != arrival.sha256 {
            // It may be huge, and takes as long to go as it is.
            blocking(move || drop(staged)).await;
            return Err(ReceiveError::WrongBytes { expected: arrival.sha256, actual });
        }
        fault::point(fault::Point::LfsObjectStaged);
        let key = arrival.key();
        let published = blocking(move || disk.publish(staged, &key)).await;
        published.map_err(StoreError::from).map_err(taken)?;
        fault::point(fault::Point::LfsObjectDurable);
        self.publish(arrival, Proof::Verified, Some(access)).await.map(drop)
    }
}

/// What the bucket has against what the client says, and against the size announced.
fn check_stored(parts: &[(u32, String)], stored: &[(u32, u64)], size: u64) -> Result<(), ReceiveError> {
    let is_stored = |number: &u32| stored.binary_search_by_key(number, |(number, _)| *number).is_ok();
    let missing: Vec<_> =
        parts.iter().map(|(number, _)| *number).filter(|number| !is_stored(number)).collect();
    let numbers: Vec<_> = parts.iter().map(|(number, _)| *number).collect();
    check_numbers(&numbers, stored.len().max(parts.len()), missing)?;
    match stored.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes)) {
        sum if sum == size => Ok(()),
        sum => {
            Err(ReceiveError::Parts(format!("the parts have {sum} bytes together, not the {size} announced")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(numbers: &[u32]) -> Vec<(u32, String)> {
        numbers.iter().map(|number| (*number, "\"e\"".to_owned())).collect()
    }

    #[test]
    fn parts_must_be_all_there_all_named_and_of_the_size() {
        let stored = [(1, 10), (2, 10), (3, 5)];
        check_stored(&named(&[1, 2, 3]), &stored, 25).unwrap();
        for (numbers, size, message) in [
            (&[1, 2][..], 25, "the completion names 2 parts, not 1 to 3"),
            (&[1, 2, 3, 4], 25, "1 of 4 parts are missing, part 4 first; upload them, then complete again"),
            (&[1, 3], 15, "the completion names 2 parts, not 1 to 3"),
            (&[1, 2, 3], 26, "the parts have 25 bytes together, not the 26 announced"),
        ] {
            let error = check_stored(&named(numbers), &stored, size).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(check_stored(&[], &[], 1).is_err());
    }
}
