//! What was found out of trees, kept over all repositories within a bound. Who asks for what is being found out waits for
//! that.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use database::{Oid, RepoId};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::HubError;

/// Values by repository and tree.
pub(crate) struct Kept<T> {
    bytes_max: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    slots: HashMap<Key, Slot<T>>,
    bytes: usize,
    uses: u64,
}

struct Slot<T> {
    value: Arc<OnceCell<Arc<T>>>,
    bytes: usize,
    used: u64,
}

type Key = (RepoId, Oid);

/// Every slot counts as this at least, whatever is in it: so there are never many to look through.
const SLOT_BYTES_MIN: usize = 16 << 10;

impl<T> Kept<T> {
    pub(crate) fn new(bytes_max: usize) -> Kept<T> {
        Kept { bytes_max, state: Mutex::new(State { slots: HashMap::new(), bytes: 0, uses: 0 }) }
    }

    /// What is kept under `key`, or what `make` gives now, with the bytes that takes.
    pub(crate) async fn get<F>(&self, key: Key, make: impl FnOnce() -> F) -> Result<Arc<T>, HubError>
    where
        F: Future<Output = Result<(T, usize), HubError>>,
    {
        let cell = self.cell(key);
        let mut made_bytes = None;
        let value = cell.get_or_try_init(|| async {
            let (value, bytes) = make().await?;
            made_bytes = Some(bytes);
            Ok::<_, HubError>(Arc::new(value))
        });
        let value = Arc::clone(value.await?);
        if let Some(bytes) = made_bytes {
            self.weigh(key, bytes);
        }
        Ok(value)
    }

    fn cell(&self, key: Key) -> Arc<OnceCell<Arc<T>>> {
        let mut state = self.state.lock();
        let State { slots, bytes, uses } = &mut *state;
        *uses += 1;
        let slot = slots.entry(key).or_insert_with(|| {
            *bytes += SLOT_BYTES_MIN;
            Slot { value: Arc::default(), bytes: SLOT_BYTES_MIN, used: 0 }
        });
        slot.used = *uses;
        Arc::clone(&slot.value)
    }

    /// Drops the longest unused until the rest fits.
    fn weigh(&self, key: Key, bytes: usize) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(slot) = state.slots.get_mut(&key) {
            let more = bytes.saturating_sub(slot.bytes);
            slot.bytes += more;
            state.bytes += more;
        }
        while state.bytes > self.bytes_max {
            let oldest = state.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| *key);
            let Some(slot) = oldest.and_then(|key| state.slots.remove(&key)) else { break };
            state.bytes -= slot.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(n: u8) -> Key {
        (RepoId(1), Oid([n; 20]))
    }

    #[tokio::test]
    async fn is_made_once_and_dropped_when_it_is_too_much() {
        let kept = Kept::new(100 << 10);
        let made = AtomicUsize::new(0);
        let made = &made;
        let get = |n: u8| {
            kept.get(key(n), move || async move {
                made.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok((n, 40 << 10))
            })
        };
        let (one, same) = tokio::join!(get(1), get(1));
        assert!(Arc::ptr_eq(&one.unwrap(), &same.unwrap()));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        get(2).await.unwrap();
        get(1).await.unwrap();
        get(3).await.unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 3);
        get(1).await.unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 3, "used last, so it stayed");
        get(2).await.unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 4);
        assert!(kept.state.lock().bytes <= 100 << 10);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let kept = Kept::new(100 << 10);
        let failed = kept.get(key(1), || async { Err(HubError::RepoNotFound) }).await;
        assert!(failed.is_err());
        assert_eq!(*kept.get(key(1), || async { Ok((7, 1)) }).await.unwrap(), 7);
    }
}
