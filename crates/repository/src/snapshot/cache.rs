//! Caches that are bounded by weight and forget what was not asked for lately.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use database::PackId;
use parking_lot::Mutex;

/// A map of bounded weight in two generations: entries come into the young one; when that holds half the bound, it
/// becomes the old one and what was old is forgotten. An entry that is found in the old generation moves back. As good
/// as least-recently-used for our purposes, with no list to maintain on a hit.
pub(super) struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_weight: usize,
    weight_max: usize,
}

impl<K: Hash + Eq, V: Clone> Generations<K, V> {
    pub(super) fn new(weight_max: usize) -> Self {
        Generations { young: HashMap::new(), old: HashMap::new(), young_weight: 0, weight_max }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = self.old.remove_entry(key)?;
        self.insert(key, value.clone(), weight);
        Some(value)
    }

    /// What weighs more than half the bound is not kept.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        let half = self.weight_max / 2;
        if weight > half {
            self.remove(&key);
            return;
        }
        if self.young_weight + weight > half {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.young_weight += weight;
        if let Some((_, replaced)) = self.young.insert(key, (value, weight)) {
            self.young_weight -= replaced;
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((_, weight)) = self.young.remove(key) {
            self.young_weight -= weight;
        }
        self.old.remove(key);
    }
}

type Key = (PackId, u64);

/// Inflated commits, trees, tags and delta bases by where they lie (pack, offset), for all repositories of the
/// process. Who asks has found the object in a pack of its own snapshot, so nothing leaks between repositories.
pub struct ObjectCache {
    shards: Vec<Mutex<Generations<Key, Arc<[u8]>>>>,
    hasher: RandomState,
    object_bytes_max: usize,
}

const SHARDS: usize = 16;
/// What an entry costs beside its bytes.
const OVERHEAD_BYTES: usize = 96;

impl ObjectCache {
    /// `bytes_max` bounds the inflated bytes that are held.
    pub fn new(bytes_max: usize) -> ObjectCache {
        let shard_bytes = bytes_max / SHARDS;
        ObjectCache {
            shards: (0..SHARDS).map(|_| Mutex::new(Generations::new(shard_bytes))).collect(),
            hasher: RandomState::new(),
            object_bytes_max: (shard_bytes / 4).saturating_sub(OVERHEAD_BYTES),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        self.shard(&key).lock().get(&key)
    }

    pub(super) fn insert(&self, key: Key, data: &[u8]) {
        if data.len() <= self.object_bytes_max {
            let data = Arc::from(data);
            let weight = OVERHEAD_BYTES + <[u8]>::len(&data);
            self.shard(&key).lock().insert(key, data, weight);
        }
    }

    fn shard(&self, key: &Key) -> &Mutex<Generations<Key, Arc<[u8]>>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_keep_what_is_used_within_the_bound() {
        let mut cache = Generations::new(100);
        cache.insert("used", 1, 10);
        for n in 0..1000 {
            let name: &'static str = Box::leak(n.to_string().into_boxed_str());
            cache.insert(name, n, 10);
            assert_eq!(cache.get(&"used"), Some(1), "after {n}");
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert_eq!(cache.get(&"0"), None);
        cache.insert("heavy", 7, 51);
        assert_eq!(cache.get(&"heavy"), None);
        cache.insert("used", 2, 20);
        assert_eq!(cache.get(&"used"), Some(2));
        cache.remove(&"used");
        assert_eq!(cache.get(&"used"), None);
    }

    #[test]
    fn objects_are_found_where_they_were_put() {
        let cache = ObjectCache::new(1 << 20);
        let pack = PackId::new();
        assert_eq!(cache.get((pack, 12)), None);
        cache.insert((pack, 12), b"tree");
        assert_eq!(cache.get((pack, 12)).as_deref(), Some(&b"tree"[..]));
        cache.insert((pack, 13), &vec![0; 1 << 20]);
        assert_eq!(cache.get((pack, 13)), None);
    }
}
