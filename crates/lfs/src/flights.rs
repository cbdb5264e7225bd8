//! Which objects are arriving right now.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use database::{Sha256, UploadId};

/// A key is written by one at a time, and the sweep leaves alone what is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashSet<(UploadId, Sha256)>>>);

/// One object on its way in. It has landed, or failed, when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Flights,
    of: (UploadId, Sha256),
}

impl Flights {
    /// `None` if it is under way already.
    pub(crate) fn begin(&self, upload: UploadId, sha256: Sha256) -> Option<Flight> {
        let of = (upload, sha256);
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(of);
        begun.then(|| Flight { flights: self.clone(), of })
    }

    pub(crate) fn any_of(&self, upload: UploadId) -> bool {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.iter().any(|(of, _)| *of == upload)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flight_per_key_until_it_lands() {
        let flights = Flights::default();
        let (upload, sha256) = (UploadId::new(), Sha256([1; 32]));
        let flight = flights.begin(upload, sha256).unwrap();
        assert!(flights.begin(upload, sha256).is_none());
        assert!(flights.begin(UploadId::new(), sha256).is_some(), "another upload has another key");
        assert!(flights.any_of(upload));
        drop(flight);
        assert!(!flights.any_of(upload));
        assert!(flights.begin(upload, sha256).is_some());
    }
}
