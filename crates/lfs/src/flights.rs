//! Which objects are arriving right now, and whose turn it is to decide what becomes of the bytes under a key.

use std::collections::{HashMap, HashSet};
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

/// For each key one at a time looks at its bytes, says what they are, and deletes them if they are not needed: what was
/// found needless on an earlier look may be linked by now.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<TurnTable>>);

type TurnTable = HashMap<(UploadId, Sha256), Arc<tokio::sync::Mutex<()>>>;

/// It is over when this is dropped.
pub(crate) struct Turn {
    turns: Turns,
    of: (UploadId, Sha256),
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Turns {
    pub(crate) async fn take(&self, upload: UploadId, sha256: Sha256) -> Turn {
        let of = (upload, sha256);
        let mutex = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(of).or_default())
        };
        Turn { turns: self.clone(), of, guard: Some(mutex.lock_owned().await) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.guard.take());
        // Nobody waits: whoever comes takes the table first.
        if turns.get(&self.of).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other_and_leave_nothing() {
        let turns = Turns::default();
        let (upload, sha256) = (UploadId::new(), Sha256([1; 32]));
        let first = turns.take(upload, sha256).await;
        drop(turns.take(UploadId::new(), sha256).await);
        let (waiting, of) = (turns.clone(), upload);
        let second = tokio::spawn(async move { drop(waiting.take(of, sha256).await) });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        assert!(turns.0.lock().unwrap().is_empty());
    }

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
