//! Rows that every request reads, as they were at the last commit. This process is the only writer, so whatever was read
//! since its last commit is still so.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::DbError;

/// Begins and ends of commits. Somewhere between the two readers begin to see what is new: meanwhile nothing is known by
/// heart, lest one answer be older than another that was given before.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits(Arc<AtomicU64>);

impl Commits {
    /// Runs `commit`; whoever waits for it is answered afterwards.
    pub(super) fn during<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::SeqCst);
        let outcome = commit();
        self.0.fetch_add(1, Ordering::SeqCst);
        outcome
    }

    /// How many have begun and ended; `None` while one is under way.
    fn so_far(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|count| count % 2 == 0)
    }

    /// How many have ended.
    pub(super) fn ended(&self) -> u64 {
        self.0.load(Ordering::SeqCst) / 2
    }
}

/// What was read since the last commit.
pub(super) struct Recent<K, V> {
    commits: Commits,
    state: RwLock<State<K, V>>,
}

struct State<K, V> {
    as_of: u64,
    values: HashMap<K, V>,
}

/// Clients that ask again and again are few.
const VALUES_MAX: usize = 4096;

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(commits: Commits) -> Recent<K, V> {
        Recent { commits, state: RwLock::new(State { as_of: 0, values: HashMap::new() }) }
    }

    /// What is known of `key`, else what `read` gives; that there is nothing is not kept.
    pub(super) fn get(
        &self,
        key: K,
        read: impl FnOnce(&K) -> Result<Option<V>, DbError>,
    ) -> Result<Option<V>, DbError> {
        // Before the read: what it gives may be older than a commit that comes meanwhile, and then does not count.
        let Some(as_of) = self.commits.so_far() else { return read(&key) };
        {
            let state = self.state.read();
            if state.as_of == as_of
                && let Some(value) = state.values.get(&key)
            {
                return Ok(Some(value.clone()));
            }
        }
        let value = read(&key)?;
        if let Some(value) = &value {
            let mut state = self.state.write();
            if state.as_of < as_of || state.values.len() >= VALUES_MAX {
                state.values.clear();
                state.as_of = state.as_of.max(as_of);
            }
            if state.as_of == as_of {
                state.values.insert(key, value.clone());
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_again_after_a_commit() {
        let commits = Commits::default();
        let recent = Recent::new(commits.clone());
        let get = |value: Option<u8>| recent.get("key", |_| Ok(value)).unwrap();
        assert_eq!((get(None), get(Some(1)), get(Some(2))), (None, Some(1), Some(1)));
        commits.during(|| {
            assert_eq!((get(Some(3)), get(Some(4))), (Some(3), Some(4)), "whichever is seen first")
        });
        assert_eq!((get(Some(3)), get(Some(4))), (Some(3), Some(3)));
        // What was read while a commit came is not kept.
        let during = recent.get("other", |_| {
            commits.during(|| ());
            Ok(Some(5))
        });
        assert_eq!(during.unwrap(), Some(5));
        assert_eq!(recent.get("other", |_| Ok(Some(6))).unwrap(), Some(6));
    }
}
